"""What a user names by import path: ``package.module:attribute``, also from the working directory."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from search_space.errors import InputError, first_line


def is_import_path(text: str) -> bool:
    """Whether a text has the form ``package.module:attribute``."""
    module, colon, attribute = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))


def import_object(what: str, path: str) -> Any:
    """The object at an import path; ``what`` says in errors what it was wanted for.

    Raises:
        InputError: the module cannot be imported, or has no such attribute.
    """
    module_name, _, attribute = path.partition(":")
    # An installed command does not look in the directory it is started in, where users keep such modules.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found: Any = import_module(module_name)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"{what} {path}: module {module_name} cannot be imported ({reason})") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"{what} {path}: module {module_name} has no {attribute}")
        found = getattr(found, part)
    return found
