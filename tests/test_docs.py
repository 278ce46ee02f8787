"""What the docs say follows from the code."""

import subprocess
import sys
from pathlib import Path

import pytest

from nas.config import load_config
from nas.plan import plan
from search_space.variants import FAMILIES, family

ROOT = Path(__file__).parent.parent


def test_the_page_of_published_figures_is_what_its_command_prints():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "benchmarks/published_figures.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (ROOT / "docs" / "published-figures.md").read_text(encoding="utf-8")
    assert done.stdout.count("| met |") >= 29


def test_every_variant_is_in_the_docs_as_in_the_registry():
    page = (ROOT / "docs" / "search-space.md").read_text(encoding="utf-8")
    for kind in FAMILIES:
        found = family(kind)
        for name, variant in found.variants.items():
            assert f"| `{name}` | {variant.formula} | {', '.join(variant.uses)} | {found.paper} |" in page


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_configuration_can_be_planned_without_its_data(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert plan(load_config(file)).space.size > 1


def test_the_example_in_python_is_right(capsys):
    page = (ROOT / "docs" / "search-space.md").read_text(encoding="utf-8")
    code = page.partition("## From Python")[2].partition("```python\n")[2].partition("```")[0]
    names: dict[str, object] = {}
    exec(code.replace("1_000_000", "1_000"), names)
    assert names["space"].size == 5546340933121
    assert "space.size  # 5546340933121 distinct architectures" in code
    assert names["first"].sites == ()
    assert len(names["near"]) == len(set(names["near"])) > 0
