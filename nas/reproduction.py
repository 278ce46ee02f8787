"""Published tables of SE variants as data: what each row is made of, and what was printed for it.

From "Squeeze-and-Excitation Networks" (arXiv 1709.01507 v4) and "Variations of Squeeze and Excitation networks"
(arXiv 2304.06502). The first row of each table is the network without SE, with which the others are compared.

What the papers leave open, and how it is read here:

- The 3-layer CNN of 2304.06502 has its module in the place of the second convolution. *no SE* is taken to be the CNN
  itself, with that convolution, so the other rows have a convolution less. What of a difference is the module's and
  what the missing convolution's, the row *no 2nd conv* tells, which has neither and which the paper does not have. One
  seed gives all rows the same data order and augmentation, and all rows but the first the same backbone weights.
- The reduction ratio of 2304.06502 is taken to be 16, the usual one, and the widths of its CNN are ours.
- The ResNet-18 of 2304.06502 has the stem for small images on CIFAR-10 and SVHN here. With that for ImageNet, the maps
  of a 32x32 image are 1x1 in the last stage, and nothing is left there to squeeze. On CIFAR-100 it has the other, as
  its images are scaled up to 224x224, and are augmented as the paper says of that data set alone. It gives no number of
  epochs; 50 are the CNN's.
- The ablations of 1709.01507 are of SE-ResNet-50 on ImageNet. Here they are of ResNet-20 on CIFAR-10, the smallest
  ResNet that was published for these images, for 164 epochs: the 64,000 iterations of arXiv 1512.03385. Its stages have
  16, 32 and 64 channels, so a ratio of 32 has no width of its own in the first, and is left out. Its three stages stand
  for the paper's stages 2 to 4. It has no bottlenecks: SE at *3x3* scales as many channels as at *standard*.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

from search_space.architecture import Architecture, Backbone, Option, Position
from search_space.errors import unknown
from search_space.uniform_architectures import uniform
from search_space.variants import USUAL, Options
from trainers.data.config import DataConfig, describe

TOP1, TOP5, LOSS = "top-1", "top-5", "loss"
TOP1_ERROR, TOP5_ERROR = "top-1 error", "top-5 error"


@dataclass(frozen=True)
class Blocks:
    """The SE block at all sites of a network, or at those of some stages, numbered from 1."""

    variant: str = "standard"
    position: Position = "standard"
    options: Options = USUAL
    stages: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Row:
    """One network of a table.

    Attributes:
        blocks: its SE blocks; None for the backbone alone.
        published: what was printed, by what it is: accuracies and errors in percent, losses as they are. Empty for a
            row that the paper does not have.
        options: options of the backbone that are other than the table's.
    """

    label: str
    blocks: Blocks | None
    published: Mapping[str, float] = field(default_factory=dict, hash=False)
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)

    @property
    def accuracy(self) -> float | None:
        """The published top-1 accuracy, 0 to 1; None where there is none."""
        if TOP1 in self.published:
            return self.published[TOP1] / 100
        return 1 - self.published[TOP1_ERROR] / 100 if TOP1_ERROR in self.published else None


@dataclass(frozen=True)
class PublishedTable:
    """A table, and how it is reproduced.

    Attributes:
        source: where it was published.
        note: what has to be known to compare a new run with it.
        options: options of the backbone.
        data: the data set's name.
        recipe: layers of a recipe, the first of which is a bundled one's name.
        rows: the first is the network without SE.
        view: what the network sees of the images, if not all, as keys of the data's configuration.
    """

    name: str
    title: str
    source: str
    note: str
    backbone: str
    data: str
    recipe: tuple[Any, ...]
    epochs: int
    rows: tuple[Row, ...]
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)
    view: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def reference(self) -> Row:
        """The row that the others are compared with."""
        return self.rows[0]

    def architectures(self) -> dict[str, Architecture]:
        """The network of each row, by its label."""
        return {row.label: _architecture(self._backbone_of(row), row.blocks) for row in self.rows}

    def _backbone_of(self, row: Row) -> Backbone:
        from search_space.backbones import resolve  # brings in torch

        # Whatever the root: classes and shape of these data sets are known without it.
        num_classes, input_size = describe(DataConfig(name=self.data, root=Path(), **self.view))
        options = {**self.options, **row.options}
        return resolve(self.backbone, num_classes=num_classes, input_size=input_size, options=options)


@dataclass(frozen=True)
class Agreement:
    """How far a new run orders the rows of a table as it was published.

    Attributes:
        rows: how many have both a published accuracy and one of ours.
        correlation: Spearman's, of the accuracies; None with fewer than two rows or where all of one side are equal.
        chance: the share of all orders of these rows that agree at least as well.
        differences: rows whose difference to the first row is known on both sides and zero on neither.
        same_sign: of those, the rows where it has the same sign.
    """

    rows: int
    correlation: float | None
    chance: float | None
    differences: int
    same_sign: int


def published_table(name: str) -> PublishedTable:
    """The table of that name.

    Raises:
        InputError: there is none; the message suggests the nearest.
    """
    if name not in TABLES:
        raise unknown("published table", name, TABLES)
    return TABLES[name]


def agreement(table: PublishedTable, accuracies: Mapping[str, float]) -> Agreement:
    """Compares accuracies by the rows' labels, 0 to 1, with the published ones."""
    pairs = {
        row.label: (accuracies[row.label], row.accuracy)
        for row in table.rows
        if row.label in accuracies and row.accuracy is not None
    }
    correlation, chance = _rank_correlation(
        [ours for ours, _ in pairs.values()], [theirs for _, theirs in pairs.values()]
    )
    # The reference's own is zero, and so no sign.
    first = pairs.get(table.reference.label)
    signs = [(ours - first[0]) * (theirs - first[1]) for ours, theirs in pairs.values()] if first else []
    return Agreement(len(pairs), correlation, chance, sum(s != 0 for s in signs), sum(s > 0 for s in signs))


