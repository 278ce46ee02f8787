"""An architecture site by site as one SVG document: which SE block is where, at a glance.

The network runs from top to bottom, a row per site. Each row shows the site's block from left to right, so that the
SE blocks of one position stand in one column. The document is complete in itself: no script, font or image is loaded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, tostring

from search_space.architecture import POSITIONS, Architecture, Position
from search_space.costs import Cost, cost
from search_space.drawing import Block, Row, rows
from search_space.palette import GROUND, HUES, Shades
from search_space.site import Site

if TYPE_CHECKING:
    from search_space.tracing import TracedBackbone


def draw(traced: "TracedBackbone", architecture: Architecture) -> str:
    """The text of an SVG file that shows an architecture; equal architectures have equal texts.

    Raises:
        InputError: the architecture does not fit the backbone.
    """
    table = _Table(tuple(_runs(traced, rows(traced, architecture))), cost(traced, architecture))
    width = max(table.width, _widest(_headline(table, architecture)), _LEGEND_WIDTH, _FOOTER_WIDTH) + 2 * _MARGIN
    picture = Element("g")
    y = _draw_headline(picture, table, architecture)
    y = _draw_legend(picture, table, y)
    y = _draw_stages(picture, table, architecture, width, y)
    height = _draw_footer(picture, table.cost, y) + _MARGIN
    root = _document(table, architecture, width, height)
    root.extend(picture)
    return tostring(root, encoding="unicode") + "\n"


# What is drawn: runs of equal sites, as a table of texts

_LONG_RUN = 3
"""So many equal neighbours are drawn as one row."""


@dataclass(frozen=True)
class _Font:
    """A CSS class, its size in pixels, and the width of a character in sizes, rather too wide than too narrow."""

    name: str
    size: int
    em: float = 0.62

    def width(self, text: str) -> float:
        return len(text) * self.size * self.em


_HEADLINE = _Font("headline", 20, 0.7)
_STRONG = _Font("strong", 13, 0.7)
_PLAIN = _Font("plain", 12)
_SMALL = _Font("small", 11)
_NAME = _Font("name", 13)
_CODE = _Font("code", 12)


@dataclass(frozen=True)
class _Line:
    """A line of text; colours are names of the palette."""

    text: str
    font: _Font = _PLAIN
    colour: str = "ink"

    @property
    def width(self) -> float:
        return self.font.width(self.text)


_Cell = tuple[_Line, ...]


@dataclass(frozen=True)
class _Run:
    """Sites that follow one another in a stage and differ in nothing but their names; mostly one alone."""

    sites: tuple[Site, ...]
    block: Block | None
    has_activation: bool

    @property
    def has_addition(self) -> bool:
        """Whether the site is a residual block; elsewhere there is one position."""
        return "identity" in self.sites[0].shapes

    @property
    def name(self) -> str:
        first, last = self.sites[0].name, self.sites[-1].name
        return first if len(self.sites) == 1 else f"{first} to {last} ({len(self.sites)} sites)"

    @property
    def flops(self) -> int:
        return len(self.sites) * self.block.flops if self.block else 0

    @property
    def params(self) -> int:
        return len(self.sites) * self.block.params if self.block else 0

    @cached_property
    def cells(self) -> tuple[_Cell, ...]:
        """The texts of the row: the site, the block, its widths, its settings."""
        if self.block is None:
            return (self._name_lines("muted"), (_Line("no SE", colour="muted"),), (), ())
        se, ratio = self.block.se, self.block.ratio
        widths = (_Line(self.block.widths, _CODE) if self.block.widths else _Line(f"{self.block.shape[0]} channels"),)
        return (
            self._name_lines("ink"),
            (_Line(se.position, _STRONG), _Line(se.variant)),
            widths if ratio is None else (_Line(f"ratio {ratio:.4g}"), *widths),
            tuple(_Line(line, colour="muted") for line in _wrapped(self.block.details.split(", "))),
        )

    @property
    def height(self) -> float:
        lines = max(map(len, self.cells))
        return max(_RESIDUAL_HEIGHT if self.has_addition else _CHAIN_HEIGHT, lines * _LEADING + 10)

    def _name_lines(self, colour: str) -> _Cell:
        first = _Line(self.sites[0].name, _NAME, colour)
        if len(self.sites) == 1:
            return (first,)
        return (first, _Line(f"to {self.sites[-1].name}", _CODE, colour))


@dataclass(frozen=True)
class _Table:
    """The rows, and where their columns are."""

    runs: tuple[_Run, ...]
    cost: Cost

    @property
    def sites(self) -> int:
        return sum(len(run.sites) for run in self.runs)

    @property
    def blocks(self) -> int:
        return sum(len(run.sites) for run in self.runs if run.block)

    @property
    def stages(self) -> Iterator[tuple[Site, list[_Run]]]:
        """The runs of each stage, with its first site."""
        for _, members in groupby(self.runs, key=lambda run: run.sites[0].stage):
            runs = list(members)
            yield runs[0].sites[0], runs

    @cached_property
    def columns(self) -> tuple[float, ...]:
        """The left edge of each cell, of the bars of FLOPs and of parameters, and the right edge of the last."""
        name, *others = (max(_widest(run.cells[i]) for run in self.runs) for i in range(len(_HEADINGS)))
        edges = [_MARGIN + _PADDING]
        headings = [_SMALL.width(heading) for heading in _HEADINGS]
        edges.append(edges[0] + max(name, headings[0]) + _GAP + _SCHEMATIC_WIDTH + _GAP)
        for width, heading in zip(others, headings[1:], strict=True):
            edges.append(edges[-1] + (max(width, heading) + _GAP if width else 0))
        bars = 2 * [_BAR_WIDTH + _GAP] if self.blocks else []
        for width in bars:
            edges.append(edges[-1] + width)
        return tuple(edges)

    @property
    def schematic(self) -> float:
        """The left edge of the drawings of blocks."""
        return self.columns[1] - _GAP - _SCHEMATIC_WIDTH

    @property
    def width(self) -> float:
        """From the left edge of the stages to their right."""
        return self.columns[-1] - _GAP + _PADDING - _MARGIN


def _runs(traced: "TracedBackbone", drawn: Iterable[Row]) -> Iterator[_Run]:
    def alone(row: Row) -> _Run:
        return _Run((row.site,), row.block, _has_activation(traced, row.site))

    def traits(run: _Run) -> tuple[object, ...]:
        return run.sites[0].stage, run.block, run.has_addition, run.has_activation

    for _, members in groupby(map(alone, drawn), key=traits):
        runs = list(members)
        if len(runs) < _LONG_RUN:
            yield from runs
        else:
            yield replace(runs[0], sites=tuple(site for run in runs for site in run.sites))


def _has_activation(traced: "TracedBackbone", site: Site) -> bool:
    """Whether an activation follows the site's addition; 'post' lies behind it then."""
    if "post" not in site.shapes:
        return False
    (addition,) = traced.edges[site.name, "standard"].targets
    return traced.edges[site.name, "post"].origin is not addition


