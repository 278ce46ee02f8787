"""An architecture in one line, for tables and logs."""

from itertools import groupby

from search_space.architecture import SE, Architecture


def summarise(architecture: Architecture) -> str:
    """Which sites carry what, sites of one parent together: ``layer1 pre bump 2,4,2; layer3.0 post standard 8``.

    The numbers are the narrowest widths, site by site; operators are named where they are not the usual ones.
    """
    if not architecture.sites:
        return "no SE"
    groups = [(_kind(se), name, min(se.hidden)) for name, se in architecture.sites]
    parts = []
    for (kind, parent), members in groupby(groups, key=lambda entry: (entry[0], entry[1].rpartition(".")[0])):
        sites = list(members)
        whole = parent and len(sites) == sum(name.rpartition(".")[0] == parent for name in architecture.se)
        place = parent if whole else ",".join(name for _, name, _ in sites)
        parts.append(f"{place} {kind} {','.join(str(width) for _, _, width in sites)}")
    return "; ".join(parts)


def _kind(se: SE) -> str:
    unusual = [operator for operator in (se.squeeze, se.excitation) if operator not in ("avg", "sigmoid")]
    return " ".join([se.position, se.variant, *unusual])
