"""`--start` and `--learn-from`: what is read, what is refused, and that a run goes on without it."""

import json
import shutil

import pytest

from ma2ml_agents.cli.commands import parse
from ma2ml_agents.cli.main import main
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.informed import check_room
from ma2ml_agents.run.known import pipeline_key
from ma2ml_agents.run.sources import read
from ma2ml_agents.run.standing import by_reward
from ma2ml_agents.run.stored import build_without_evaluator
from ma2ml_env.games.make import make_game
from ma2ml_env.reward import Accuracy
from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.store.store import TrialStore

PLAYED = ["--evaluator", "surrogate", "--learner", "evolution", "--batch", "12"]


def search(run, *more, game="digits-v0", budget=36):
    return main(["search", game, *PLAYED, "--budget", str(budget), "--run", str(run), *more])


def config(*words, game="digits-v0"):
    return RunConfig.told(vars(parse(["search", game, *PLAYED, *words]).told))


def trials(run):
    with TrialStore(run, create=False) as store:
        return list(store.trials())


def known(*words, game="digits-v0", budget=36):
    told = config("--budget", str(budget), *words, game=game)
    made = build_without_evaluator(told)
    return made, read(told, made)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("other") / "run"
    assert search(folder) == 0
    return folder


def test_the_base_recipe_is_the_first_trial_of_what_is_trained_unless_told_otherwise():
    def start(*words):
        return RunConfig.told(vars(parse(["search", *words]).told)).start

    assert start("digits-v0") == ("base",)
    assert start("digits-v0", "--evaluator", "train") == ("base",)
    assert start("digits-v0", "--start", "none") is None
    assert start("digits-v0", "--evaluator", "surrogate") is None
    assert start("nasbench201-cifar10-v0") is None
    assert start("digits-v0", "--evaluator", "surrogate", "--start", "base") == ("base",)
    assert RunConfig.usual()["start"] is None, "a run of before it was an option goes on without"


