"""Weights files of training programs: told apart by content, unwrapped, and adapted to other channels."""

import argparse
import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import adapt_input_conv
from torch import nn

from search_space.backbones import instantiate, resolve
from search_space.backbones.pretrained import adapted_to_channels, load_weights
from search_space.backbones.weights_files import without_prefix
from search_space.building import build, check_weights
from search_space.errors import InputError
from search_space.tracing import trace
from search_space.uniform_architectures import uniform
from search_space.weights import Weights, names_a_file

BACKBONE = resolve("resnet8", num_classes=4, input_size=(3, 32, 32), options={"width": 4})


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(3)
    return instantiate(BACKBONE).state_dict()


def loaded(file, backbone=BACKBONE, channels="exact"):
    network = instantiate(backbone)
    load_weights(network, backbone, Weights(str(file), channels))
    return network.state_dict()


def check_equal(found, state):
    assert found.keys() == state.keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in found.items())


def check_refused(action, *parts):
    with pytest.raises(InputError) as caught:
        action()
    assert len(str(caught.value).splitlines()) == 1
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["model_best.pth.tar", "w.bin", "w.ckpt", "w.PTH", "w", "w.v2", "w.safetensors"])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path, monkeypatch, state, name, kind):
    monkeypatch.chdir(tmp_path)
    if kind == "safetensors":
        save_file(state, name)
    else:
        torch.save(state, name, _use_new_zipfile_serialization=kind == "zip")
    assert names_a_file(name)
    check_equal(loaded(name), state)


@pytest.mark.parametrize(
    ("source", "is_a_file"),
    [
        *((name, True) for name in ("a.pt", "a.PTH", "a.ckpt", "a.pth.tar", "./a", "folder/a", "/a", "~/a")),
        *((name, False) for name in ("DEFAULT", "IMAGENET1K_V2", "ResNet50_Weights.IMAGENET1K_V2")),
    ],
)
def test_a_path_or_the_name_of_a_file_is_a_file_also_where_it_is_missing(source, is_a_file):
    assert names_a_file(source) == is_a_file
    if is_a_file:
        check_refused(
            lambda: check_weights(BACKBONE, source),
            "there is no weights file",
            source.removeprefix("~").removeprefix("./"),
        )


def prefixed(prefix, state):
    return {prefix + key: tensor for key, tensor in state.items()}


def zeros(state):
    return {key: torch.zeros_like(tensor) for key, tensor in state.items()}


