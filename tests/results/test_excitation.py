"""The study of gates against one that keeps everything, and against gates worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from results.charts.excitation import block_chart, overview
from results.charts.saving import save
from results.excitation import NEAR, ClassSums, excitation
from search_space import build
from search_space.architecture import SE, Architecture, Backbone
from search_space.errors import InputError
from search_space.variants import Options, block, family

CLASSES = 3
BACKBONE = Backbone("resnet8", CLASSES, (1, 8, 8), options=(("width", 8),))
CHANNELS = {"layer1.0": 8, "layer2.0": 16, "layer3.0": 32}


class OwnBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        return x * self.weight


def architecture(*sites):
    return Architecture(BACKBONE, tuple(sites))


def of(variant, site, from_identity=False, **options):
    made = block(variant, "standard", CHANNELS[site], Options(ratio=4, **options), from_identity=from_identity)
    return site, made


def network(arch):
    """A network whose gates differ from image to image and from class to class, in eval mode."""
    model = build(arch, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("se."):
                parameter.mul_(4)
    return model.eval()


def batches(sizes=(7, 1, 12, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for size in sizes:
        labels = torch.randint(CLASSES, (size,), generator=generator)
        images = torch.randn(size, 1, 8, 8, generator=generator) + labels[:, None, None, None]
        made.append((images, labels))
    return made


def by_hand(model, site, made):
    """Every gate [N, C, h, w] of a block: the weights' own formula on what a hook sees coming in."""
    inputs = []
    module = model.get_submodule(f"se.{site.replace('.', '-')}")
    handle = module.register_forward_hook(lambda _module, args, _output: inputs.append(args[0]))
    with torch.no_grad():
        for images, _ in made:
            model(images)
    handle.remove()
    first, last = (layer.weight.detach().double() for layer in module.fc)
    squeezed = torch.cat(inputs).double().mean((2, 3))
    return torch.sigmoid(torch.relu(squeezed @ first.T) @ last.T).numpy()


@pytest.fixture(scope="module")
def studied():
    arch = architecture(of("standard", "layer1.0"), of("standard", "layer3.0"))
    model = network(arch)
    return model, batches(), excitation(model, arch, batches())


def test_every_figure_is_that_of_keeping_all_gates(studied):
    model, made, found = studied
    labels = torch.cat([labels for _, labels in made]).numpy()
    assert [b.site for b in found.blocks] == ["layer1.0", "layer3.0"]
    for seen in found.blocks:
        gates = by_hand(model, seen.site, made)
        groups = [gates[labels == label] for label in range(CLASSES)]
        total = ((gates - gates.mean(axis=0)) ** 2).sum(axis=0)
        between = sum(len(g) * (g.mean(axis=0) - gates.mean(axis=0)) ** 2 for g in groups)
        assert seen.images.tolist() == [len(group) for group in groups]
        close = {"rtol": 1e-4, "atol": 1e-7}
        np.testing.assert_allclose(seen.mean, [group.mean(axis=0) for group in groups], **close)
        np.testing.assert_allclose(seen.sd, [group.std(axis=0, ddof=1) for group in groups], **close)
        np.testing.assert_allclose(seen.overall_mean, gates.mean(axis=0), **close)
        np.testing.assert_allclose(seen.overall_sd, gates.std(axis=0, ddof=1), **close)
        np.testing.assert_allclose(seen.specificity, between / total, **close)
        assert seen.saturation == pytest.approx(np.mean((gates < NEAR) | (gates > 1 - NEAR)), abs=1e-3)
        assert not seen.per_pixel
    assert found.notes == ()


def test_how_images_are_cut_into_batches_changes_nothing(studied):
    model, made, found = studied
    whole = [(torch.cat([images for images, _ in made]), torch.cat([labels for _, labels in made]))]
    arch = architecture(of("standard", "layer1.0"), of("standard", "layer3.0"))
    for once, parts in zip(excitation(model, arch, whole).blocks, found.blocks, strict=True):
        np.testing.assert_allclose(once.specificity, parts.specificity, rtol=1e-4)
        np.testing.assert_allclose(once.sd, parts.sd, rtol=1e-4)


def test_the_network_is_left_as_it_was(studied):
    model, _, _ = studied
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    arch = architecture(of("standard", "layer1.0"), of("standard", "layer3.0"))
    excitation(model, arch, batches())
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    model.eval()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=5), st.integers(0, 2**32), st.integers(0, 6)
)
def test_sums_in_parts_are_those_of_the_whole(parts, seed, magnitude):
    """Also where the mean is far larger than the spread."""
    random = np.random.default_rng(seed)
    sums, every = ClassSums(3, 2), []
    for labels in parts:
        values = random.normal(size=(len(labels), 2)) + 10.0**magnitude
        sums.add(values, np.array(labels, np.int64))
        every += zip(labels, values, strict=True)
    for label in range(3):
        rows = np.array([value for own, value in every if own == label]).reshape(-1, 2)
        assert sums.count[label] == len(rows)
        if len(rows):
            np.testing.assert_allclose(sums.mean[label], rows.mean(axis=0))
            np.testing.assert_allclose(sums.squares[label], ((rows - rows.mean(axis=0)) ** 2).sum(axis=0), atol=1e-8)