@pytest.mark.slow
def test_a_training_starts_from_the_base_recipe(tmp_path, capsys):
    sizes = ["filters=2", "cells=1", "reductions=[]", "proxy_epochs=1", "limit=64"]
    words = ["--learner", "random", "--batch", "2", "--budget", "2", "--workers", "1", "--run", str(tmp_path / "run")]
    words += [word for size in sizes for word in ("--set", size)]
    assert main(["search", "digits-v0", *words]) == 0
    assert "trial 0 is the game's base recipe" in capsys.readouterr().out
    first, second = trials(tmp_path / "run")
    assert (first.proposal.origin, second.proposal.origin) == ("start", "random")
    capsys.readouterr()
    assert main(["show", str(tmp_path / "run"), "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["augment"] == []


def test_a_file_of_pipelines_by_names(tmp_path):
    path = tmp_path / "known.json"
    path.write_text(json.dumps([{}, {"hpo": {"learning_rate.0": 0.1}}, {"nas": {"normal.0.combine": "concat"}}]))
    game, found = known("--start", str(path))
    recipes = [game.recipe(codes) for codes in found.start]
    assert recipes[0].key == game.base.key
    assert recipes[1].learning_rate == pytest.approx(0.0325)
    assert recipes[2].network.args["normal"][0][4] == "concat"
    both = known("--start", "base", str(path))[1]
    assert both.start == found.start
    assert f"{path}: 1 of 3 pipelines are among the known ones already, and are trained once" in both.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "known.json is not JSON"),
        ("{}", "known.json holds no list of pipelines"),
        ("[]", "known.json holds no list of pipelines"),
        ("[3]", "known.json: pipeline 0 is no object of agents"),
        ('[{}, {"hpo": 3}]', "known.json: pipeline 1 is no object of agents"),
        ('[{"hbo": {}}]', "pipeline 0: there is no agent 'hbo'; did you mean 'hpo'"),
        ('[{"hpo": {"learning_rate.10": 0.1}}]', "agent 'hpo' has no decision 'learning_rate.10'; did you mean"),
        ('[{"hpo": {"learning_rate.0": 0.3}}]', "0.3 is not a choice of 'learning_rate.0'; it has (0.0125, 0.025"),
        (
            json.dumps([{"hpo": {f"learning_rate.{i}": 0.1 for i in range(k)}} for k in range(5)]),
            "5 pipelines to start from, more than the budget of 4",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_one_line(text, message, tmp_path, capsys):
    (tmp_path / "known.json").write_text(text)
    assert search(tmp_path / "run", "--start", str(tmp_path / "known.json"), budget=4) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--start", "none", "base"], "--start none stands alone"),
        (["--start", "base", "base"], "--start: the same is given twice"),
        (["--start", "nowhere"], "there is no file and no run"),
        (["--learn-from", "nowhere"], "is not a run: it has no run.sqlite"),
        (["--learn-from", "a", "a"], "--learn-from: the same run is given twice"),
    ],
)
def test_words_that_cannot_be_used_are_one_line(words, message, tmp_path, capsys):
    assert search(tmp_path / "run", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_best_of_another_run(other):
    for word, k in ((str(other), 5), (f"{other}:3", 3)):
        game, found = known("--start", word)
        best, keys = [], set()
        for trial in sorted(trials(other), key=by_reward):
            if (key := game.recipe(trial.proposal.codes).key) not in keys:
                best.append(trial)
                keys.add(key)
        assert found.start == [trial.proposal.codes for trial in best[:k]]
        assert f"starts from trials {', '.join(str(t.number) for t in best[:k])} of {other}" in found.notes
    made, found = known("--start", f"{other}:99", budget=99)
    assert "not 99" in found.notes[0]
    assert len(found.start) == len({pipeline_key(made, codes) for codes in found.start})


def test_a_run_of_other_agents_says_what_did_not_map(other):
    game, found = known("--start", f"{other}:2", game="digits-continuous-v0")
    theirs = build_without_evaluator(config())
    best = sorted(trials(other), key=by_reward)[:2]
    for codes, trial in zip(found.start, best, strict=True):
        mine, recipe = game.recipe(codes), theirs.recipe(trial.proposal.codes)
        assert mine.network == recipe.network
        assert mine.augment == recipe.augment
        assert mine.learning_rate == pytest.approx(recipe.learning_rate)  # an interval holds the mean of ten picks
    assert "not by name but by what comes closest to the recipe: hpo in 2 trials" in found.notes[0]
    _, found = known("--learn-from", str(other), "--modules", "hpo", "loss")
    assert len(found.learned) == 36
    assert found.notes[0].endswith("closest to the recipe: loss in 36 trials; not said here: aug, nas")


def test_a_run_without_a_common_word_is_refused(other):
    with pytest.raises(ValueError, match="no two trials that are different pipelines in this game"):
        known("--learn-from", str(other), "--modules", "precision")


def test_a_run_goes_on_when_what_it_knew_is_gone(other, tmp_path, capsys):
    source, path = tmp_path / "source", tmp_path / "known.json"
    shutil.copytree(other, source)
    path.write_text(json.dumps([{}, {"hpo": {"learning_rate.0": 0.1}}]))
    words = ["--start", str(path), f"{source}:2", "--learn-from", str(source)]
    assert search(tmp_path / "run", *words, budget=48) == 0
    assert search(tmp_path / "short", *words, budget=12) == 0
    said = capsys.readouterr().out
    assert f"learns from 36 trials of {source}" in said.replace("\n", "")
    played = trials(tmp_path / "run")
    assert [trial.proposal.origin for trial in played[:5]] == ["start"] * 4 + ["random"]
    shutil.rmtree(source)
    path.unlink()
    assert main(["resume", str(tmp_path / "short"), "--budget", "48"]) == 0
    assert [trial.to_json() for trial in trials(tmp_path / "short")] == [trial.to_json() for trial in played]
    assert search(tmp_path / "short", *words, budget=48) == 0, "the same command again"
    assert search(tmp_path / "short", budget=48) == 2
    assert "start is [" in capsys.readouterr().err


def test_trials_of_another_level_teach_the_same(other):
    """Scores know neither the mean nor the deviation of their run."""
    _, found = known("--learn-from", str(other))
    rewards = [trial.reward for trial in trials(other)]
    scores = [each.score for each in found.learned]
    order = sorted(range(36), key=rewards.__getitem__)
    assert order == sorted(range(36), key=scores.__getitem__)
    assert sum(scores[:12]) == pytest.approx(0)  # evolution's first batch is its beginning


@pytest.mark.parametrize("start", [3, [3], [{"loss": [1]}], [{"loss": "x"}]])
def test_a_stored_start_of_another_kind_is_refused_before_anything_is_done(start, tmp_path, capsys):
    assert search(tmp_path, "--modules", "loss", "--start", "base", budget=12) == 0
    with TrialStore(tmp_path) as store:
        store.configure({**store.section("search"), "start": start}, "search", safe=("start",))
        before = store.config
    capsys.readouterr()
    assert main(["resume", str(tmp_path), "--budget", "24"]) == 2
    assert "its search cannot start from what is stored: " in capsys.readouterr().err
    with TrialStore(tmp_path) as store:
        assert store.config == before


def test_what_this_game_goes_by_and_was_not_measured_there(other):
    told = config("--learn-from", str(other))
    game = build_without_evaluator(told)
    game.reward = Accuracy("log_loss")
    found = read(told, game)
    assert "; by its own rewards" in found.notes[0]
    assert [each.score for each in found.learned] == [
        each.score for each in known("--learn-from", str(other))[1].learned
    ]


class Silent:
    """An agent that does not say what comes closest to a recipe."""

    name = "mine"
    space = SearchSpace([Decision("flip", (False, True))])

    def apply(self, recipe, values):
        return recipe.with_slots(flip=values["flip"])


def test_a_search_whose_agents_cannot_say_the_base_recipe_tells_it_and_starts_without():
    game = make_game("digits-v0", "surrogate", modules=["hpo", Silent()])
    found = read(config("--start", "base"), game)
    assert found.start == []
    assert "does not start from the game's base recipe: agent 'mine' does not say" in found.notes[0]
    found = read(config("--start", "base"), make_game("imagenet200-v0", "surrogate"))
    assert len(found.start) == 1
    assert "trial 0 comes closest to the game's base recipe" in found.notes[0]
    assert found.notes[0].endswith("network, learning_rate, weight_decay, dropout, stochastic_depth")


@pytest.mark.parametrize("words", [("--budget", "6"), ("--budget", "12", "--start", "{}:5")])
def test_a_search_that_would_never_hear_of_the_other_run_is_refused(words, other, tmp_path, capsys):
    more = [word.format(other) for word in words]
    assert search(tmp_path / "run", "--learn-from", str(other), *more) == 2
    assert "it would never hear of other runs" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_room_is_in_any_batch():
    check_room(8, 24, 0)
    check_room(16, 8, 3)
    with pytest.raises(ValueError, match="no batch with 8"):
        check_room(15, 8, 3)
