"""The published tables: numbers as printed, networks by the formulas of the papers, and how they are shown."""

import math
import subprocess
import sys
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nas.cli.judging import print_judgement, print_reproduction
from nas.reproduction import LOSS, TABLES, TOP1, TOP1_ERROR, TOP5, TOP5_ERROR, agreement, published_table
from results.judgement import judge
from results.records import TrialRecord
from search_space import InputError, build, cost, trace

EVERY_TABLE = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)

# As the papers print them: what the numbers are, and each row.
PRINTED = {
    "cnn3": (
        (LOSS, TOP1),
        {
            "no SE": "0.8091 / 72.52",
            "SE": "0.8068 / 72.58",
            "slow squeeze": "0.8093 / 72.20",
            "slow excite": "0.8131 / 72.63",
            "slow both": "0.7987 / 72.97",
            "bump": "0.8044 / 72.65",
            "no 2nd conv": "",
        },
    ),
    "resnet18-cifar10": (
        (TOP1, TOP5),
        {
            "no SE": "73.130/97.620",
            "SE": "75.580/97.210",
            "slow squeeze": "74.370/96.910",
            "slow excite": "75.630/97.160",
            "slow both": "76.020/97.700",
            "bump": "76.020/97.810",
        },
    ),
    "resnet18-cifar100": (
        (TOP1, TOP5),
        {
            "no SE": "72.870/92.380",
            "SE": "74.460/93.190",
            "slow squeeze": "73.340/92.960",
            "slow excite": "73.500/93.910",
            "slow both": "73.250/92.860",
            "bump": "73.960/93.200",
        },
    ),
    "resnet18-svhn": (
        (TOP1, TOP5),
        {
            "no SE": "91.211/98.851",
            "SE": "91.795/98.855",
            "slow squeeze": "92.048/98.959",
            "slow excite": "92.244/98.871",
            "slow both": "92.187/98.782",
            "bump": "91.576/98.882",
        },
    ),
    "ratio": (
        (TOP1_ERROR, TOP5_ERROR),
        {
            "no SE": "23.30/6.55",
            "r = 2": "22.29/6.00",
            "r = 4": "22.25/6.09",
            "r = 8": "22.26/5.99",
            "r = 16": "22.28/6.03",
        },
    ),
    "squeeze": (
        (TOP1_ERROR, TOP5_ERROR),
        {"no SE": "23.30/6.55", "NoSqueeze": "22.93/6.39", "max": "22.57/6.09", "average": "22.28/6.03"},
    ),
    "excitation": (
        (TOP1_ERROR, TOP5_ERROR),
        {"no SE": "23.30/6.55", "ReLU": "23.47/6.98", "tanh": "23.00/6.38", "sigmoid": "22.28/6.03"},
    ),
    "stage": (
        (TOP1_ERROR, TOP5_ERROR),
        {
            "no SE": "23.30/6.55",
            "only stage 1": "23.03/6.48",
            "only stage 2": "23.04/6.32",
            "only stage 3": "22.68/6.22",
            "all stages": "22.28/6.03",
        },
    ),
    "position": (
        (TOP1_ERROR, TOP5_ERROR),
        {
            "no SE": "23.30/6.55",
            "standard": "22.28/6.03",
            "PRE": "22.23/6.00",
            "POST": "22.78/6.35",
            "Identity": "22.20/6.15",
            "3x3": "22.48/6.02",
        },
    ),
}


def priced(table):
    return {label: cost(trace(a.backbone), a) for label, a in table.architectures().items()}


def se_weights(name):
    return {label: found.se_params for label, found in priced(TABLES[name]).items()}


# --- the data


@EVERY_TABLE
def test_published_numbers_are_as_printed(table):
    names, rows = PRINTED[table.name]
    assert [row.label for row in table.rows] == list(rows)
    for row in table.rows:
        printed = [float(part) for part in rows[row.label].split("/") if part]
        assert dict(row.published) == (dict(zip(names, printed, strict=True)) if printed else {})


