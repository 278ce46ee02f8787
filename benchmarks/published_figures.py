"""The costs that the papers print, beside the costs that senas finds: writes docs/published-figures.md.

    python benchmarks/published_figures.py            # prints the page
    python benchmarks/published_figures.py --write    # writes it

Nothing is measured here: all of it is counted, so every run gives the same page. The published figures are those of
"Squeeze-and-Excitation Networks" (arXiv 1709.01507 v4), tables 2 and 10 to 16.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from search_space import Architecture, Backbone, resolve, trace, uniform
from search_space.architecture import Option
from search_space.backbones import entry, instantiate_without_weights
from search_space.costs import Cost, cost
from search_space.tracing import TracedBackbone
from search_space.variants import Options

PAGE = Path(__file__).parent.parent / "docs" / "published-figures.md"

FLOPS_TOLERANCE = 0.02e9
PARAMS_TOLERANCE = 0.1e6

HEADER = """\
# Published figures

The costs that "Squeeze-and-Excitation Networks" ([arXiv 1709.01507](https://arxiv.org/abs/1709.01507) v4) prints, and
what senas finds before anything is built. This page is written by `python benchmarks/published_figures.py --write`.

One multiply-add is one FLOP. *met* means within {flops} GFLOPs and {params} M parameters, these with the running
statistics of batch norm, which the paper's column counts too; senas counts what is learned. Published ResNets have
their stride on the first 1x1 convolution of a bottleneck (`resnet50_v1`); torchvision's `resnet50` has it on the 3x3
and comes to 4.09 GFLOPs. SE has no biases here, as in the ablations.
"""

NOTES = """
- **Inception-ResNet-v2**: with `padded_stem: false`. The released network pads the third convolution of its stem and
  has 13.16 GFLOPs at 299x299. Nothing says that the paper's does not, but without that padding the count with the
  residual additions and scalings comes to 11.7506, and so to what is printed.
- **ResNeXt-101 32x4d**: 7.96999680 GFLOPs, 0.0200032 from what is printed; counting the residual additions too, 7.98.
- **MobileNet**: SE after each pointwise convolution, as its published 4.7 M parameters imply.
- **ShuffleNet**: SE in the units that add; those of stride 2 concatenate and have none. With `sites: auto` they have
  one too, and SE everywhere has 2,585,728 parameters.
- **All networks**: the sites are those of `sites: residual`.
"""


@dataclass(frozen=True)
class Row:
    """A network, what the paper calls it, and the figures that it prints; None where it prints none."""

    name: str
    architecture: Architecture
    gflops: str | None
    params: str | None = None


def imagenet() -> Iterator[Row]:
    """Table 2: ImageNet models without and with SE at r = 16."""
    for name, backbone, without, with_se in (
        ("ResNet-50", "resnet50_v1", "3.86", "3.87"),
        ("ResNet-101", "resnet101_v1", "7.58", "7.60"),
        ("ResNet-152", "resnet152_v1", "11.30", "11.32"),
        ("ResNeXt-50 32x4d", "resnext50_32x4d", "4.24", "4.25"),
        ("ResNeXt-101 32x4d", "resnext101_32x4d", "7.99", "8.00"),
        ("VGG-16 with BN", "vgg16_bn", "15.47", "15.48"),
        ("BN-Inception", "bn_inception", "2.03", "2.04"),
        ("Inception-ResNet-v2", "inception_resnet_v2", "11.75", "11.76"),
    ):
        traced = _traced(backbone, **({"padded_stem": False} if backbone == "inception_resnet_v2" else {}))
        yield Row(name, Architecture(traced.backbone), without)
        yield Row(f"SE-{name}", uniform(traced), with_se)
    mobilenet, shufflenet = _traced("mobilenet_v1"), _traced("shufflenet_v1")
    yield Row("MobileNet", Architecture(mobilenet.backbone), "0.569", "4.2")
    everywhere = uniform(mobilenet)
    pointwise = tuple((site, se) for site, se in everywhere.sites if site.endswith("pointwise"))
    yield Row("SE-MobileNet", Architecture(mobilenet.backbone, pointwise), "0.572", "4.7")
    yield Row("ShuffleNet", Architecture(shufflenet.backbone), "0.140", "1.8")
    yield Row("SE-ShuffleNet", uniform(shufflenet), "0.142", "2.4")


def ablations() -> Iterator[Row]:
    """Tables 10 to 16: SE-ResNet-50."""
    traced = _traced("resnet50_v1")
    yield Row("no SE", Architecture(traced.backbone), "3.86", "25.6")
    for ratio, params in ((2, "45.7"), (4, "35.7"), (8, "30.7"), (16, "28.1"), (32, "26.9")):
        yield Row(f"r = {ratio}", uniform(traced, options=Options(ratio=ratio)), None, params)
    for stage, gflops, params in ((1, "3.86", "25.6"), (2, "3.86", "25.7"), (3, "3.86", "26.4")):
        yield Row(f"only stage {stage + 1}", uniform(traced, stages=[stage]), gflops, params)
    yield Row("all stages", uniform(traced), "3.87", "28.1")
    yield Row("position 3x3", uniform(traced, position="3x3"), "3.86", "25.8")
    yield Row("NoSqueeze", uniform(traced, variant="no_squeeze"), "4.27", "28.1")


def page() -> str:
    """The whole page."""
    header = HEADER.format(flops=FLOPS_TOLERANCE / 1e9, params=PARAMS_TOLERANCE / 1e6)
    tables = {"ImageNet (table 2)": imagenet(), "Ablations on SE-ResNet-50 (tables 10 to 16)": ablations()}
    parts = [header]
    for title, rows in tables.items():
        parts += [
            f"\n## {title}\n",
            "| network | GFLOPs printed | ours | M params printed | learned, ours | with statistics | of which SE | |",
        ]
        parts += ["|---|--:|--:|--:|--:|--:|--:|---|", *map(_line, rows)]
    return "\n".join(parts) + "\n" + NOTES


def _line(row: Row) -> str:
    found = cost(trace(row.architecture.backbone), row.architecture)
    met = "met" if _is_met(row, found) else "**not met**"
    counted = found.params + _running_statistics(row.architecture.backbone)
    figures = (row.gflops or "", f"{found.flops / 1e9:.4f}", row.params or "", f"{found.params:,}", f"{counted:,}")
    return f"| {row.name} | {' | '.join(figures)} | {found.se_params:,} | {met} |"


def _is_met(row: Row, found: Cost) -> bool:
    counted = found.params + _running_statistics(row.architecture.backbone)
    flops = row.gflops is None or abs(found.flops - float(row.gflops) * 1e9) <= FLOPS_TOLERANCE
    return flops and (row.params is None or abs(counted - float(row.params) * 1e6) <= PARAMS_TOLERANCE)


@cache
def _running_statistics(backbone: Backbone) -> int:
    buffers = instantiate_without_weights(backbone).buffers()
    return sum(buffer.numel() for buffer in buffers if buffer.is_floating_point())


def _traced(name: str, **options: Option) -> TracedBackbone:
    return trace(resolve(name, num_classes=1000, input_size=entry(name).usual_input, options=options), "residual")


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
