"""The text of a model.py makes the same network again, with torch alone: bit for bit, in evaluation and in training."""

import ast
import builtins
import math
import operator
import random
import subprocess
import sys
from collections import OrderedDict
from importlib import metadata

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from results.source import python_source
from results.source.reading import read_safetensors
from search_space.architecture import EXCITATIONS, POSITIONS, SQUEEZES, Architecture
from search_space.backbones import resolve
from search_space.building import build
from search_space.errors import InputError
from search_space.tracing import trace
from search_space.variants import Options, block, variant_names

RESNET8 = resolve("resnet8", num_classes=3, input_size=(3, 8, 8), options={"width": 4})
RESNET20 = resolve("resnet20", num_classes=5, input_size=(2, 8, 12), options={"width": 4})


def small(name, size=8, **options):
    return resolve(name, num_classes=3, input_size=(3, size, size), options=options)


def with_blocks(backbone, every=1, **of_block):
    """Blocks at every so many sites, position after position and variant after variant."""
    positions, variants = of_block.pop("positions", POSITIONS), of_block.pop("variants", variant_names())
    chosen = []
    for i, site in enumerate(trace(backbone).sites[::every]):
        offered = [position for position in positions if position in site.shapes]
        if offered:
            position = offered[i % len(offered)]
            made = block(variants[i % len(variants)], position, site.channels(position), **of_block)
            chosen.append((site.name, made))
    assert chosen
    return Architecture(backbone, tuple(chosen))


def source_of(architecture):
    return python_source(build(architecture), architecture)


def made_from(text, folder):
    """What a file says, read where nothing but torch and Python's own library can be imported."""

    def guarded(name, *args, **kwargs):
        package = name.partition(".")[0]
        if package != "torch" and package not in sys.stdlib_module_names:
            raise ImportError(f"model.py imports {name}")
        return __import__(name, *args, **kwargs)

    file = folder / "model.py"
    file.write_text(text, encoding="utf-8")
    namespace = {"__name__": "model", "__file__": str(file)}
    namespace["__builtins__"] = {**vars(builtins), "__import__": guarded}
    exec(compile(text, str(file), "exec"), namespace)
    return namespace


def trained_step(network, images):
    """Logits and gradients of a step, with the same dropout for the same network."""
    torch.manual_seed(1)
    logits = network.train()(images)
    logits.square().sum().backward()
    return logits, {name: parameter.grad for name, parameter in network.named_parameters()}


def check_is_the_same(architecture, folder):
    """Makes the file and compares its network with the one it was made from; gives the file's text."""
    network = build(architecture, seed=3)
    text = python_source(network, architecture)
    ast.parse(text)
    assert max(map(len, text.splitlines())) <= 120
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / "model.safetensors"
    )
    again = made_from(text, folder)["load"]()
    assert not again.training
    assert list(again.state_dict()) == list(network.state_dict())
    network.eval()
    for batch in (1, 3):
        images = torch.rand(batch, *architecture.backbone.input_size)
        with torch.no_grad():
            assert torch.equal(again(images), network(images))
    (logits, gradients), (wanted, wanted_gradients) = trained_step(again, images), trained_step(network, images)
    assert torch.equal(logits, wanted)
    for name, gradient in wanted_gradients.items():
        assert (gradient is None) == (gradients[name] is None), name
        assert gradient is None or torch.equal(gradients[name], gradient), name
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    return text


# networks of senas


