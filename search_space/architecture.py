"""An architecture as canonical data: a backbone, and which of its sites carries which SE block.

Equality is equality of networks. What does not change the network (a variant's name, a ratio that rounds to the
same width, the order in which sites are listed) is not part of an architecture. Nothing here imports torch.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from search_space.errors import InputError, unknown
from search_space.widths import variant_of
from search_space.yaml_text import parse_yaml, to_yaml

Position = Literal["standard", "pre", "post", "identity", "3x3"]
Squeeze = Literal["avg", "max"]
Excitation = Literal["sigmoid", "relu", "tanh"]
Option = int | float | str | bool
Setting = Option | tuple[int, ...]
Shape = tuple[int, int, int]
"""Channels, height and width of a map."""

POSITIONS: tuple[Position, ...] = get_args(Position)
SQUEEZES: tuple[Squeeze, ...] = get_args(Squeeze)
EXCITATIONS: tuple[Excitation, ...] = get_args(Excitation)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network without SE of its own: its name, options, and the input and output it is made for.

    ``input_size`` is (channels, height, width). ``options`` are those of the backbone, complete and sorted, so
    that equal backbones compare equal; :func:`search_space.backbones.resolve` makes them so.
    """

    name: str
    num_classes: int
    input_size: tuple[int, int, int]
    options: tuple[tuple[str, Option], ...] = ()

    @cached_property
    def _key(self) -> tuple[object, ...]:
        return self.name, self.num_classes, self.input_size, _typed(self.options)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Backbone) and self._key == other._key

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in architecture.yaml."""
        return {
            "name": self.name,
            "num_classes": self.num_classes,
            "input_size": list(self.input_size),
            "options": dict(self.options),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Backbone":
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: a key is unknown or missing, or a value has the wrong type.
        """
        _check_keys("backbone", data, required={"name", "num_classes", "input_size", "options"})
        size = data["input_size"]
        if not (isinstance(size, list | tuple) and len(size) == 3 and all(_is_positive(n) for n in size)):
            raise InputError(f"backbone.input_size must be [channels, height, width], not {size!r}")
        if not _is_positive(data["num_classes"]):
            raise InputError(f"backbone.num_classes must be a positive integer, not {data['num_classes']!r}")
        options = _mapping("backbone.options", data["options"])
        for key, value in options.items():
            if not isinstance(value, Option):
                raise InputError(f"backbone.options.{key} must be a number, a text or true or false, not {value!r}")
        return cls(
            name=str(data["name"]),
            num_classes=data["num_classes"],
            input_size=(size[0], size[1], size[2]),
            options=tuple(sorted(options.items())),
        )


@dataclass(frozen=True, eq=False)
class SE:
    """One Squeeze-and-Excitation block, of any kind, at one position of a site.

    Attributes:
        kind: the family of blocks (:data:`search_space.variants.FAMILIES`), or the import path of another's module.
        settings: the module's keyword arguments, all of them, by name; widths rather than ratios.
        from_identity: whether the block is ``x + a (block(x) - x)`` with a learned number a that starts at zero,
            so that it begins as an exact identity.
    """

    position: Position
    kind: str
    settings: tuple[tuple[str, Setting], ...] = ()
    from_identity: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", tuple(sorted(self.settings)))
        key = (self.position, self.kind, _typed(self.settings), self.from_identity)
        object.__setattr__(self, "_key", key)
        # Blocks are looked up by the million when a space is priced.
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined, no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SE) and self._key == other._key  # type: ignore[attr-defined]

    def __reduce__(self) -> tuple[Any, ...]:
        # The hash of a text differs from process to process.
        return type(self), (self.position, self.kind, self.settings, self.from_identity)

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths between squeeze and excitation; none where the kind has no such layers."""
        hidden = dict(self.settings).get("hidden", ())
        return hidden if isinstance(hidden, tuple) else ()

    @property
    def variant(self) -> str:
        """The name of the variant: of SE proper it is the one that its widths make."""
        return variant_of(self.hidden) if self.kind == "se" else self.kind

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in architecture.yaml."""
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in self.settings}
        return {"position": self.position, "kind": self.kind, **settings, "from_identity": self.from_identity}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], site: str = "a site") -> "SE":
        """The inverse of :meth:`to_dict`; ``site`` is named in errors.

        Whether the kind exists and takes these settings shows when it is priced or built.

        Raises:
            InputError: a key is missing, or a value is unknown or of the wrong type.
        """
        for key in ("position", "kind"):
            if key not in data:
                raise InputError(f"sites.{site} lacks the key '{key}'")
        position, kind = data["position"], data["kind"]
        if position not in POSITIONS:
            raise unknown(f"position of site {site}", position, POSITIONS)
        if not isinstance(kind, str):
            raise InputError(f"sites.{site}.kind must be a text, not {kind!r}")
        from_identity = data.get("from_identity", False)
        if not isinstance(from_identity, bool):
            raise InputError(f"sites.{site}.from_identity must be true or false, not {from_identity!r}")
        settings = {key: value for key, value in data.items() if key not in ("position", "kind", "from_identity")}
        checked = ((key, _setting(f"sites.{site}.{key}", value)) for key, value in settings.items())
        return cls(position, kind, tuple(checked), from_identity)


