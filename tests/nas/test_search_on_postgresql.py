"""A search whose study is on a real PostgreSQL server, which is restarted under it."""

import json

import pytest

pytestmark = pytest.mark.slow


def test_a_search_survives_restarts_of_its_server_and_is_queried_there(senas, postgresql):
    senas.storage = postgresql.new_database()
    at = ("--storage", senas.storage)
    words = ("search", "tiny.yaml", *at, "--set", "search.asha=null", "--set", "search.epochs=15", "--trials", "8")
    process = senas.start(*words)
    for epochs, mode in ((2, "fast"), (8, "immediate")):  # sessions are cut off; the second time as by a crash
        senas.wait_until(lambda trials, epochs=epochs: any(trial.epochs >= epochs for trial in trials))
        postgresql.restart(mode)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    trials = senas.study().trials()
    assert {trial.state for trial in trials} == {"COMPLETE"}
    assert len({trial.architecture_id for trial in trials}) == len(trials) == 8
    assert all(len(trial.curve) == 15 for trial in trials)

    def asked(*words):
        return json.loads(senas.run(*words, *at, "--json").stdout)

    assert [study["trials"]["COMPLETE"] for study in asked("studies")] == [8]
    assert {trial["number"] for trial in asked("pareto", "tiny")} == {t.number for t in senas.study().front()}
    (first,) = asked("trials", "tiny", "--where", "number == 0")
    assert first["is_baseline"]
    again = senas.run(*words)
    assert "8 complete" not in again.stderr  # nothing was run again
    assert senas.study().trials() == trials