def _wrapped(words: Sequence[str], limit: int = 20) -> list[str]:
    """Words with commas, as lines that stay within a limit where the words do."""
    lines: list[str] = []
    for word in filter(None, words):
        if lines and len(lines[-1]) + len(word) + 2 <= limit:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return [f"{line}," for line in lines[:-1]] + lines[-1:]


def _widest(lines: Iterable[_Line]) -> float:
    return max((line.width for line in lines), default=0)


def _headline(table: _Table, architecture: Architecture) -> _Cell:
    backbone = architecture.backbone
    made_for = f"images {_times(backbone.input_size)}, {_counted(backbone.num_classes, 'class', 'classes')}"
    options = ", ".join(f"{key} {value}" for key, value in backbone.options)
    return (
        _Line(backbone.name, _HEADLINE),
        _Line(f"{made_for}, {options}" if options else made_for),
        _Line(f"SE at {table.blocks} of {_counted(table.sites, 'site')}, architecture {architecture.id}"),
    )


def _described(table: _Table) -> str:
    """The drawing in words, for those who cannot see it."""

    def words(run: _Run) -> str:
        if run.block is None:
            return f"{run.name}: no SE"
        se = run.block.se
        return f"{run.name}: {' '.join(filter(None, (se.position, se.variant, run.block.widths, run.block.details)))}"

    return " ".join(f"Stage {first.stage}: {'; '.join(map(words, runs))}." for first, runs in table.stages)


