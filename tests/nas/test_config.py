"""Configurations: what is right is read in full, what is wrong is told in one line that names it."""

import json
from itertools import combinations
from pathlib import Path

import pytest

from nas.config import Config, load_config, parse_config
from nas.objectives import Objective
from search_space.errors import InputError
from trainers.recipes import load_recipe

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
MINIMAL = "backbone: {name: resnet8}\ndata: {name: digits}\nsearch: {trials: 4, epochs: 2}\n"


@pytest.fixture
def minimal(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(MINIMAL)
    return file


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_bundled_configurations_load_and_survive_a_round_trip(file):
    config = load_config(file)
    assert Config.model_validate(config.to_dict()) == config
    assert Config.model_validate(config.to_dict()).identity() == config.identity()


def test_a_study_takes_the_files_name_unless_it_has_one(minimal):
    assert load_config(minimal).study == "mine"
    assert load_config(minimal, study="other").study == "other"


def test_overrides_go_on_top(minimal):
    config = load_config(
        minimal,
        [
            "search.trials=7",
            "recipe.lr=1e-3",
            "space.position=[pre, post]",
            "space.ratio.per=stage",
            "space.ratio.choices=[2]",
        ],
    )
    assert config.search.trials == 7
    assert config.recipe.lr == 0.001
    assert config.space.position.choices == ("pre", "post")
    assert config.space.ratio.per == "stage"


def test_identity_is_what_results_depend_on(minimal):
    config = load_config(minimal)
    for override in (
        "search.trials=9",
        "output=elsewhere",
        "resources.cpus_per_trial=2",
        "data.download=true",
        "checkpoints=x",
    ):
        assert load_config(minimal, [override]).identity() == config.identity()
    for override in (
        "search.epochs=3",
        "search.seed=1",
        "recipe.lr=0.3",
        "search.asha=null",
        "search.objectives=[accuracy]",
    ):
        assert load_config(minimal, [override]).identity() != config.identity()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("serch.trials=3", "unknown key 'serch': did you mean 'search'?"),
        ("search.trails=3", "unknown key 'search.trails': did you mean 'search.trials'?"),
        ("search.asha.etta=3", "unknown key 'search.asha.etta': did you mean 'search.asha.eta'?"),
        ("recipe.learning_rate=3", "unknown key 'recipe.learning_rate'"),
        ("search.trials=many", "search.trials: must be a valid integer, not 'many'"),
        ("search.trials=0", "search.trials: must be greater than or equal to 1, not 0"),
        ("search.trials='8'", "search.trials: must be a valid integer, not '8'"),
        ("search.sampler=tpa", "search.sampler: unknown value 'tpa': did you mean 'tpe'?"),
        ("search.asha.min_epochs=3", "search: asha.min_epochs 3 is above the 2 epochs"),
        ("data.name=digit", "data.name: unknown data set 'digit': did you mean 'digits'?"),
        ("search.objectives=[acuracy]", "search.objectives: unknown objective 'acuracy': did you mean 'accuracy'?"),
        ("search.objectives=[flops]", "search: objectives flops: none is measured by training, such as accuracy"),
        ("search.objectives=[accuracy, accuracy]", "search: objectives accuracy, accuracy: each may be there once"),
        ("search.objectives=[]", "search.objectives: must not be empty"),
        ("search.objectives=[{name: ece, measure: 'm:f'}]", "objective ece needs a direction: maximize or minimize"),
        ("search.objectives=[{name: ece, direction: minimize, measure: f}]", "objective ece: f is no import path"),
        ("search.objectives=[{name: loss, direction: minimize, price: 'm:f'}]", "objective loss comes along"),
        ("search.objectives=[{name: e, direction: minimize, price: 'm:f', measure: 'm:f'}]", "both measure and price"),
        ("search.objectives=[{name: top1, direction: maximize, measure: 'm:f'}]", "top1: the name is in use"),
        ("search.asha={brackets: 2, min_epochs: 1}", "search: asha.brackets 2 is above the number of rungs, 1"),
        ("search.asha={variant: promote}", "search.asha.variant: unknown value 'promote': did you mean 'promotion'?"),
        ("search.asha={ties: net}", "search.asha.ties: unknown value 'net'"),
        ("search.stop_when_stalled={trials: 0}", "search.stop_when_stalled.trials: must be greater than or equal"),
        ("space.position=psot", "space.position: unknown value 'psot': did you mean 'post'?"),
        ("space.variant=bumb", "space.variant: unknown SE variant 'bumb': did you mean 'bump'?"),
        ("space.ratio=[]", "space.ratio: must not be empty"),
        ("space.ratio=[0]", "space.ratio: must be greater than or equal to 1, not 0"),
        ("space.ratio={choices: [2], per: block}", "space.ratio.per: unknown value 'block'"),
        ("recipe.lr=-1", "recipe.lr: must be greater than 0"),
        ("recipe=quik", "mine.yaml: recipe: unknown recipe 'quik': did you mean 'quick'?"),
        ("recipe.class_weights=balance", "recipe.class_weights: must be balanced, a list of one weight for each class"),
        ("recipe.class_weights=[1, 0]", "recipe.class_weights: the weight must be a number from 1e-06 to 1e+06, not 0"),
        ("recipe.class_weights.cat=-1", "recipe.class_weights: the weight of class 'cat' must be a number"),
        ("recipe=[quick, {lr: fast}]", "recipe.lr: must be a valid number, not 'fast'"),
        ("recipe=[quick, {schedul: step}]", "unknown key 'recipe.schedul': did you mean 'recipe.schedule'?"),
        ("recipe=[quick, gone.yaml]", "recipe: there is no recipe file gone.yaml"),
        ("recipe=3", "recipe: a recipe is a name, a YAML file, keys and values, or a list of these, not 3"),
        ("recipe={cutout_size: 4}", "recipe: cutout_size has no effect without augment cutout"),
        ("recipe=senet-cifar", "milestones must be below the 2 epochs of training, not 123"),
        ("recipe.warmup_epochs=5", "warmup"),
        ("resources.gpus_per_trial=1.5", "1.5 GPUs cannot be given to a trial"),
        ("study=a/b", "study: "),
        ("search=3", "search: must be"),
        ("backbone=resnet8", "backbone: must be"),
        ("novalue", "--set novalue: write KEY=VALUE"),
        ("search.trials=[", "the value of --set search.trials=[ is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(minimal, override, message):
    with pytest.raises(InputError) as error:
        load_config(minimal, [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("quick", ["quick"]),
        ("[senet-cifar, bf16, {lr: 1e-3}]", ["senet-cifar", "bf16", {"lr": 0.001}]),
        ("[mine.yaml, {momentum: 0.5}]", [{"lr": 0.02, "momentum": 0.5}]),
        ("{lr: 0.3}", [{"lr": 0.3}]),
    ],
)
def test_a_recipe_is_named_and_its_values_are_recorded(minimal, tmp_path, monkeypatch, given, expected):
    (tmp_path / "mine.yaml").write_text("lr: 2e-2\nmomentum: 0.8\n")
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "named.yaml"
    config.write_text(MINIMAL.replace("epochs: 2", "epochs: 200") + f"recipe: {given}\n")
    found = load_config(config)
    assert found.recipe == load_recipe(expected)
    assert found.to_dict()["recipe"] == found.recipe.model_dump(mode="json")
    assert Config.model_validate(found.to_dict()) == found
    changed = load_config(config, ["recipe.lr=0.07", "recipe.batch_size=16"])
    assert changed.recipe == found.recipe.model_copy(update={"lr": 0.07, "batch_size": 16})
    assert load_config(config, ["recipe.lr=0.07", "recipe=[quick, ema]"]).recipe == load_recipe(["quick", "ema"])
    assert load_config(config, ["recipe=ema", "recipe.lr=0.07"]).recipe == load_recipe(["ema", {"lr": 0.07}])


def test_the_recipes_epochs_are_the_budget_if_the_search_has_none(minimal):
    minimal.write_text(MINIMAL.replace(", epochs: 2", ""))
    found = load_config(minimal, ["recipe=quick"])
    assert found.search.epochs == load_recipe("quick").epochs == found.recipe.epochs
    assert load_config(minimal, ["recipe.epochs=7"]).search.epochs == 7
    assert load_config(minimal, ["recipe=quick", "search.epochs=4"]).search.epochs == 4
    assert load_config(minimal).recipe == load_recipe("quick")
    for overrides in (["recipe=ema"], ["recipe=[quick, {epochs: null}]"]):
        with pytest.raises(InputError, match=r"'search.epochs' is missing, and so is 'recipe.epochs'"):
            load_config(minimal, overrides)


def test_where_the_epochs_are_said_is_no_part_of_the_identity(minimal):
    whole = load_config(minimal, ["recipe=quick", "search.epochs=9"])
    assert load_config(minimal, ["recipe=[quick, {epochs: 5}]", "search.epochs=9"]).identity() == whole.identity()
    assert load_config(minimal, ["recipe=quick", "search.epochs=8"]).identity() != whole.identity()


def test_a_study_from_before_recipes_had_names_is_the_same_study(minimal):
    now = load_config(minimal, ["recipe={optimizer: adamw, lr: 0.01}"])
    old = now.to_dict()
    keys = ("optimizer", "lr", "momentum", "nesterov", "weight_decay", "schedule", "step_epochs", "decay",
            "warmup_epochs", "batch_size", "label_smoothing", "precision", "channels_last", "augment",
            "crop_padding")  # fmt: skip
    old["recipe"] = {key: old["recipe"][key] for key in keys}
    assert Config.model_validate(old) == now
    assert Config.model_validate(old).identity() == now.identity()


def test_a_study_from_before_class_weights_is_the_same_study(minimal):
    now = load_config(minimal)
    before = now.to_dict()
    del before["recipe"]["class_weights"]
    assert Config.model_validate(before).identity() == now.identity()
    identities = [
        load_config(minimal, [f"recipe.class_weights={weights}"]).identity()
        for weights in ("null", "balanced", "[1, 2]", "[2, 1]", "{a: 2}")
    ]
    assert identities[0] == now.identity()
    assert all(a != b for a, b in combinations(identities, 2))


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1"])
def test_a_measure_of_ones_own_keeps_a_name_that_senas_has_too(minimal, name):
    (known,) = load_config(minimal, [f"search.objectives=[{name}]"]).search.objectives
    assert known.objective == Objective(name, "maximize", "measured")
    own = {"name": name, "direction": "minimize", "measure": "mine:function"}
    config = load_config(minimal, [f"search.objectives=[{json.dumps(own)}]"])
    again = Config.model_validate(config.to_dict())
    assert again.search.objectives[0].objective == Objective(name, "minimize", "measured", "mine:function")


def test_a_missing_key_is_named():
    with pytest.raises(InputError, match="the key 'search' is missing"):
        parse_config({"study": "x", "backbone": {"name": "resnet8"}, "data": {"name": "digits"}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "must hold keys and values"),
        ("a: [", "is not valid YAML"),
        ("", "is empty"),
        ("# nothing", "is empty"),
    ],
)
def test_a_file_that_is_no_configuration_is_told(tmp_path, content, message):
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        load_config(file)


def test_a_repeated_section_is_refused_in_every_file_and_option(minimal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("lr: 0.1\nmomentum: 0.5\nlr: 0.2\n")
    with pytest.raises(InputError, match=r"recipe: recipe\.yaml: the key 'lr' on line 1 is repeated: .* line 3"):
        load_config(minimal, ["recipe=recipe.yaml"])
    with pytest.raises(
        InputError, match=r"the value of --set space=.*: the key 'ratio' on line 1, column 2 is repeated"
    ):
        load_config(minimal, ["space={ratio: [2], ratio: [4]}"])
    minimal.write_text(MINIMAL + "space: {max_flops: 1}\nspace: {ratio: [2]}\n")
    with pytest.raises(InputError, match=r"mine\.yaml: the key 'space' on line 4 is repeated: .* on line 5"):
        load_config(minimal)


def test_of_two_overrides_of_a_key_the_last_holds(minimal):
    assert load_config(minimal, ["search.trials=7", "search.trials=9"]).search.trials == 9


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="there is no config file"):
        load_config(tmp_path / "none.yaml")
