"""The programs of an export: each runs by itself and gives what the network gives, for any number of images."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from exports import mixed_architecture, trained_network
from se_block import se_block
from torch import Tensor

from results.programs import FORMATS, OPSET, Network
from results.verifying import ABSOLUTE, RELATIVE, Reference, VerificationError
from search_space import Architecture, Backbone, InputError, build, resolve
from search_space.tracing import trace


@pytest.fixture(scope="module")
def network(backbone: Backbone) -> Network:
    architecture = mixed_architecture(backbone)
    return Network(trained_network(architecture), architecture)


@pytest.fixture(scope="module")
def reference(network: Network) -> Reference:
    return Reference(network.module, network.architecture)


def test_what_is_equal_differs_by_nothing(network: Network, reference: Reference) -> None:
    assert reference.largest_difference("a file", network.module, exact=True) == 0


def moved(network: Network, by: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda images: by(network.module(images))


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_logits_may_differ_by_the_tolerance_and_no_more(network, reference, factor: float) -> None:
    run = moved(network, lambda logits: logits + factor * (ABSOLUTE + RELATIVE * logits.abs()))
    if factor < 1:
        assert 0 < reference.largest_difference("a file", run, exact=False) < 2 * ABSOLUTE
    else:
        with pytest.raises(VerificationError, match=r"a file on a batch of 1 .*0\.0001 \+ 0\.0001 of the logit"):
            reference.largest_difference("a file", run, exact=False)


def test_bit_for_bit_is_meant(network: Network, reference: Reference) -> None:
    run = moved(network, lambda logits: torch.nextafter(logits, torch.tensor(9.0)))
    with pytest.raises(VerificationError, match=r"a file on a batch of 1 .* they must be equal"):
        reference.largest_difference("a file", run, exact=True)
    reference.largest_difference("a file", run, exact=False)


@pytest.mark.parametrize(
    ("by", "match"),
    [
        (lambda logits: logits[:1], r"on a batch of 2 gives .* of shape \(1, 10\), not .* of \(2, 10\)"),
        (lambda logits: logits.double(), r"on a batch of 1 gives torch\.float64"),
        (lambda logits: logits * (float("nan") if len(logits) == 5 else 1), "on a batch of 5 gives other logits"),
        (lambda logits: logits.flip(0), "on a batch of 2 gives other logits"),
    ],
    ids=["shape", "type", "nan", "order"],
)
def test_what_is_wrong_is_named_with_its_batch(network, reference, by, match: str) -> None:
    with pytest.raises(VerificationError, match=f"a file {match}"):
        reference.largest_difference("a file", moved(network, by), exact=False)


def test_weights_that_have_diverged(backbone: Backbone) -> None:
    architecture = Architecture(backbone)
    network = build(architecture).eval()
    torch.nn.init.constant_(network.fc.weight, float("inf"))
    with pytest.raises(InputError, match="no finite numbers"):
        Reference(network, architecture)


@pytest.mark.slow
def test_an_onnx_file_is_whole_and_has_a_free_batch(network: Network, tmp_path: Path) -> None:
    FORMATS["model.onnx"].write(network, tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    (images,), (logits,) = model.graph.input, model.graph.output
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in (images, logits)
    }
    assert shapes == {"images": ["batch", 1, 8, 8], "logits": ["batch", 10]}


NETWORKS = [
    *(("resnet50", 64), ("preact_resnet164", 32), ("shake_shake", 32), ("densenet121", 64), ("convnext_tiny", 64)),
    *(("inception_resnet_v2", 139), ("bn_inception", 64), ("shufflenet_v1", 64), ("mobilenet_v1", 64)),
    *(("efficientnet_b0", 64), ("regnet_y_400mf", 64), ("vgg11_bn", 32), ("mobilenet_v3_small", 64), ("cnn3", 32)),
    *(("shufflenet_v2_x0_5", 64), ("googlenet", 64), ("timm:resnet18d", 64), ("wide_resnet", 32)),
    *(("timm:tf_efficientnet_b0", 64), ("timm:ghostnet_050", 64)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), NETWORKS)
def test_networks_of_all_kinds_run_as_programs(name: str, side: int, tmp_path: Path) -> None:
    backbone = resolve(name, num_classes=10, input_size=(3, side, side))
    sites = trace(backbone).sites
    architecture = Architecture(backbone, tuple((site.name, se_block("standard", (4,))) for site in sites[::3]))
    network = Network(trained_network(architecture), architecture)
    reference = Reference(network.module, architecture)
    for file, made in FORMATS.items():
        if file == "model.py":  # needs the weights beside it
            continue
        made.write(network, tmp_path / file)
        reference.largest_difference(file, made.open(tmp_path / file), exact=made.exact)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["no_squeeze", "effective_se", "eca", "cbam", "simam", "gather_excite"])
def test_blocks_of_all_kinds_run_as_programs(kind: str, backbone: Backbone, tmp_path: Path) -> None:
    from search_space.variants import block

    traced = trace(backbone)
    architecture = Architecture(
        backbone, tuple((site.name, block(kind, "post", site.channels("post"))) for site in traced.sites)
    )
    network = Network(trained_network(architecture), architecture)
    reference = Reference(network.module, architecture)
    for file in ("model.pt2", "model.onnx"):
        made = FORMATS[file]
        made.write(network, tmp_path / file)
        reference.largest_difference(file, made.open(tmp_path / file), exact=made.exact)
