"""Ready-made and users' networks: small stems, their own SE taken out, other channels, weights from elsewhere."""

import random
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model, get_model_weights

from search_space.architecture import Architecture, Backbone
from search_space.backbones import entry, instantiate, instantiate_without_weights, resolve
from search_space.backbones.pretrained import load_weights
from search_space.building import build, check_weights
from search_space.errors import InputError
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.variants import Options


def small(name: str, classes: int = 4, size: tuple[int, int, int] = (3, 32, 32), **options) -> Backbone:
    return resolve(name, num_classes=classes, input_size=size, options=options)


def first_convolution(module: nn.Module) -> nn.Conv2d:
    return next(part for part in module.modules() if isinstance(part, nn.Conv2d))


# stem: cifar


@pytest.mark.parametrize(
    ("name", "downsampled"),
    [("resnet18", 4), ("resnet50_v1", 4), ("densenet121", 4), ("mobilenet_v2", 2), ("efficientnet_b0", 2)],
)
def test_a_small_stem_keeps_the_resolution_and_everything_else(name, downsampled):
    usual, adapted = small(name), small(name, stem="cifar")
    assert usual != adapted
    before, after = instantiate_without_weights(usual), instantiate_without_weights(adapted)
    stem, old = first_convolution(after), first_convolution(before)
    assert (stem.kernel_size, stem.stride, stem.padding) == ((3, 3), (1, 1), (1, 1))
    assert (stem.in_channels, stem.out_channels) == (old.in_channels, old.out_channels)
    difference = stem.weight.numel() - old.weight.numel()
    assert trace(adapted).params == trace(usual).params + difference
    assert trace(adapted).sites[0].shape("standard")[1] == downsampled * trace(usual).sites[0].shape("standard")[1]
    assert [site.name for site in trace(adapted).sites] == [site.name for site in trace(usual).sites]
    assert build(uniform(trace(adapted), options=Options(ratio=4))).eval()(torch.rand(1, 3, 32, 32)).shape == (1, 4)


def test_vgg_has_no_stem_to_change():
    check_refused(lambda: small("vgg11", stem="cifar"), "vgg11", "'stem'")


def test_an_unknown_stem_is_refused_with_the_nearest():
    check_refused(lambda: small("resnet18", stem="cifra"), "stem", "resnet18", "did you mean 'cifar'")


# se: strip


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v3_large", "regnet_y_400mf"])
def test_stripping_takes_out_se_and_nothing_else(name):
    kept, stripped = (instantiate_without_weights(small(name, 1000, se=se)) for se in ("keep", "strip"))
    blocks = [part for part in kept.modules() if type(part).__name__ == "SqueezeExcitation"]
    assert blocks
    assert not [part for part in stripped.modules() if type(part).__name__ == "SqueezeExcitation"]
    published = next(iter(get_model_weights(name))).meta["num_params"]
    assert sum(p.numel() for p in kept.parameters()) == published
    theirs = sum(p.numel() for block in blocks for p in block.parameters())
    assert theirs > 0
    assert sum(p.numel() for p in stripped.parameters()) == published - theirs
    assert trace(small(name, 1000, se="strip")).params == published - theirs


def test_only_networks_with_se_can_have_it_stripped():
    check_refused(lambda: small("resnet50", se="strip"), "resnet50", "'se'")
    check_refused(lambda: small("efficientnet_b0", se="stirp"), "se", "did you mean 'strip'")


# channels


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("name", ["resnet18", "vgg11", "googlenet", "squeezenet1_1", "mobilenet_v3_small"])
def test_torchvision_models_take_images_of_any_channels(name, channels):
    backbone = small(name, size=(channels, 64, 64))
    module = instantiate(backbone).eval()
    assert first_convolution(module).in_channels == channels
    assert module(torch.rand(2, channels, 64, 64)).shape == (2, 4)
    reference = instantiate_without_weights(small(name, size=(3, 64, 64)))
    per_channel = first_convolution(reference).weight.numel() // 3
    assert trace(backbone).params == trace(small(name, size=(3, 64, 64))).params + (channels - 3) * per_channel


# timm


def test_timm_models_are_backbones_where_timm_is():
    timm = pytest.importorskip("timm")
    backbone = small("timm:resnet10t", size=(1, 64, 64))
    traced = trace(backbone)
    reference = timm.create_model("resnet10t", in_chans=1, num_classes=4)
    assert traced.params == sum(p.numel() for p in reference.parameters())
    assert build(uniform(traced)).eval()(torch.rand(2, 1, 64, 64)).shape == (2, 4)
    check_refused(lambda: small("timm:resnet18x"), "timm model 'resnet18x'", "did you mean")