def _rank_correlation(ours: list[float], theirs: list[float]) -> tuple[float | None, float | None]:
    if len(set(ours)) < 2 or len(set(theirs)) < 2:
        return None, None
    from scipy import stats  # takes a second to import

    first, second = stats.rankdata(ours).tolist(), stats.rankdata(theirs).tolist()
    # For given ranks the correlation rises with this sum, and the ranks are multiples of a half: it is exact.
    reached = _products(first, second)
    sums = [_products(first, order) for order in permutations(second)]
    return float(stats.spearmanr(ours, theirs).statistic), sum(found >= reached for found in sums) / len(sums)


def _products(first: list[float], second: list[float] | tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def _architecture(backbone: Backbone, blocks: Blocks | None) -> Architecture:
    from search_space.tracing import trace

    if blocks is None:
        return Architecture(backbone)
    return uniform(
        trace(backbone),
        variant=blocks.variant,
        position=blocks.position,
        options=blocks.options,
        stages=blocks.stages,
    )


_ALONE: Mapping[str, Option] = {"second_conv": False}


def _cnn3(label: str, variant: str, loss: float, accuracy: float) -> Row:
    """The module stands behind the first convolution and its ReLU, where the second would follow."""
    return Row(label, Blocks(variant, stages=(1,)), {LOSS: loss, TOP1: accuracy}, _ALONE)


_CNN3 = PublishedTable(
    name="cnn3",
    title="3-layer CNN on CIFAR-10",
    source="arXiv 2304.06502",
    note="Published: one run each. Rows with a module have it in the place of the second convolution; "
    "no 2nd conv, which was not published, has neither.",
    backbone="cnn3",
    data="cifar10",
    recipe=("variations-cnn3",),
    epochs=50,
    rows=(
        Row("no SE", None, {LOSS: 0.8091, TOP1: 72.52}),
        _cnn3("SE", "standard", 0.8068, 72.58),
        _cnn3("slow squeeze", "slow_squeeze", 0.8093, 72.20),
        _cnn3("slow excite", "slow_excite", 0.8131, 72.63),
        _cnn3("slow both", "slow_both", 0.7987, 72.97),
        _cnn3("bump", "bump", 0.8044, 72.65),
        Row("no 2nd conv", None, options=_ALONE),
    ),
)


_SCALE_AND_ASPECT = {"augment": ["random_resized_crop", "flip"]}


def _resnet18(data: str, title: str, *published: tuple[float, float], is_scaled_up: bool = False) -> PublishedTable:
    """Rows in the paper's order; published are top-1 and top-5 accuracies."""
    made = (
        ("no SE", None),
        ("SE", Blocks("standard")),
        ("slow squeeze", Blocks("slow_squeeze")),
        ("slow excite", Blocks("slow_excite")),
        ("slow both", Blocks("slow_both")),
        ("bump", Blocks("bump")),
    )
    return PublishedTable(
        name=f"resnet18-{data}",
        title=f"ResNet-18 on {title}",
        source="arXiv 2304.06502",
        note="Published: one run each, with another recipe and perhaps another stem, so the order and the sign of "
        "differences compare, not the values.",
        backbone="resnet18",
        options={} if is_scaled_up else {"stem": "cifar"},
        view={"image_size": 224, "resize": 256} if is_scaled_up else {},
        data=data,
        recipe=("variations-resnet18", *([_SCALE_AND_ASPECT] if is_scaled_up else [])),
        epochs=50,
        rows=tuple(
            Row(label, blocks, {TOP1: top1, TOP5: top5})
            for (label, blocks), (top1, top5) in zip(made, published, strict=True)
        ),
    )


def _ablation(name: str, title: str, *rows: Row) -> PublishedTable:
    return PublishedTable(
        name=name,
        title=f"{title} of SE-ResNet-20 on CIFAR-10",
        source="arXiv 1709.01507, tables 10 to 16",
        note="Published: errors of SE-ResNet-50 on ImageNet, so only the order and the sign of differences compare. "
        "All differences are of accuracies.",
        backbone="resnet20",
        data="cifar10",
        recipe=("senet-cifar",),
        epochs=164,
        rows=(Row("no SE", None, _errors(23.30, 6.55)), *rows),
    )


def _errors(top1: float, top5: float) -> Mapping[str, float]:
    return {TOP1_ERROR: top1, TOP5_ERROR: top5}


_USUAL_ERRORS = _errors(22.28, 6.03)
"""Of SE at all blocks, standard, average pooling, sigmoid, r = 16: a row of each ablation."""

_TABLES = (
    _CNN3,
    _resnet18(
        "cifar10",
        "CIFAR-10",
        (73.130, 97.620),
        (75.580, 97.210),
        (74.370, 96.910),
        (75.630, 97.160),
        (76.020, 97.700),
        (76.020, 97.810),
    ),
    _resnet18(
        "cifar100",
        "CIFAR-100",
        (72.870, 92.380),
        (74.460, 93.190),
        (73.340, 92.960),
        (73.500, 93.910),
        (73.250, 92.860),
        (73.960, 93.200),
        is_scaled_up=True,
    ),
    _resnet18(
        "svhn",
        "SVHN",
        (91.211, 98.851),
        (91.795, 98.855),
        (92.048, 98.959),
        (92.244, 98.871),
        (92.187, 98.782),
        (91.576, 98.882),
    ),
    _ablation(
        "ratio",
        "Reduction ratio",
        Row("r = 2", Blocks(options=Options(ratio=2)), _errors(22.29, 6.00)),
        Row("r = 4", Blocks(options=Options(ratio=4)), _errors(22.25, 6.09)),
        Row("r = 8", Blocks(options=Options(ratio=8)), _errors(22.26, 5.99)),
        Row("r = 16", Blocks(), _USUAL_ERRORS),
    ),
    _ablation(
        "squeeze",
        "Squeeze operator",
        Row("NoSqueeze", Blocks("no_squeeze"), _errors(22.93, 6.39)),
        Row("max", Blocks(options=Options(squeeze="max")), _errors(22.57, 6.09)),
        Row("average", Blocks(), _USUAL_ERRORS),
    ),
    _ablation(
        "excitation",
        "Excitation operator",
        Row("ReLU", Blocks(options=Options(excitation="relu")), _errors(23.47, 6.98)),
        Row("tanh", Blocks(options=Options(excitation="tanh")), _errors(23.00, 6.38)),
        Row("sigmoid", Blocks(), _USUAL_ERRORS),
    ),
    _ablation(
        "stage",
        "Stages with SE",
        Row("only stage 1", Blocks(stages=(1,)), _errors(23.03, 6.48)),
        Row("only stage 2", Blocks(stages=(2,)), _errors(23.04, 6.32)),
        Row("only stage 3", Blocks(stages=(3,)), _errors(22.68, 6.22)),
        Row("all stages", Blocks(), _USUAL_ERRORS),
    ),
    _ablation(
        "position",
        "Position",
        Row("standard", Blocks(), _USUAL_ERRORS),
        Row("PRE", Blocks(position="pre"), _errors(22.23, 6.00)),
        Row("POST", Blocks(position="post"), _errors(22.78, 6.35)),
        Row("Identity", Blocks(position="identity"), _errors(22.20, 6.15)),
        Row("3x3", Blocks(position="3x3"), _errors(22.48, 6.02)),
    ),
)

TABLES: Mapping[str, PublishedTable] = {table.name: table for table in _TABLES}
"""The tables that can be reproduced, by name."""