def _exactly(run: _Run) -> str:
    if run.block is None:
        return f"{run.name}: no SE"
    count, block = len(run.sites), run.block
    return (
        f"{run.name}: {run.flops:,} FLOPs ({count * block.flops_share:.2%} of the network's), "
        f"{_counted(run.params, 'parameter')} ({count * block.params_share:.2%})"
    )


def _times(numbers: Iterable[int]) -> str:
    return "x".join(map(str, numbers))


def _counted(number: int, thing: str, things: str = "") -> str:
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def _percent(part: int, whole: int, decimals: int) -> str:
    if not part:
        return "0%"
    least = 10**-decimals
    share = 100 * part / whole
    return f"<{least:g}%" if share < least else f"{share:.{decimals}f}%"


def _short(number: int) -> str:
    """Three digits and a unit, such as ``12.3 k``."""
    scaled = float(number)
    for unit in ("", " k", " M"):
        if float(f"{scaled:.3g}") < 1000:
            return f"{scaled:.3g}{unit}"
        scaled /= 1000
    return f"{scaled:,.0f} G" if scaled >= 1000 else f"{scaled:.3g} G"


# The look

_MARGIN = 24.0
_PADDING = 16.0
_GAP = 24.0
_LEADING = 16.0
_HEADINGS = ("site", "position, variant", "ratio, widths", "settings")
_BAR_WIDTH = 112.0

_PALETTE: Mapping[str, Shades] = {
    **GROUND,
    "faint": ("#aab2bb", "#4b545f"),
    "track": ("#dfe3e8", "#2b323b"),
    "pre": HUES["blue"],
    "in3x3": HUES["green"],
    "standard": HUES["yellow"],
    "identity": ("#cc79a7", "#cc79a7"),
    "post": HUES["orange"],
}
"""Each colour on light and on dark ground; those of the positions are Okabe and Ito's, for every kind of sight."""

_COLOURS: Mapping[Position, str] = {position: "in3x3" if position == "3x3" else position for position in POSITIONS}

_SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono','DejaVu Sans Mono',monospace"


def _stylesheet() -> str:
    def variables(shade: int) -> str:
        return "".join(f"--{name}:{shades[shade]};" for name, shades in _PALETTE.items())

    rules = [
        f".senas{{{variables(0)}font-family:{_SANS};font-variant-numeric:tabular-nums}}",
        f"@media screen{{@media (prefers-color-scheme:dark){{.senas{{{variables(1)}}}}}}}",
        ".senas .line{fill:none;stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}",
        ".senas .shape{stroke-width:1.5}",
        ".senas .mark{stroke-width:1}",
        ".senas .end{text-anchor:end}",
        ".senas .middle{text-anchor:middle}",
    ]
    for name, (light, _) in _PALETTE.items():
        # Programs that convert SVG and know no variables keep the first of the two.
        rules += [f".senas .{use}-{name}{{{use}:{light};{use}:var(--{name})}}" for use in ("fill", "stroke")]
    for font in (_HEADLINE, _STRONG, _PLAIN, _SMALL, _NAME, _CODE):
        family = f";font-family:{_MONO}" if font in (_NAME, _CODE) else ""
        weight = 600 if font in (_HEADLINE, _STRONG) else 400
        rules.append(f".senas .{font.name}{{font-size:{font.size}px;font-weight:{weight}{family}}}")
    return "\n".join(rules)