@pytest.mark.parametrize("variant", variant_names())
def test_every_variant_at_every_position(variant, tmp_path):
    text = check_is_the_same(with_blocks(RESNET20, variants=[variant]), tmp_path)
    for position in ("Standard", "Pre", "Identity", "3x3"):
        assert f"class BasicBlock{position}SE(BasicBlock):" in text


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_random_architectures(tmp_path_factory, data):
    backbone = data.draw(st.sampled_from([RESNET8, RESNET20, small("cnn3", width=4)]))
    chosen = []
    for site in trace(backbone).sites:
        position = data.draw(st.none() | st.sampled_from(sorted(site.shapes)))
        if position is not None:
            options = data.draw(
                st.builds(
                    Options, st.integers(1, 8), st.sampled_from(SQUEEZES), st.sampled_from(EXCITATIONS), st.booleans()
                )
            )
            variant, from_identity = data.draw(st.sampled_from(variant_names())), data.draw(st.booleans())
            made = block(variant, position, site.channels(position), options, from_identity=from_identity)
            chosen.append((site.name, made))
    check_is_the_same(Architecture(backbone, tuple(chosen)), tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    "backbone",
    [
        small("cnn3"),
        small("wide_resnet", depth=10, widen=1, dropout=0.3),
        small("shake_shake", depth=8, width=4),
        small("mobilenet_v1", 32, width=0.25),
    ],
    ids=lambda backbone: backbone.name,
)
def test_other_backbones(backbone, tmp_path):
    check_is_the_same(with_blocks(backbone), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    [
        small("vgg11", 32),
        small("preact_resnet164", width=2),
        small("senet154", 32),
        small("inception_resnet_v2", 80),
        small("bn_inception", 32),
        small("shufflenet_v1", 32),
        small("resnet50_v1", 32),
        small("resnext50_32x4d", 32),
        small("mobilenet_v3_small", 32),
        small("efficientnet_b0", 32),
        small("densenet121", 32),
        small("regnet_y_400mf", 32),
        small("convnext_tiny", 32),
        small("shufflenet_v2_x0_5", 32),
        small("googlenet", 64),
        small("inception_v3", 80),
        small("squeezenet1_1", 64),
        small("timm:resnet26d", 32),
        small("timm:efficientnet_b0", 32),
        small("timm:resnetblur18", 64),
        small("timm:hrnet_w18_small", 64),
        small("timm:tf_efficientnet_b0", 64),
        small("timm:ghostnet_050", 64),
    ],
    ids=lambda backbone: backbone.name,
)
def test_every_family_of_backbones(backbone, tmp_path):
    check_is_the_same(with_blocks(backbone, every=2), tmp_path)


# what a stranger reads


def test_blocks_that_are_alike_share_a_class_and_the_network_says_where_se_stands():
    site = trace(RESNET20).sites[1]
    architecture = Architecture(RESNET20, ((site.name, block("standard", "pre", 4, Options(ratio=2))),))
    text = source_of(architecture)
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes] == [
        "SubsampleAndPad",
        "BasicBlock",
        "BasicBlockPreSE",
        "SqueezeExcite",
        "Network",
    ]
    assert 'x = self.layer1[1](x, self.se["layer1-1"])\n' in text
    assert "    layer1.1  pre       standard 4-2-4\n" in text
    assert "x = self.layer2(x)  # [N, 8, 4, 6]\n" in text
    assert f"architecture {architecture.id}" in text


class Dense(nn.Module):
    """A layer of a dense block as torchvision's are: it is given a list of maps."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(channels), nn.Conv2d(channels, 2, 3, padding=1)

    def forward(self, maps):
        return self.conv(F.relu(self.norm(torch.cat(maps, 1))))


class DenseStage(nn.Module):
    """A dense block; ``seen`` of its maps is used beside the list as well."""

    def __init__(self, seen=None):
        super().__init__()
        self.layers, self.seen = nn.ModuleList(Dense(4 + 2 * i) for i in range(4)), seen
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x):
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps))
        out = self.last(torch.cat(maps, 1))
        return out if self.seen is None else out * maps[self.seen].mean(1, keepdim=True)


class SeenDenseStage(DenseStage):
    """One whose third map is used twice."""

    def __init__(self):
        super().__init__(seen=2)


@pytest.mark.parametrize("kind", [DenseStage, SeenDenseStage], ids=lambda kind: kind.__name__)
def test_a_dense_block_is_one_class_with_a_list_that_grows(kind, tmp_path, monkeypatch):
    text = check_own(kind, tmp_path, monkeypatch)
    assert text.count("features.append(") == 4
    assert text.count("torch.cat(") == text.count("torch.cat(features, 1)") == 5
    assert text.count("features = [x]\n") == 1


class Branches(nn.Module):
    """Two widths side by side, of which neither is what the module gives."""

    def __init__(self, channels, left, right):
        super().__init__()
        self.left, self.right = nn.Conv2d(channels, left, 1), nn.Conv2d(channels, right, 1)

    def forward(self, x):
        return torch.cat([self.left(x), self.right(x)], 1)


class Forks(nn.Module):
    """Two of them."""

    def __init__(self):
        super().__init__()
        self.a, self.b = Branches(4, 2, 5), Branches(7, 3, 1)

    def forward(self, x):
        return self.b(self.a(x))


def test_the_width_of_a_branch_is_not_called_that_of_the_module(tmp_path, monkeypatch):
    text = check_own(Forks, tmp_path, monkeypatch)
    assert "def __init__(self, in_channels: int, left_channels: int, right_channels: int) -> None:" in text


class ScaledNorm(nn.BatchNorm2d):
    """A norm that tracing keeps whole."""

    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training) * 0.5


class FourScaled(ScaledNorm):
    """Of four channels."""

    def __init__(self):
        super().__init__(4)


def test_norms_begin_at_one(tmp_path, monkeypatch):
    namespace = made_from(check_own(FourScaled, tmp_path, monkeypatch), tmp_path)
    norm = namespace["Network"]().body
    assert {name: set(tensor.flatten().tolist()) for name, tensor in norm.state_dict().items()} == {
        "weight": {1.0},
        "bias": {0.0},
        "running_mean": {0.0},
        "running_var": {1.0},
        "num_batches_tracked": {0},
    }


@pytest.mark.slow
def test_a_librarys_code_says_where_it_is_from_and_its_licence():
    text = source_of(Architecture(small("timm:efficientnet_b0", 32)))
    assert f'"""From timm {metadata.version("timm")}, Apache-2.0.\n' in text
    assert "from torch import Tensor, _assert, nn\n" in text


