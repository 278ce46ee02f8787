"""The gates of a network's SE blocks: each block channel by channel and class by class, and all blocks side by side."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING

import altair as alt
import numpy as np

from results.charts.look import LIGHT, WIDTH, styled
from results.class_names import distinct

if TYPE_CHECKING:
    from results.excitation import BlockExcitation

ALL = "all classes"

_MOST_CHANNELS = 50
"""As many as arXiv 1709.01507 draws of each block, spread evenly."""
_HEIGHT, _ROW = 200, 26
_LONGEST_NAME, _MOST_COLUMNS, _SYMBOL, _LETTER = 30, 6, 30, 7
"""Of the legend: letters of a name, columns, and the widths of a symbol and a letter in pixels."""
_HUES = ("blue", "orange", "green", "pink", "yellow")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])


def block_chart(block: "BlockExcitation", classes: Mapping[int, str]) -> alt.TopLevelMixin:
    """One block: above, the mean gate of every channel in each class, and in all with a band of one standard
    deviation; below, the standard deviation within each class.

    Args:
        block: what :func:`results.excitation.excitation` found.
        classes: those to draw, and their names; those without images are left out.
    """
    channels = np.unique(np.linspace(0, len(block.overall_mean) - 1, _MOST_CHANNELS).round().astype(int)).tolist()
    present = [label for label in classes if block.images[label]]
    names = distinct([classes[label] for label in present], _LONGEST_NAME, taken=[ALL])
    drawn = dict(zip(present, names, strict=True))
    overall = [
        {
            "channel": channel,
            "class": ALL,
            "mean": block.overall_mean[channel],
            "low": block.overall_mean[channel] - block.overall_sd[channel],
            "high": block.overall_mean[channel] + block.overall_sd[channel],
            "sd": block.overall_sd[channel],
        }
        for channel in channels
    ]
    by_class = [
        {
            "channel": channel,
            "class": name,
            "mean": block.mean[label, channel],
            "sd": _or_none(block.sd[label, channel]),
        }
        for label, name in drawn.items()
        for channel in channels
    ]
    color, dash = _looks(list(drawn.values()))
    across = alt.X("channel:Q", title="channel").scale(nice=False).axis(tickMinStep=1, format="d", grid=False)
    whole = alt.Chart(alt.InlineData(values=overall)).encode(x=across)
    parts = alt.Chart(alt.InlineData(values=by_class)).encode(x=across, color=color, strokeDash=dash)
    both = alt.Chart(alt.InlineData(values=[*overall, *by_class])).encode(x=across, color=color, strokeDash=dash)
    gate = alt.Y("mean:Q", title="gate").scale(zero=False, padding=6)
    means = alt.layer(
        whole.mark_area(color=LIGHT["faint"], opacity=0.3).encode(y=alt.Y("low:Q").scale(zero=False), y2="high:Q"),
        parts.mark_line(strokeWidth=1.6).encode(y=gate),
        whole.mark_line(strokeWidth=2.8).encode(y=gate, color=color, strokeDash=dash),
    )
    spread = both.mark_line(strokeWidth=1.6).encode(y=alt.Y("sd:Q", title="standard deviation").scale(zero=True))
    scores = block.to_json()
    title = alt.Title(
        f"{block.site}: {block.variant} SE, position {block.position}",
        subtitle=f"specificity {scores['specificity']:.2f}, saturation {scores['saturation']:.1%}, "
        f"{len(channels)} of {scores['channels']} channels, {scores['images']:,} images",
        subtitleColor=LIGHT["muted"],
    )
    return styled(
        alt.vconcat(
            means.properties(width=WIDTH, height=_HEIGHT, title=title),
            spread.properties(width=WIDTH, height=_HEIGHT // 2),
        )
    )


def overview(blocks: "Sequence[BlockExcitation]") -> alt.TopLevelMixin:
    """All blocks in the order of the network: mean gate with its spread, class specificity, saturation."""
    rows = [f"{block.site} ({block.position})" for block in blocks]
    values = [
        {
            "block": row,
            "low": scores["mean"] - scores["sd"],
            "high": scores["mean"] + scores["sd"],
            **{key: scores[key] for key in ("mean", "specificity", "saturation")},
        }
        for row, scores in zip(rows, (block.to_json() for block in blocks), strict=True)
    ]
    base = alt.Chart(alt.InlineData(values=values)).properties(width=WIDTH // 3, height=alt.Step(_ROW))
    named = alt.Y("block:N", title=None, sort=rows).axis(ticks=False)
    unnamed = alt.Y("block:N", title=None, sort=rows).axis(labels=False, ticks=False)
    gate = alt.X("low:Q", title="gate: mean and sd over images").scale(zero=False, padding=8)
    share = alt.Scale(domain=[0, 1])
    panels = [
        base.mark_rule(strokeWidth=2.5, color=LIGHT["blue"]).encode(y=named, x=gate, x2="high:Q")
        + base.mark_point(filled=True, size=70, opacity=1, color=LIGHT["blue"]).encode(y=named, x="mean:Q"),
        base.mark_bar(color=LIGHT["green"], height=12).encode(
            y=unnamed, x=alt.X("specificity:Q", title="class specificity", scale=share)
        ),
        base.mark_bar(color=LIGHT["orange"], height=12).encode(
            y=unnamed, x=alt.X("saturation:Q", title="saturated gates", scale=share).axis(format="%")
        ),
    ]
    return styled(alt.hconcat(*panels))


def _looks(names: Sequence[str]) -> tuple[alt.Color, alt.StrokeDash]:
    """A hue and a dash for each class, every pair of them another; all classes together are black."""
    domain = [ALL, *names]
    hues = [LIGHT["ink"], *(LIGHT[_HUES[i % len(_HUES)]] for i in range(len(names)))]
    dashes = [[1, 0], *(_DASHES[i // len(_HUES) % len(_DASHES)] for i in range(len(names)))]
    widest = max(map(len, domain)) * _LETTER + _SYMBOL
    columns = max(1, min(_MOST_COLUMNS, WIDTH // widest))
    return (
        alt.Color("class:N").scale(domain=domain, range=hues).legend(columns=columns),
        alt.StrokeDash("class:N").scale(domain=domain, range=dashes).legend(columns=columns),
    )


def _or_none(value: float) -> float | None:
    return None if isnan(value) else value
