"""Behaviour of the stopwatch and the table; networks that sleep stand for slow ones, so that durations are known."""

import json
import time

import pytest
import torch
from se_block import se_block
from torch import nn

from search_space.architecture import SE, Architecture
from search_space.errors import InputError
from search_space.latency import (
    Latency,
    LatencyTable,
    PredictionError,
    measure_latency,
    measure_table,
    prediction_error,
)
from search_space.tracing import trace

SIZE = (3, 8, 8)

SLEEPERS = """
import time
from torch import nn

class Sleeper(nn.Module):
    def __init__(self, channels, milliseconds=20):
        super().__init__()
        self.milliseconds = milliseconds

    def forward(self, x):
        time.sleep(self.milliseconds / 1000)
        return x
"""


class Sleeping(nn.Module):
    """Sleeps as long as each call in turn is told to, the last one's time ever after."""

    def __init__(self, *seconds):
        super().__init__()
        self.seconds = seconds
        self.calls = []

    def forward(self, x):
        self.calls.append((tuple(x.shape), torch.is_inference_mode_enabled()))
        time.sleep(self.seconds[min(len(self.calls), len(self.seconds)) - 1])
        return x


class TwoConvolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.second(self.first(x).relu()).mean((2, 3)))


@pytest.fixture(scope="module")
def kind(tmp_path_factory):
    """The import path of a block that sleeps."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "sleeping_blocks.py").write_text(SLEEPERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield "sleeping_blocks:Sleeper"


@pytest.fixture
def sleeper(kind):
    return lambda milliseconds, position="standard": SE(position, kind, (("milliseconds", milliseconds),))


@pytest.fixture
def traced(registered):
    return trace(registered(TwoConvolutions))


def test_a_network_takes_as_long_as_it_sleeps():
    latency = measure_latency(Sleeping(0.02), SIZE, repeats=9, warm_up=0)
    assert 0.02 <= latency.median < 0.035
    assert latency.repeats == 9
    assert latency.batch == 1
    assert "thread" in latency.device


def test_the_spread_is_that_between_the_quartiles():
    latency = measure_latency(Sleeping(*[0.0, 0.05] * 10), SIZE, repeats=20, warm_up=0)
    assert 0.045 < latency.spread < 0.075


def test_one_repeat_has_no_spread():
    assert measure_latency(Sleeping(0.0), SIZE, repeats=1, warm_up=0).spread == 0


def test_warm_up_runs_but_does_not_count():
    network = Sleeping(0.1, 0.1, 0.1, 0.0)
    latency = measure_latency(network, SIZE, repeats=4, warm_up=3)
    assert len(network.calls) == 7
    assert latency.median < 0.05
    assert latency.spread < 0.05


def test_the_batch_is_what_the_network_sees():
    network = Sleeping(0.0)
    latency = measure_latency(network, (3, 8, 6), batch=5, repeats=2, warm_up=1)
    assert network.calls == [((5, 3, 8, 6), True)] * 3
    assert latency.batch == 5


def test_it_runs_in_evaluation_mode_and_puts_back_each_module_s_own():
    class Network(nn.Sequential):
        def forward(self, x):
            modes.append([m.training for m in self.modules()])
            return super().forward(x)

    modes = []
    network = Network(nn.BatchNorm2d(3), nn.Dropout()).train()
    network[0].eval()  # frozen
    measure_latency(network, SIZE, repeats=1, warm_up=1)
    assert modes == [[False] * 3] * 2
    assert [m.training for m in network.modules()] == [True, False, True]
    assert network[0].num_batches_tracked == 0


def test_the_mode_is_put_back_when_the_network_fails():
    class Failing(nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    network = Failing()
    with pytest.raises(RuntimeError, match="no"):
        measure_latency(network, SIZE)
    assert network.training


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cpu:0", ""])
def test_a_device_that_is_not_there_is_refused_in_a_line(device, traced):
    message = rf"unknown device '{device}': .*one of: cpu[^\n]*"
    with pytest.raises(InputError, match=message) as error:
        measure_latency(nn.Identity(), SIZE, device=device)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=message):
        measure_table(traced, [], device=device)


@pytest.mark.parametrize(
    ("number", "wrong", "message"),
    [
        ("batch", 0, "batch must be at least 1, not 0"),
        ("repeats", 0, "repeats must be at least 1, not 0"),
        ("warm_up", -1, "warm_up must be at least 0, not -1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(number, wrong, message):
    with pytest.raises(InputError, match=message):
        measure_latency(nn.Identity(), SIZE, **{number: wrong})


def test_the_table_has_what_each_block_sleeps_and_predicts_the_sum(traced, sleeper):
    blocks = [("first", sleeper(10)), ("second", sleeper(10)), ("second", sleeper(30)), ("second", sleeper(50))]
    table = measure_table(traced, blocks, rounds=3, warm_up=1)
    slept = {(se.settings[0][1], shape): seconds for (se, shape), seconds in table.added.items()}
    assert set(slept) == {(10, (4, 8, 8)), (10, (8, 8, 8)), (30, (8, 8, 8)), (50, (8, 8, 8))}
    for (milliseconds, _), seconds in slept.items():
        assert milliseconds / 1000 <= seconds < (milliseconds + 8) / 1000
    assert table.base.median < 0.008

    architecture = Architecture(traced.backbone, (("first", sleeper(10)), ("second", sleeper(50))))
    exactly = table.base.median + slept[10, (4, 8, 8)] + slept[50, (8, 8, 8)]
    assert table.predict(architecture) == pytest.approx(exactly, rel=1e-12)
    assert table.predict(Architecture(traced.backbone)) == table.base.median


def test_predictions_hold_against_networks_really_built(traced, sleeper):
    blocks = [(site, sleeper(ms)) for site in ("first", "second") for ms in (20, 60)]
    table = measure_table(traced, blocks, rounds=3, warm_up=1)
    architectures = [
        Architecture(traced.backbone, tuple(placed))
        for placed in (blocks[:1], [blocks[0], blocks[2]], [blocks[0], blocks[3]], [blocks[1], blocks[3]])
    ]
    error = prediction_error(table, traced, architectures, repeats=5, warm_up=1)
    assert all(m >= seconds for m, seconds in zip(error.measured, (0.02, 0.04, 0.08, 0.12), strict=True))
    assert error.mean <= error.largest < 0.25
    assert error.rank_correlation == pytest.approx(1)


def test_blocks_that_differ_only_in_position_share_an_entry(registered, sleeper):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.inner = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            x = self.stem(x)
            return self.fc((x + self.inner(x)).relu().mean((2, 3)))

    traced = trace(registered(Residual))
    (site,) = traced.sites
    table = measure_table(traced, [(site.name, sleeper(5, position)) for position in ("pre", "post")], rounds=1)
    assert len(table.added) == 1
    unmeasured_position = Architecture(traced.backbone, ((site.name, sleeper(5, "standard")),))
    assert table.predict(unmeasured_position) >= 0.005


def test_nothing_is_drawn_from_the_global_generator(traced):
    block = se_block("standard", (2,))
    before = torch.get_rng_state()
    table = measure_table(traced, [("first", block)], rounds=1)
    prediction_error(table, traced, [Architecture(traced.backbone, (("first", block),))], repeats=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_table_is_of_a_batch(traced, sleeper):
    assert measure_table(traced, [("first", sleeper(1))], batch=3, rounds=2).base.batch == 3


def table_of(traced, added=()):
    return LatencyTable(traced.backbone, Latency(0.5, 0.01, 2, "an abacus", 7), dict(added))


def test_a_block_that_is_missing_is_named(traced):
    known = se_block("standard", (2,))
    table = table_of(traced, {(known, (4, 8, 8)): 0.25})
    assert table.predict(Architecture(traced.backbone, (("first", known),))) == 0.75
    with pytest.raises(InputError, match=r"site second: .* on a map of 8x8x8"):
        table.predict(Architecture(traced.backbone, (("first", known), ("second", known))))
    with pytest.raises(InputError, match=r"site first: .*'hidden': \[3\]"):
        table.predict(Architecture(traced.backbone, (("first", se_block("standard", (3,))),)))


def test_another_backbone_is_refused(traced, registered):
    other = registered(TwoConvolutions)
    with pytest.raises(InputError, match=other.name):
        table_of(traced).predict(Architecture(other))


def test_a_block_that_cannot_be_is_refused(traced):
    with pytest.raises(InputError, match="site first"):
        measure_table(traced, [("first", SE("standard", "se", (("no_such_setting", 1),)))])
    with pytest.raises(InputError, match="secnod"):
        measure_table(traced, [("secnod", se_block("standard", (2,)))])


def test_a_table_survives_json(traced):
    blocks = [se_block("standard", (2, 3), "max"), SE("standard", "simam"), SE("standard", "eca", (), True)]
    table = table_of(traced, {(se, (4, 8, 8 + i)): 0.1 * i for i, se in enumerate(blocks)})
    again = LatencyTable.from_dict(json.loads(json.dumps(table.to_dict())))
    assert again == table


@pytest.mark.parametrize("harm", [lambda d: d.pop("base"), lambda d: d.update(added=[{"seconds": 1}])])
def test_data_that_is_no_table_is_refused(traced, harm):
    data = table_of(traced).to_dict()
    harm(data)
    with pytest.raises(InputError, match="not a latency table"):
        LatencyTable.from_dict(data)


def test_errors_are_relative_and_ranks_share_ties():
    error = PredictionError(predicted=(1.1, 2.0, 3.0), measured=(1.0, 2.0, 4.0), drift=0.5)
    assert error.mean == pytest.approx((0.1 + 0 + 0.25) / 3)
    assert error.largest == pytest.approx(0.25)
    assert error.rank_correlation == pytest.approx(1)
    assert PredictionError((3.0, 2.0, 1.0), (1.0, 2.0, 3.0), 0.0).rank_correlation == pytest.approx(-1)
    assert PredictionError((1.0, 1.0, 2.0), (1.0, 2.0, 3.0), 0.0).rank_correlation == pytest.approx(3**0.5 / 2)
    one = PredictionError((1.0,), (1.0,), 0.0)
    assert one.rank_correlation != one.rank_correlation
    corrected = error.without_drift()
    assert corrected.predicted == pytest.approx((1.65, 3.0, 4.5))
    assert corrected.measured == error.measured


def test_an_error_needs_architectures(traced):
    with pytest.raises(InputError, match="architectures"):
        prediction_error(table_of(traced), traced, [])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_is_waited_for(traced, sleeper):
    heavy = nn.Sequential(*(nn.Conv2d(64, 64, 3, padding=1) for _ in range(8)))
    one, eight = (measure_latency(heavy[:n], (64, 128, 128), batch=16, device="cuda", repeats=20) for n in (1, 8))
    assert one.device == torch.cuda.get_device_name()
    assert 3 < eight.median / one.median < 16
    table = measure_table(traced, [("first", se_block("standard", (2,)))], device="cuda", rounds=5)
    assert all(seconds > 0 for seconds in table.added.values())