def test_the_text_depends_on_the_architecture_alone():
    architecture = with_blocks(RESNET20)
    in_training = python_source(build(architecture, seed=1), architecture)
    assert python_source(build(architecture, seed=2).eval(), architecture) == in_training


@pytest.mark.parametrize("name", ["resnet20", "shake_shake"])
def test_the_text_is_as_a_linter_and_a_formatter_would_have_it(name, tmp_path):
    file = tmp_path / "model.py"
    file.write_text(source_of(with_blocks(small(name, 32))), encoding="utf-8")
    usual = ["--isolated", "--no-cache", "--line-length=120", str(file)]
    for command in (["check", "--select=E,F,W,I", *usual], ["format", "--diff", *usual]):
        run = subprocess.run([sys.executable, "-m", "ruff", *command], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_the_file_runs_by_itself_in_a_process_without_senas(tmp_path):
    architecture = with_blocks(RESNET20)
    network = build(architecture)
    (tmp_path / "model.py").write_text(python_source(network, architecture), encoding="utf-8")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    blocked = "".join(
        f"sys.modules[{name!r}] = None;" for name in ("search_space", "torchvision", "timm", "safetensors")
    )
    start = f"import runpy, sys; {blocked} runpy.run_path({str(tmp_path / 'model.py')!r}, run_name='__main__')"
    run = subprocess.run([sys.executable, "-I", "-c", start], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stdout == f"{sum(p.numel() for p in network.parameters()):,} parameters\nlogits (1, 5)\n"


# networks as users write them


class Own(nn.Module):
    """A body between a stem and a residual block, so that there is a site."""

    def __init__(self, body):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.body = body
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.body(self.stem(x))
        x = F.relu(x + self.conv(x))
        return self.fc(x.mean((2, 3)))


def check_own(kind, folder, monkeypatch):
    """A network with a body of one's own, with a block at each site."""
    name = kind.__name__.lower()
    monkeypatch.setattr(sys.modules[__name__], name, lambda: Own(kind()), raising=False)
    own = resolve(f"{__name__}:{name}", num_classes=3, input_size=(3, 8, 8))
    return check_is_the_same(with_blocks(own, variants=["standard"]), folder)


class OddNames(nn.Module):
    """Names that are numbers, that the file uses itself, or that Python could not have."""

    def __init__(self):
        super().__init__()
        for name in ("1x1", "self", "torch", "x", "a b"):
            self.add_module(name, nn.Conv2d(4, 4, 1))
        self.named = nn.ModuleDict({"_": nn.Conv2d(4, 4, 1), "0": nn.Conv2d(4, 4, 1)})
        self.listed = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Sequential(OrderedDict({"é": nn.Conv2d(4, 4, 1)}))])
        self.register_parameter("2nd", nn.Parameter(torch.ones(4, 1, 1)))

    def forward(self, x):
        for part in self.children():
            if isinstance(part, nn.Conv2d):
                x = part(x)
        x = self.named["_"](x) + self.named["0"](x)
        return self.listed[1](self.listed[0](x)) * getattr(self, "2nd")


