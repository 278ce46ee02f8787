"""The report of a study: one HTML file that needs nothing beside it, neither files nor a network."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from math import isfinite
from pathlib import Path
from typing import Any, TypeGuard

import altair as alt
from altair.utils.schemapi import debug_mode
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from results.analysis import Analysis, analyze
from results.charts.axes import planes, title
from results.charts.curves import curves
from results.charts.effects import effects
from results.charts.front import front
from results.charts.hypervolume import hypervolume, hypervolume_over_time
from results.charts.importance import importance
from results.charts.look import PALETTE, for_page
from results.charts.rungs import rungs
from results.charts.saving import VEGA_LITE
from results.class_names import FEW_CLASSES, listed, one_line
from results.judgement import Comparison, Judgement, points
from results.records import FIGURES, TrialRecord
from results.report.drawing import start_drawing
from results.report.evaluations import Evaluation
from results.report.recommendation import Recommendation, recommend
from results.report.trial_details import details
from results.study import Study
from results.study_names import study_command
from search_space.summary import summarise
from search_space.yaml_text import to_yaml

_HERE = Path(__file__).parent
_MOST_ROWS = 40


@dataclass(frozen=True)
class Report:
    """What a page tells of a study.

    Attributes:
        evaluations: the final evaluations of what it recommends.
        storage: what follows a command that reads the study DB, such as " --storage URL"; mostly nothing.
        made: when the study was read, in UTC.
    """

    study: Study
    evaluations: Sequence[Evaluation]
    storage: str
    made: datetime

    @cached_property
    def analysis(self) -> Analysis:
        """Which choices matter, and how the search went."""
        return analyze(self.study)

    @cached_property
    def recommendation(self) -> Recommendation | None:
        """None as long as nothing is COMPLETE, and for a final evaluation, as the test set is not to choose."""
        return None if self.study.scored_by == "test" else recommend(self.study)

    @property
    def exportable(self) -> bool:
        """Whether ``senas export`` takes what it recommends: the architecture is known, and senas searched for it."""
        found = self.recommendation
        return found is not None and found.best.architecture is not None and self.study.config is not None

    @property
    def compared(self) -> str:
        """The figure whose difference to the recommended trial is listed: the first objective, if it is no cost."""
        first = self.study.objectives[0].name
        return first if first not in ("flops", "params") else "accuracy"

    @cached_property
    def in_shares(self) -> bool:
        """Whether accuracies are compared and from 0 to 1, so that a difference of 0.01 is a point."""
        return self.compared == "accuracy" and all(
            0 <= record.accuracy <= 1 for record in self.study.records if _known(record.accuracy)
        )


def render(report: Report) -> str:
    """The text of the page. It holds nothing of the study that a browser could take for markup or a program."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"accuracy": _accuracy, "count": _count, "points": points, "percent": _percent}
    study, rows = report.study, _rows(report)
    architecture = report.recommendation and report.recommendation.best.architecture
    drawing = start_drawing(architecture, study.sites) if architecture else None
    with ThreadPoolExecutor(1) as aside:  # that engine needs a second, and Python's lock at no time of it
        vega = aside.submit(_vega)
        with debug_mode(False):  # to check what we write against Vega-Lite's schema takes longer than to write it
            charts = {name: for_page(chart) for name, chart in _charts(report) if chart is not None}
    scripts = [vega.result(), (_HERE / "page.js").read_text(encoding="utf-8")]
    return environment.get_template("page.html").render(
        report=report,
        study=study,
        study_command=study_command,
        state=Counter(record.state for record in study.records),
        recommendation=report.recommendation,
        drawing=drawing and drawing(),
        rows=rows,
        costs=[cost for cost in _COSTS if any(row.costs[cost][0] is not None for row in rows)],
        more_rows=max(0, len(study.front()) - _MOST_ROWS),
        objectives=[objective.name for objective in study.objectives if objective.name not in FIGURES],
        rule=_rule(study),
        charts=charts,
        planes=[(f"front-{number}", title(study, across)) for number, (across, _) in enumerate(planes(study))],
        importances=[name for name in charts if name.startswith("importance-")],
        failures=_failures(study.records),
        judged=[_judged(each) for each in report.evaluations],
        facts=_facts(study),
        seeds=_seeds(study),
        runs=[_mapping(run) for run in study.user_attrs.get("runs", [])],
        config=None if study.config is None else to_yaml(study.config),
        summarise=summarise,
        data=_as_script(
            {"charts": charts, "classes": _few_classes(study), "trials": details(report.study, _images(report))}
        ),
        stylesheet=Markup(_palette() + (_HERE / "page.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
    )


_COSTS = ("FLOPs", "parameters")


def _charts(report: Report) -> Iterator[tuple[str, alt.TopLevelMixin | None]]:
    study, analysis = report.study, report.analysis
    for number, plane in enumerate(planes(study)):
        yield f"front-{number}", front(study, plane, with_stopped=True)
    yield "curves", curves(study)
    for number, objective in enumerate(dict.fromkeys(found.objective for found in analysis.importances)):
        yield f"importance-{number}", importance(analysis.importances, objective)
    yield "effects", effects(analysis.effects)
    yield "rungs", rungs(analysis.rungs)
    yield "hypervolume", hypervolume(analysis.hypervolume)
    yield "hypervolume-time", hypervolume_over_time(analysis.hypervolume)


# The answer


def _rule(study: Study) -> str:
    """What makes a trial the best, by :mod:`results.best`."""
    first, *others = study.objectives
    name = first.name if first.name == "accuracy" else title(study, first.name)
    most = f"{'highest' if first.maximize else 'lowest'} {name}"
    further = [title(study, other.name) for other in others if other.name != "flops"]
    ties = f"those with the best {', then '.join(further)}, then the cheapest" if further else "the cheapest"
    return f"the complete trial of {most}, of equal ones {ties}"


def _images(report: Report) -> int | None:
    return report.recommendation.images if report.recommendation else None


@dataclass(frozen=True)
class _Row:
    """A trial beside the recommended one: how much better, and what it costs, with the share that is more."""

    trial: TrialRecord
    difference: float | None
    costs: Mapping[str, tuple[float | None, float | None]]


def _rows(report: Report) -> list[_Row]:
    """The front, the cheapest first, and the baselines that are not on it."""
    members = report.study.front()[:_MOST_ROWS]
    shown = {member.number for member in members}
    others = [trial for trial in report.study.baselines() if trial.number not in shown]
    return [_row(trial, report) for trial in (*members, *others)]


def _row(trial: TrialRecord, report: Report) -> _Row:
    best = report.recommendation.best if report.recommendation else None
    reached, to_reach = trial.figure(report.compared), best.figure(report.compared) if best else None
    difference = reached - to_reach if _known(reached) and _known(to_reach) else None
    costs = {
        "FLOPs": (trial.flops, _more(trial.flops, best.flops if best else None)),
        "parameters": (trial.params, _more(trial.params, best.params if best else None)),
    }
    return _Row(trial, difference, costs)


def _more(cost: float | None, than: float | None) -> float | None:
    return cost / than - 1 if cost is not None and than else None


def _judged(evaluation: Evaluation) -> Mapping[str, Any]:
    judgement = evaluation.judgement
    return {
        "study": evaluation.study,
        "sentence": judgement.sentence if judgement else f"It cannot be judged: {evaluation.obstacle}.",
        "entries": judgement.entries if judgement else (),
        "comparisons": _by_entry(judgement) if judgement else {},
    }


def _by_entry(judgement: Judgement) -> dict[str, Comparison]:
    return {comparison.against: comparison for comparison in judgement.comparisons}


# What it rests on


def _failures(records: Sequence[TrialRecord]) -> list[tuple[str, list[int]]]:
    """The reasons, the most frequent first, each with its trials."""
    by_reason: dict[str, list[int]] = {}
    for record in records:
        if record.state == "FAIL":
            by_reason.setdefault(record.fail_reason or "no reason recorded", []).append(record.number)
    return sorted(by_reason.items(), key=lambda found: -len(found[1]))


def _facts(study: Study) -> dict[str, str]:
    """What the search was, in a few words each; what the study does not say is left out."""
    config = _mapping(study.config)
    search, data = _mapping(config.get("search")), _mapping(config.get("data"))
    fingerprints = _mapping(study.user_attrs.get("fingerprints"))
    backbones = [config.get("backbone"), *(config.get("backbones") or [])]
    known = {
        "backbone": ", ".join(str(name) for backbone in backbones if (name := _mapping(backbone).get("name"))),
        "data": data.get("name"),
        "classes": study.class_names and f"{len(study.class_names)}: {listed(study.class_names)}",
        "objectives": ", ".join(title(study, objective.name) for objective in study.objectives),
        "epochs": study.epochs,
        **({"seeds": ", ".join(map(str, _seeds(study)))} if study.scored_by == "test" else _sampling(search)),
        "images": ", ".join(f"{split} {digits}" for split, digits in fingerprints.items()),
    }
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def _few_classes(study: Study) -> list[str]:
    """The names by which accuracies are told class by class; none, where the classes are too many for that."""
    names = study.class_names or ()
    return [one_line(name) for name in names] if len(names) <= FEW_CLASSES else []


def _sampling(search: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: search.get(name) for name in ("sampler", "seed")}


def _seeds(study: Study) -> list[int]:
    """Those that the trials of a final evaluation were trained with. No sampler ran in it."""
    return sorted({seed for record in study.records if isinstance(seed := record.parameters.get("seed"), int)})


def _mapping(value: Any) -> Mapping[str, Any]:
    """What senas would have recorded; nothing, where another program recorded something else by that name."""
    return value if isinstance(value, Mapping) else {}


# What a page is made of


@cache
def _vega() -> str:
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed", vl_version=VEGA_LITE))


def _as_script(data: Any) -> Markup:
    """JSON that no HTML parser takes for the end of the script that it is in."""
    text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _finite(value: Any) -> Any:
    """The same, with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy: these scripts alone run, and nothing is loaded from anywhere."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"


def _palette() -> str:
    def variables(shade: int) -> str:
        return "".join(f"--{name}:{shades[shade]};" for name, shades in PALETTE.items())

    return f":root{{{variables(0)}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{variables(1)}}}}}\n"


def _known(value: float | None) -> TypeGuard[float]:
    """Studies of other programs have values that are no numbers, or infinite."""
    return value is not None and isfinite(value)


def _accuracy(value: float | None) -> str:
    return f"{value:.4f}" if _known(value) else ""


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.2f}%"
