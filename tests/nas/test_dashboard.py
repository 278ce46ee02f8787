"""The dashboard, in a real browser."""

import re
import shutil
import signal
import socket
import sys

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from playwright.sync_api import sync_playwright

from nas.cli import main
from nas.storage import open_storage


@pytest.fixture
def recorded(senas):
    """A study of four trials, as senas leaves them, in the DB of the command."""
    storage = open_storage(senas.storage)
    study = optuna.create_study(storage=storage, study_name="digits", directions=["maximize", "minimize"])
    study.set_metric_names(["accuracy", "flops"])
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING):
        curve = {1: 0.25, 2: 0.8125}
        values = [0.8125, 189824] if state == TrialState.COMPLETE else None
        study.add_trial(create_trial(state=state, values=values, intermediate_values=curve))
    return senas


@pytest.mark.slow
def test_the_page_of_a_study_shows_its_trials(recorded):
    process = recorded.start("dashboard", "--port", "0")
    try:
        line = process.stdout.readline()
        address = re.fullmatch(r"(http://127\.0\.0\.1:\d+/dashboard/)  \(Ctrl-C ends it\)\n", line)
        assert address, line + process.stderr.read()
        with sync_playwright() as browsers:
            browser = browsers.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page()
            wrong = []
            page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(address[1])
            page.get_by_text("1. digits").click()
            page.get_by_text("Objective Values = [0.8125, 189824]").wait_for()
            assert page.get_by_role("combobox").filter(has_text=re.compile("accuracy|flops")).count() >= 2
            page.goto(f"{address[1]}studies/1/trials")
            for number, state in enumerate(("Complete", "Pruned", "Fail", "Running")):
                entry = page.get_by_role("button").filter(has_text=f"Trial {number}")
                entry.filter(has_text=state).click()
                page.get_by_text(f"Trial {number} (trial_id=").wait_for()
                page.get_by_text("2 0.8125").wait_for()
            assert wrong == []
            browser.close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "Traceback" not in out + err
    finally:
        if process.poll() is None:
            recorded.kill(process)


def refused(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["dashboard", *words])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_without_its_package_it_says_how_to_get_it(recorded, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    said = refused(capsys, "--storage", recorded.storage)
    assert said == "senas: the dashboard needs the Python package 'optuna_dashboard': pip install 'senas[dashboard]'\n"


@pytest.mark.slow
def test_a_port_in_use(recorded, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused(capsys, "--port", str(port), "--storage", recorded.storage)
    assert said == f"senas: port {port} cannot be used: Address already in use; name another by --port\n"


def test_no_db_is_made(tmp_path, capsys):
    said = refused(capsys, "--storage", f"sqlite:///{tmp_path / 'none.db'}")
    assert "there is no study DB at" in said
    assert list(tmp_path.iterdir()) == []
