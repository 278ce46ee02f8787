"""A whole search, with real Ray, of what spaces can be made of: several backbones, modules of one's own, constraints,
blocks that start as identities, weights to begin with."""

import contextlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from senas_command import Senas

import results
from nas.config import load_config
from nas.plan import plan
from search_space.backbones import instantiate
from search_space.building import build
from search_space.costs import cost
from search_space.tracing import trace

OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_channels, num_classes, width=4):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.act = nn.ReLU()
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.act(self.stem(x))
        x = self.act(self.norm2(self.conv2(self.act(self.norm1(self.conv1(x))))) + x)
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, channels, ratio):
        super().__init__()
        self.fc = nn.Linear(channels, channels // ratio)
        self.back = nn.Linear(channels // ratio, channels)

    def forward(self, x):
        gate = self.back(torch.relu(self.fc(x.mean((2, 3)))))
        return x * torch.sigmoid(gate)[:, :, None, None]
"""

CONFIG = """
backbones:
  - {name: resnet8, options: {width: 4}, weights: begin.safetensors}
  - {name: "mine:Net"}
data: {name: digits, limit: 300}
space:
  variant: [standard, eca, "mine:Attention"]
  position: {choices: [standard, post], per: stage}
  ratio: {choices: [1, 2], per: layer, at: {layer3: [4]}}
  from_identity: true
  constraints: {params_overhead: {max: 0.06}}
search: {trials: 24, epochs: 2, sampler: random, asha: null}
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    command = Senas(tmp_path_factory.mktemp("spaces"))
    (command.folder / "mine.py").write_text(OWN)
    (command.folder / "wide.yaml").write_text(CONFIG)
    with contextlib.chdir(command.folder):
        planned = plan(load_config(command.folder / "wide.yaml"))
    resnet = planned.spaces["resnet8"].traced.backbone
    save_file(instantiate(resnet).state_dict(), command.folder / "begin.safetensors")
    command.planned = planned
    command.ended = command.run("search", "wide.yaml")
    return command


@pytest.fixture
def trials(searched):
    return results.open_study(searched.storage, "wide").trials()


@pytest.mark.slow
def test_every_backbone_and_variant_is_tried_and_nothing_fails(searched, trials):
    assert {trial.state for trial in trials} == {"COMPLETE"}
    names = {trial.architecture.backbone.name for trial in trials if not trial.is_baseline}
    assert names == {"resnet8", "mine:Net"}
    kinds = {se.kind for trial in trials if not trial.is_baseline for _, se in trial.architecture.sites}
    assert kinds == {"se", "eca", "mine:Attention"}
    assert {trial.parameters["backbone"] for trial in trials if trial.parameters} <= {"resnet8", "mine:Net"}


@pytest.mark.slow
def test_nothing_is_trained_that_breaks_the_constraints_but_baselines(searched, trials):
    for trial in trials:
        found = cost(trace(trial.architecture.backbone), trial.architecture)
        assert (trial.flops, trial.params) == (found.flops, found.params)
        if not trial.is_baseline:
            assert found.se_params <= 0.06 * (found.params - found.se_params)
            assert trial.architecture in searched.planned.space


@pytest.mark.slow
def test_blocks_start_as_identities_and_move_on(trials):
    trained = next(t for t in trials if t.state == "COMPLETE" and t.architecture.sites and not t.is_baseline)
    assert all(se.from_identity for _, se in trained.architecture.sites)
    fresh = build(trained.architecture).eval()
    bare = build(replace(trained.architecture, sites=())).eval()
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(fresh(x), bare(x))


@pytest.mark.slow
def test_a_trial_with_a_block_of_ones_own_is_exported_and_loaded(searched, trials, monkeypatch):
    monkeypatch.syspath_prepend(searched.folder)
    mine = [trial for trial in trials if "mine:Attention" in str(trial.architecture)]
    searched.run("export", "wide", "--trial", str(mine[0].number), "-o", "out")
    network = results.load(searched.folder / "out", trust=True)
    size = mine[0].architecture.backbone.input_size
    assert network(torch.randn(2, *size)).shape == (2, 10)


@pytest.mark.slow
def test_the_space_is_told_backbone_by_backbone(searched):
    said = json.loads(searched.run("space", "wide.yaml", "--json", "--sample", "3").stdout)
    assert said["backbones"].keys() == {"resnet8", "mine:Net"}
    assert said["architectures"] == searched.planned.space.size
    assert said["sample"]["backbone"]["name"] in {"resnet8", "mine:Net"}
    drawn = searched.run("space", "wide.yaml", "--sample", "3").stdout
    assert "resnet8 (width=4) on 1x8x8 images" in drawn
    assert "mine:Net on 1x8x8 images" in drawn
