"""One class for all modules that differ in numbers alone, with what differs as arguments of its constructor.

The modules of one class are put side by side. Where all have the same, that is written; where they differ, there is a
parameter, and places that differ alike share one: the least general generalisation of Plotkin ("A note on inductive
generalization", Machine Intelligence 5, 1970).
"""

import keyword
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from results.source.constructors import Argument, Collection, Constructor, Part, Term, lowered
from results.source.expressions import Expression, Group, Joined, Number, Value, one_line
from results.source.forwards import Forward

_WIDTHS_IN = ("in_channels", "in_features", "num_features", "num_channels", "normalized_shape", "channels")
_WIDTHS_OUT = ("out_channels", "out_features", "num_features", "num_channels", "normalized_shape", "channels")

_COUNTED = 4
"""From so many numbered parts on, such as a dense block's layers, a class is told from its like by their number."""


@dataclass(frozen=True)
class Blueprint:
    """One module of the network: what it is made of and what it does.

    Attributes:
        kind: the name that its class would have.
        parts: its modules and then its tensors, by name, and what makes them.
        attributes: plain values that its methods use.
        forward: what it does; None where methods say that, or it is a chain of its parts.
        methods: the code of its methods, where that is taken as it is.
        is_chain: whether it is an ``nn.Sequential``.
        suffix: what tells its class from others of the same kind.
        positions: of the SE blocks that it is given.
        about: what its class is said to do.
        given: how many channels the map has that it takes, by where channels may stand; empty if unknown.
        gives: the same of the map that it gives.
    """

    path: str
    kind: str
    parts: tuple[tuple[str, Term], ...]
    attributes: tuple[tuple[str, Expression], ...] = ()
    forward: Forward | None = None
    methods: tuple[str, ...] = ()
    is_chain: bool = False
    suffix: str = ""
    positions: tuple[str, ...] = ()
    about: str = ""
    given: frozenset[int] = frozenset()
    gives: frozenset[int] = frozenset()

    @property
    def outline(self) -> Hashable:
        """What modules of one class have in common."""
        names = tuple(name for name, _ in (*self.parts, *self.attributes))
        return self.kind, self.suffix, names, self.forward and self.forward.outline(), self.methods


@dataclass(eq=False)
class Parameter:
    """What differs among the modules of a class.

    Attributes:
        terms: what it is in each.
        uses: the places that take it: the part and its argument; no argument where it is the part itself.
    """

    terms: tuple[Term, ...]
    uses: list[tuple[str, str]] = field(default_factory=list)
    name: str = ""
    defaults: list[Expression | None] = field(default_factory=list)

    @property
    def is_width(self) -> bool:
        """Whether it is a number of channels."""
        return any(argument in (*_WIDTHS_IN, *_WIDTHS_OUT) for _, argument in self.uses)

    @property
    def is_used_in_forward(self) -> bool:
        """Whether a module has to keep it."""
        return any(not part for part, _ in self.uses)

    @property
    def default(self) -> Expression | None:
        """The default of all the places that take it, if they have the same."""
        first, *others = self.defaults
        return first if all(other == first for other in others) else None

    @property
    def annotation(self) -> str:
        """Its type."""
        kinds = {_type_of(term) for term in self.terms}
        return " | ".join(sorted(kinds, key=lambda kind: (kind == "None", kind)))


@dataclass(frozen=True)
class Class:
    """A class of the file.

    Attributes:
        model: one of its modules, with parameters in the place of what differs.
        paths: where its modules are.
        base: the class it is derived from; another of the file makes what it is made of.
    """

    name: str
    parameters: tuple[Parameter, ...]
    model: Blueprint
    paths: tuple[str, ...]
    base: str = "nn.Module"


def classes_of(blueprints: Sequence[Blueprint], taken: Iterable[str]) -> list[Class]:
    """The classes of a network's modules, each after those it uses; ``taken`` are names that others have."""
    families = _families(blueprints)
    names = _class_names([group[0] for family in families for group in family], set(taken))
    named = [[(names.pop(0), group) for group in family] for family in families]
    taken = {*taken, *(name for family in named for name, _ in family)}
    made: dict[str, Constructor] = {}
    classes = []
    while named:
        family = next(f for f in named if all(p in made for _, group in f for b in group for p in _parts_within(b)))
        named.remove(family)
        for found, constructors in _generalised(family, made, taken):
            classes.append(found)
            made.update(zip(found.paths, constructors, strict=False))
    return classes