# The document, from top to bottom: each part draws from a height on and tells where it ends


def _document(table: _Table, architecture: Architecture, width: float, height: float) -> Element:
    title, described = (f"senas-{architecture.id}-{part}" for part in ("title", "desc"))
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "senas",
            "role": "img",
            "aria-labelledby": f"{title} {described}",
            "width": _number(width),
            "height": _number(height),
            "viewBox": f"0 0 {_number(width)} {_number(height)}",
        },
    )
    words = f"{architecture.backbone.name} with SE at {table.blocks} of {_counted(table.sites, 'site')}"
    SubElement(root, "title", id=title).text = words
    SubElement(root, "desc", id=described).text = _described(table)
    SubElement(root, "style").text = _stylesheet()
    _rectangle(root, 0, 0, width, height, "fill-paper")
    return root


def _draw_headline(parent: Element, table: _Table, architecture: Architecture) -> float:
    y = _MARGIN
    for line in _headline(table, architecture):
        y += line.font.size
        _text(parent, _MARGIN, y, line)
        y += 7
    return y


_LEGEND_NOTES = (
    "A coloured square is an SE block: its place and colour are its position.",
    "Sites without SE are grey.",
    "Bars are shares of the FLOPs and of the parameters of all SE blocks.",
    "A stacked box stands for several equal sites, its numbers for their sums.",
)


def _draw_legend(parent: Element, table: _Table, y: float) -> float:
    """A block with a mark at every position that the backbone has, each with its name."""
    legend = SubElement(parent, "g", {"class": "legend"})
    residual = any(run.has_addition for run in table.runs)
    needed = (True, table.blocks < table.sites, table.blocks > 0, any(len(run.sites) > 1 for run in table.runs))
    notes = [_Line(note, colour="muted") for note, is_needed in zip(_LEGEND_NOTES, needed, strict=True) if is_needed]
    height = max(_LEGEND_HEIGHT, len(notes) * _LEADING)
    centre = y + 12 + height / 2
    middle = centre + (_SHORTCUT_TO_MIDDLE / 2 if residual else -8)
    _draw_schematic(legend, _MARGIN, middle, residual, any(run.has_activation for run in table.runs), "ink")
    for position in (p for p in POSITIONS if any(p in run.sites[0].shapes for run in table.runs)):
        right, down = _PLACES[position]
        _draw_mark(legend, _MARGIN, middle, position)
        label = middle + down + (-12 if position == "identity" else 24)
        _text(legend, _MARGIN + right, label, _Line(position, _SMALL), "middle")
    _draw_cell(legend, _MARGIN + _SCHEMATIC_WIDTH + _GAP, centre, notes)
    return y + height + 24


def _draw_stages(parent: Element, table: _Table, architecture: Architecture, width: float, y: float) -> float:
    y += _SMALL.size
    for x, heading, following in zip(table.columns, _HEADINGS, table.columns[1:], strict=False):
        if following > x:
            _text(parent, x, y, _Line(heading, _SMALL, "muted"))
    for x, heading in zip(table.columns[len(_HEADINGS) :], ("SE FLOPs", "SE parameters"), strict=False):
        if x < table.columns[-1]:
            _text(parent, x, y, _Line(heading, _SMALL, "muted"))
    y += 8
    spine = _MARGIN + _PADDING
    for number, (first, runs) in enumerate(table.stages):
        if number:
            y = _draw_step(parent, spine, y)
        y = _draw_stage(parent, table, first, runs, width, y)
    return y


def _draw_step(parent: Element, x: float, y: float) -> float:
    """The arrow from one stage to the next."""
    _path(parent, f"M{_number(x)} {_number(y + 2)}v12m-4 -4l4 4l4 -4", "line stroke-muted")
    return y + 17


