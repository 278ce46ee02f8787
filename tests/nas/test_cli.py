"""The command line: JSON for programs, one clear line for what is wrong, nothing half-made."""

import inspect
import json
import subprocess
import sys
from importlib import import_module

import pytest
import yaml

from nas.cli import COMMANDS, main

KEYS = {
    "number", "state", "architecture", "architecture_id", "accuracy", "flops", "params", "epochs", "duration_s",
    "objectives", "parameters", "started", "is_pareto", "is_baseline", "baseline", "curve", "fail_reason",
    "metrics", "class_accuracies",
}  # fmt: skip


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Runs a command in an empty folder and gives its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SENAS_STORAGE", raising=False)

    def run(*words):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def ask(finished, cli):
    """Asks the finished study for JSON."""

    def run(*words):
        code, out, err = cli(*words, "--json", "--storage", finished.storage)
        assert (code, err) == (0, "")
        return json.loads(out)

    return run


@pytest.mark.slow
def test_trials_have_the_keys_that_programs_rely_on(ask):
    trials = ask("trials", "tiny")
    assert len(trials) == 12
    assert all(trial.keys() == KEYS for trial in trials)
    assert ask("show", "tiny", 3) == trials[3] | {"class_names": [str(digit) for digit in range(10)]}


@pytest.mark.slow
def test_trials_are_filtered_sorted_and_limited(ask):
    everything = ask("trials", "tiny")
    found = ask("trials", "tiny", "--where", "state == 'COMPLETE' and not is_baseline or number < 2", "--sort=-flops")
    expected = [t for t in everything if (t["state"] == "COMPLETE" and not t["is_baseline"]) or t["number"] < 2]
    assert sorted(t["number"] for t in found) == [t["number"] for t in expected]
    assert [t["flops"] for t in found] == sorted((t["flops"] for t in expected), reverse=True)
    assert ask("trials", "tiny", "--limit", 3) == everything[:3]


@pytest.mark.slow
def test_the_front_is_marked_and_can_be_limited(ask):
    front = ask("pareto", "tiny")
    assert [t["number"] for t in front] == [
        t["number"] for t in sorted(ask("trials", "tiny", "--where", "is_pareto"), key=lambda t: t["flops"])
    ]
    cheapest = min(t["flops"] for t in front)
    assert [t["flops"] for t in ask("pareto", "tiny", "--max-flops", cheapest)] == [cheapest]


@pytest.mark.slow
def test_studies_are_counted_by_state(ask):
    (study,) = ask("studies")
    assert study["name"] == "tiny"
    assert sum(study["trials"].values()) == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("studies",), ("trials", "tiny"), ("pareto", "tiny"), ("show", "tiny"), ("show", "tiny", 4)]
)
def test_tables_are_printed(finished, cli, words):
    code, out, err = cli(*words, "--storage", finished.storage)
    assert (code, err) == (0, "")
    assert "tiny" in out or "COMPLETE" in out


@pytest.mark.slow
def test_an_export_is_written_once_and_replaced_only_by_force(finished, cli, tmp_path):
    words = ("export", "tiny", "-o", tmp_path / "out", "--storage", finished.storage)
    assert cli(*words)[0] == 0
    assert {"architecture.yaml", "model.safetensors", "metadata.json", "README.md"} <= {
        file.name for file in (tmp_path / "out").iterdir()
    }
    code, _, err = cli(*words)
    assert code == 2
    assert "is not empty" in err
    assert cli(*words, "--force")[0] == 0
    code, out, _ = cli("cost", tmp_path / "out" / "architecture.yaml", "--json")
    best = json.loads(cli("show", "tiny", "--json", "--storage", finished.storage)[1])
    assert code == 0
    assert json.loads(out)["flops"] == best["flops"]


@pytest.mark.slow
def test_queries_load_neither_torch_nor_ray(finished):
    program = (
        "import sys\nfrom nas.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'ray', 'optuna', 'numpy', 'pandas'} & sys.modules.keys()"
    )
    for words in (("trials", "tiny"), ("studies",), ("pareto", "tiny")):
        subprocess.run([sys.executable, "-c", program, *words, "--storage", finished.storage], check=True)


