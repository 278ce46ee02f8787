"""An architecture in one line, for tables and logs."""

from itertools import groupby

from search_space.architecture import SE, Architecture


def summarise(architecture: Architecture) -> str:
    """Which sites carry what, those of one parent together: ``layer1.0,1 pre bump 2,4; layer3.0 post standard 8``.

    The last numbers are the narrowest widths, site by site, of blocks that have such; operators are named where they
    are not the usual ones.
    """
    if not architecture.sites:
        return "no SE"
    parts = []
    for (parent, kind), members in groupby(architecture.sites, key=lambda entry: (_parent(entry[0]), _kind(entry[1]))):
        group = list(members)
        names = ",".join(name.removeprefix(parent) for name, _ in group)
        widths = ",".join(str(min(se.hidden)) for _, se in group if se.hidden)
        parts.append(f"{parent}{names} {kind} {widths}".rstrip())
    return "; ".join(parts)


def _parent(site: str) -> str:
    """The path before a site's last name, with the dot."""
    return site[: site.rfind(".") + 1]


def _kind(se: SE) -> str:
    settings = dict(se.settings)
    operators = (str(settings[key]) for key in ("squeeze", "excitation") if key in settings)
    unusual = [operator for operator in operators if operator not in ("avg", "sigmoid")]
    return " ".join([se.position, se.variant, *unusual])