def _draw_stage(parent: Element, table: _Table, first: Site, runs: Sequence[_Run], width: float, y: float) -> float:
    stage = SubElement(parent, "g", {"class": "stage", "data-stage": str(first.stage)})
    sites, blocks = (sum(len(run.sites) for run in chosen) for chosen in (runs, [run for run in runs if run.block]))
    height = 32 + sum(run.height for run in runs) + 6
    _rectangle(stage, _MARGIN, y, width - 2 * _MARGIN, height, "fill-panel", radius=8)
    own_name = "" if first.stage_name == f"stage{first.stage}" else first.stage_name
    x = _MARGIN + _PADDING
    size = first.shapes.get("post", first.shapes["standard"])[1:]
    title = _text(stage, x, y + 22, _Line(f"Stage {first.stage}, {own_name}".rstrip(", "), _STRONG))
    facts = SubElement(title, "tspan", {"dx": "12", "class": f"{_PLAIN.name} fill-muted"})
    facts.text = f"{_times(size)}, SE at {blocks} of {_counted(sites, 'site')}"
    y += 32
    for run in runs:
        _draw_run(stage, table, run, y)
        y += run.height
    return y + 6


def _draw_run(parent: Element, table: _Table, run: _Run, y: float) -> None:
    row = SubElement(parent, "g", {"class": "row", "data-site": run.sites[0].name, "data-sites": str(len(run.sites))})
    SubElement(row, "title").text = _exactly(run)
    centre = y + run.height / 2
    middle = centre + (_SHORTCUT_TO_MIDDLE / 2 - 4 if run.has_addition else 0)
    colour = "ink" if run.block else "faint"
    _draw_schematic(row, table.schematic, middle, run.has_addition, run.has_activation, colour, len(run.sites))
    for x, cell in zip(table.columns, run.cells, strict=False):
        _draw_cell(row, x, centre, cell)
    if run.block:
        position = run.block.se.position
        row.set("data-position", position)
        _draw_mark(row, table.schematic, middle, position)
        flops, params = table.columns[len(_HEADINGS) :][:2]
        _draw_bar(row, flops, centre, run.flops, table.cost.se_flops, position)
        _draw_bar(row, params, centre, run.params, table.cost.se_params, position)


def _draw_bar(parent: Element, x: float, centre: float, part: int, whole: int, position: Position) -> None:
    share = part / whole if whole else 0
    _text(parent, x, centre - 2, _Line(_short(part)))
    _text(parent, x + _BAR_WIDTH, centre - 2, _Line(_percent(part, whole, 1), colour="muted"), "end")
    _rectangle(parent, x, centre + 6, _BAR_WIDTH, 5, "fill-track", radius=2)
    if part:
        _rectangle(parent, x, centre + 6, max(1, share * _BAR_WIDTH), 5, f"fill-{_COLOURS[position]}", radius=2)


def _draw_footer(parent: Element, found: Cost, y: float) -> float:
    y += 12
    for name, number, note in _totals(found):
        y += _LEADING + 2
        _text(parent, _MARGIN, y, _Line(name, colour="muted"))
        _text(parent, _MARGIN + _TOTAL_RIGHT, y, _Line(number, _STRONG), "end")
        _text(parent, _MARGIN + _TOTAL_RIGHT + 12, y, _Line(note, colour="muted"))
    return y


_TOTAL_RIGHT = 240.0


def _totals(found: Cost) -> Iterator[tuple[str, str, str]]:
    for name, whole, part in (
        ("FLOPs", found.flops, found.se_flops),
        ("Parameters", found.params, found.se_params),
    ):
        yield name, f"{whole:,}", f"of which SE {part:,} ({_percent(part, whole, 2)})"
    yield "Memory", f"{found.memory:,}", "bytes of maps alive at once, for one image"


# One block, from left to right, relative to where its line begins