def constant(gate, excitation_operator="sigmoid"):
    """A block whose every gate is the same: a layer of zeros and a bias."""
    arch = architecture(
        (
            "layer2.0",
            SE(
                "standard",
                "se",
                (("hidden", (4,)), ("squeeze", "avg"), ("excitation", excitation_operator), ("bias", True)),
            ),
        )
    )
    model = network(arch)
    with torch.no_grad():
        last = model.get_submodule("se.layer2-0").fc[-1]
        last.weight.zero_()
        last.bias.fill_(gate)
    (seen,) = excitation(model, arch, batches()).blocks
    return seen.to_json()


def test_a_gate_that_never_changes_has_no_spread_and_says_nothing_of_classes():
    always_open, half = constant(9.0), constant(0.0)
    assert (always_open["saturation"], half["saturation"]) == (1.0, 0.0)
    assert always_open["specificity"] == half["specificity"] == 0
    assert half["mean"] == pytest.approx(0.5)
    assert half["sd"] == pytest.approx(0, abs=1e-6)


def test_the_ends_are_those_of_the_operator():
    assert constant(0.0, "tanh")["saturation"] == 0  # the middle of -1 and 1
    assert constant(0.0, "relu")["saturation"] == 1
    assert constant(1.0, "relu")["saturation"] == 0


def test_every_variant_has_a_gate_or_says_why_not():
    for variant in ("slow_both", "eca", "cbam", "effective_se", "gather_excite"):
        arch = architecture(of(variant, "layer2.0"))
        found = excitation(network(arch), arch, batches())
        assert (found.blocks[0].overall_mean.shape, found.notes) == ((16,), ())
    for variant in ("simam", "no_squeeze"):
        arch = architecture(of(variant, "layer2.0"))
        model = network(arch)
        found = excitation(model, arch, batches())
        assert found.blocks[0].per_pixel
        assert "layer2.0: a gate for each pixel" in found.notes[0]
        assert found.blocks[0].overall_mean.shape == (16,)


def test_a_module_of_ones_own_is_named_and_the_others_are_studied():
    own = SE("standard", f"{__name__}:OwnBlock")
    both = architecture(("layer1.0", own), of("eca", "layer2.0"))
    found = excitation(network(both), both, batches())
    assert [b.site for b in found.blocks] == ["layer2.0"]
    assert "layer1.0" in found.notes[0]
    alone = architecture(("layer1.0", own))
    with pytest.raises(InputError, match=r"no gate can be studied: layer1\.0"):
        excitation(network(alone), alone, batches())


def test_a_block_that_begins_as_the_identity_says_how_far_it_has_come():
    arch = architecture(of("standard", "layer2.0", from_identity=True))
    model = network(arch)
    with torch.no_grad():
        model.get_submodule("se.layer2-0").a.fill_(0.25)
    found = excitation(model, arch, batches())
    assert found.notes == ("layer2.0: the block scales by 1 + a (gate - 1) with a = 0.25.",)
    assert len(found.blocks) == 1


def test_what_cannot_be_studied_is_refused():
    arch = architecture(of("standard", "layer1.0"))
    model = network(arch)
    with pytest.raises(InputError, match="the architecture has no SE block"):
        excitation(build(architecture()), architecture(), batches())
    with pytest.raises(InputError, match="no images"):
        excitation(model, arch, [])
    with pytest.raises(InputError, match="none of the network's classes, 0 to 2"):
        excitation(model, arch, [(torch.zeros(1, 1, 8, 8), torch.tensor([3]))])
    with pytest.raises(InputError, match=r"site layer1\.0 are not all numbers"):
        excitation(model, arch, [(torch.full((1, 1, 8, 8), torch.nan), torch.tensor([0]))])


def test_charts_show_the_classes_that_are_asked_for_and_there(studied, tmp_path: Path):
    _, _, found = studied
    seen = found.blocks[1]
    seen.images[2], kept = 0, seen.images[2]
    spec = json.dumps(block_chart(seen, {0: "cat", 2: "absent"}).to_dict())
    seen.images[2] = kept
    assert "cat" in spec
    assert "absent" not in spec
    for name, chart in (("block.svg", block_chart(seen, {0: "cat", 1: "dog"})), ("all.svg", overview(found.blocks))):
        save(chart, tmp_path / name)
        assert b"<svg" in (tmp_path / name).read_bytes()
    drawn = (tmp_path / "block.svg").read_text()
    assert all(word in drawn for word in ("cat", "dog", "all classes", "layer3.0"))


def test_classes_of_odd_names_are_told_apart(studied, tmp_path: Path):
    """One as all together are called, one with no printable end, and two that are equal as far as they are shown."""
    _, _, found = studied
    names = {0: "all classes", 1: "x" * 200 + "y", 2: "x" * 200 + "z\n\ud800"}
    chart = block_chart(found.blocks[0], names)
    domain = chart.to_dict()["vconcat"][0]["layer"][1]["encoding"]["color"]["scale"]["domain"]
    assert len(set(domain)) == 4
    assert all(len(name) < 40 and name.isprintable() for name in domain)
    save(chart, tmp_path / "block.svg")
    assert "all classes (2)" in (tmp_path / "block.svg").read_text()


def test_every_variant_that_comes_along_is_a_gate():
    from search_space.variants import FAMILIES
    from search_space.variants.gate import Gate

    assert all(issubclass(family(kind).module, Gate) for kind in FAMILIES)
