"""Which parameters matter: PED-ANOVA and fANOVA, as Optuna has them.

Optuna is given a study of its own in memory, so it never touches the study DB. It holds the trials that had a choice,
each with one objective as a loss. Parameters have the distributions that the study DB holds; in a study that is made of
records alone, those of the values seen.
"""

import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias

from results.analysis.comparable import Outcome
from results.analysis.findings import Importance
from results.records import TrialRecord
from results.study import Study
from results.tables import Objective

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Sample = Sequence[tuple[TrialRecord, float]]
"""Trials, and the loss of each in one objective."""
Distributions: TypeAlias = "Mapping[str, BaseDistribution]"
"""What each parameter is drawn from, by its name; choices are texts."""

_FEWEST_TRIALS = 20
# Of a parameter that does nothing, PED-ANOVA makes about as much as one over the number of the best trials. With
# Optuna's tenth, a choice worth 30 points was not the first of 150 trials; with a quarter it was.
_TOP_SHARE = 0.25
_FEWEST_AT_THE_TOP = 10
# A forest's time grows with trees, trials and parameters; these take a second or two whatever the study.
_TREES = 32
_MOST_TRIALS_OF_THE_FOREST = 500
_USUALLY_ASKED = 0.9


def importances(study: Study, outcomes: Sequence[Outcome], seed: int, notes: list[str]) -> tuple[Importance, ...]:
    """The importance of each parameter for each objective, the most important of an objective first.

    PED-ANOVA says how differently the parameter is distributed among the best quarter of the trials, or the best ten
    where a quarter are fewer, than among all. fANOVA says which share of the variance is the parameter's own; it covers
    only parameters that nine of ten trials have, on the trials that have them all, at most 500 drawn at random.

    Args:
        study: whose objectives are explained.
        outcomes: the accuracies, of trials that FLOPs and parameters are then compared over too. Other objectives are
            compared by the final values of the COMPLETE trials.
        seed: of the forest and of the draw.
        notes: takes a sentence for each objective of which nothing can be said.
    """
    found: list[Importance] = []
    for objective in study.objectives:
        sample = [(trial, loss) for trial, loss in _losses(study, objective, outcomes) if trial.parameters]
        if len(sample) < _FEWEST_TRIALS:
            notes.append(
                f"There are no importances for {objective.name}: {len(sample)} trials with parameters can be "
                f"compared, and at least {_FEWEST_TRIALS} are needed."
            )
        elif len({loss for _, loss in sample}) == 1:
            notes.append(f"There are no importances for {objective.name}: it is the same in all trials.")
        else:
            found += _of_objective(study, objective.name, sample, seed)
    return tuple(found)


def _losses(study: Study, objective: Objective, outcomes: Sequence[Outcome]) -> Iterator[tuple[TrialRecord, float]]:
    match objective.name:
        case "accuracy":
            values = [(outcome.trial, outcome.accuracy) for outcome in outcomes]
        case "flops" | "params" as name:
            costs = [(outcome.trial, getattr(outcome.trial, name)) for outcome in outcomes]
            values = [(trial, cost) for trial, cost in costs if cost is not None]
        case name:
            values = [(trial, trial.objectives[name]) for trial in study.records if name in trial.objectives]
    yield from ((trial, objective.loss(value)) for trial, value in values if isfinite(value))


def _of_objective(study: Study, name: str, sample: Sample, seed: int) -> Iterator[Importance]:
    with _quiet_optuna():
        distributions = _distributions(study, sample)
        by_ped_anova = _ped_anova(sample, distributions)
        by_fanova = _fanova(sample, distributions, seed)
    for parameter, importance in sorted(by_ped_anova.items(), key=lambda entry: (-entry[1], entry[0])):
        yield Importance(name, parameter, importance, by_fanova.get(parameter))


def _ped_anova(sample: Sample, distributions: Distributions) -> Mapping[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    top = max(_TOP_SHARE, _FEWEST_AT_THE_TOP / len(sample))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=top)
    return get_param_importances(_in_memory(sample, distributions), evaluator=evaluator)


def _fanova(sample: Sample, distributions: Distributions, seed: int) -> Mapping[str, float]:
    """By parameter, of those that are usually asked; nothing where those do not vary."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    parameters = [
        name
        for name in _names(sample)
        if sum(name in trial.parameters for trial, _ in sample) >= _USUALLY_ASKED * len(sample)
    ]
    having_all = [(trial, loss) for trial, loss in sample if trial.parameters.keys() >= set(parameters)]
    if len(having_all) < _FEWEST_TRIALS or len({loss for _, loss in having_all}) == 1:
        return {}
    drawn = random.Random(seed).sample(having_all, min(len(having_all), _MOST_TRIALS_OF_THE_FOREST))
    forest = FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
    found = get_param_importances(_in_memory(drawn, distributions), evaluator=forest, params=parameters)
    return {name: float(importance) for name, importance in found.items()}


def _in_memory(sample: Sample, distributions: Distributions) -> "optuna.Study":
    import optuna

    study = optuna.create_study(direction="minimize")
    study.add_trials(
        optuna.trial.create_trial(
            params={name: _value(proposed, distributions[name]) for name, proposed in trial.parameters.items()},
            distributions={name: distributions[name] for name in trial.parameters},
            value=loss,
        )
        for trial, loss in sample
    )
    return study


def _value(proposed: Any, distribution: "BaseDistribution") -> Any:
    from optuna.distributions import CategoricalDistribution

    return repr(proposed) if isinstance(distribution, CategoricalDistribution) else proposed


def _distributions(study: Study, sample: Sample) -> Distributions:
    recorded = study.distributions
    return {
        name: _recorded(recorded[name]) if name in recorded else _of_values(name, sample) for name in _names(sample)
    }


def _recorded(texts: Sequence[str]) -> "BaseDistribution":
    """The one that was recorded; of several, which Optuna allows only of ranges, the range that holds them all."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, json_to_distribution

    first, *others = [json_to_distribution(text) for text in texts]
    if isinstance(first, CategoricalDistribution):
        return _of_choices(first.choices)
    if not others:
        return first
    ranges = [each for each in (first, *others) if isinstance(each, (IntDistribution, FloatDistribution))]
    low, high, log = min(r.low for r in ranges), max(r.high for r in ranges), ranges[0].log
    if isinstance(first, IntDistribution):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _of_values(name: str, sample: Sample) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    values: list[Any] = [trial.parameters[name] for trial, _ in sample if name in trial.parameters]
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return IntDistribution(min(values), max(values))
    if float in kinds and kinds <= {int, float}:
        return FloatDistribution(min(values), max(values))
    return _of_choices(values)


def _of_choices(values: Iterable[Any]) -> "BaseDistribution":
    """By their texts: a study may choose among lists, which no set holds, and among 1 and True, which are equal."""
    from optuna.distributions import CategoricalDistribution

    return CategoricalDistribution(list(dict.fromkeys(map(repr, values))))


def _names(sample: Sample) -> list[str]:
    return sorted({name for trial, _ in sample for name in trial.parameters})


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Without Optuna's word on every study it makes, and its warnings of values that few have and of odd choices."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
