"""The SE variants of "Variations of Squeeze and Excitation networks" (arXiv 2304.06502), as widths.

A variant is the sequence of hidden widths that its fully connected layers pass through between the C channels
that are squeezed and the C channels that are excited. The widths are all there is to it: two variants that come
to the same widths are the same network.
"""

from collections.abc import Callable

from search_space.errors import InputError, unknown

Widths = tuple[int, ...]


def bottleneck(channels: int, ratio: int) -> int:
    """C / r, the width of the standard SE bottleneck, never below one."""
    return max(1, channels // ratio)


def half_step(channels: int, ratio: int) -> int:
    """C / (r / 2), the extra step of the slow variants: half of the ratio, so about twice the bottleneck.

    At r = 1 the halved ratio would be zero; it stays 1, so the step is never wider than the channels.
    """
    return max(1, channels // max(1, ratio // 2))


WIDTHS: dict[str, Callable[[int, int], Widths]] = {
    "standard": lambda c, r: (bottleneck(c, r),),
    "slow_squeeze": lambda c, r: (half_step(c, r), bottleneck(c, r)),
    "slow_excite": lambda c, r: (bottleneck(c, r), half_step(c, r)),
    "slow_both": lambda c, r: (half_step(c, r), bottleneck(c, r), half_step(c, r)),
    "bump": lambda c, r: (bottleneck(c, r), bottleneck(c, r)),
}
"""The rule of each variant, from channels C and reduction ratio r to hidden widths."""


def hidden_widths(variant: str, channels: int, ratio: int) -> Widths:
    """The hidden widths of a variant at a number of channels and a reduction ratio.

    Raises:
        InputError: the variant is unknown, or the ratio is not a positive integer.
    """
    if variant not in WIDTHS:
        raise unknown("SE variant with widths", variant, WIDTHS)
    if ratio < 1:
        raise InputError(f"the reduction ratio must be at least 1, not {ratio}")
    return WIDTHS[variant](channels, ratio)


def variant_of(hidden: Widths) -> str:
    """The variant that hidden widths belong to, read off their shape; ``custom`` where none has that shape.

    >>> [variant_of(h) for h in [(4,), (8, 4), (4, 8), (4, 4), (8, 4, 8)]]
    ['standard', 'slow_squeeze', 'slow_excite', 'bump', 'slow_both']
    """
    match hidden:
        case (_,):
            return "standard"
        case (first, second) if first == second:
            return "bump"
        case (first, second):
            return "slow_squeeze" if first > second else "slow_excite"
        case (first, _, last) if first == last:
            return "slow_both"
        case _:
            return "custom"
