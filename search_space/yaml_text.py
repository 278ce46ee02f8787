"""YAML as every file and option of this project is read and written."""

import re
from collections.abc import Hashable, Mapping
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from search_space.errors import InputError

_FLOAT = (
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
"""Numbers such as 1e-3, which YAML 1.2 reads as numbers and PyYAML, which follows YAML 1.1, as texts."""

_NOT_BUILT = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")
"""Tags of the keys ``<<`` and ``=``, which stand for themselves."""

_LONGEST = 40


def parse_yaml(text: str, source: str) -> Any:
    """Return the data in a YAML text.

    Args:
        text: one YAML document. A key may occur once in a mapping; a key that overrides one from a merged mapping
            (``<<``) is allowed.
        source: what error messages call the text.

    Raises:
        InputError: the text is not YAML, a key is repeated, or an alias refers to a collection that contains it.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except _RepeatedKeyError as error:
        raise InputError(f"{source}: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not valid YAML: {_in_one_line(error, text)}") from error
    except RecursionError as error:
        raise InputError(f"{source} is not valid YAML: collections are nested too deeply") from error


def to_yaml(data: Mapping[str, Any], *, default_flow_style: bool | None = False) -> str:
    """Return a YAML text that :func:`parse_yaml` reads as the same data, with the keys in their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=default_flow_style)


class _RepeatedKeyError(yaml.YAMLError):
    """A key occurs twice in a mapping."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses repeated keys and cycles of aliases."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.deep_construct = True  # collections are built inside out, so that a cycle is an error
        self._checked: set[MappingNode] = set()

    def flatten_mapping(self, node: MappingNode) -> None:
        # Called for every mapping and for those that it merges, before a repeated key is lost. A mapping that has
        # been merged into already holds overridden keys as well, which are legitimate.
        if node not in self._checked:
            self._checked.add(node)
            self._check_keys(node)
        super().flatten_mapping(node)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            if not isinstance(node, ScalarNode):
                raise
            shown = node.value if len(node.value) <= _LONGEST else f"{node.value[:_LONGEST]}..."
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(None, None, f"'{shown}' is no valid {kind} ({error})", node.start_mark) from error

    def _check_keys(self, node: MappingNode) -> None:
        found: dict[Hashable, Node] = {}
        for key_node, _ in node.value:
            key = key_node.value if key_node.tag in _NOT_BUILT else self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                return  # building the mapping fails for it
            first = found.setdefault(key, key_node)
            if first is not key_node:
                raise _RepeatedKeyError(_repeated(first, key_node))


class _Dumper(yaml.SafeDumper):
    """The safe dumper, which quotes texts that the loader would read as numbers."""


_Loader.add_implicit_resolver(*_FLOAT)
_Dumper.add_implicit_resolver(*_FLOAT)


def _repeated(first: Node, second: Node) -> str:
    names = (f"'{first.value}'", "it" if first.value == second.value else f"'{second.value}', which is the same key,")
    lines = [f"line {node.start_mark.line + 1}" for node in (first, second)]
    if lines[0] == lines[1]:
        lines = [
            f"{line}, column {node.start_mark.column + 1}" for line, node in zip(lines, (first, second), strict=True)
        ]
    merge = ", and merge several mappings by <<: [*A, *B]" if first.value == "<<" else ""
    return f"the key {names[0]} on {lines[0]} is repeated: {names[1]} is also on {lines[1]}; keep one of the two{merge}"


def _in_one_line(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"line {line}: the character {chr(error.character)!r} is not allowed"
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    context = error.context or ""
    if error.context_mark is not None and mark is not None and error.context_mark.line != mark.line:
        context += f" (from line {error.context_mark.line + 1})"
    return " ".join((where + ", ".join(part for part in (context, error.problem) if part)).split())