def test_the_se_of_timm_models_can_be_stripped():
    pytest.importorskip("timm")
    kept, stripped = (instantiate_without_weights(small("timm:seresnet18", se=se)) for se in ("keep", "strip"))
    inside = [name for name, _ in kept.named_parameters() if ".se." in name]
    assert inside
    assert [n for n, _ in stripped.named_parameters()] == [n for n, _ in kept.named_parameters() if n not in inside]


def test_without_timm_its_models_are_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    check_refused(lambda: small("timm:some_model"), "timm:some_model", "pip install 'senas[timm]'")


# users' modules


MODULES = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_channels, num_classes, width=8, dropout=0.0, act="relu", flag=True, layers=(1, 2)):
        super().__init__(nn.Conv2d(in_channels, width, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes))

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))

def build_net(num_classes, in_channels, width=6, double=False):
    layers = [nn.Conv2d(in_channels, width, 3), nn.ReLU()] + [nn.Conv2d(width, width, 3), nn.ReLU()] * double
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

def demanding(in_channels, num_classes, depth):
    return Plain()

def giving_text(in_channels, num_classes):
    return "a network"

number = 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"my_nets_{random.SystemRandom().getrandbits(64):x}"
    (tmp_path / f"{name}.py").write_text(MODULES)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_network_of_ones_own_has_its_defaults_as_options(mine):
    assert dict(entry(f"{mine}:Net").options) == {"width": 8, "dropout": 0.0, "act": "relu", "flag": True}
    assert small(f"{mine}:Net").options == (("act", "relu"), ("dropout", 0.0), ("flag", True), ("width", 8))


def test_a_network_of_ones_own_is_searched_like_any_other(mine):
    backbone = small(f"{mine}:build_net", size=(2, 16, 16), width=5, double=True)
    traced = trace(backbone)
    assert [site.shapes["standard"] for site in traced.sites] == [(5, 14, 14), (5, 12, 12)]
    assert build(uniform(traced, options=Options(ratio=2)))(torch.rand(2, 2, 16, 16)).shape == (2, 4)
    assert trace(small(f"{mine}:Plain")).params == 3 * 4 * 9 + 4


@pytest.mark.parametrize(
    ("attribute", "options", "parts"),
    [
        ("demanding", {}, ["takes 'depth' without a default", "in_channels and num_classes"]),
        ("number", {}, ["must be a class or a function", "3"]),
        ("Missing", {}, ["has no Missing"]),
        ("giving_text", {}, ["must make a torch module", "str"]),
        ("build_net", {"widht": 3}, ["'widht'", "did you mean 'width'"]),
        ("build_net", {"width": "3"}, ["width", "an integer"]),
        ("Plain", {"width": 3}, ["takes no options", "'width'"]),
    ],
)
def test_a_network_of_ones_own_that_cannot_be_is_refused(mine, attribute, options, parts):
    check_refused(lambda: instantiate(small(f"{mine}:{attribute}", **options)), mine, *parts)


def test_a_network_of_a_module_that_is_not_there_is_refused():
    check_refused(lambda: small("nowhere_at_all:Net"), "nowhere_at_all", "cannot be imported", "ModuleNotFoundError")


# weights


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A cache of published weights that has what is put there; nothing is fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)

    def put(name: str, **options) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        state = get_model(name, weights=None, **options).state_dict()
        torch.save(state, folder / next(iter(get_model_weights(name))).url.rpartition("/")[2])
        return state

    return put