class Operators(nn.Module):
    """Operators, functions and methods, with constants of every kind."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((4, 1, 1), 0.5))
        self.register_buffer("shift", torch.arange(4.0).reshape(4, 1, 1))
        self.register_buffer("kernel", torch.tensor([0.25, 0.5]).repeat(4, 1)[:, None, None], persistent=False)

    def forward(self, x):
        x = (x - 1) * (2 - x) / (3 + self.scale) - -x
        x = x * 1e-3 + self.shift
        x = F.gelu(x) + F.conv2d(F.pad(x, (1, 0)), self.kernel, groups=4)
        x = torch.clamp(x, min=-math.inf, max=float("inf"))
        x = x.masked_fill(operator.gt(x, 3.5), 0.0)
        x = x.to(torch.float64).to(dtype=torch.float32, memory_format=torch.contiguous_format)
        n, c, height, _ = x.shape
        x = x.view(n, c, height, -1).reshape((n, c, height, x.size(3)))
        first, second = torch.split(x, [1, 3], dim=1)
        x = torch.cat((second, first[..., :]), 1)
        x = torch.cat([x[:, :2], x[:, 2:, :, :]], dim=1)
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")[:, :, ::2, 1::2]
        x = F.max_pool2d(x, 3, stride=1, padding=1) + F.adaptive_avg_pool2d(x, (1, 1))
        return x**2 + (x % 3) + x.new_zeros((1,))


class Pair(nn.Module):
    """Two maps to two maps."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, a, b):
        return self.left(a) + b, self.right(b) - a


class Residual(nn.Module):
    """A block with a site, which stands twice where it is called twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return x + self.conv(x)


class Nest(nn.Module):
    """A module within a module of its own kind."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + 1


class Scaled(nn.Module):
    """A parameter of its own, and one that it is given."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x, other):
        return x * self.scale + other


class Wiring(nn.Module):
    """Modules called twice, with several maps, with others' parameters, within their like, and for nothing."""

    def __init__(self):
        super().__init__()
        self.pairs = nn.ModuleList([Pair(), Pair()])
        self.nest = Nest(Nest(nn.Conv2d(4, 4, 1)))
        self.twice = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.scaled = Scaled()
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.block = Residual()
        self.unused = nn.BatchNorm2d(4)

    def forward(self, x):
        a, b = self.pairs[0](x, self.nest(x))
        a, b = self.pairs[1](b, a)
        self.unused(a)
        a = self.scaled(self.scaled(a, self.scale), self.scale)
        a = self.block(self.block(a)) ** 2
        return self.twice(self.twice(a)) + b


FACTOR = 0.5


def mixed(x, share):
    return x * share + x.flip(0) * (1 - share) * FACTOR


class Base(nn.Module):
    """What a class of one's own may be derived from."""

    limit = 3

    @property
    def share(self):
        return self.kept / (1 + self.kept)

    def helped(self, x):
        return mixed(x, self.share) if x.shape[2] > self.limit else x


class Moody(Base):
    """Does one thing in training and another in evaluation, by what it inherits and what is beside it."""

    def __init__(self, kept=2):
        super().__init__()
        self.kept = kept
        self.norm = nn.GroupNorm(2, 4)
        self.weight = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x):
        if self.training:
            return self.helped(self.norm(x)) + torch.rand(1) * self.weight
        return self.norm(x)


class Moods(nn.Module):
    """Two of them, with different settings."""

    def __init__(self):
        super().__init__()
        self.a, self.b = Moody(), Moody(3)

    def forward(self, x):
        return self.b(self.a(x))


def drop_rows(x, p, training):
    """A function of one's own that is told the mode."""
    if not training:
        return x
    return x * x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - p)