def _families(blueprints: Sequence[Blueprint]) -> list[list[list[Blueprint]]]:
    """Modules of one class in groups, and in families the groups that are made of the same and do different things.

    That is what a block is without SE, and where it is given SE at one position or another.
    """
    heights, nested = _heights(blueprints), _hold_their_own_kind(blueprints)
    groups: dict[tuple[Hashable, int], list[Blueprint]] = {}
    for blueprint in blueprints:
        height = heights[blueprint.path] if blueprint.outline in nested else 0
        groups.setdefault((blueprint.outline, height), []).append(blueprint)
    families: dict[Hashable, list[list[Blueprint]]] = {}
    for (outline, height), group in groups.items():
        first = group[0]
        alike = first.forward is not None and all(b.forward == first.forward for b in group)
        of_kind: Hashable = (
            first.kind,
            first.suffix if not first.positions else "",
            tuple(name for name, _ in first.parts),
        )
        shared = of_kind if alike and first.parts else outline
        families.setdefault((shared, height), []).append(group)
    return [sorted(family, key=lambda group: group[0].positions != ()) for family in families.values()]


def _parts_within(blueprint: Blueprint) -> Iterator[str]:
    for _, term in blueprint.parts:
        yield from _paths(term)


def _paths(term: Term) -> Iterator[str]:
    if isinstance(term, Part):
        yield term.path
    elif isinstance(term, Collection):
        for _, module in term.modules:
            yield from _paths(module)


def _heights(blueprints: Sequence[Blueprint]) -> dict[str, int]:
    by_path = {blueprint.path: blueprint for blueprint in blueprints}
    heights: dict[str, int] = {}

    def height(path: str) -> int:
        if path not in heights:
            heights[path] = 1 + max((height(part) for part in _parts_within(by_path[path])), default=0)
        return heights[path]

    for path in by_path:
        height(path)
    return heights


def _hold_their_own_kind(blueprints: Sequence[Blueprint]) -> set[Hashable]:
    """The outlines of modules that lie within one another; those of each depth have a class of their own."""
    by_path = {blueprint.path: blueprint.outline for blueprint in blueprints}
    uses: dict[Hashable, set[Hashable]] = {}
    for blueprint in blueprints:
        uses.setdefault(blueprint.outline, set()).update(by_path[path] for path in _parts_within(blueprint))

    def reached(start: Hashable) -> set[Hashable]:
        seen: set[Hashable] = set()
        waiting = [*uses[start]]
        while waiting:
            current = waiting.pop()
            if current not in seen:
                seen.add(current)
                waiting.extend(uses[current])
        return seen

    return {outline for outline in uses if outline in reached(outline)}


def _class_names(firsts: list[Blueprint], taken: set[str]) -> list[str]:
    """A name for each group: its kind, and where several have one kind what its SE block or its parts tell."""
    fewest: dict[str, set[str]] = {}
    for blueprint in sorted(firsts, key=lambda blueprint: len(blueprint.parts)):
        fewest.setdefault(blueprint.kind, {name for name, _ in blueprint.parts})
    names: list[str] = []
    for blueprint in firsts:
        if not blueprint.path:
            names.append(blueprint.kind)
            continue
        more = [name for name, _ in blueprint.parts if name not in fewest[blueprint.kind] and name[0].isalpha()]
        names.append(
            _free(blueprint.kind + "".join(_told_by(n, blueprint) for n in more[:1]) + blueprint.suffix, taken)
        )
        taken.add(names[-1])
    return names


def _told_by(part: str, blueprint: Blueprint) -> str:
    """A part that its like have not, in a class's name; of parts that are numbered, how many there are."""
    stem = part.rstrip("0123456789")
    alike = [name for name, _ in blueprint.parts if name != stem and name.rstrip("0123456789") == stem]
    return f"With{camel_case(part)}" if len(alike) < _COUNTED else f"Of{len(alike)}"


def camel_case(name: str) -> str:
    """A name such as ``down_sample`` as ``DownSample``."""
    parts = "".join(c if c.isalnum() else " " for c in name).split()
    return "".join(part[0].upper() + part[1:] for part in parts)


def _free(wanted: str, taken: set[str]) -> str:
    if wanted not in taken:
        return wanted
    return next(f"{wanted}{i}" for i in range(2, len(taken) + 3) if f"{wanted}{i}" not in taken)


def _generalised(
    family: list[tuple[str, list[Blueprint]]], made: dict[str, Constructor], taken: set[str]
) -> Iterator[tuple[Class, list[Constructor]]]:
    """The classes of a family, the one that the others are derived from first, and what makes their modules."""
    (name, plain), *others = family
    members = [blueprint for _, group in family for blueprint in group]
    signature, model = _common_blueprint(members, made)
    if others and plain[0].positions:
        name, plain, others = _free(name.removesuffix(plain[0].suffix), taken), [], family
        model = replace(model, forward=None, positions=())
    constructors = [
        Constructor("", tuple(Argument(p.name, p.terms[i], p.default, p.name in _POSITIONAL) for p in signature))
        for i in range(len(members))
    ]
    base = "nn.Sequential" if model.is_chain else "nn.Module"
    yield (
        Class(name, signature, model, tuple(b.path for b in plain or members), base),
        [replace(constructor, name=name) for constructor in constructors[: len(plain)]],
    )
    start = len(plain)
    for derived, group in others:
        own = constructors[start : start + len(group)]
        start += len(group)
        derived_model = replace(group[0], parts=(), attributes=(), about=_difference(plain, group[0]))
        yield (
            Class(derived, (), derived_model, tuple(b.path for b in group), base=name),
            [replace(constructor, name=derived) for constructor in own],
        )


