"""RunConfig: one field an option, from which all commands, the store and the game are told."""

import gzip
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest

from ma2ml_agents.cli.commands import parse
from ma2ml_agents.cli.main import main
from ma2ml_agents.run.config import RunConfig, said
from ma2ml_agents.run.stored import build, build_without_evaluator, stored_config, trained_run, training_options
from ma2ml_env.evaluators.placement import Placement
from ma2ml_env.games.make import make_game
from ma2ml_env.store.store import TrialStore

GOLDEN = Path(__file__).parents[1] / "faults" / "golden" / "0.1.0" / "run.sqlite.gz"
GOLDEN_WORDS = ["digits-v0", "--evaluator", "surrogate", "--learner", "evolution", "--budget", "10", "--batch", "4"]


def told(*words):
    return RunConfig.told(vars(parse(["search", *words]).told))


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """The config that version 0.1.0 stored, whose words stand in golden/make.py."""
    path = tmp_path_factory.mktemp("golden") / "run.sqlite"
    path.write_bytes(gzip.decompress(GOLDEN.read_bytes()))
    with closing(sqlite3.connect(path)) as db:
        ((text,),) = db.execute("SELECT json FROM meta WHERE key = 'run'").fetchall()
    return json.loads(text)


def test_the_same_words_are_stored_as_ever(golden):
    now = told(*GOLDEN_WORDS).to_json()
    assert {name: now[name] for name in golden} == golden
    assert {name: value for name, value in now.items() if name not in golden} == {
        name: value for name, value in RunConfig.usual().items() if name not in golden
    }


def test_what_was_told_is_read_again(golden):
    words = ["--halving", "0.25", "0.5", "--modules", "aug", "hpo", "--set", "reductions=[1]", "--engine", "ray"]
    config = told("digits-v0", *words, "--gpus", "0.5", "--time-limit", "60", "--learner-set", "lambda_=1.0")
    stored = json.loads(json.dumps(config.to_json()))
    assert RunConfig.read(stored, Path("run")) == config
    assert (config.budget, config.evaluator, config.halving) == (192, "train", (0.25, 0.5))
    assert stored["halving"] == [0.25, 0.5]
    assert RunConfig.read(golden, Path("run")) == told(*GOLDEN_WORDS)
    older = {name: golden[name] for name in golden if name not in RunConfig.usual()}
    assert RunConfig.read(older, Path("run")) == told(*GOLDEN_WORDS)
    with pytest.raises(FrozenInstanceError):
        config.budget = 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("budget", "many"), ("seed", None), ("set", [1]), ("engine", "cloud"), ("modules", [1]), ("halving", 0.5),
     ("download", "yes"), ("gpus", "1"), ("data", 3)],
)  # fmt: skip
def test_a_stored_value_of_another_kind_is_named(golden, name, value):
    with pytest.raises(ValueError, match=f"run was not made by `ma2ml search`: the {name} of its config is "):
        RunConfig.read({**golden, name: value}, Path("run"))


def test_a_config_without_what_all_have_is_refused(golden):
    del golden["seed"]
    with pytest.raises(ValueError, match="its config has no seed"):
        RunConfig.read(golden, Path("run"))


