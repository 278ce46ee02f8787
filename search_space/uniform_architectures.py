"""Architectures that do the same everywhere: a study's baselines, and what ``senas cost`` prices."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from search_space.architecture import POSITIONS, Architecture, Backbone, Position
from search_space.errors import InputError
from search_space.site import Site, common_positions, nearest_position
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

    A site without a shortcut among residual ones takes the nearest position that it has
    (:func:`search_space.site.nearest_position`).

    Raises:
        InputError: a stage or the variant does not exist, a site does not have the position, or the ratio is wider
            than the channels of every site.
    """
    for stage in stages or ():
        check_stage(traced.backbone.name, traced.sites, stage)
    sites = [site for site in traced.sites if stages is None or {site.stage, site.stage_name} & set(stages)]
    placed = [(site, nearest_position(site, position, traced.sites)) for site in sites]
    check_ratio(variant, options.ratio, [(site, (taken,)) for site, taken in placed])
    blocks = (
        (site.name, block(variant, taken, site.channels(taken), options, from_identity=from_identity))
        for site, taken in placed
    )
    return Architecture(traced.backbone, tuple(blocks))


def baselines(traced: WithSites, *, bias: bool = False, from_identity: bool = False) -> dict[str, Architecture]:
    """What a search has to beat: no SE, and SE everywhere at r = 16 in each position that all sites have."""
    everywhere = {}
    for position in common_positions(traced.sites, POSITIONS, traced.sites):
        placed = ((site, nearest_position(site, position, traced.sites)) for site in traced.sites)
        # All sites of a small network may be narrower than the published ratio.
        ratio = min(BASELINE_RATIO, max(site.channels(taken) for site, taken in placed))
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
