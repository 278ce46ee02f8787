"""An insertion site: a place of a backbone where an SE block can stand, and the positions it offers there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from search_space.architecture import Position, Shape
from search_space.errors import InputError


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
