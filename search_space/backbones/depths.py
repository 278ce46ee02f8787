"""Depths of networks of three equal stages, as their papers write them: 6n + 2, 9n + 2, 6n + 4."""

from search_space.errors import InputError


def blocks_per_stage(what: str, depth: int, *, layers: int, beside: int) -> int:
    """The n of a depth ``layers * n + beside``; ``what`` says in errors which network it is.

    Raises:
        InputError: the depth is none of these.
    """
    blocks = max(1, (depth - beside) // layers)
    if depth != layers * blocks + beside:
        nearest = f"{layers * blocks + beside} or {layers * (blocks + 1) + beside}"
        raise InputError(f"{what} has a depth of {layers}n + {beside}, such as {nearest}, not {depth}")
    return blocks
