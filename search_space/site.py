"""An insertion site: a place of a backbone where an SE block can stand, and the positions it offers there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from search_space.architecture import Position, Shape
from search_space.errors import InputError

Rule = Literal["auto", "residual", "convolutions"]
"""A rule that finds the sites of a backbone."""

RULES: tuple[Rule, ...] = get_args(Rule)

Sites = Rule | tuple[str, ...]
"""Which sites a space is over: those of a rule, or those whose names match some patterns (as in :mod:`fnmatch`)."""


_RULE_BEFORE: Rule = "residual"
"""The rule of what was recorded before there was a choice."""


def recorded_sites(space: Mapping[str, Any]) -> Sites:
    """Return which sites a space is over that a study or an export has recorded as plain data."""
    sites = space.get("sites", _RULE_BEFORE)
    return tuple(sites) if isinstance(sites, list) else sites


@dataclass(frozen=True)
class Site:
    """One site, named after the backbone's own module.

    ``stage`` counts spatial resolutions from 1, as they shrink; ``stage_name`` is the backbone's own name for it
    where there is one (``layer1``), else ``stage1``. ``shapes`` gives, for each position that the site has, the
    channels, height and width of the map that an SE block there would scale.
    """

    name: str
    stage: int
    stage_name: str
    shapes: Mapping[Position, Shape] = field(hash=False)

    @property
    def is_residual(self) -> bool:
        """Whether the site is a residual addition, which alone has a shortcut to stand on."""
        return "identity" in self.shapes

    def channels(self, position: Position) -> int:
        """The channels that an SE block at a position scales.

        Raises:
            InputError: the site does not have that position.
        """
        return self.shape(position)[0]

    def shape(self, position: Position) -> Shape:
        """Channels, height and width of the map at a position.

        Raises:
            InputError: the site does not have that position.
        """
        if position not in self.shapes:
            raise InputError(f"site {self.name} has no position '{position}' (it has: {', '.join(self.shapes)})")
        return self.shapes[position]


def common_positions(
    sites: Iterable[Site], positions: Iterable[Position], network: Iterable[Site]
) -> tuple[Position, ...]:
    """Return those of some positions that can be asked of some sites at once.

    Each of the sites has to have such a position. Beside residual sites, others take the nearest position that they
    have (:func:`nearest_position`), so that the residual ones decide. Where a network has residual sites elsewhere,
    one of the sites has to have the position, and *standard* is what is left if none has any.

    Args:
        network: all sites of the network.
    """
    scope, asked = list(sites), tuple(positions)
    residual = [site for site in scope if site.is_residual]
    if scope and not residual and any(site.is_residual for site in network):
        return tuple(p for p in asked if any(p in site.shapes for site in scope)) or ("standard",)
    return tuple(p for p in asked if all(p in site.shapes for site in residual or scope))


def nearest_position(site: Site, position: Position, network: Iterable[Site]) -> Position:
    """Return the position that a site takes where a position is asked of several sites of a network.

    It is that position where the site has it. A site without a shortcut takes *standard* instead if the network has
    residual sites: *pre* and *post* of such a block would be the *standard* of its neighbor or its own.

    Args:
        network: all sites of the network.
    """
    falls_back = position not in site.shapes and not site.is_residual and any(other.is_residual for other in network)
    return "standard" if falls_back else position
