"""Blocks of SE proper by their widths, as tests write them."""

from search_space.architecture import SE, Excitation, Position, Squeeze


def se_block(
    position: Position,
    hidden: tuple[int, ...],
    squeeze: Squeeze = "avg",
    excitation: Excitation = "sigmoid",
    bias: bool = False,
) -> SE:
    settings = {"hidden": hidden, "squeeze": squeeze, "excitation": excitation, "bias": bias}
    return SE(position, "se", tuple(settings.items()))
