"""Errors meant for the person at the keyboard."""

from collections.abc import Iterable
from difflib import get_close_matches

_MANY = 40
_FEW = 8


class InputError(ValueError):
    """Something the user gave is wrong; the message names the culprit and what would be right."""


def first_line(error: object) -> str:
    """What an error says, without the lines that only its own library's users need; its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def printable(text: str) -> str:
    """Return a text on one line, with escapes for the characters that do not print."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unknown(what: str, given: object, choices: Iterable[object]) -> InputError:
    """An error for a name that is not among the choices, with the nearest one suggested.

    >>> print(unknown("position", "psot", ["pre", "post"]))
    unknown position 'psot': did you mean 'post'? (one of: pre, post)
    """
    names = [printable(str(choice)) for choice in choices]
    near = get_close_matches(str(given), names, n=_FEW, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    shown = names if len(names) <= _MANY else near or names[:_FEW]
    which = "one of" if len(names) <= _MANY else f"of {len(names)}, such as"
    choose = f"({which}: {', '.join(shown)})" if near else f"{which}: {', '.join(shown)}"
    return InputError(f"unknown {what} {str(given)!r}: {hint}{choose}")
