"""Dense blocks: concatenations of ever more maps, written as one list that grows."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from torch import fx

from results.source.expressions import Expression, Group, Joined, Text, Value, call, leaves, one_line, replaced
from results.source.scopes import MANY

GROWN = "features"
"""The name of the list."""

Step = tuple[tuple[fx.Node, ...] | str, Expression]
"""What a statement makes, and what it says: nodes, none where it returns, or a text where it makes no node."""


def with_growing_list(steps: list[Step]) -> list[Step]:
    """``torch.cat([x, a, b], 1)`` and its like as ``torch.cat(features, 1)``, where each list begins with the last one.

    Steps whose lists do not grow so come back as they are.
    """
    lists = [found for _, value in steps for found in _lists(value)]
    whole = max(lists, key=len, default=())
    if len(lists) < MANY or len(set(whole)) < len(whole) or any(found != whole[: len(found)] for found in lists):
        return steps
    named = [_with_name(value) for _, value in steps]
    used_alone = {node for value in named for node in _values(value)}
    start = next(i for i, (_, value) in enumerate(steps) if any(_lists(value)))
    known = len(lists[0])
    written: list[Step] = list(steps[:start])
    written.append((GROWN, Group(Text(""), tuple(("", Value(node)) for node in whole[:known]), "[]")))
    for (made, before), value in zip(steps[start:], named[start:], strict=True):
        if any(len(found) != known for found in _lists(before)):
            return steps
        node = whole[known] if known < len(whole) else None
        is_next = node is not None and made == (node,)
        if not is_next or node in used_alone:
            written.append((made, value))
        if is_next:
            written.append(("", call(f"{GROWN}.append", Value(node) if node in used_alone else value)))
            known += 1
    return list(_folded(written)) if known == len(whole) else steps


def _folded(steps: list[Step]) -> Iterator[Step]:
    """Steps with what concatenates the list written where it is used, if that is once and right after."""
    uses = Counter(node for _, value in steps for node in _values(value))
    before: tuple[fx.Node, Expression] | None = None
    for made, value in steps:
        whole = value
        if before is not None:
            node, concatenation = before
            if uses[node] == 1 and node in _values(value):
                whole = replaced(value, partial(_instead, node, concatenation))
            else:
                yield (node,), concatenation
        before = (made[0], whole) if _is_of_list(whole) and made and not isinstance(made, str) else None
        if before is None:
            yield made, whole
    if before is not None:
        yield (before[0],), before[1]


def _is_of_list(expression: Expression) -> bool:
    if not isinstance(expression, Group) or one_line(expression.head) != "torch.cat":
        return False
    return bool(expression.items) and expression.items[0][1] == Text(GROWN)


def _instead(node: fx.Node, by: Expression, other: fx.Node) -> Expression:
    return by if other is node else Value(other)


def _lists(expression: Expression) -> Iterator[tuple[fx.Node, ...]]:
    """The values that each concatenation within takes."""
    listed = _listed(expression)
    if listed is not None:
        yield tuple(_values(listed))
    elif isinstance(expression, Group):
        yield from _lists(expression.head)
        for _, item in expression.items:
            yield from _lists(item)
    elif isinstance(expression, Joined):
        for part in expression.parts:
            yield from _lists(part)


def _with_name(expression: Expression) -> Expression:
    """An expression with the list's name in the place of what concatenations take."""
    if isinstance(expression, Joined):
        return Joined(tuple(_with_name(part) for part in expression.parts))
    if not isinstance(expression, Group):
        return expression
    listed = _listed(expression)
    items = tuple((b, Text(GROWN) if item is listed else _with_name(item)) for b, item in expression.items)
    return replace(expression, head=_with_name(expression.head), items=items)


def _listed(expression: Expression) -> Group | None:
    """What a call of torch.cat takes, if that is a list of values, each of which has a name."""
    if not isinstance(expression, Group) or one_line(expression.head) != "torch.cat" or not expression.items:
        return None
    first = expression.items[0][1]
    if not isinstance(first, Group) or first.brackets != "[]" or not all(isinstance(v, Value) for _, v in first.items):
        return None
    return first


def _values(expression: Expression) -> list[fx.Node]:
    return [leaf.of for leaf in leaves(expression) if isinstance(leaf, Value)]
