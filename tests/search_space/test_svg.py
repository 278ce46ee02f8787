"""The drawing of an architecture: what it shows, and that nothing in it collides."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from architecture_strategies import SMALL, architectures, examples
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from search_space.architecture import POSITIONS, Architecture
from search_space.backbones import resolve
from search_space.svg import draw
from search_space.tracing import TracedBackbone, trace
from search_space.uniform_architectures import uniform
from search_space.variants import Options

SVG = "{http://www.w3.org/2000/svg}"
EM = 0.62
SIZES = {"headline": 20, "strong": 13, "plain": 12, "small": 11, "name": 13, "code": 12}


def traced(name: str, size: tuple[int, int, int] = (3, 64, 64)) -> TracedBackbone:
    return trace(resolve(name, num_classes=10, input_size=size))


def long_names() -> tuple[TracedBackbone, Architecture]:
    network = traced("regnet_y_400mf")
    blocks = uniform(network, variant="slow_both", options=Options(ratio=2, bias=True), from_identity=True)
    return network, Architecture(network.backbone, blocks.sites[::2])


def long_runs() -> tuple[TracedBackbone, Architecture]:
    network = traced("regnet_y_400mf")
    return network, uniform(network, variant="slow_both", options=Options(ratio=2), position="3x3")


def long_widths() -> tuple[TracedBackbone, Architecture]:
    network = traced("resnet50")
    return network, uniform(network, variant="slow_both", position="post", options=Options(squeeze="max", bias=True))


def without_additions() -> tuple[TracedBackbone, Architecture]:
    network = traced("densenet121")
    return network, uniform(network, variant="eca", stages=[1, 3])


def without_blocks() -> tuple[TracedBackbone, Architecture]:
    network = traced("vgg11", (3, 32, 32))
    return network, Architecture(network.backbone)


CASES = pytest.mark.parametrize("case", [long_names, long_runs, long_widths, without_additions, without_blocks])


def rows_of(root: Element) -> list[Element]:
    return [group for group in root.iter(f"{SVG}g") if group.get("class") == "row"]


def marks_of(group: Element) -> list[Element]:
    return [rect for rect in group.iter(f"{SVG}rect") if "mark" in rect.get("class", "").split()]


def shown(root: Element, network: TracedBackbone) -> dict[str, str | None]:
    """The position that each site is shown with, rows of several sites taken apart."""
    found: dict[str, str | None] = {}
    names = iter(site.name for site in network.sites)
    for row in rows_of(root):
        members = [next(names) for _ in range(int(row.get("data-sites", "")))]
        assert members[0] == row.get("data-site")
        found |= dict.fromkeys(members, row.get("data-position"))
    assert next(names, None) is None
    return found


@pytest.mark.parametrize("name", SMALL)
@given(data=st.data())
@examples(40)
def test_every_site_is_shown_with_its_position(name: str, data: st.DataObject) -> None:
    network = trace(SMALL[name])
    architecture = data.draw(architectures(network))
    root = fromstring(draw(network, architecture))
    expected = {
        site.name: architecture.se[site.name].position if site.name in architecture.se else None
        for site in network.sites
    }
    assert shown(root, network) == expected
    for row in rows_of(root):
        position = row.get("data-position")
        marks = [mark.get("class", "") for mark in marks_of(row)]
        colours = [f"fill-{'in3x3' if position == '3x3' else position}"] if position else []
        assert [mark.split()[1] for mark in marks] == colours


@CASES
def test_there_is_a_mark_for_every_block(case) -> None:
    network, architecture = case()
    rows = rows_of(fromstring(draw(network, architecture)))
    assert sum(int(row.get("data-sites", "")) * len(marks_of(row)) for row in rows) == len(architecture.sites)


def test_marks_stand_where_their_position_is() -> None:
    network = traced("resnet18")
    places = {}
    for position in POSITIONS:
        if position in network.sites[0].shapes:
            row = rows_of(fromstring(draw(network, uniform(network, position=position))))[0]
            (mark,) = marks_of(row)
            places[position] = (float(mark.get("x", "")), float(mark.get("y", "")))
    assert places["pre"][0] < places["3x3"][0] < places["standard"][0] < places["post"][0]
    assert places["pre"][1] == places["3x3"][1] == places["standard"][1] == places["post"][1]
    assert places["identity"][1] < places["standard"][1]


def test_long_runs_of_equal_sites_are_one_row() -> None:
    network = traced("resnet110", (3, 32, 32))
    text = draw(network, uniform(network, stages=[3]))
    assert [(row.get("data-site"), row.get("data-sites")) for row in rows_of(fromstring(text))] == [
        ("layer1.0", "18"),
        ("layer2.0", "18"),
        ("layer3.0", "18"),
    ]
    assert "layer3.0 to layer3.17 (18 sites)" in text


def test_a_block_that_differs_ends_a_run() -> None:
    network = traced("resnet110", (3, 32, 32))
    everywhere = uniform(network)
    one_less = Architecture(
        network.backbone, tuple(e for e in everywhere.sites if e[0] not in ("layer1.2", "layer2.9"))
    )
    rows = rows_of(fromstring(draw(network, one_less)))
    assert [row.get("data-sites") for row in rows] == ["1", "1", "1", "15", "9", "1", "8", "18"]


def test_an_activation_is_drawn_only_where_there_is_one() -> None:
    with_it, without = traced("resnet20", (3, 32, 32)), traced("preact_resnet164", (3, 32, 32))
    first, second = (rows_of(fromstring(draw(n, Architecture(n.backbone))))[0] for n in (with_it, without))
    assert len(list(first.iter(f"{SVG}path"))) == len(list(second.iter(f"{SVG}path"))) + 1


@CASES
def test_texts_do_not_overlap(case) -> None:
    network, architecture = case()
    root = fromstring(draw(network, architecture))
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    boxes = list(text_boxes(root))
    for left, top, right, bottom, text in boxes:
        assert 0 <= left < right <= width, text
        assert 0 <= top < bottom <= height, text
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


def text_boxes(element: Element, right: float = 0, down: float = 0) -> Iterator[tuple[float, float, float, float, str]]:
    move = re.fullmatch(r"translate\((\S+) (\S+)\)", element.get("transform", ""))
    if move:
        right, down = right + float(move[1]), down + float(move[2])
    if element.tag == f"{SVG}text":
        parts = [element, *element]
        sizes = [SIZES[part.get("class", "").split()[0]] for part in parts]
        width = sum(
            len(part.text or "") * EM * size + float(part.get("dx", 0)) for part, size in zip(parts, sizes, strict=True)
        )
        before = {"end": width, "middle": width / 2}.get(element.get("class", "").split()[-1], 0)
        x, y = right + float(element.get("x", "")), down + float(element.get("y", ""))
        yield x - before, y - 0.75 * sizes[0], x - before + width, y + 0.2 * sizes[0], "".join(element.itertext())
    for child in element:
        yield from text_boxes(child, right, down)


def test_no_text_is_smaller_than_eleven_pixels() -> None:
    style = fromstring(draw(*long_names())).findtext(f"{SVG}style") or ""
    assert {int(size) for size in re.findall(r"font-size:(\d+)px", style)} == set(SIZES.values())
    assert min(SIZES.values()) >= 11


def test_it_is_readable_on_light_and_on_dark_ground() -> None:
    style = fromstring(draw(*long_names())).findtext(f"{SVG}style") or ""
    light, dark = style.split("@media (prefers-color-scheme:dark)")
    declared = [dict(re.findall(r"--(\w+):(#\w+);", part)) for part in (light, dark)]
    assert declared[0].keys() == declared[1].keys()
    for palette in declared:
        for colour, least in (("ink", 7.0), ("muted", 4.5)):
            for ground in ("paper", "panel"):
                assert contrast(palette[colour], palette[ground]) >= least


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    shades = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [shade / 12.92 if shade <= 0.04045 else ((shade + 0.055) / 1.055) ** 2.4 for shade in shades]
    return sum(weight * shade for weight, shade in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@CASES
def test_nothing_is_loaded_and_nothing_runs(case) -> None:
    root = fromstring(draw(*case()))
    for element in root.iter():
        assert element.tag.removeprefix(SVG) not in ("script", "image", "use", "foreignObject", "a")
        assert not any(key.startswith("on") or key.endswith("href") for key in element.attrib)
        for text in (element.text or "", *element.attrib.values()):
            assert "://" not in text
            assert "url(" not in text
            assert "@import" not in text


class Awkward(nn.Module):
    """A network whose modules have the names that XML minds most."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("<a & b>", nn.Conv2d(3, 4, 3))
        self.add_module("c]]>", nn.Conv2d(4, 4, 3))
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for name in ("<a & b>", "c]]>"):
            x = self.get_submodule(name)(x)
        return self.head(x.mean((2, 3)))


