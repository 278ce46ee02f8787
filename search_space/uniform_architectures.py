"""Architectures that do the same everywhere: a study's baselines, and what ``senas cost`` prices."""

from collections.abc import Collection
from typing import Protocol

from search_space.architecture import POSITIONS, SE, Architecture, Backbone, Excitation, Position, Squeeze
from search_space.errors import InputError
from search_space.site import Site
from search_space.variants import hidden_widths

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
    ratio: int = BASELINE_RATIO,
    stages: Collection[int] | None = None,
    squeeze: Squeeze = "avg",
    excitation: Excitation = "sigmoid",
    bias: bool = False,
) -> Architecture:
    """The same SE block at every site, or at those of some stages (numbered from 1).

    Raises:
        InputError: a stage or the variant does not exist, or a site does not have the position.
    """
    existing = sorted({site.stage for site in traced.sites})
    for stage in stages or ():
        if stage not in existing:
            raise InputError(f"{traced.backbone.name} has no stage {stage} (it has: {', '.join(map(str, existing))})")
    blocks = (
        (
            site.name,
            SE(
                position=position,
                hidden=hidden_widths(variant, site.channels(position), ratio),
                squeeze=squeeze,
                excitation=excitation,
                bias=bias,
            ),
        )
        for site in traced.sites
        if stages is None or site.stage in stages
    )
    return Architecture(traced.backbone, tuple(blocks))


def baselines(traced: WithSites, *, bias: bool = False) -> dict[str, Architecture]:
    """What a search has to beat: no SE, and SE everywhere at r = 16 in each position that all sites have."""
    positions = [p for p in POSITIONS if all(p in site.shapes for site in traced.sites)]
    everywhere = {f"{position} everywhere": uniform(traced, position=position, bias=bias) for position in positions}
    return {"no SE": Architecture(traced.backbone), **everywhere}