@pytest.mark.parametrize(
    ("suffix", "wrapper"),
    [(".safetensors", None), *((suffix, w) for suffix in (".pt", ".pth") for w in (None, "state_dict", "model"))],
)
def test_weights_of_a_file_are_loaded(tmp_path, suffix, wrapper):
    backbone = small("resnet8", width=4)
    torch.manual_seed(3)
    state = instantiate(backbone).state_dict()
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save({wrapper: state} if wrapper else state, file)
    check_weights(backbone, str(file))
    architecture = uniform(trace(backbone), options=Options(ratio=2))
    network, fresh = build(architecture, weights=str(file)), build(architecture)
    for key, tensor in network.state_dict().items():
        expected = fresh.state_dict()[key] if key.startswith("se.") else state[key]
        assert torch.equal(tensor, expected), key
    assert not torch.equal(fresh.state_dict()["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize("weights", ["IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1", "DEFAULT"])
@pytest.mark.parametrize("classes", [1000, 4])
def test_published_weights_are_loaded_by_name_and_another_classifier_stays_fresh(hub, weights, classes):
    state = hub("resnet18")
    backbone = small("resnet18", classes)
    network = instantiate(backbone)
    fresh = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    load_weights(network, backbone, weights)
    for key, tensor in network.state_dict().items():
        expected = fresh if classes == 4 and key.startswith("fc.") else state
        assert torch.equal(tensor, expected[key]), key


def test_published_se_blocks_that_are_stripped_are_left_out(hub):
    state = hub("mobilenet_v3_small")
    backbone = small("mobilenet_v3_small", 1000, se="strip")
    network = instantiate(backbone)
    load_weights(network, backbone, "DEFAULT")
    mine = network.state_dict()
    assert set(mine) < set(state)
    assert all(torch.equal(mine[key], state[key]) for key in mine)
    kept = small("mobilenet_v3_small", 1000)
    whole = instantiate(kept)
    load_weights(whole, kept, "DEFAULT")
    assert set(whole.state_dict()) == set(state)


def test_published_auxiliary_heads_are_left_out(hub):
    state = hub("googlenet", aux_logits=True, init_weights=False)
    assert any(key.startswith("aux1.") for key in state)
    backbone = small("googlenet", 1000, (3, 64, 64))
    network = instantiate(backbone)
    load_weights(network, backbone, "IMAGENET1K_V1")
    assert set(network.state_dict()) == {key for key in state if not key.startswith("aux")}
    assert all(torch.equal(tensor, state[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda s: s.pop("layer1.0.conv1.weight"), ["lack layer1.0.conv1.weight", "resnet8"]),
        (lambda s: s.update({"extra.weight": torch.zeros(2)}), ["have extra.weight", "resnet8 has not"]),
        (
            lambda s: s.update({"layer1.0.conv1.weight": torch.zeros(4, 4, 1, 1)}),
            ["layer1.0.conv1.weight of shape 4x4x1x1", "4x4x3x3"],
        ),
        (lambda s: s.update({"fc.weight": torch.zeros(4, 17)}), ["fc.weight of shape 4x17", "4x16"]),
    ],
)
def test_weights_that_do_not_fit_name_the_key(tmp_path, change, parts):
    backbone = small("resnet8", width=4)
    state = instantiate(backbone).state_dict()
    change(state)
    torch.save(state, tmp_path / "weights.pt")
    for refused in (
        lambda: check_weights(backbone, str(tmp_path / "weights.pt")),
        lambda: build(Architecture(backbone), weights=str(tmp_path / "weights.pt")),
    ):
        check_refused(refused, "weights.pt", *parts)


def test_the_stem_for_small_images_does_not_take_the_published_one(hub):
    hub("resnet18")
    check_refused(lambda: check_weights(small("resnet18", stem="cifar"), "DEFAULT"), "conv1.weight", "64x3x7x7")


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"no weights", "cannot be read"), ([1, 2], "holds no state dict"), ({"a": 3}, "holds no state dict")],
)
def test_files_that_hold_no_weights_are_refused(tmp_path, content, part):
    file = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    check_refused(lambda: check_weights(small("resnet8"), str(file)), "weights.pt", part)


def test_pickled_code_is_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "done",))

    torch.save({"conv1.weight": Harmful()}, tmp_path / "weights.pt")
    check_refused(lambda: check_weights(small("resnet8"), str(tmp_path / "weights.pt")), "cannot be read")
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("name", "weights", "parts"),
    [
        ("resnet18", "IMAGENET1K_V7", ["weights of resnet18 'IMAGENET1K_V7'", "IMAGENET1K_V1"]),
        ("resnet18", "ResNet50_Weights.DEFAULT", ["weights of resnet18 'ResNet50_Weights.DEFAULT'"]),
        ("resnet8", "DEFAULT", ["no weights file DEFAULT", "resnet8 has no published weights"]),
        ("resnet18", "nowhere.pt", ["no weights file nowhere.pt"]),
    ],
)
def test_weights_that_do_not_exist_are_refused(name, weights, parts):
    check_refused(lambda: check_weights(small(name), weights), *parts)


def check_refused(action, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message
