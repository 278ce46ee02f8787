"""The text of a model.py: its docstring, imports, classes, and how the weights are loaded."""

import inspect
import keyword
import re
import textwrap
from collections.abc import Iterator

from results.source import reading
from results.source.classes import Class, Parameter
from results.source.constructors import Collection, lowered
from results.source.expressions import WIDTH, Expression, Group, Text, broken, call, one_line, quoted, replaced
from results.source.own_code import OF_THE_FILE, OwnCode
from search_space.architecture import SE, Architecture, Shape
from search_space.backbones import entry
from search_space.tracing import trace

_NAMED_PLACES = 3

_HEAD = """\
{title}

From images of {size} (channels, height, width) to {classes} logits. It needs torch alone.
{blocks}
    model = load()  # with the weights in model.safetensors beside this file, in eval mode
    model = Network()  # without them: {without}
"""

_FOOT = '''\
def load(folder: str | Path = Path(__file__).parent) -> Network:
    """The network with the weights of a folder's model.safetensors, on the CPU and in eval mode."""
    model = Network()
    model.load_state_dict(read_safetensors(Path(folder) / "model.safetensors"))
    return model.eval()


if __name__ == "__main__":
    network = load()
    print(f"{{sum(p.numel() for p in network.parameters()):,}} parameters")
    print("logits", tuple(network(torch.zeros(1, {size})).shape))
'''


def written(architecture: Architecture, classes: list[Class], own_code: OwnCode) -> str:
    """The file of a network whose classes are known, those that others use before these."""
    size = ", ".join(map(str, architecture.backbone.input_size))
    constants = "".join(own_code.constants.values())
    parts = [
        *([constants] if constants else []),
        *own_code.definitions.values(),
        *("\n".join(_class(found, architecture)) + "\n" for found in classes),
        inspect.getsource(reading.read_safetensors),
        _FOOT.format(size=size),
    ]
    code = "\n\n".join(parts)
    zeros = "nn.Parameter(torch.zeros(" in code
    gap = "\n" if constants else "\n\n"
    without = "what torch draws for its own layers" + (", and zeros or ones where that is written" if zeros else "")
    return (
        f'"""{_in_docstring(_head(architecture, without))}"""\n\n'
        + "\n".join(_imports(code, own_code.imports))
        + gap
        + code
    )


# the docstring


def _head(architecture: Architecture, without: str) -> str:
    backbone = architecture.backbone
    usual = entry(backbone.name).options
    options = ", ".join(f"{key} {value}" for key, value in backbone.options if value != usual.get(key))
    name = f"{backbone.name} ({options})" if options else backbone.name
    blocks = ""
    if architecture.sites:
        rows = "\n".join(f"    {line}".rstrip() for line in _table(architecture))
        blocks = f"\nIts Squeeze-and-Excitation (SE) blocks:\n\n{rows}\n"
    return _HEAD.format(
        title=textwrap.fill(f"{name}: architecture {architecture.id}.", WIDTH - 3),
        size=" x ".join(map(str, backbone.input_size)),
        classes=backbone.num_classes,
        blocks=blocks,
        without=without,
    )


