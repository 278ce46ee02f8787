"""Trials as the model of effects sees them: which stages have blocks, and of which levels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.analysis.comparable import Outcome
from results.analysis.stages import Stages, stages
from results.records import TrialRecord
from search_space.architecture import SE, Architecture, Backbone
from search_space.site import Sites

FACTORS = ("position", "variant", "ratio", "squeeze", "excitation")
"""What a block has a level of, as far as it is known and its variant has a use for it."""


@dataclass(frozen=True)
class Block:
    """One SE block: its stage, and its level of each factor."""

    stage: str
    levels: Mapping[str, str]


@dataclass(frozen=True)
class Network:
    """One trial: its backbone, its blocks and the accuracy it is compared by."""

    backbone: str
    blocks: tuple[Block, ...]
    accuracy: float


def networks(outcomes: Sequence[Outcome], notes: list[str], sites: Sites | None = None) -> list[Network]:
    """The trials that hold an architecture and that somebody proposed by parameters."""
    known = [
        (outcome, architecture)
        for outcome in outcomes
        if outcome.trial.parameters and (architecture := outcome.trial.architecture) is not None
    ]
    places = {_own_name(name).rpartition(".")[0] for outcome, _ in known for name in outcome.trial.parameters}
    by_backbone = stages([architecture for _, architecture in known], places, notes, sites)
    labels = _labels(list(by_backbone))
    return [
        Network(
            labels[architecture.backbone],
            _blocks(outcome.trial, architecture, by_backbone[architecture.backbone]),
            outcome.accuracy,
        )
        for outcome, architecture in known
    ]


def _own_name(parameter: str) -> str:
    """Without the backbone's label, which parameters have in a search of several."""
    return parameter.rpartition("/")[2]


def _labels(backbones: Sequence[Backbone]) -> dict[Backbone, str]:
    """Their names, with their options where names are the same."""
    names = [backbone.name for backbone in backbones]
    return {
        backbone: backbone.name
        if names.count(backbone.name) == 1
        else f"{backbone.name} {', '.join(f'{key}={value}' for key, value in backbone.options)}"
        for backbone in backbones
    }


def _blocks(trial: TrialRecord, architecture: Architecture, stage_of: Stages) -> tuple[Block, ...]:
    parameters = {_own_name(name): value for name, value in trial.parameters.items()}
    blocks = []
    for site, se in architecture.sites:
        stage = stage_of.get(site, site)
        ratios = (parameters.get(name) for name in (f"{site}.ratio", f"{stage}.ratio", "ratio"))
        blocks.append(Block(stage, _levels(se, next((ratio for ratio in ratios if ratio is not None), None))))
    return tuple(blocks)


def _levels(se: SE, ratio: object) -> dict[str, str]:
    """By factor. Which ratio was meant does not show in an architecture, whose widths several ratios can make."""
    settings = dict(se.settings)
    said = {
        "position": se.position,
        "variant": se.variant,
        "ratio": ratio,
        "squeeze": settings.get("squeeze"),
        "excitation": settings.get("excitation"),
    }
    return {factor: str(level) for factor, level in said.items() if level is not None}
