"""Reports and plots of a real search, as a user makes them, and as a real browser shows them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from senas_command import Senas

from nas.cli.reporting import KINDS_OF_CHART, plot, report
from nas.config import load_config
from results.charts.kinds import KINDS
from search_space.errors import InputError

HOSTILE = "</script><img src=x onerror=alert(1)>'\""
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Without one on the path, the one that playwright itself has installed.
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(finished: Senas) -> Path:
    """The report of a real search."""
    file = finished.folder / "report.html"
    report("tiny", file, finished.storage)
    return file


@contextmanager
def opened(browser: Browser, file: Path, **options: Any) -> Iterator[Page]:
    """The page with all charts drawn; afterwards, that it complained of nothing and asked for nothing but itself."""
    context = browser.new_context(**options)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: complaints.append(request.url) if request.url != file.as_uri() else None)
    page.goto(file.as_uri())
    charts = page.locator("[data-chart]").count()
    page.wait_for_function("n => document.querySelectorAll('[data-drawn] svg.marks').length >= n", arg=charts)
    yield page
    assert complaints == []
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_a_browser_shows_all_of_it(browser: Browser, file: Path, viewport: dict[str, int], scheme: Any) -> None:
    with opened(browser, file, viewport=viewport, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        for chart in page.locator("[data-chart]").all():
            box, drawn = chart.bounding_box(), chart.locator("svg.marks").bounding_box()
            assert box is not None
            assert drawn is not None
            assert drawn["width"] > 200
            assert drawn["width"] <= box["width"] + 1
            assert chart.locator("svg.marks path[d]").count() > 3
        dark = scheme == "dark"
        assert (_brightness(page, "body", "background-color") < 0.2) is dark
        assert (_brightness(page, "svg.marks .role-axis-title text", "fill") > 0.5) is dark


def _brightness(page: Page, selector: str, style: str) -> float:
    colour = page.locator(selector).first.evaluate(f"element => getComputedStyle(element)['{style}']")
    numbers = [int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    return sum(numbers) / 3 / 255


@pytest.mark.slow
def test_a_click_on_a_point_shows_its_architecture(browser: Browser, file: Path, finished: Senas) -> None:
    study = finished.study()
    with opened(browser, file, viewport=DESK) as page:
        best = study.best()
        assert best is not None
        assert page.locator("#trial h3").text_content() == f"Trial {best.number}"
        seen = set()
        points = page.locator("[data-chart=front-0] .mark-symbol.role-mark path")
        for number in range(points.count()):
            points.nth(number).dispatch_event("click", {"bubbles": True})
            shown = int(page.locator("#trial").get_attribute("data-trial") or "")
            seen.add(shown)
            architecture = study.trial(shown).architecture
            assert architecture is not None
            tables = page.locator("#trial table")
            rows = [tables.nth(i).locator("tbody td:first-child").all_text_contents() for i in range(tables.count())]
            classes = [str(digit) for digit in range(10)]
            assert rows == [*([[site for site, _ in architecture.sites]] if architecture.sites else []), classes]
        assert seen == {trial.number for trial in study.records if trial.state == "COMPLETE"}
        before = points.count()
        page.get_by_label("show the stopped trials too").check()
        assert points.count() == before + sum(trial.state == "PRUNED" for trial in study.records)


@pytest.mark.slow
def test_the_configuration_on_the_page_is_the_searchs(browser: Browser, file: Path, finished: Senas) -> None:
    with opened(browser, file) as page:
        said = finished.folder / "from-the-page.yaml"
        said.write_text(page.locator("#config").text_content() or "")
    assert load_config(said).to_dict() == finished.study().config


@pytest.mark.slow
def test_paper_is_light_and_nothing_is_cut_off(browser: Browser, file: Path) -> None:
    with opened(browser, file, viewport={"width": 794, "height": 1123}) as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert _brightness(page, "body", "background-color") > 0.9
        assert page.evaluate("document.documentElement.scrollWidth") <= 794
        assert not page.locator("#trial").is_visible()
        assert _brightness(page, ".drawing svg .fill-ink", "fill") < 0.5
        assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.slow
def test_what_a_study_says_cannot_act_in_the_browser(browser: Browser, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    study = optuna.create_study(storage=url, study_name=HOSTILE, directions=["maximize", "minimize"])
    study.set_metric_names(["accuracy", HOSTILE])
    for number, state in enumerate((TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL)):
        study.add_trial(
            create_trial(
                state=state,
                values=[0.5 + number / 10, number] if state == TrialState.COMPLETE else None,
                params={HOSTILE: HOSTILE},
                distributions={HOSTILE: optuna.distributions.CategoricalDistribution([HOSTILE, "b"])},
                user_attrs={"baseline": HOSTILE, "fail_reason": HOSTILE},
            )
        )
    file = tmp_path / "report.html"
    report(HOSTILE, file, url)
    with opened(browser, file, viewport=DESK) as page:
        page.locator("[data-chart=front-0] .mark-symbol.role-mark path").first.hover(force=True)
        page.locator("#vg-tooltip-element").wait_for(state="visible")
        assert HOSTILE in (page.locator("#vg-tooltip-element").text_content() or "")
        page.locator("[data-show='2']").first.click()
        assert page.locator("#trial dd", has_text=HOSTILE).count() == 2
        assert page.locator("img").count() == 0


@pytest.mark.slow
def test_the_commands_say_what_they_wrote(finished: Senas) -> None:
    assert finished.run("report", "tiny").stdout.startswith("Wrote tiny-report.html (")
    assert (finished.folder / "tiny-report.html").read_text().startswith("<!doctype html>")
    assert finished.run("plot", "tiny", "curves", "-o", "curves.png").stdout == "Wrote curves.png\n"
    assert Image.open(finished.folder / "curves.png").width > 1000


def test_the_help_names_every_kind_of_chart() -> None:
    assert tuple(KINDS) == KINDS_OF_CHART


def test_a_report_is_a_web_page_by_its_name(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    optuna.create_study(storage=url, study_name="empty", directions=["maximize"]).set_metric_names(["accuracy"])
    with pytest.raises(InputError, match="is not named as the web page"):
        report("empty", tmp_path / "page.pdf", url)
    report("empty", tmp_path / "page.HTM", url)
    assert [file.name for file in tmp_path.glob("page.*")] == ["page.HTM"]


@pytest.mark.slow
def test_values_that_are_no_numbers_are_shown_as_unknown(browser: Browser, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    study = optuna.create_study(storage=url, study_name="odd", directions=["maximize", "minimize"])
    study.set_metric_names(["accuracy", "latency"])
    for accuracy, latency in ((0.5, 1.0), (float("inf"), 2.0), (0.6, float("inf"))):
        study.add_trial(create_trial(values=[accuracy, latency]))
    file = tmp_path / "report.html"
    report("odd", file, url)
    with opened(browser, file, viewport=DESK) as page:
        assert page.locator("#trial").get_attribute("data-trial") == "2"
        page.locator("[data-show='1']").first.click()
        assert page.locator("#trial h3").text_content() == "Trial 1"
        assert page.locator("#trial dt").all_text_contents() == ["state", "latency", "duration"]


def test_a_plot_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    optuna.create_study(storage=url, study_name="empty", directions=["maximize"]).set_metric_names(["accuracy"])
    with pytest.raises(InputError, match="has no front to draw"):
        plot("empty", "front", tmp_path / "front.png", url)
    assert not (tmp_path / "front.png").exists()