@dataclass(frozen=True)
class Architecture:
    """A backbone and the SE block of each site that has one, in the order of the network."""

    backbone: Backbone
    sites: tuple[tuple[str, SE], ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.sites, key=lambda entry: (_natural_order(entry[0]), entry[0])))
        for (name, _), (following, _) in pairwise(ordered):
            if name == following:
                raise InputError(f"site {name} is listed twice")
        object.__setattr__(self, "sites", ordered)

    @cached_property
    def se(self) -> Mapping[str, SE]:
        """The block of each site that has one."""
        return dict(self.sites)

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits that equal architectures share and different ones do not."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what the study DB and architecture.yaml hold."""
        return {
            "backbone": self.backbone.to_dict(),
            "sites": {name: se.to_dict() for name, se in self.sites},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Architecture":
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: the data is not an architecture; the message names the key.
        """
        data = _mapping("an architecture", data)
        _check_keys("architecture", data, required={"backbone"}, optional={"sites"})
        sites = _mapping("sites", data.get("sites", {}))
        return cls(
            backbone=Backbone.from_dict(_mapping("backbone", data["backbone"])),
            sites=tuple((name, SE.from_dict(_mapping(f"sites.{name}", se), name)) for name, se in sites.items()),
        )

    def to_yaml(self) -> str:
        """The text of an architecture.yaml."""
        return to_yaml(self.to_dict(), default_flow_style=None)

    @classmethod
    def read(cls, file: Path) -> "Architecture":
        """The architecture in a YAML file.

        Raises:
            InputError: the file cannot be read, or does not describe one; the message names the file.
        """
        try:
            return cls.from_yaml(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read: {error}") from error
        except InputError as error:
            raise InputError(f"{file}: {error}") from error

    @classmethod
    def from_yaml(cls, text: str) -> "Architecture":
        """The inverse of :meth:`to_yaml`. No code in the text is run.

        Raises:
            InputError: the text is not YAML, or not an architecture.
        """
        return cls.from_dict(parse_yaml(text, "the architecture"))


def _typed(values: Iterable[tuple[str, Setting]]) -> tuple[tuple[object, ...], ...]:
    """Names and values with their types: 1, 1.0 and True are equal in Python, but they are not the same setting."""
    return tuple((name, type(value), value) for name, value in values)


def _natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sorts layer1.10 after layer1.2."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def _setting(key: str, value: object) -> Setting:
    if isinstance(value, list | tuple) and all(isinstance(n, int) and not isinstance(n, bool) for n in value):
        return tuple(value)
    if not isinstance(value, Option):
        raise InputError(f"{key} must be a number, a text, true or false, or a list of integers, not {value!r}")
    return value


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _mapping(what: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{what} must be a mapping of keys to values, not {value!r}")
    for key in value:
        if not isinstance(key, str):
            raise InputError(f"{what} has the key {key!r}, which must be a text")
    return value


def _check_keys(what: str, data: Mapping[str, Any], required: set[str], optional: Collection[str] = ()) -> None:
    known = required.union(optional)
    for key in data:
        if key not in known:
            raise unknown(f"key of {what}", key, sorted(known))
    for key in sorted(required - data.keys()):
        raise InputError(f"{what} lacks the key '{key}'")
