"""The stages that the sites of recorded architectures belong to."""

import re
from collections.abc import Collection, Iterable, Mapping

from search_space.architecture import SE, Architecture, Backbone
from search_space.errors import InputError
from search_space.site import Sites

Stages = Mapping[str, str]
"""The stage's name by the site's."""

_OF_BLOCKS: tuple[Sites | None, ...] = ("auto", "residual", None)
"""The sites that are named after blocks, in the modules that hold those."""

_NUMBERED = re.compile(r"stage\d+")


def stages(
    architectures: Iterable[Architecture], places: Collection[str], notes: list[str], sites: Sites | None = None
) -> dict[Backbone, Stages]:
    """The stages of the sites of each backbone that some architecture has a block at.

    In most residual networks a stage is the module that holds its sites (``layer1`` of ``layer1.0``), as the tracer
    has it too. Where names do not tell (``features.3``, or parameters of a ``stage2``) the backbone is traced, which
    takes torch. Where it cannot be, each site stands for itself, and a note says so.

    Args:
        architectures: those that were recorded.
        places: what the study's parameters are for, such as ``layer1`` of ``layer1.position``.
        notes: takes a sentence for each backbone that cannot be traced.
        sites: the sites that the search is over.
    """
    known: dict[Backbone, dict[str, SE]] = {}
    for architecture in architectures:
        known.setdefault(architecture.backbone, {}).update(architecture.se)
    return {
        backbone: (_by_name(blocks, places) if sites in _OF_BLOCKS else {})
        or _by_tracing(Architecture(backbone, tuple(blocks.items())), sites, notes)
        for backbone, blocks in known.items()
    }


def _by_name(sites: Iterable[str], places: Collection[str]) -> Stages:
    """Nothing where names do not tell."""
    if any(site.endswith(".sum") for site in sites):  # named after what adds, which is in the block
        return {}
    parents = {site: site.rpartition(".")[0] for site in sites}
    modules = set(parents.values())
    are_numbered = any(_NUMBERED.fullmatch(place) for place in set(places) - modules)
    return parents if all(modules) and len(modules) > 1 and not are_numbered else {}


def _by_tracing(architecture: Architecture, sites: Sites | None, notes: list[str]) -> Stages:
    from search_space.tracing import trace_for

    try:
        return {site.name: site.stage_name for site in trace_for(architecture, sites).sites}
    except InputError as error:
        name = architecture.backbone.name
        notes.append(f"The stages of {name} are not known, and its sites are taken one by one: {error}.")
        return {}