def test_awkward_names_are_escaped(registered) -> None:
    network = trace(registered(Awkward))
    names = [site.name for site in network.sites]
    root = fromstring(draw(network, uniform(network, options=Options(ratio=2))))
    assert [row.get("data-site") for row in rows_of(root)] == names
    assert any("<" in name and "&" in name for name in names)
    assert set(names) <= {text.text for text in root.iter(f"{SVG}text")}


def test_it_is_read_out_in_words() -> None:
    network = traced("resnet8", (3, 32, 32))
    root = fromstring(draw(network, uniform(network, stages=[2], options=Options(ratio=4))))
    assert root.get("role") == "img"
    labels = [root.find(f"*[@id='{name}']") for name in root.get("aria-labelledby", "").split()]
    title, described = (label.text for label in labels if label is not None)
    assert title == "resnet8 with SE at 1 of 3 sites"
    assert described is not None
    assert "Stage 1: layer1.0: no SE. Stage 2: layer2.0: standard standard 32-8-32" in described


@CASES
def test_equal_architectures_have_equal_drawings(case) -> None:
    network, architecture = case()
    assert draw(network, architecture) == draw(network, Architecture.from_yaml(architecture.to_yaml()))


MEASURE = """
<script>
const root = document.querySelector("svg"), whole = root.getBoundingClientRect(), out = [];
let seen = 0;
for (const e of root.querySelectorAll("text, rect, path, circle")) {
  const b = e.getBoundingClientRect();
  seen += 1;
  if (b.left < whole.left - .5 || b.top < whole.top - .5 || b.right > whole.right + .5 || b.bottom > whole.bottom + .5)
    out.push(e.outerHTML);
}
const texts = [...root.querySelectorAll("text")].map(e => [e.getBoundingClientRect(), e.textContent]);
for (const [i, [a, s]] of texts.entries())
  for (const [b, t] of texts.slice(i + 1))
    if (a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom) out.push(s + " / " + t);
document.body.innerHTML = "<pre></pre>";
document.querySelector("pre").textContent = JSON.stringify({seen, out});
</script>
"""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@CASES
def test_a_browser_clips_nothing_and_lets_no_texts_overlap(case, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{draw(*case())}{MEASURE}</body>", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [str(CHROMIUM), *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert found is not None
    measured = json.loads(html.unescape(found[1]))
    assert measured["seen"] > 20
    assert measured["out"] == []