def _difference(plain: list[Blueprint], derived: Blueprint) -> str:
    """What of its parts a module calls less or more than those that its class is derived from; empty if the same."""
    if not plain:
        return ""
    without, more = (
        [name for name, _ in plain[0].parts if name in called and name not in others]
        for called, others in ((_called(plain[0]), _called(derived)), (_called(derived), _called(plain[0])))
    )
    sums = [" + " in (one.forward.outline() if one.forward else "") for one in (plain[0], derived)]
    without += ["the sum"] if sums == [True, False] else []
    more += ["a sum"] if sums == [False, True] else []
    said = [f"{word} {', '.join(names)}" for word, names in (("without", without), ("with", more)) if names]
    return f" {' and '.join(said)}" if said else ""


def _called(blueprint: Blueprint) -> set[str]:
    return set(re.findall(r"self\.(\w+)", blueprint.forward.outline() if blueprint.forward else ""))


def _common_blueprint(
    group: list[Blueprint], made: dict[str, Constructor]
) -> tuple[tuple["Parameter", ...], Blueprint]:
    """What modules of a family have in common; their forwards are compared only where all have the same."""
    first, parameters = group[0], _Parameters()
    parts = [
        (part, parameters.common([_known(b.parts[i][1], made) for b in group], part))
        for i, (part, _) in enumerate(first.parts)
    ]
    attributes: list[tuple[str, Any]] = [
        (key, parameters.common([b.attributes[i][1] for b in group], "", key))
        for i, (key, _) in enumerate(first.attributes)
    ]
    forward = first.forward
    if forward is not None and len({b.outline for b in group}) == 1:
        of_all = zip(*(b.forward.statements for b in group if b.forward is not None), strict=True)
        values: list[Any] = [parameters.common([statement.value for statement in alike], "") for alike in of_all]
        statements = (replace(old, value=new) for old, new in zip(forward.statements, values, strict=True))
        forward = replace(forward, statements=tuple(statements))
    kept = set() if forward is None else {*dir(nn.Module), *(name for name, _ in parts)}
    signature = tuple(parameters.named(kept, [b.given for b in group], [b.gives for b in group]))
    return signature, replace(first, parts=tuple(parts), attributes=tuple(attributes), forward=forward)


_POSITIONAL = ("in_channels", "channels", "out_channels")


def _known(term: Term, made: dict[str, Constructor]) -> Term:
    """A term with the constructors of its parts."""
    if isinstance(term, Part):
        return made[term.path]
    if isinstance(term, Collection):
        return Collection(term.kind, tuple((name, _known(module, made)) for name, module in term.modules))
    return term


class _Parameters:
    """Finds what a class's modules have in common, and the parameters for what they have not."""

    def __init__(self) -> None:
        self._found: dict[tuple[Term, ...], Parameter] = {}
        self._first_width: Term | None = None
        self._last_width: Term | None = None

    def common(self, terms: Sequence[Term], part: str, argument: str = "", default: Expression | None = None) -> Term:
        """A term with parameters where terms differ, which are for an argument of a part."""
        first, inner = terms[0], [_inner(term) for term in terms]
        if inner[0] and len({_outline(term) for term in terms}) == 1:
            places = _places(first, part, argument)
            found = _rebuilt(
                first, [self.common(c, *at) for c, at in zip(zip(*inner, strict=True), places, strict=True)]
            )
        elif all(term == first for term in terms):
            found = first
        else:
            found = self._parameter(tuple(terms), part, argument, default)
        if argument in _WIDTHS_IN and self._first_width is None:
            self._first_width = found
        if argument in _WIDTHS_OUT:
            self._last_width = found
        return found

    def _parameter(self, terms: tuple[Term, ...], part: str, argument: str, default: Expression | None) -> Value:
        hint = next((term.hint for term in terms if isinstance(term, Number)), "")
        found = self._found.setdefault(terms, Parameter(terms))
        found.uses.append((part, argument or hint))
        found.defaults.append(default)
        return Value(found)

    def named(self, attributes: set[str], given: list[frozenset[int]], gives: list[frozenset[int]]) -> list[Parameter]:
        """The parameters in the order of a signature, all with names; those that a module keeps are no other's.

        The width of the first part is called that of the class only where the class takes so many channels, and the
        width of the last only where it gives so many, which it does not if it puts branches side by side.
        """
        parameters = list(self._found.values())
        first, last = (
            width.of if isinstance(width, Value) else None for width in (self._first_width, self._last_width)
        )
        if isinstance(first, Parameter) and (first is last or _is_width_of(first, given)):
            first.name = "channels" if first is last else "in_channels"
        if isinstance(last, Parameter) and last is not first and _is_width_of(last, gives):
            last.name = "out_channels"
        taken = {"self", "torch", "nn", "F"} | {p.name for p in parameters}
        wanted = [p for p in parameters if not p.name]
        for parameter in wanted:
            names = taken | attributes if parameter.is_used_in_forward else taken
            parameter.name = _free(_name_of(parameter, wanted), names)
            taken.add(parameter.name)
        order = {"in_channels": 0, "channels": 0, "out_channels": 1}
        return sorted(parameters, key=lambda p: (order.get(p.name, 2), p.default is not None))