def test_accuracies_of_rows_with_accuracies_errors_and_neither():
    by_label = {row.label: row for row in TABLES["cnn3"].rows}
    assert by_label["SE"].accuracy == pytest.approx(0.7258)
    assert by_label["no 2nd conv"].accuracy is None
    assert TABLES["ratio"].reference.accuracy == pytest.approx(0.7670)


def test_an_unknown_table_is_refused():
    assert published_table("ratio") is TABLES["ratio"]
    with pytest.raises(InputError, match="did you mean 'ratio'"):
        published_table("ratios")


# --- the networks


@EVERY_TABLE
def test_each_row_is_another_network_and_the_first_has_no_se(table):
    made = table.architectures()
    assert list(made) == [row.label for row in table.rows]
    assert len({architecture.id for architecture in made.values()}) == len(table.rows)
    assert made[table.reference.label].sites == ()


@EVERY_TABLE
def test_the_last_row_builds_as_it_was_priced(table):
    label, architecture = list(table.architectures().items())[-1]
    network = build(architecture)
    assert sum(p.numel() for p in network.parameters()) == priced(table)[label].params


VARIANTS = {
    "SE": lambda c, r: 2 * c * c // r,
    "slow squeeze": lambda c, r: 3 * c * c // r + 2 * c * c // r**2,
    "slow excite": lambda c, r: 3 * c * c // r + 2 * c * c // r**2,
    "slow both": lambda c, r: 4 * c * c // r + 4 * c * c // r**2,
    "bump": lambda c, r: 2 * c * c // r + c * c // r**2,
}
"""Weights of arXiv 2304.06502's modules for C channels and ratio r."""


