"""An architecture site by site, as rows: what the terminal's table and the SVG drawing show."""

from dataclasses import dataclass

from search_space.architecture import SE, Architecture, Shape
from search_space.costs import cost, site_price
from search_space.site import Site
from search_space.space import Traced


@dataclass(frozen=True)
class Block:
    """A block at a site, and what it costs.

    Attributes:
        shape: channels, height and width of the map that it scales.
        flops: what it adds to the network's multiply-adds.
        params: what it adds to the network's parameters.
        flops_share: its part of all the network's FLOPs, 0 to 1.
        params_share: its part of all the network's parameters, 0 to 1.
    """

    se: SE
    shape: Shape
    flops: int
    params: int
    flops_share: float
    params_share: float

    @property
    def ratio(self) -> float | None:
        """Channels over the narrowest width between squeeze and excitation; None where there is no such width."""
        return self.shape[0] / min(self.se.hidden) if self.se.hidden else None

    @property
    def widths(self) -> str:
        """The widths from the channels and back to them, such as ``64-4-64``; empty where there are none."""
        channels = self.shape[0]
        return "-".join(map(str, (channels, *self.se.hidden, channels))) if self.se.hidden else ""

    @property
    def details(self) -> str:
        """The other settings, such as ``avg, sigmoid, bias`` or ``kernel 3``."""
        # From the last name to the first: squeeze comes before excitation.
        texts = (_as_text(key, value) for key, value in reversed(self.se.settings) if key != "hidden")
        return ", ".join(text for text in (*texts, "from identity" if self.se.from_identity else "") if text)


@dataclass(frozen=True)
class Row:
    """A site and the block that it carries, if it does."""

    site: Site
    block: Block | None


def rows(traced: Traced, architecture: Architecture) -> list[Row]:
    """Every site of the backbone, in the order of the network.

    Raises:
        InputError: the architecture does not fit the backbone.
    """
    whole = cost(traced, architecture)

    def block(site: Site, se: SE) -> Block:
        price = site_price(traced, site.name, se)
        shares = (price.flops / whole.flops, price.params / whole.params)
        return Block(se, site.shape(se.position), price.flops, price.params, *shares)

    placed = architecture.se
    return [Row(site, block(site, placed[site.name]) if site.name in placed else None) for site in traced.sites]


def _as_text(key: str, value: object) -> str:
    if isinstance(value, bool):
        return key if value else ""
    return value if isinstance(value, str) else f"{key} {value}"