_SCHEMATIC_WIDTH = 244.0
_SHORTCUT_TO_MIDDLE = 22.0
_LEGEND_HEIGHT = 64.0
_RESIDUAL_HEIGHT = 48.0
_CHAIN_HEIGHT = 30.0
_LEGEND_WIDTH = _SCHEMATIC_WIDTH + _GAP + max(map(_PLAIN.width, _LEGEND_NOTES))
_FOOTER_WIDTH = _TOTAL_RIGHT + 12 + _PLAIN.width("of which SE 100,000,000,000 (100.00%)")
_BOX = (50.0, 78.0)
_ADDITION = 173.0
_ACTIVATION = 194.0

_PLACES: Mapping[Position, tuple[float, float]] = {
    "pre": (30, 0),
    "3x3": (89, 0),
    "standard": (147, 0),
    "identity": (89, -_SHORTCUT_TO_MIDDLE),
    "post": (219, 0),
}


def _draw_schematic(
    parent: Element,
    x: float,
    y: float,
    has_addition: bool,
    has_activation: bool,
    colour: str,
    sites: int = 1,
) -> None:
    drawing = SubElement(parent, "g", {"transform": f"translate({_number(x)} {_number(y)})"})
    line, shape = f"line stroke-{colour}", f"shape fill-paper stroke-{colour}"
    end = _number(_SCHEMATIC_WIDTH - 2)
    _path(drawing, f"M0 0H{end}m-5 -4l5 4l-5 4", line)
    left, width = _BOX
    for shift in (4, 0) if sites > 1 else (0,):
        _rectangle(drawing, left + shift, shift - 10, width, 20, shape, radius=3)
    if sites > 1:
        _text(drawing, left + 5, 4, _Line(f"x{sites}", _SMALL, "muted" if colour == "faint" else colour))
    if not has_addition:
        return
    _circle(drawing, 12, 0, 2.5, f"fill-{colour}")
    _path(drawing, f"M12 0v-16q0 -6 6 -6H{_number(_ADDITION - 6)}q6 0 6 6v9", line)
    _circle(drawing, _ADDITION, 0, 7, shape)
    _path(drawing, f"M{_number(_ADDITION - 3.5)} 0h7m-3.5 -3.5v7", line)
    if has_activation:
        _rectangle(drawing, _ACTIVATION - 7, -7, 14, 14, shape, radius=3)
        _path(drawing, f"M{_number(_ACTIVATION - 4)} 3h4l4 -6", line)


def _draw_mark(parent: Element, x: float, y: float, position: Position) -> None:
    right, down = _PLACES[position]
    style = f"mark fill-{_COLOURS[position]} stroke-ink"
    _rectangle(parent, x + right - 7, y + down - 7, 14, 14, style, radius=3)


# Elements


def _draw_cell(parent: Element, x: float, centre: float, lines: Sequence[_Line]) -> None:
    """Lines below one another, as high above the centre as below it."""
    y = centre - (len(lines) - 1) * _LEADING / 2 + 4
    for line in lines:
        _text(parent, x, y, line)
        y += _LEADING


def _text(parent: Element, x: float, y: float, line: _Line, anchor: str = "") -> Element:
    style = f"{line.font.name} fill-{line.colour} {anchor}".strip()
    text = SubElement(parent, "text", {"x": _number(x), "y": _number(y), "class": style})
    text.text = line.text
    return text


def _rectangle(parent: Element, x: float, y: float, width: float, height: float, style: str, radius: float = 0) -> None:
    sizes = {"x": x, "y": y, "width": width, "height": height} | ({"rx": radius} if radius else {})
    SubElement(parent, "rect", {key: _number(value) for key, value in sizes.items()} | {"class": style})


def _circle(parent: Element, x: float, y: float, radius: float, style: str) -> None:
    SubElement(parent, "circle", {"cx": _number(x), "cy": _number(y), "r": _number(radius), "class": style})


def _path(parent: Element, commands: str, style: str) -> None:
    SubElement(parent, "path", {"d": commands, "class": style})


def _number(value: float) -> str:
    """Two decimals are finer than a pixel on any screen."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