@pytest.mark.parametrize(
    ("name", "channels"),
    [("cnn3", [32]), *((f"resnet18-{data}", [64, 128, 256, 512] * 2) for data in ("cifar10", "cifar100", "svhn"))],
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_of_the_variants(name, channels, variant):
    assert se_weights(name)[variant] == sum(VARIANTS[variant](c, 16) for c in channels)


def test_the_modules_of_the_small_cnn_stand_where_the_second_convolution_was():
    made = TABLES["cnn3"].architectures()
    blocks = [a.sites for label, a in made.items() if label in VARIANTS]
    assert [[site for site, _ in sites] for sites in blocks] == [["conv1"]] * 5
    assert {tuple(trace(a.backbone).site(name).shape("standard")) for a in made.values() for name, _ in a.sites} == {
        (32, 32, 32)
    }
    costs = priced(TABLES["cnn3"])
    second_convolution = 32 * 32 * 9 + 32
    assert costs["no SE"].params - second_convolution == costs["no 2nd conv"].params
    assert costs["SE"].params - costs["SE"].se_params == costs["no 2nd conv"].params


RESNET20 = [16, 32, 64] * 3
"""Channels of its blocks; the inputs of the first of each stage have those of the stage before."""


def test_weights_of_the_ablations():
    ratios = se_weights("ratio")
    assert [ratios[f"r = {r}"] for r in (2, 4, 8, 16)] == [sum(2 * c * c // r for c in RESNET20) for r in (2, 4, 8, 16)]
    usual = ratios["r = 16"]
    stages = se_weights("stage")
    assert [stages[f"only stage {n}"] for n in (1, 2, 3)] == [3 * c * c // 8 for c in (16, 32, 64)]
    assert stages["all stages"] == sum(stages[f"only stage {n}"] for n in (1, 2, 3)) == usual
    positions = se_weights("position")
    assert positions["standard"] == positions["POST"] == positions["Identity"] == positions["3x3"] == usual
    assert positions["PRE"] == sum(2 * c * c // 16 for c in [16, 16, 16, 16, 32, 32, 32, 64, 64])
    assert {*se_weights("squeeze").values(), *se_weights("excitation").values()} == {0, usual}


def test_without_squeezing_each_pixel_pays():
    costs = priced(TABLES["squeeze"])
    pixels = {16: 32 * 32, 32: 16 * 16, 64: 8 * 8}
    # Each block's layers at every pixel instead of once, and no addition for each element that is squeezed.
    more = sum((2 * c * c // 16) * (pixels[c] - 1) - c * pixels[c] for c in RESNET20)
    assert costs["NoSqueeze"].flops - costs["average"].flops == more


def test_the_row_that_the_ablations_share_is_one_network():
    shared = {"ratio": "r = 16", "squeeze": "average", "excitation": "sigmoid", "stage": "all stages"}
    standard = TABLES["position"].architectures()["standard"]
    assert all(TABLES[name].architectures()[label] == standard for name, label in shared.items())


# --- the agreement


RATIO = TABLES["ratio"]
OURS = st.fixed_dictionaries({}, optional={row.label: st.integers(0, 6).map(lambda n: n / 10) for row in RATIO.rows})


@given(OURS)
@settings(max_examples=40)
def test_the_correlation_and_its_chance_are_those_of_all_orders(ours):
    found = agreement(RATIO, ours)
    pairs = [(ours[row.label], row.accuracy) for row in RATIO.rows if row.label in ours]
    assert found.rows == len(pairs)
    if len({accuracy for accuracy, _ in pairs}) < 2:
        assert (found.correlation, found.chance) == (None, None)
        return
    first, second = zip(*pairs, strict=True)
    reference = stats.spearmanr(first, second).statistic
    assert found.correlation == pytest.approx(reference)
    orders = [stats.pearsonr(stats.rankdata(first), ranks)[0] for ranks in permutations(stats.rankdata(second))]
    assert found.chance == pytest.approx(sum(c >= reference - 1e-9 for c in orders) / len(orders))


@EVERY_TABLE
def test_the_published_numbers_agree_with_themselves_and_not_with_their_opposites(table):
    published = {row.label: row.accuracy for row in table.rows if row.accuracy is not None}
    same = agreement(table, published)
    assert (same.correlation, same.same_sign, same.differences) == (pytest.approx(1), *[len(published) - 1] * 2)
    ties = math.prod(math.factorial(list(published.values()).count(v)) for v in set(published.values()))
    assert same.chance == pytest.approx(ties / math.factorial(len(published)))
    opposite = agreement(table, {label: 1 - accuracy for label, accuracy in published.items()})
    assert (opposite.correlation, opposite.chance, opposite.same_sign) == (pytest.approx(-1), 1, 0)


def test_signs_are_counted_against_the_first_row_alone():
    ours = {"no SE": 0.5, "r = 2": 0.6, "r = 4": 0.4, "r = 8": 0.5}
    assert (agreement(RATIO, ours).same_sign, agreement(RATIO, ours).differences) == (1, 2)
    del ours["no SE"]
    assert agreement(RATIO, ours).differences == 0


# --- how it looks

WIDTH = 80


@pytest.fixture
def shown(monkeypatch, capsys):
    """What a function prints in a terminal of 80 columns."""
    for name, value in {"TERM": "dumb", "TTY_COMPATIBLE": "1", "COLUMNS": str(WIDTH)}.items():
        monkeypatch.setenv(name, value)

    def show(function, *arguments):
        function(*arguments)
        text = capsys.readouterr().out
        assert all(len(line) <= WIDTH for line in text.splitlines())
        assert "…" not in text
        assert "nan" not in text
        return text

    return show


def cells(text, label):
    """The words of the row with that label."""
    line = next(line for line in text.splitlines() if line.startswith(f"{label} "))
    return line.removeprefix(label).split()


def trials(accuracies):
    """Of lists of percentages by label; None is a failure."""
    flat = [(label, seed, percent) for label, of in accuracies.items() for seed, percent in enumerate(of)]
    return [
        TrialRecord(
            number,
            "FAIL" if percent is None else "COMPLETE",
            architecture_id=label,
            accuracy=None if percent is None else percent / 100,
            flops=40_725_088,
            params=271_738,
            baseline=None if label == "winner" else label,
            parameters={"seed": seed},
        )
        for number, (label, seed, percent) in enumerate(flat)
    ]


def test_a_judgement_in_80_columns(shown):
    evaluation = {
        "winner": [91.0, 91.4, 91.1, 91.3],
        "no SE": [90.0, 90.3, 90.2, None],
        "identity everywhere": [91.0, 91.2, 91.3, 91.3],
    }
    judgement = judge(trials(evaluation))
    text = shown(print_judgement, judgement)
    assert cells(text, "winner") == ["91.20", "±", "0.18", "4", "40.725M", "271.74k"]
    no_se = judgement.comparisons[0]
    below, above = (f"{100 * end:+.2f}" for end in no_se.interval)
    rows = [line.split() for line in text.splitlines() if line.startswith("no SE ")]
    assert rows[0][2:] == ["90.17", "±", "0.15", "3", "40.725M", "271.74k"]
    assert rows[1][2:] == ["+1.00", below, "to", above, f"{no_se.p:.3f}", f"{no_se.adjusted_p:.3f}", "3"]
    assert "Failed: no SE 1." in text
    assert "Seeds left out, as only one side has them: 3 (no SE)." in text
    assert " ".join(text.split()).endswith(judgement.sentence)


def test_a_judgement_of_one_seed_has_neither_spread_nor_test(shown):
    text = shown(print_judgement, judge(trials({"winner": [91.0], "no SE": [90.0]})))
    assert cells(text, "winner") == ["91.00", "1", "40.725M", "271.74k"]
    assert [line.split()[2:] for line in text.splitlines() if line.startswith("no SE ")][1] == ["+1.00", "1"]


def test_a_small_p_is_not_zero(shown):
    steady = {"winner": [91.0, 91.1, 91.2, 91.3], "no SE": [81.0, 81.1, 81.2, 81.31]}
    assert "<0.001" in shown(print_judgement, judge(trials(steady)))


@EVERY_TABLE
def test_a_reproduction_in_80_columns(table, shown):
    noise = (0.3, -0.4, 0.1)
    accuracies = {row.label: [100 * (row.accuracy or 0.5) - 10 + n for n in noise] for row in table.rows}
    # Differences of two digits, each another from seed to seed.
    accuracies[table.rows[1].label] = [percent - 15 - seed for seed, percent in enumerate(noise, start=70)]
    judgement = judge(trials(accuracies), against=table.reference.label)
    text = shown(print_reproduction, table, judgement)
    assert " ".join(table.note.split()) in " ".join(text.split())
    assert "Ours: 3 seeds" in text
    for row in table.rows[1:]:
        words = cells(text, row.label)
        mean = sum(accuracies[row.label]) / 3
        assert words[0] == f"{mean:.2f}"
        assert f"{mean - 100 * table.reference.accuracy + 10:+.2f}" in words
        printed = [part.strip() for part in PRINTED[table.name][1][row.label].split("/") if part]
        assert [float(part) for part in printed if float(part) in [_number(w) for w in words]] == [*map(float, printed)]
        if row.accuracy is not None:
            assert words[-1] == f"{100 * (row.accuracy - table.reference.accuracy):+.2f}"
    found = agreement(table, {label: sum(of) / 300 for label, of in accuracies.items()})
    assert f"rank correlation with the published one is {found.correlation:+.2f}" in " ".join(text.split())


def _number(word):
    try:
        return float(word)
    except ValueError:
        return None


def test_a_reproduction_that_has_only_begun(shown):
    text = shown(print_reproduction, RATIO, judge(trials({"no SE": [76.0]}), against="no SE"))
    assert cells(text, "no SE") == ["76.00", "23.30", "6.55"]
    assert cells(text, "r = 2") == ["22.29", "6.00", "+1.01"]
    assert "1 rows have both figures" in text


def test_neither_torch_nor_scipy_is_loaded_before_it_is_needed():
    code = "import nas.cli.judging, nas.reproduction, sys; sys.exit(bool({'torch', 'scipy', 'ray'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
