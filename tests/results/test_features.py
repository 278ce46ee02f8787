"""The maps of every stage: those that flow through the whole network, at any size of image, ready for a detector."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from exports import sound_export
from se_block import se_block
from torch import Tensor, nn

import results
from results.features import FeatureExtractor
from search_space import Architecture, Backbone, build, resolve
from search_space.backbones import instantiate
from search_space.tracing import trace

DOCS = Path(__file__).parents[2] / "docs"


def maps_of(network: nn.Module, modules: Mapping[str, str], images: Tensor) -> dict[str, Tensor]:
    """What modules give in a pass through all of a network; of several calls of one, what the last gives."""
    seen: dict[str, Tensor] = {}
    for stage, path in modules.items():

        def note(_module: nn.Module, _inputs: object, given: Tensor, stage: str = stage) -> None:
            seen[stage] = given.clone()

        network.get_submodule(path).register_forward_hook(note)
    with torch.no_grad():
        network(images)
    return {stage: seen[stage] for stage in modules}


def assert_equal_maps(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(given) == list(expected)
    for stage, tensor in expected.items():
        assert torch.equal(given[stage], tensor), stage


def check(extractor: FeatureExtractor, size: tuple[int, int, int]) -> None:
    """Channels and strides are those of the maps, of images of the usual size and of larger ones."""
    channels, height, width = size
    for images in (torch.randn(1, *size), torch.randn(2, channels, height + 64, width + 96)):
        with torch.no_grad():
            maps = extractor(images)
        assert list(maps) == list(extractor.channels) == list(extractor.strides)
        for stage, tensor in maps.items():
            assert tensor.shape[:2] == (len(images), extractor.channels[stage])
            stride = extractor.strides[stage]
            for pixels, side in zip(images.shape[2:], tensor.shape[2:], strict=True):
                assert abs(side - pixels / stride) <= 3, stage  # networks that do not pad lose some at the rims


def stages(*modules: str, name: str = "stage{}") -> dict[str, str]:
    return {name.format(number): module for number, module in enumerate(modules, start=1)}


CASES = {
    "resnet8": ((1, 8, 8), {"width": 8}, stages("layer1.0", "layer2.0", "layer3.0", name="layer{}"), (1, 2, 4)),
    "vgg11_bn": (
        (3, 32, 32),
        {},
        stages("features.2", "features.6", "features.13", "features.20", "features.27"),
        (1, 2, 4, 8, 16),
    ),
    "mobilenet_v1": (
        (3, 64, 64),
        {"width": 0.25},
        stages("layer1.0", "layer2.1", "layer3.1", "layer4.5", "layer5.1"),
        (2, 4, 8, 16, 32),
    ),
    "mobilenet_v2": (
        (3, 64, 64),
        {},
        stages("features.1", "features.3", "features.6", "features.13", "features.17"),
        (2, 4, 8, 16, 32),
    ),
    "googlenet": ((3, 64, 64), {}, stages("inception3b", "inception4e", "inception5b"), (8, 16, 32)),
}


SLOW = ("vgg11_bn",)  # whose head has 120 million weights
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CASES]


@pytest.mark.parametrize("name", NAMES)
def test_maps_are_those_of_the_backbones_own_code(name: str) -> None:
    """Seen by hooks on the modules that it calls, before it was traced."""
    size, options, modules, strides = CASES[name]
    backbone = resolve(name, num_classes=10, input_size=size, options=options)
    untraced, architecture = instantiate(backbone), Architecture(backbone)
    network = build(architecture)
    network.load_state_dict(untraced.state_dict())
    extractor = FeatureExtractor(network, architecture).eval()
    assert tuple(extractor.strides.values()) == strides
    channels, height, width = size
    for images in (torch.randn(2, *size), torch.randn(1, channels, height + 64, width + 96)):
        with torch.no_grad():
            assert_equal_maps(extractor(images), maps_of(deepcopy(untraced).eval(), modules, images))
    check(extractor, size)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_block_of_a_stage_is_in_its_map(name: str) -> None:
    """And no block of the next stage, though it may stand on the same map."""
    size, options, _, _ = CASES[name]
    backbone = resolve(name, num_classes=10, input_size=size, options=options)
    traced = trace(backbone)
    last = {site.stage_name: site for site in traced.sites}
    others = [site for site in traced.sites if site not in last.values() and "pre" in site.shapes]
    architecture = Architecture(
        backbone,
        (
            *((site.name, se_block("post" if "post" in site.shapes else "standard", (2,))) for site in last.values()),
            *((site.name, se_block("pre", (2,))) for site in others),
        ),
    )
    network = build(architecture, seed=3).eval()
    blocks = {stage: f"se.{site.name.replace('.', '-')}" for stage, site in last.items()}
    images = torch.randn(2, *size)
    with torch.no_grad():
        given = FeatureExtractor(network, architecture)(images)
    assert_equal_maps(given, maps_of(deepcopy(network), blocks, images))


def test_the_stages_of_an_architecture_from_residual_sites_are_those_of_these() -> None:
    size, *_ = CASES["mobilenet_v2"]
    architecture = Architecture(resolve("mobilenet_v2", num_classes=10, input_size=size))
    extractor = FeatureExtractor(build(architecture), architecture, "residual")
    assert extractor.strides == {"stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32}
    assert extractor.channels == {"stage1": 24, "stage2": 32, "stage3": 96, "stage4": 160}


def test_blocks_on_the_way_to_a_map_are_in_it(backbone: Backbone) -> None:
    for position in ("standard", "identity", "pre"):
        architecture = Architecture(backbone, (("layer2.0", se_block(position, (2,))),))
        network = build(architecture, seed=3).eval()
        modules = {"layer1": "layer1.0.relu", "layer2": "layer2.0.relu", "layer3": "layer3.0.relu"}
        images = torch.randn(2, *backbone.input_size)
        with torch.no_grad():
            given = FeatureExtractor(network, architecture)(images)
        assert_equal_maps(given, maps_of(deepcopy(network), modules, images))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side"),
    [
        *(("resnet50", 64), ("preact_resnet164", 32), ("shake_shake", 32), ("densenet121", 64), ("convnext_tiny", 64)),
        *(("inception_resnet_v2", 299), ("inception_v3", 299), ("bn_inception", 224), ("shufflenet_v1", 64)),
        *(("efficientnet_b0", 64), ("regnet_y_400mf", 64), ("mnasnet0_5", 64), ("squeezenet1_1", 64)),
        *(
            ("alexnet", 224),
            ("timm:resnet18d", 64),
            ("cnn3", 32),
            ("shufflenet_v2_x0_5", 64),
            ("mobilenet_v3_small", 64),
        ),
    ],
)
def test_channels_and_strides_of_many_networks(name: str, side: int) -> None:
    size = (3, side, side)
    backbone = resolve(name, num_classes=10, input_size=size)
    architecture = Architecture(backbone)
    extractor = FeatureExtractor(build(architecture), architecture).eval()
    check(extractor, size)
    assert len(extractor.strides) > 1
    assert list(extractor.strides.values()) == sorted(set(extractor.strides.values()))


@pytest.fixture(scope="module")
def exported(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sound_export(backbone, tmp_path_factory.mktemp("features"))


def test_an_export_is_loaded_as_features(exported: Path) -> None:
    extractor = results.load(exported, features=True)
    assert not extractor.training
    assert extractor.channels == {"layer1": 8, "layer2": 16, "layer3": 32}
    assert extractor.strides == {"layer1": 1, "layer2": 2, "layer3": 4}
    whole = results.load(exported)
    names = set(extractor.body.state_dict())
    assert names < set(whole.state_dict())
    assert {name.partition(".")[0] for name in set(whole.state_dict()) - names} == {"fc"}
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        expected = maps_of(whole, {f"layer{n}": f"layer{n}.0.relu" for n in (1, 2, 3)}, images)
        assert_equal_maps(extractor(images), expected)
        assert_equal_maps(deepcopy(extractor)(images), expected)


def test_features_can_be_trained(exported: Path) -> None:
    extractor = results.load(exported, features=True).train()
    sum(tensor.sum() for tensor in extractor(torch.randn(2, 1, 8, 8)).values()).backward()
    assert all(parameter.grad is not None for parameter in extractor.parameters())


def test_the_detector_of_the_docs_trains_a_step(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "export.md").read_text(encoding="utf-8").partition("## Under a detector")[2]
    code = page.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(exported.parent)
    names: dict[str, object] = {}
    before = results.load(exported, features=True).body.state_dict()
    exec(code, names)
    after = names["features"].body.state_dict()
    moved = {key for key, tensor in before.items() if not torch.equal(tensor, after[key])}
    assert any("conv" in key for key in moved)
    assert not any("running" in key for key in moved)
    assert torch.isfinite(names["loss"])