def offered(command, capsys):
    """The flags of a command's help."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return set(re.findall(r"^\W*(--[a-z-]+) ", capsys.readouterr().out, re.MULTILINE))


def test_every_field_is_an_option_with_help_where_it_belongs(capsys):
    flags = {command: offered(command, capsys) for command in ("search", "resume", "retrain", "fidelity")}
    for each in fields(RunConfig):
        option, flag = said(each), f"--{each.name.replace('_', '-')}"
        assert option.help
        assert (flag in flags["search"]) == (option.default is not ...), flag
        later = option.safe and option.later is not None
        assert (flag in flags["resume"]) == later, flag
        elsewhere = later and option.where in ("source", "trainer", "placement") and not option.shortens
        assert (flag in flags["retrain"]) == elsewhere, flag
        assert (flag in flags["fidelity"]) == (elsewhere or each.name == "seed"), flag  # it has one of its own


def test_who_goes_on_changes_what_may_change():
    config = told("own-v0", "--npz", "a.npz", "--size", "8", "--time-limit", "9", "--halving", "0.5")
    moved = config.changed({"data": "b.npz", "workers": 3, "download": False, "device": None})
    assert moved == replace(config, npz=str(Path("b.npz").absolute()), workers=3)
    assert moved.whole() == replace(moved, time_limit=None, halving=())
    assert moved.placement() == Placement(workers=3, time_limit=9.0)
    with pytest.raises(TypeError, match="no option 'wokers'; did you mean 'workers'"):
        config.changed({"wokers": 3})
    with pytest.raises(TypeError, match="no option 'size'"):
        config.changed({"size": 3})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--evaluator", "ray_pool"], "a pool is chosen by --workers and --engine"),
        (["--evaluator", "surrogate", "--engine", "ray"], "--engine ray is for what is trained"),
        (["--gpus", "1"], "address and gpus are of the evaluator ray_pool"),
        (["--set", "engine=ray"], "it has an option of its own, --engine"),
        (["--set", "time_limit=3"], "it has an option of its own, --time-limit"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_trained(words, message):
    with pytest.raises(ValueError, match=message):
        build(told("digits-v0", *words))


def test_an_option_of_the_trainer_reaches_it():
    game = build(told("digits-v0", "--workers", "1", "--device", "cpu", "--set", "deterministic=true"))
    assert game.evaluator.inner.deterministic
    assert game.evaluator.inner.device == "cpu"
    with pytest.raises(ValueError, match="'threads' is a whole number"):
        build(told("digits-v0", "--set", "threads=many"))


def test_a_run_with_an_option_of_a_later_version_is_shown_but_not_gone_on_with(tmp_path, capsys):
    words = ["--evaluator", "surrogate", "--learner", "random", "--batch", "2", "--budget", "2", "--run", str(tmp_path)]
    assert main(["search", "digits-v0", *words]) == 0
    with TrialStore(tmp_path) as store:
        config = store.config
        store.configure({**config, "warmup": 3}, usual={"warmup": None}, safe=("warmup",))
        assert stored_config(store).to_json() == config
    assert main(["show", str(tmp_path)]) == 0
    assert main(["resume", str(tmp_path), "--budget", "4"]) == 2
    assert "warmup is 3 there and null here" in capsys.readouterr().err


def test_a_run_that_was_not_trained_has_nothing_to_train(tmp_path):
    with TrialStore(tmp_path) as store:
        store.configure(told("digits-v0", "--evaluator", "surrogate").to_json())
    with pytest.raises(ValueError, match="there is nothing to train"):
        trained_run(tmp_path, {})


def test_own_images_are_mirrored_only_if_that_is_told(tmp_path):
    """Of before there was the option they were, and such a run goes on as it was."""

    def flips(config):
        return build_without_evaluator(config).base.flip

    assert not flips(told("own-small-v0"))
    assert flips(told("own-small-v0", "--flip", "yes"))
    assert not flips(told("own-small-v0", "--set", "flip=False"))
    assert flips(told("own-small-v0", "--set", "flip=True"))
    assert (flips(told("cifar10-v0")), flips(told("cifar10-v0", "--flip", "no"))) == (True, False)
    stored = told("own-small-v0").to_json()
    assert flips(RunConfig.read({name: value for name, value in stored.items() if name != "flip"}, tmp_path))
    before = {**stored, "set": {"flip": False}}
    assert not flips(RunConfig.read({name: value for name, value in before.items() if name != "flip"}, tmp_path))
    with pytest.raises(ValueError, match="it has an option of its own, --flip"):
        told("own-small-v0", "--flip", "yes", "--set", "flip=False").overrides()


def test_python_and_the_command_line_play_the_same_own_game():
    for name in ("own-v0", "own-small-v0"):
        assert make_game(name, "surrogate").base == build_without_evaluator(told(name)).base


def test_images_are_kept_beside_the_run_unless_told(tmp_path):
    config = told(
        "own-small-v0", "--images", str(tmp_path / "data"), "--fit", "pad", "--background", "black", "--skip-bad"
    )
    source = training_options(config.beside(tmp_path / "runs" / "one"))[0]
    assert source.cache == str(tmp_path / "runs" / "ma2ml-cache")
    assert (source.fit, source.background, source.skip_bad) == ("pad", "black", True)
    assert config.cache is None, "another folder of the run has another neighbour"
    chosen = told("own-small-v0", "--images", str(tmp_path / "data"), "--cache", str(tmp_path / "c")).beside(tmp_path)
    assert training_options(chosen)[0].cache == str(tmp_path / "c")
    assert told("digits-v0").beside(tmp_path).cache is None
    before = told("imagenet200-v0", "--set", "cache=there")
    assert training_options(before)[0].cache == "there"