def _is_width_of(parameter: Parameter, maps: list[frozenset[int]]) -> bool:
    """Whether in each module the parameter is the number of channels of its map, as far as that is known."""
    widths = [term.text if isinstance(term, Number) else "" for term in parameter.terms]
    return all(not known or width in map(str, known) for width, known in zip(widths, maps, strict=True))


def _name_of(parameter: Parameter, others: list[Parameter]) -> str:
    part, argument = parameter.uses[0]
    if parameter.is_width and sum(other.is_width for other in others) == 1:
        return "hidden_channels"
    if parameter.is_width:
        maker = next((part for part, argument in parameter.uses if argument == "out_channels"), part)
        return _identifier(f"{maker}_channels")
    rivals = [p for p in others if p is not parameter and p.uses[0][1] == argument]
    if not argument:
        made_by = [term.name if isinstance(term, Constructor) else "" for term in parameter.terms]
        heads = {name.removeprefix("nn.") for name in made_by}
        if heads and all(hasattr(nn.modules.activation, head) or head == "Identity" for head in heads):
            return "activation"
        return _identifier(part)
    return _identifier(argument if not rivals else f"{part}_{argument}")


def _identifier(text: str) -> str:
    name = "".join(c if c.isalnum() else "_" for c in text).strip("_") or "value"
    return f"part_{name}" if name[0].isdigit() else f"{name}_" if keyword.iskeyword(name) else name


def _inner(term: Term) -> tuple[Term, ...]:
    """The terms that a term is made of."""
    if isinstance(term, Constructor):
        return tuple(argument.value for argument in term.arguments)
    if isinstance(term, Collection):
        return tuple(module for _, module in term.modules)
    if isinstance(term, Group):
        return (term.head, *(item for _, item in term.items))
    return term.parts if isinstance(term, Joined) else ()


def _outline(term: Term) -> Hashable:
    """What there is to a term beside the terms that it is made of."""
    if isinstance(term, Constructor):
        return term.name, tuple(argument.name for argument in term.arguments)
    if isinstance(term, Collection):
        return term.kind, tuple(name for name, _ in term.modules)
    if isinstance(term, Group):
        return term.brackets, term.trailing, tuple(prefix for prefix, _ in term.items)
    return type(term), len(_inner(term))


def _places(term: Term, part: str, argument: str) -> list[tuple[str, str, Expression | None]]:
    """Which part, argument and default each of the terms is for that a term is made of."""
    if isinstance(term, Constructor):
        return [(part, inner.name, inner.default) for inner in term.arguments]
    if isinstance(term, Collection):
        return [(f"{part}_{name}", "", None) for name, _ in term.modules]
    return [(part, argument, None)] * len(_inner(term))


def _rebuilt(term: Term, inner: list[Any]) -> Term:
    """A term made of others."""
    if isinstance(term, Constructor):
        arguments = (replace(old, value=new) for old, new in zip(term.arguments, inner, strict=True))
        return replace(term, arguments=tuple(arguments))
    if isinstance(term, Collection):
        return replace(term, modules=tuple((n, new) for (n, _), new in zip(term.modules, inner, strict=True)))
    if isinstance(term, Group):
        items = tuple((prefix, new) for (prefix, _), new in zip(term.items, inner[1:], strict=True))
        return replace(term, head=inner[0], items=items)
    return Joined(tuple(inner))


def _type_of(term: Term) -> str:
    if isinstance(term, Constructor | Collection | Part):
        return "nn.Module"
    if isinstance(term, Number):
        return "int" if term.text.lstrip("-").isdecimal() else "float"
    if isinstance(term, Group):
        return "tuple[int, ...]"
    text = one_line(lowered(term))
    return "bool" if text in ("True", "False") else "None" if text == "None" else "str"
