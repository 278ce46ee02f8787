"""Outputs that are closed, without a reader or of a small encoding take nothing from what a command does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENCODINGS = [POSIX, *({"PYTHONIOENCODING": name} for name in ("latin-1", "ascii:strict", "cp1252"))]
CLOSED = [">&-", "2>&-", "<&-", ">&- 2>&- <&-"]


def shell(line, *words, cwd=None, **settings):
    """Run a shell line in which "$@" is the program with the words."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, "bash", sys.executable, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=240,
        check=False,
    )


def run(text, line='"$@"', **settings):
    program = f"import os, sys\nfrom nas.cli.streams import secure_streams, write_utf8\nsecure_streams()\n{text}"
    return shell(line, "-c", program, **settings)


@pytest.mark.parametrize("settings", ENCODINGS, ids=str)
def test_a_character_that_the_encoding_lacks_is_replaced(settings):
    written = "print('\\u2581\\u2588 \\u20ac\\u4e00', 'x' * 20_000, sep='|'); print('\\u2588', file=sys.stderr)"
    ended = run(written, **settings)
    assert ended.returncode == 0
    expected = b"18 \x80?|" if settings.get("PYTHONIOENCODING") == "cp1252" else b"18 ??|"
    assert ended.stdout == expected + b"x" * 20_000 + b"\n"
    assert ended.stderr == b"8\n"


def test_utf_8_is_printed_as_it_is_and_so_are_bytes_of_file_names():
    text = "print('\\u2588\\u00e4'); print(os.fsdecode(b'a\\xff'))"
    assert run(text, PYTHONIOENCODING="utf-8").stdout == "█ä\n".encode() + b"a\xff\n"
    assert run("write_utf8('\\u2588\\u00e4')", **POSIX).stdout == "█ä".encode()


@pytest.mark.parametrize("closed", CLOSED)
def test_no_file_takes_the_place_of_a_closed_stream(tmp_path, closed):
    text = (
        "taken = os.open('data', os.O_CREAT | os.O_WRONLY)\n"
        "print('printed'); print('told', file=sys.stderr); sys.stdout.flush()\n"
        "child = [sys.executable, '-c', 'import os; [os.write(n, bytes([48])) for n in (1, 2)]']\n"
        "import subprocess; subprocess.run(child, check=True)\n"
        "assert taken > 2 and sys.stdin.read() == ''\n"
    )
    program = f"import os, sys\nfrom nas.cli.streams import secure_streams\nsecure_streams()\n{text}"
    ended = shell(f'"$@" {closed}', "-c", program, cwd=tmp_path)
    assert (ended.returncode, (tmp_path / "data").read_bytes()) == (0, b"")


def test_an_output_without_a_reader_drops_the_rest():
    text = (
        "import time\n"
        "for number in range(20):\n"
        "    print(number, 'x' * 10_000, flush=True); print('told', flush=True); time.sleep(0.01)\n"
        "print('done', file=sys.stderr)\n"
    )
    ended = run(text, line='"$@" | head -1 | wc -l')
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, b"1", b"done\n")


@pytest.mark.parametrize("words", [["--help"], ["recipes", "quick"]], ids=str)
def test_commands_end_well_whatever_the_streams_are(words):
    whole = shell('"$@"', "-m", "nas", *words)
    assert whole.returncode == 0
    for line in (*(f'"$@" {closed}' for closed in CLOSED), '"$@" | true'):
        ended = shell(line, "-m", "nas", *words)
        assert (ended.returncode, ended.stderr) == (0, b""), line


def test_an_error_keeps_its_exit_code_without_a_place_to_tell_it(tmp_path):
    for closed in CLOSED:
        ended = shell(f'"$@" {closed}', "-m", "nas", "trials", "x", "--storage", "sqlite:///none.db", cwd=tmp_path)
        assert ended.returncode == 2
        assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("words", [["variants"], ["variants", "--json"], ["--help"]], ids=str)
def test_a_full_disk_is_told_in_one_line(words):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([sys.executable, "-m", "nas", *words], stdout=full, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"senas: OSError: [Errno 28] No space left on device")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("settings", ENCODINGS, ids=str)
def test_queries_print_what_programs_read_whatever_the_encoding(finished, settings):
    def ask(*words, **environment):
        ended = shell('"$@"', "-m", "nas", *words, "--storage", finished.storage, **environment)
        assert (ended.returncode, ended.stderr) == (0, b"")
        return ended.stdout

    table, plain = ask("trials", "tiny", PYTHONIOENCODING="utf-8").decode(), ask("trials", "tiny", **settings)
    assert plain.decode("ascii") == table.translate(str.maketrans("▁▂▃▄▅▆▇█", "12345678"))
    for words in (["trials", "tiny", "--json"], ["trials", "tiny", "--format", "csv"], ["show", "tiny", "--json"]):
        assert ask(*words, **settings) == ask(*words, PYTHONIOENCODING="utf-8")
    json.loads(ask("trials", "tiny", "--json", **settings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "settings"), [('"$@" >&- 2>&- <&-', {}), ('"$@" 2>&1 | head -1', POSIX)], ids=["closed", "unread"]
)
def test_a_search_runs_to_its_end_whatever_the_streams_are(senas, line, settings):
    words = ["search", "tiny.yaml", "--set", "search.trials=6", "--set", "search.epochs=2", "--storage", senas.storage]
    ended = shell(line, "-m", "nas", *words, cwd=senas.folder, **settings)
    assert ended.returncode == 0
    assert b"Traceback" not in ended.stdout
    assert len(senas.study().trials()) == 6
    assert {trial.state for trial in senas.study().trials()} <= {"COMPLETE", "PRUNED"}
    assert (senas.folder / "runs" / "tiny" / "report.html").exists()
