"""Names of studies: which ones a new study may have, those that follow from others, and how they are typed."""

import hashlib
import re
import shlex

from search_space.errors import InputError

_LONGEST = 100
_SUFFIX = "-evaluation"


def check_study_name(name: str, *, otherwise: str = "set another by the key 'study' or by --study NAME") -> None:
    """Check the name of a new study, which is also the name of its folder and part of commands.

    Args:
        name: of a study that does not exist yet.
        otherwise: how the user gives another name.

    Raises:
        InputError: the name breaks the rule; the message says what the rule is.
    """
    if not _is_valid(name):
        shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
        raise InputError(
            f"{shown!r} cannot be the name of a study: it begins with a letter, a digit or '_', goes on with these, "
            f"'.' and '-', and has at most {_LONGEST} bytes; {otherwise}"
        )


def evaluation_of(study: str) -> str:
    """Return the name of the study that the final evaluation of a study is, unless the user gives another.

    Names that are too long or otherwise invalid, as older studies have, are shortened and made unique by a hash.
    """
    name = study + _SUFFIX
    if _is_valid(name):
        return name
    told_apart = f"-{hashlib.sha256(study.encode(errors='replace')).hexdigest()[:8]}{_SUFFIX}"
    kept = re.sub(r"[^\w.-]+", "-", study).lstrip("-.").encode()[: _LONGEST - len(told_apart)]
    return (kept.decode(errors="ignore") or "study") + told_apart


def study_command(command: str, study: str, options: str = "") -> str:
    """Return a command about a study as it is typed into a shell, after the program's name.

    Args:
        command: such as ``show``.
        study: the study's name, not quoted.
        options: what follows the name, quoted, with a space before it.

    >>> study_command("export", "digits", " -o DIR")
    'export digits -o DIR'
    >>> study_command("export", "-my digits", " -o DIR")
    "export -o DIR -- '-my digits'"
    """
    if study.startswith("-"):  # a name after which no options may follow
        return f"{command}{options} -- {shlex.quote(study)}"
    return f"{command} {shlex.quote(study)}{options}"


def _is_valid(name: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*", name) is not None and len(name.encode()) <= _LONGEST
