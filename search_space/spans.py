"""What an SE block at a position does to the maps that are alive: memory in closed form.

A block comes right after the node whose map it scales. At that moment its input, its output and what it needs inside
are alive, beside all that the network keeps for later. Afterwards its output takes the input's place, which costs
nothing, unless the input is still needed elsewhere: then both are alive until one of them is done with.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A position's part in a forward pass, its nodes numbered from 0; memory in bytes.

    Attributes:
        start: the node after which the block runs.
        before: what is alive there without the block.
        end: the last node during which both the block's input and its output are alive; ``start`` if there is none.
        meanwhile: the most that is alive after ``start`` and up to ``end`` without the block; 0 if there is none.
        output: the size of the block's output.
    """

    start: int
    before: int
    end: int
    meanwhile: int
    output: int

    def peak(self, inside: int) -> int:
        """The most that is alive in this part with a block that needs so much beside its input."""
        during = self.before + inside
        return max(during, self.meanwhile + self.output) if self.meanwhile else during


def overlap(spans: Mapping[str, Iterable[Span]]) -> bool:
    """Whether blocks of different sites can be alive together, so that one's peak depends on the other."""
    every = [(site, span) for site, offered in spans.items() for span in offered]
    lasting = [(site, span) for site, span in every if span.end > span.start]
    return any(
        site != other and (a.start < b.start < a.end or (a.start == b.start and b.end > b.start))
        for site, a in lasting
        for other, b in every
    )