def _table(architecture: Architecture) -> Iterator[str]:
    traced = trace(architecture.backbone)
    rows = [
        ("site", "position", "block"),
        *((site, se.position, _said(se, traced.site(site).channels(se.position))) for site, se in architecture.sites),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for site, position, said in rows:
        yield f"{site:<{widths[0]}}  {position:<{widths[1]}}  {said}"


def _said(se: SE, channels: int) -> str:
    """A block in words: its variant, its widths from channels to channels, and what is not usual."""
    widths = "-".join(map(str, (channels, *se.hidden, channels))) if se.hidden else f"{channels} channels"
    rest = [f"{key} {value}" for key, value in se.settings if key not in ("hidden", "bias")]
    usual = ("squeeze avg", "excitation sigmoid")
    flags = [*(["bias"] if dict(se.settings).get("bias") else []), *(["from identity"] if se.from_identity else [])]
    return ", ".join([f"{se.variant} {widths}", *(text for text in rest if text not in usual), *flags])


def _in_docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''")


# the imports


def _imports(code: str, more: set[str]) -> Iterator[str]:
    used = {line for name, line in OF_THE_FILE.items() if line and re.search(rf"(?<![\w.]){name}\b", code)}
    lines = used | more | {"from torch import Tensor", "from torch import nn"}
    names: dict[str, set[str]] = {}
    for line in sorted(lines):
        start, sign, name = line.partition(" import ")
        names.setdefault(start + sign, set()).update([name] if sign else [])
    merged = [start + ", ".join(sorted(of_module, key=_name_order)) for start, of_module in names.items()]
    for torchs in (False, True):
        yield from sorted((line for line in merged if _is_torchs(line) is torchs), key=_import_order)
        yield ""


def _is_torchs(line: str) -> bool:
    return line.split()[1].partition(".")[0] == "torch"


def _name_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions and modules, as ruff and isort have them."""
    return 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line.split()[1]


# the classes


def _class(found: Class, architecture: Architecture) -> Iterator[str]:
    model = found.model
    yield f"class {found.name}({found.base}):"
    yield from _about(found, architecture)
    made = list(_init_body(found)) if found.base.startswith("nn.") else []
    if len(made) > 1 or model.is_chain:
        yield ""
        parameters = [f"{p.name}: {p.annotation}{_default(p)}" for p in found.parameters]
        yield from _signature("__init__", parameters, "None")
        yield from made
    for method in model.methods:
        yield ""
        yield from (f"    {line}" if line else "" for line in method.rstrip().split("\n"))
    if model.forward is not None:
        yield ""
        yield from _forward(found, architecture.backbone.input_size, architecture.backbone.num_classes)


def _init_body(found: Class) -> Iterator[str]:
    model = found.model

    def named(expression: Expression) -> Expression:
        return replaced(expression, lambda parameter: Text(parameter.name))

    if model.is_chain:
        yield from broken(named(lowered(Collection("super().__init__", model.parts))), 8)
        return
    yield "        super().__init__()"
    if model.forward is not None:
        yield from (f"        self.{p.name} = {p.name}" for p in found.parameters if p.is_used_in_forward)
    for name, term in (*model.attributes, *model.parts):
        value = named(lowered(term))
        if name.isidentifier() and not keyword.iskeyword(name):
            yield from broken(value, 8, f"self.{name} = ")
        else:
            yield from broken(call("setattr", Text("self"), Text(quoted(name)), value), 8)


def _forward(found: Class, input_size: Shape, num_classes: int) -> Iterator[str]:
    forward = found.model.forward
    assert forward is not None
    is_network = not found.model.path
    inputs = [f"{name}: Tensor" for name in forward.inputs] + [f"{name}: nn.Module" for name in forward.modules]
    returned = "Tensor" if forward.results == 1 else f"tuple[{', '.join(['Tensor'] * forward.results)}]"
    yield from _signature("forward", inputs, returned)
    if is_network:
        yield f'        """[N, {", ".join(map(str, input_size))}] to [N, {num_classes}]."""'
    shown = input_size
    for statement in forward.statements:
        value = replaced(statement.value, lambda parameter: Text(f"self.{parameter.name}"))
        target = "return " if statement.target is None else f"{statement.target} = " if statement.target else ""
        *lines, last = broken(value, 8, target)
        shape = statement.shape
        if is_network and shape is not None and shape != shown:
            comment = f"{last}  # [N, {', '.join(map(str, shape))}]"
            if len(comment) <= WIDTH:
                last, shown = comment, shape
        yield from (*lines, last)


def _about(found: Class, architecture: Architecture) -> Iterator[str]:
    model = found.model
    if not model.path:
        yield f'    """{_in_docstring(architecture.backbone.name)}, its SE blocks included."""'
        return
    at = " and ".join(f"'{position}'" for position in model.positions)
    said = model.about + (f" With SE at position {at}." if at else "")
    if model.forward is None and not (model.methods or model.is_chain):
        said += " What it is made of; the classes derived from it say what it does."
    if not found.base.startswith("nn."):
        said = (
            f"{found.base} with SE at position {at}."
            if at
            else f"{found.base}{model.about or ' put together in another way'}."
        )
    said = " ".join(said.split())
    text = [*([said, ""] if said else []), f"Used as {_places(found.paths)}."]
    lines = [line for paragraph in text for line in textwrap.wrap(_in_docstring(paragraph), WIDTH - 7) or [""]]
    if len(lines) == 1:
        yield f'    """{lines[0]}"""'
    else:
        yield f'    """{lines[0]}'
        yield from (f"    {line}".rstrip() for line in lines[1:])
        yield '    """'


def _places(paths: tuple[str, ...]) -> str:
    named = list(paths) if len(paths) <= _NAMED_PLACES else [*paths[: _NAMED_PLACES - 1], f"{len(paths) - 2} others"]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _default(parameter: Parameter) -> str:
    return "" if parameter.default is None else f" = {one_line(parameter.default)}"


def _signature(name: str, arguments: list[str], returned: str) -> Iterator[str]:
    function = Group(Text(f"def {name}"), tuple(("", Text(argument)) for argument in ("self", *arguments)))
    yield from broken(function, 4, suffix=f" -> {returned}:")