CHECKPOINTS = {
    "state_dict": lambda s: {"epoch": 3, "state_dict": prefixed("module.", s), "optimizer": {"state": {}}},
    "model": lambda s: {"model": prefixed("_orig_mod.module.", s)},
    "net": lambda s: {"net": prefixed("module._orig_mod.", s)},
    "model_state_dict": lambda s: {"model_state_dict": s, "loss": 0.5},
    "lightning": lambda s: {"state_dict": prefixed("model.", s), "hyper_parameters": {"lr": 0.1}},
    "compiled inside": lambda s: {k.replace("layer1.", "layer1._orig_mod."): v for k, v in s.items()},
    "averaged": lambda s: {
        "model": zeros(s),
        "model_ema": {"n_averaged": torch.tensor(9), **prefixed("module.", s)},
    },
    "timm's averaged": lambda s: {"state_dict": zeros(s), "state_dict_ema": s},
    "not averaged": lambda s: {"model": s, "model_ema": None},
    "nested": lambda s: {"state_dict": {"model": prefixed("backbone.net.", s)}},
    "with the program's values": lambda s: {
        "model": s,
        "args": argparse.Namespace(lr=0.1, output=Path("/runs")),
        "best": np.float64(0.5),
        "rate": np.float32(0.5),
        "curve": np.zeros(3),
    },
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_weights_of_a_training_checkpoint_are_found(tmp_path, state, kind, zipped):
    torch.save(CHECKPOINTS[kind](state), tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    check_equal(loaded(tmp_path / "c.pt"), state)


def test_a_prefix_that_is_a_name_of_the_network_stays():
    wanted = {"model.conv.weight": 0, "model.fc.weight": 0}
    given = {key: torch.zeros(1) for key in wanted}
    assert without_prefix(given, wanted) == given
    assert without_prefix(prefixed("module.model.", given), wanted).keys() == wanted.keys()
    assert without_prefix(
        {"module.conv.weight": torch.zeros(1), "other": torch.ones(1)}, {"conv.weight": 0}
    ).keys() == {
        "module.conv.weight",
        "other",
    }


def test_what_does_not_fit_is_named_in_one_line(tmp_path, state):
    changed = {key: tensor for key, tensor in state.items() if not key.startswith("layer3.")}
    changed |= {f"extra{number}.weight": torch.zeros(1) for number in range(7)}
    changed["bn1.bias"] = torch.zeros(9)
    torch.save(changed, tmp_path / "w.pt")
    missing = [k for k in state if k.startswith("layer3.") and not k.endswith("num_batches_tracked")]
    check_refused(
        lambda: loaded(tmp_path / "w.pt"),
        f"lack {', '.join(missing[:5])} and {len(missing) - 5} more",
        f"have {', '.join(f'extra{number}.weight' for number in range(5))} and 2 more, which resnet8 has not",
        "have bn1.bias of shape 9, not 4",
    )


class Program:
    """An object of a training program."""


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["is empty"]),
        (b"some text", ["neither a safetensors file nor one that torch.save wrote"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", ["Git LFS pointer", "git lfs pull"]),
        (gzip.compress(b"weights", mtime=0), ["gzip archive"]),
        (b"PK\x03\x04 cut short", ["cannot be read"]),
        ((5).to_bytes(8, "little") + b"{", ["neither a safetensors file"]),
        ({"weights": {"a": torch.zeros(1)}, "epoch": 1}, ["holds no state dict", "weights, epoch", "model_state_dict"]),
        ({"model": {}}, ["holds no state dict"]),
        ({"model": {"a": torch.zeros(1)}, "trainer": Program()}, ["Program", "besides tensors", "state_dict()"]),
        ({"model": {"a": torch.zeros(1)}, "logs": defaultdict(int, a=1)}, ["besides tensors", "state_dict()"]),
        (nn.Linear(2, 2), ["Linear", "besides tensors", "state_dict()"]),
    ],
)
def test_files_that_are_no_weights_are_told_by_what_they_are(tmp_path, content, parts):
    file = tmp_path / "w.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    check_refused(lambda: loaded(file), str(file), *parts)


def test_a_folder_is_no_weights_file(tmp_path, monkeypatch):
    (tmp_path / "w").mkdir()
    monkeypatch.chdir(tmp_path)
    check_refused(lambda: loaded(tmp_path / "w"), "is a folder")
    check_refused(lambda: loaded("w"), "is a folder")


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 6, 7, 13])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_kernels_are_adapted_to_channels_as_by_timm(channels, dtype):
    kernels = torch.randn(8, 3, 5, 5).to(dtype)
    assert torch.equal(adapted_to_channels(kernels, channels), adapt_input_conv(channels, kernels.clone()))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v3_small", "timm:resnet10t"])
def test_weights_for_rgb_begin_a_network_for_other_channels_where_it_is_asked_for(tmp_path, name, channels):
    of_rgb = resolve(name, num_classes=10, input_size=(3, 64, 64))
    other = resolve(name, num_classes=4, input_size=(channels, 64, 64))
    state = instantiate(of_rgb).state_dict()
    torch.save(state, tmp_path / "w.pt")
    check_refused(lambda: loaded(tmp_path / "w.pt", other), "is for RGB", "backbone.weights_channels: adapt")
    found = loaded(tmp_path / "w.pt", other, "adapt")
    (first,) = (key for key in found if found[key].dim() == 4 and found[key].shape[1] != state[key].shape[1])
    assert torch.equal(found[first], adapt_input_conv(channels, state[first]))
    classifier = [key for key in found if found[key].shape[:1] == (4,) and state[key].shape[:1] == (10,)]
    assert classifier
    kept = found.keys() - {first, *classifier}
    assert all(torch.equal(found[key], state[key]) for key in kept)


def test_a_gray_image_gives_what_it_gives_as_rgb(tmp_path):
    of_rgb, gray = (resolve("resnet8", num_classes=4, input_size=(c, 32, 32)) for c in (3, 1))
    network = instantiate(of_rgb).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    adapted = build(uniform(trace(gray), stages=()), weights=Weights(str(tmp_path / "w.pt"), "adapt")).eval()
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(adapted(images), network(images.expand(-1, 3, -1, -1)))


def test_a_stem_that_rearranges_the_image_cannot_be_adapted(tmp_path):
    torch.save(timm.create_model("tresnet_m", num_classes=4).state_dict(), tmp_path / "w.pt")
    gray = resolve("timm:tresnet_m", num_classes=4, input_size=(1, 64, 64))
    check_refused(lambda: loaded(tmp_path / "w.pt", gray, "adapt"), "do not fit", "channels of an image directly")


def test_weights_that_fit_are_left_alone_where_adapting_is_allowed(tmp_path, state):
    torch.save(state, tmp_path / "w.pt")
    check_equal(loaded(tmp_path / "w.pt", channels="adapt"), state)
