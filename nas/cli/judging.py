"""How a final evaluation looks: entries and comparisons, and a reproduction beside what was published."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from statistics import fmean, stdev

from rich.table import Table

from nas.cli.render import console, count, plain_table
from nas.reproduction import Agreement, PublishedTable, Row, agreement
from results.judgement import SIGNIFICANCE, WINNER, Comparison, Entry, Judgement, points

_AS_THEY_ARE = ("loss",)
"""Metrics that are no share of the images, and so not told in percent."""


def print_judgement(judgement: Judgement, metrics: Sequence[str] = ()) -> None:
    """The entries, the comparisons, what was left out, and the verdict.

    Args:
        metrics: further figures of the entries to show, such as "balanced_accuracy".
    """
    out = console()
    out.print(_entry_table(judgement.entries, metrics))
    if judgement.comparisons:
        out.print()
        out.print(_comparison_table(judgement.comparisons))
        out.print("Points, paired by seed; p: paired t-test; adjusted p: by Holm over all rows.")
    for note in _what_is_missing(judgement):
        out.print(note)
    out.print()
    out.print(judgement.sentence)


def print_reproduction(table: PublishedTable, judgement: Judgement) -> None:
    """Each row of a table: ours, its difference to the first row, and what was published.

    The judgement is one against the first row, by the rows' labels.
    """
    out = console()
    means = {entry.label: entry.mean for entry in judgement.entries if entry.mean is not None}
    out.print(_reproduction_table(table, judgement))
    out.print(f"Ours: {_seeds(judgement.entries)}, differences paired by seed. {table.note}")
    for note in _what_is_missing(judgement):
        out.print(note)
    out.print()
    out.print(_order(agreement(table, means)))
    out.print(judgement.sentence)


def _entry_table(entries: Sequence[Entry], metrics: Sequence[str]) -> Table:
    titles = [f"test {name}" if name in _AS_THEY_ARE else f"test {name}, %" for name in metrics]
    made = _table(("entry",), ("test top-1, %", *titles, "seeds", "FLOPs", "params"))
    for entry in entries:
        made.add_row(
            entry.label,
            _accuracy(entry),
            *(_metric(entry, name) for name in metrics),
            str(len(entry.accuracies)),
            count(entry.flops),
            count(entry.params),
        )
    return made


def _comparison_table(comparisons: Sequence[Comparison]) -> Table:
    made = _table((f"{comparisons[0].entry} against",), ("difference", "95% interval", "p", "adjusted p", "seeds"))
    for comparison in comparisons:
        made.add_row(
            comparison.against,
            _points(comparison.difference),
            _interval(comparison),
            _p(comparison.p),
            _p(comparison.adjusted_p),
            str(len(comparison.seeds)),
        )
    return made


def _reproduction_table(table: PublishedTable, judgement: Judgement) -> Table:
    figures = dict.fromkeys(name for row in table.rows for name in row.published)
    decimals = {
        name: max(_decimals(row.published[name]) for row in table.rows if name in row.published) for name in figures
    }
    to_first = f"to\n{table.reference.label}"
    made = _table(
        ("",),
        (
            "ours\ntop-1, %",
            to_first,
            "95%\ninterval",
            *("publ.\n" + name.replace(" ", "\n") for name in figures),
            to_first,
        ),
        title=f"{table.title}\n{table.source}",
    )
    entries = {entry.label: entry for entry in judgement.entries}
    comparisons = {comparison.entry: comparison for comparison in judgement.comparisons}
    for row in table.rows:
        entry, comparison = entries.get(row.label), comparisons.get(row.label)
        made.add_row(
            row.label,
            _accuracy(entry) if entry else "",
            _points(comparison.difference) if comparison else "",
            _interval(comparison) if comparison else "",
            *(f"{row.published[name]:.{decimals[name]}f}" if name in row.published else "" for name in figures),
            _published_difference(row, table.reference),
        )
    return made


def _decimals(number: float) -> int:
    return len(str(number).partition(".")[2])


def _table(left: Sequence[str], right: Sequence[str], *, title: str | None = None) -> Table:
    made = plain_table(title=title)
    for name in left:
        made.add_column(name, overflow="fold")
    for name in right:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def _accuracy(entry: Entry) -> str:
    return _mean_and_sd([100 * accuracy for accuracy in entry.accuracies.values()], 2)


def _metric(entry: Entry, name: str) -> str:
    values = list(entry.metrics.get(name, {}).values())
    return _mean_and_sd(values, 4) if name in _AS_THEY_ARE else _mean_and_sd([100 * value for value in values], 2)


def _mean_and_sd(values: Sequence[float], decimals: int) -> str:
    if not values:
        return ""
    mean = f"{fmean(values):.{decimals}f}"
    return mean if len(values) == 1 else f"{mean} ± {stdev(values):.{decimals}f}"


def _points(difference: float | None) -> str:
    return "" if difference is None else points(difference)


def _interval(comparison: Comparison) -> str:
    if comparison.interval is None:
        return ""
    low, high = comparison.interval
    return f"{points(low)} to {points(high)}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _seeds(entries: Sequence[Entry]) -> str:
    numbers = sorted({len(entry.accuracies) for entry in entries})
    if numbers == [1]:
        return "1 seed"
    return f"{' to '.join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))} seeds"


def _what_is_missing(judgement: Judgement) -> Iterator[str]:
    """Trials that gave nothing, and seeds that comparisons do without, each in one line."""
    for name in ("failures", "unfinished"):
        counts = [f"{entry.label} {number}" for entry in judgement.entries if (number := getattr(entry, name))]
        if counts:
            yield f"{'Failed' if name == 'failures' else 'Not finished'}: {', '.join(counts)}."
    incomplete = sorted((c for c in judgement.comparisons if c.left_out), key=attrgetter("left_out"))
    groups = [
        f"{', '.join(map(str, seeds))} ({', '.join(c.against if c.entry == WINNER else c.entry for c in found)})"
        for seeds, found in groupby(incomplete, key=attrgetter("left_out"))
    ]
    if groups:
        yield f"Seeds left out, as only one side has them: {'; '.join(groups)}."


def _published_difference(row: Row, reference: Row) -> str:
    if row is reference or row.accuracy is None or reference.accuracy is None:
        return ""
    return points(row.accuracy - reference.accuracy)


def _order(found: Agreement) -> str:
    if found.correlation is None or found.chance is None:
        return f"Order: {found.rows} rows have both figures, and no order to compare."
    return (
        f"Order: Spearman's rank correlation with the published one is {found.correlation:+.2f}, over {found.rows} "
        f"rows. Of all orders of so few rows {found.chance:.1%} agree at least as well, so that "
        f"{'is hardly' if found.chance <= SIGNIFICANCE else 'may well be'} chance. "
        f"Of {found.differences} differences {found.same_sign} have the published sign."
    )
