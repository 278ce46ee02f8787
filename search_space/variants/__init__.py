"""The designs of SE block that a site can carry, by name.

A family is a file of this package: a module with the settings it takes, its price, and the variants that are
settings of it. Adding one is that file and its line in the table below. A design of one's own is named by its import
path (``package.module:Class``) or registered as an entry point of the group ``senas.variants``; it is a torch module
made by ``Class(channels, ...)`` that keeps the shape, and may take ``ratio``, ``squeeze``, ``excitation`` and
``bias``; or a :class:`Family` with one variant. The table is all that is loaded until a family is needed.
"""

from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import Parameter, signature
from typing import Any, get_args

from search_space.architecture import SE, Position, Setting
from search_space.errors import InputError, first_line, unknown
from search_space.import_paths import import_object, is_import_path
from search_space.variants.family import USUAL, Family, Option, Options, Variant

__all__ = [
    "FAMILIES",
    "GROUP",
    "USUAL",
    "Family",
    "Options",
    "block",
    "check_variant",
    "family",
    "variant",
    "variant_names",
]

FAMILIES: dict[str, tuple[str, ...]] = {
    "se": ("standard", "slow_squeeze", "slow_excite", "slow_both", "bump"),
    "no_squeeze": ("no_squeeze",),
    "effective_se": ("effective_se",),
    "eca": ("eca",),
    "cbam": ("cbam",),
    "simam": ("simam",),
    "gather_excite": ("gather_excite",),
}

GROUP = "senas.variants"
"""The entry points by which installed packages add variants."""


def variant_names() -> tuple[str, ...]:
    """The variants that can be named without an import path."""
    return (*(name for names in FAMILIES.values() for name in names), *_entry_points())


def check_variant(name: str) -> None:
    """Raises an InputError for a name that can be no variant's. Nothing is imported for that."""
    if not is_import_path(name) and name not in variant_names():
        raise unknown("SE variant", name, variant_names())


@cache
def family(kind: str) -> Family:
    """The family that the blocks of a kind are made by.

    Raises:
        InputError: there is none of that name, or it cannot be imported.
    """
    if kind in FAMILIES:
        found: Family = import_module(f"{__name__}.{kind}").FAMILY
        return found
    if kind in _entry_points():
        return _adapted(kind, _loaded(_entry_points()[kind]))
    if is_import_path(kind):
        return _adapted(kind, import_object("SE variant", kind))
    raise unknown("kind of SE block", kind, [*FAMILIES, *_entry_points()])


def variant(name: str) -> tuple[str, Variant]:
    """The kind that a variant is of, and the variant.

    Raises:
        InputError: there is none of that name, or it cannot be imported.
    """
    check_variant(name)
    kind = next((kind for kind, names in FAMILIES.items() if name in names), name)
    variants = family(kind).variants
    return kind, variants[name] if kind in FAMILIES else next(iter(variants.values()))


@lru_cache(maxsize=1 << 14)
def block(name: str, position: Position, channels: int, options: Options = USUAL, *, from_identity: bool = False) -> SE:
    """The block of a variant for a position with so many channels.

    Raises:
        InputError: the variant is unknown or cannot be imported, or the ratio is not a positive integer.
    """
    if options.ratio < 1:
        raise InputError(f"the reduction ratio must be at least 1, not {options.ratio}")
    kind, found = variant(name)
    return SE(position, kind, tuple(found.settings(channels, options).items()), from_identity)


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _loaded(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"SE variant {entry.name}: {entry.value} cannot be loaded ({reason})") from error


def _adapted(kind: str, found: Any) -> Family:
    """What an import path or an entry point led to, as a family of one variant."""
    if isinstance(found, Family):
        if len(found.variants) != 1:
            raise InputError(f"SE variant {kind} is a family of {len(found.variants)} variants: it must have one")
        return found
    if not callable(found):
        raise InputError(f"SE variant {kind} must be a torch module's class or a Family, not {found!r}")
    try:
        parameters = signature(found).parameters
    except (TypeError, ValueError) as error:
        raise InputError(f"SE variant {kind} must be a torch module's class or a Family, not {found!r}") from error
    if not parameters or next(iter(parameters.values())).kind is Parameter.KEYWORD_ONLY:
        raise InputError(f"SE variant {kind} must take the channels as its first argument")
    taken = [name for name in (*get_args(Option), "bias") if name in parameters]

    def settings(_channels: int, options: Options) -> dict[str, Setting]:
        return {name: getattr(options, name) for name in taken}

    uses = tuple(name for name in get_args(Option) if name in taken)
    return Family(module=found, paper="", variants={kind: Variant("a module of one's own", settings, uses)})