def test_cost_of_a_backbone_and_of_se_everywhere(cli):
    plain = json.loads(cli("cost", "resnet50", "--json")[1])
    assert (plain["flops"], plain["params"], plain["se_params"], plain["sites"]) == (4089184256, 25557032, 0, {})
    with_se = json.loads(cli("cost", "resnet50", "--ratio", 16, "--json")[1])
    assert with_se["params"] - plain["params"] == with_se["se_params"] == 2514944
    biased = json.loads(cli("cost", "resnet50", "--bias", "--json")[1])
    assert biased["se_params"] - with_se["se_params"] == 16048
    last = json.loads(cli("cost", "resnet50", "--stages", "4", "--json")[1])
    assert last["se_params"] == 1572864
    assert "layer4.2" in cli("cost", "resnet50", "--stages", "4")[1]


def test_space_says_what_is_searched(cli, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(
        "backbone: {name: cnn3}\ndata: {name: digits}\nspace: {position: standard}\nsearch: {trials: 9, epochs: 1}"
    )
    found = json.loads(cli("space", config, "--json")[1])
    assert [site["name"] for site in found["sites"]] == ["conv1", "conv2", "conv3"]
    assert found["architectures"] == 196
    assert "distinct architectures  196" in cli("space", config)[1]
    assert not (tmp_path / "runs").exists()


def test_recipes_are_listed_and_printed_as_they_are(cli, tmp_path):
    listed = json.loads(cli("recipes", "--json")[1])
    assert {"quick", "senet-cifar", "ema"} <= {recipe["name"] for recipe in listed}
    code, table, _ = cli("recipes")
    assert code == 0
    assert all(recipe["name"] in table and recipe["summary"] in table for recipe in listed)
    code, printed, _ = cli("recipes", "senet-cifar")
    assert code == 0
    assert "1512.03385" in printed
    (values,) = (recipe["values"] for recipe in listed if recipe["name"] == "senet-cifar")
    assert yaml.safe_load(printed) == values == json.loads(cli("recipes", "senet-cifar", "--json")[1])["values"]
    (tmp_path / "mine.yaml").write_text(printed)
    (tmp_path / "c.yaml").write_text(
        "backbone: {name: cnn3}\ndata: {name: digits}\nsearch: {trials: 4}\nrecipe: mine.yaml"
    )
    assert cli("space", "c.yaml")[0] == 0


MINIMAL = "backbone: {name: resnet8}\ndata: {name: digits}\nsearch: {trials: 4, epochs: 2}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "nope.yaml"], "there is no config file nope.yaml"),
        (["search", "c.yaml", "--set", "search.trails=3"], "did you mean 'search.trials'?"),
        (["search", "c.yaml", "--set", "backbone.name=resnet81"], "did you mean 'resnet8'?"),
        (["search", "c.yaml", "--set", "backbone.options.widht=8"], "did you mean 'width'?"),
        (["search", "c.yaml", "--set", "backbone.options.width=wide"], "must be an integer such as 16, not 'wide'"),
        (["search", "c.yaml", "--set", "space.position=psot"], "did you mean 'post'?"),
        (
            ["search", "c.yaml", "--set", "backbone.name=cnn3", "--set", "space.position=pre"],
            "the space is empty: position 'pre' is not to be had at site conv1",
        ),
        (["search", "c.yaml", "--set", "data={name: cifar10, root: gone}"], "cifar10 is not in gone"),
        (["search", "c.yaml", "--set", "data={name: imagefolder, root: gone}"], "gone"),
        (["search", "c.yaml", "--set", "recipe.batch_size=5000"], "batch_size 5000 is above"),
        (["search", "c.yaml", "--set", "resources.cpus_per_trial=1000"], "cpus_per_trial is 1000, but"),
        (["search", "c.yaml", "--storage", "sqlite:///gone/x.db"], "there is no folder"),
        (["search", "c.yaml", "--storage", "sqlite:///bad.db"], "file is not a database"),
        (["search", "c.yaml", "--storage", "sqlit:///x.db"], "unknown kind of database 'sqlit'"),
        (["search", "c.yaml", "--storage", "x.db"], "write sqlite:///x.db"),
        (["search", "c.yaml", "--time-budget", "5"], "--time-budget must be a number and a unit"),
        (["search", "c.yaml", "--trials", "few"], "Invalid value for '--trials'"),
        (["trials", "tiny"], "there is no study DB at senas.db"),
        (["trials", "tiny", "--storage", "sqlite:///bad.db"], "file is not a database"),
        (["cost", "resnet50", "--position", "psot"], "unknown --position 'psot': did you mean 'post'?"),
        (["cost", "resnet50", "--variant", "bumb"], "did you mean 'bump'?"),
        (["cost", "resnet50", "--stages", "7"], "resnet50 has no stage 7 (it has: 1 or layer1, 2 or layer2"),
        (["cost", "resnet50", "--stages", "one"], "resnet50 has no stage one"),
        (["cost", "resnet50", "--stages", "1,"], "--stages must be numbers or names"),
        (["cost", "resnet50", "--input-size", "8"], "--input-size must be HxW"),
        (["cost", "renset50"], "did you mean 'resnet50'?"),
        (["cost", "gone.yaml"], "gone.yaml cannot be read"),
        (["cost", "c.yaml"], "c.yaml: unknown key of architecture 'data'"),
        (["search", "c.yaml", "--set", "recipe=quik"], "recipe: unknown recipe 'quik': did you mean 'quick'?"),
        (["recipes", "quik"], "unknown recipe 'quik': did you mean 'quick'?"),
        (["search", "c.yaml", "--set", "recipe.lr=-1"], "c.yaml: recipe.lr: must be greater than 0, not -1"),
        (
            ["search", "c.yaml", "--set", "recipe.augment=[cutout]", "--set", "recipe.cutout_size=9"],
            "cutout_size 9 is more than the 8 pixels of an image's side: lower it",
        ),
        (["search", "c.yaml", "--set", "output=c.yaml"], "output: nothing can be written in"),
        (["search", "c.yaml", "--set", "checkpoints=bad.db/x"], "checkpoints: nothing can be written in"),
        (["evaluate", "gone"], "there is no gone: name what `senas export` wrote"),
        (["evaluate", "c.yaml"], "c.yaml: unknown key of architecture 'data'"),
        (["reproduce", "cnn"], "unknown published table 'cnn': did you mean 'cnn3'?"),
        (["reproduce", "cnn3", "--fraction", "0"], "--fraction"),
        (["reproduce", "cnn3"], "cifar10 is not in data/cifar10"),
        (["pareot"], "Did you mean 'pareto'"),
        (["trials"], "Missing argument"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_makes_nothing(cli, tmp_path, words, message):
    (tmp_path / "c.yaml").write_text(MINIMAL)
    (tmp_path / "bad.db").write_text("this is no database")
    code, out, err = cli(*words)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("senas: ")
    assert err.count("\n") == 1
    assert {file.name for file in tmp_path.iterdir()} == {"c.yaml", "bad.db"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trials", "tini"], "unknown study 'tini': did you mean 'tiny'?"),
        (["trials", "tiny", "--where", "acuracy > 0.9"], "unknown column 'acuracy': did you mean 'accuracy'?"),
        (["trials", "tiny", "--sort", "flop"], "did you mean 'flops'?"),
        (["show", "tiny", "99"], "study 'tiny' has no trial 99: its trials are 0 to 11"),
        (["export", "tiny", "--max-flops", "1", "-o", "out"], "no complete trial of at most 1 FLOPs"),
    ],
)
def test_questions_that_the_study_has_no_answer_to(finished, cli, tmp_path, words, message):
    code, out, err = cli(*words, "--storage", finished.storage)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(cli):
    code, _, err = cli("trials", "x", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_help_lists_the_commands(cli):
    code, out, _ = cli("--help")
    assert code == 0
    told = " ".join(out.split())
    for command, (_, line) in COMMANDS.items():
        assert f" {command} {line} " in told


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_line_in_the_help_is_its_docstrings_first(command):
    module, _, function = COMMANDS[command][0].partition(":")
    found = getattr(import_module(module), function)
    assert inspect.getdoc(found).splitlines()[0] == COMMANDS[command][1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_of_its_own(cli, command):
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert " ".join(COMMANDS[command][1].split()) in " ".join(out.split())


def test_help_loads_nothing_heavy():
    program = (
        "import sys\nfrom nas.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'ray', 'optuna', 'sqlalchemy', 'numpy', 'scipy', 'pydantic', 'yaml', 'rich', 'pandas'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(("words", "code"), [(["backbones"], 0), (["studies", "--storage", "sqlite:///none.db"], 2)])
def test_the_end_loses_nothing(tmp_path, words, code):
    """What is printed arrives whole in a pipe, and what is to be cleared away at the end is."""
    program = (
        "import atexit, sys\n"
        "from nas.cli import run\n"
        "atexit.register(print, 'cleared away')\n"
        f"sys.argv = ['senas', *{words}]\n"
        "run()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    *printed, last = ended.stdout.splitlines()
    assert last == "cleared away"
    assert len(printed) > 50 or code
    assert ended.stderr.startswith("senas: there is no study DB" if code else "")
