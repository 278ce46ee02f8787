"""Architectures that do the same everywhere: a study's baselines, and what ``senas cost`` prices."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from search_space.architecture import POSITIONS, Architecture, Backbone, Position
from search_space.errors import InputError
from search_space.site import Site
from search_space.variants import USUAL, Options, block, variant

BASELINE_RATIO = 16
"""The reduction ratio of the published SENets (arXiv 1709.01507)."""


class WithSites(Protocol):
    """A traced backbone, as far as placing blocks goes."""

    @property
    def backbone(self) -> Backbone: ...  # noqa: D102
    @property
    def sites(self) -> tuple[Site, ...]: ...  # noqa: D102


def uniform(
    traced: WithSites,
    *,
    variant: str = "standard",
    position: Position = "standard",
    options: Options = USUAL,
    stages: Collection[int | str] | None = None,
    from_identity: bool = False,
) -> Architecture:
    """The same SE block at every site, or at those of some stages (by number, from 1, or by name).

    Raises:
        InputError: a stage or the variant does not exist, a site does not have the position, or the ratio is wider
            than the channels of every site.
    """
    for stage in stages or ():
        check_stage(traced.backbone.name, traced.sites, stage)
    sites = [site for site in traced.sites if stages is None or {site.stage, site.stage_name} & set(stages)]
    check_ratio(variant, options.ratio, [(site, (position,)) for site in sites])
    blocks = (
        (site.name, block(variant, position, site.channels(position), options, from_identity=from_identity))
        for site in sites
    )
    return Architecture(traced.backbone, tuple(blocks))


def baselines(traced: WithSites, *, bias: bool = False, from_identity: bool = False) -> dict[str, Architecture]:
    """What a search has to beat: no SE, and SE everywhere at r = 16 in each position that all sites have."""
    everywhere = {}
    for position in POSITIONS:
        if all(position in site.shapes for site in traced.sites):
            # All sites of a small network may be narrower than the published ratio.
            ratio = min(BASELINE_RATIO, max(site.channels(position) for site in traced.sites))
            options = Options(ratio=ratio, bias=bias)
            everywhere[f"{position} everywhere"] = uniform(
                traced, position=position, options=options, from_identity=from_identity
            )
    return {"no SE": Architecture(traced.backbone), **everywhere}


def check_stage(backbone: str, sites: Iterable[Site], stage: int | str) -> None:
    """Raises an InputError unless a backbone has a stage of that number or name."""
    existing = {site.stage: site.stage_name for site in sites}
    if stage not in existing and stage not in existing.values():
        listed = ", ".join(f"{number} or {name}" for number, name in existing.items())
        raise InputError(f"{backbone} has no stage {stage} (it has: {listed})")


def check_ratio(name: str, ratio: int, places: Sequence[tuple[Site, Sequence[Position]]]) -> None:
    """Raises an InputError for a ratio that none of the places has the channels for; each a site and its positions."""
    if "ratio" not in variant(name)[1].uses:
        return
    widths = {site.name: max(site.channels(p) for p in offered) for site, offered in places}
    if widths and ratio > max(widths.values()):
        site, channels = max(widths.items(), key=lambda entry: entry[1])
        raise InputError(f"ratio {ratio} is wider than the channels: the widest site, {site}, has {channels}")
