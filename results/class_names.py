"""Names of classes, checked where they come from a stranger, and as text that fits on a line."""

from collections.abc import Mapping, Sequence
from typing import Any

from results.files import METADATA
from search_space.errors import InputError, printable

FEW_CLASSES = 20
"""Up to so many classes are listed one by one."""

_LONGEST = 40


def class_names_in(metadata: Mapping[str, Any], num_classes: int) -> tuple[str, ...] | None:
    """Return the class names of an export in the order of labels; None where the export does not say.

    Args:
        metadata: what metadata.json says.
        num_classes: number of classes of the export's network.

    Raises:
        InputError: they are not one text for each class.
    """
    names = metadata.get("class_names")
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != num_classes or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{METADATA} is damaged: class_names must be a list of {num_classes} texts, one for each class"
        )
    return tuple(names)


def one_line(name: str, longest: int = _LONGEST) -> str:
    """Return a name as printable text of limited length: characters that do not print become escapes."""
    text = printable(name)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def distinct(names: Sequence[str], longest: int = _LONGEST, taken: Sequence[str] = ()) -> list[str]:
    """Return the names as printable text, each different from the others and from those taken already."""
    seen, made = set(taken), []
    for name in names:
        text, number = one_line(name, longest), 1
        while text in seen:
            number += 1
            text = f"{one_line(name, longest)} ({number})"
        seen.add(text)
        made.append(text)
    return made


def listed(names: Sequence[str]) -> str:
    """Return a short list of the names: "airplane, cat, dog", or the first of many and the number of the others."""
    shown = ", ".join(one_line(name) for name in names[:FEW_CLASSES])
    return shown if len(names) <= FEW_CLASSES else f"{shown} and {len(names) - FEW_CLASSES} more"