class Told(nn.Module):
    """Calls that are told the mode, in a module within a chain and beside it."""

    class Part(nn.Module):
        """A residual block."""

        def __init__(self):
            super().__init__()
            self.conv, self.p, self.mode = nn.Conv2d(4, 4, 1), 0.25, "a name that is taken"

        def forward(self, x):
            """[N, 4, H, W] to the same shape."""
            y = F.dropout(self.conv(x), self.p if self.training else 0.0)
            return F.dropout2d(x, 0.0, not self.training) + drop_rows(y, self.p, self.training)

    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(self.Part(), nn.ReLU(), self.Part())

    def forward(self, x):
        """[N, 4, H, W] to the same shape."""
        return F.dropout(self.parts(x), 0.4, self.training)


def test_calls_that_are_told_the_mode_read_as_they_would_by_hand(tmp_path, monkeypatch):
    text = check_own(Told, tmp_path, monkeypatch)
    assert "F.dropout(x, p=0.4, training=self.body.training)" in text
    assert "F.dropout2d(x, p=0.0, training=False if self.training else True)" in text
    assert "p=0.25 if self.training else 0.0)" in text
    assert "drop_rows(out, 0.25, self.training)" in text
    assert "ByMode" not in text


@pytest.mark.parametrize("kind", [OddNames, Operators, Wiring, Moods], ids=lambda kind: kind.__name__)
def test_networks_of_ones_own(kind, tmp_path, monkeypatch):
    check_own(kind, tmp_path, monkeypatch)


class OwnGate(nn.Module):
    """An SE block of one's own, with dropout in its code."""

    def __init__(self, channels, ratio=2):
        super().__init__()
        self.fc = nn.Linear(channels, channels, bias=ratio > 1)
        self.share, self.gate = 1 / (1 + ratio), torch.sigmoid

    def forward(self, x):
        z = F.dropout(x.mean((2, 3)), self.share, self.training)
        return x * self.gate(self.fc(z))[:, :, None, None]


def test_blocks_of_ones_own(tmp_path):
    architecture = with_blocks(RESNET8, variants=[f"{__name__}:OwnGate"], from_identity=True)
    assert "class OwnGate(" in check_is_the_same(architecture, tmp_path)


class NeedsMore(nn.Module):
    """Code that model.py could not run."""

    def forward(self, x):
        return x * st.nothing if self.training else x


class CallsSuper(Moody):
    """Code that says super()."""

    def forward(self, x):
        return super().forward(x) if self.training else x


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


class Changed(nn.Module):
    """A module of torch's own that is not as its arguments make it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.conv.weight = nn.Parameter(torch.ones(4, 4, 3, 3))
        self.conv.padding = (1, 1)

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (NeedsMore, r"module body \(NeedsMore\), which uses st, cannot be written as Python: it needs hypothesis"),
        (CallsSuper, r"module body \(CallsSuper\) cannot be written as Python: its code calls super\(\)"),
        (Tied, r"shares weights cannot be written as Python: body.a.weight is body.b.weight as well"),
        (Changed, r"module body.conv, Conv2d\(.*\), cannot be written as Python: weight"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_written_is_named(kind, said, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=said) as caught:
        check_own(kind, tmp_path, monkeypatch)
    assert len(str(caught.value).splitlines()) == 1


def test_only_networks_of_senas_can_be_written():
    with pytest.raises(InputError, match="not a Linear"):
        python_source(nn.Linear(1, 1), Architecture(RESNET8))


# the weights' file

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    tensors=st.dictionaries(
        st.text(min_size=1, max_size=5).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)),
        max_size=4,
    )
)
def test_reads_what_safetensors_writes(tensors, tmp_path_factory):
    made = {name: (torch.rand(shape) * 9).to(dtype) for name, (dtype, shape) in tensors.items()}
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(made, file, metadata={"of": "a test"})
    read = read_safetensors(file)
    assert read.keys() == made.keys()
    for name, tensor in made.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_damaged_weights_are_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(3), "b": torch.ones(2, 2)}, file)
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = whole[8 : 8 + length]
    rng = random.Random(0)
    damaged = [
        b"",
        whole[:7],
        whole[:-1],
        whole[: 8 + length],
        (2**63).to_bytes(8, "little") + whole[8:],
        whole[:8] + header.replace(b"[3]", b"[4]") + whole[8 + length :],
        whole[:8] + header.replace(b"[3]", b"[9]") + whole[8 + length :],
        *(whole[: rng.randrange(8, len(whole))] for _ in range(20)),
    ]
    for content in damaged:
        file.write_bytes(content)
        with pytest.raises(ValueError):
            read_safetensors(file)
