"""Searches that train, side by side."""

import json

import live
import pytest

from ma2ml_agents.cli.main import main as ma2ml
from ma2ml_agents.run.standing import recipe_key
from ma2ml_env.games.make import make_game
from ma2ml_env.tables.trainings import Trainings

GAME = "trio-digits-v0"


def looked_up(run, game, learner, seed, further):
    """In place of some seconds a pipeline: the game's own table."""
    words = ["search", game, "--run", str(run), "--learner", learner, "--seed", str(seed)]
    assert ma2ml([*words, *(further or ["--budget", "96"])]) == 0


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "train", looked_up)
    return [GAME, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--seeds", "2"]


def test_searches_are_played_in_parts_compared_and_kept(tmp_path, words, monkeypatch, capsys):
    words += ["--learners", "evolution", "random", "--budget", "96"]
    assert live.main([*words, "--part", "1/2"]) == 0
    assert sorted(each.name for each in (tmp_path / "runs" / GAME).iterdir()) == ["evolution-0", "evolution-1"]
    assert not (tmp_path / "out").exists()
    assert live.main([*words, "--part", "2/2"]) == 0
    monkeypatch.setattr(live, "train", lambda *told: None)  # all were played
    assert live.main(words) == 2, "there are no trainings to keep"
    told = json.loads((tmp_path / "out" / f"{GAME}.json").read_text())
    assert [(row["learner"], row["seed"]) for row in told["rows"]] == [
        ("evolution", 0), ("random", 0), ("evolution", 1), ("random", 1),
    ]  # fmt: skip
    assert live.main([*words, "--budget", "120"]) == 2, "what was played with another budget is no such search"
    assert "has 96 trials, and not 120" in capsys.readouterr().err
    assert "| `evolution` | 2 |" in (tmp_path / "out" / f"{GAME}.md").read_text()
    assert ">evolution</text>" in (tmp_path / "out" / f"{GAME}.svg").read_text()


def test_levels_are_of_distinct_pipelines_and_of_the_second_batch(tmp_path):
    looked_up(tmp_path / "run", GAME, "evolution", 0, [])
    trials, game = live.trials_of(tmp_path / "run"), make_game(GAME, "table")
    second, *tops, best = live.levels(trials, 24, recipe_key(game))
    assert second == pytest.approx(sum(trial.reward for trial in trials[24:48]) / 24)
    assert best == max(trial.reward for trial in trials)
    for level, count in zip(tops, (24, 48, 96), strict=True):
        found = {}
        for trial in trials[:count]:
            key = game.recipe(trial.proposal.codes).key
            found[key] = max(found.get(key, 0.0), trial.reward)
        best_of_each = sorted(found.values())[-30:]
        assert level == pytest.approx(sum(best_of_each) / len(best_of_each))
    assert tops[0] < tops[-1]


def test_the_picture_has_the_mean_over_seeds_after_each_batch(tmp_path, monkeypatch):
    looked_up(tmp_path / "run", GAME, "evolution", 0, [])
    trials, key = live.trials_of(tmp_path / "run"), recipe_key(make_game(GAME, "table"))
    points = live.curve(trials, 24, key)
    assert [x for x, _ in points] == [24, 48, 72, 96]
    assert [points[at][1] for at in (0, 1, 3)] == live.levels(trials, 24, key)[1:4]
    drawn = []
    monkeypatch.setattr(live, "panels", lambda charts: drawn.append(charts[0][0]) or "")
    live.picture({"a": [[(1.0, 0.5), (2.0, 0.6)], [(1.0, 0.7), (2.0, 1.0)]]})
    assert drawn == [{"a": [(1.0, pytest.approx(0.6)), (2.0, pytest.approx(0.8))]}]


def test_the_first_learner_is_compared_with_the_others():
    rows = [
        {"learner": name, "seed": seed, "levels": [0.5, 0.6, 0.7 + shift, 0.8 + shift, 0.9]}
        for name, shift in (("ours", 0.01), ("other", 0.0))
        for seed in range(5)
    ]
    text = live.as_markdown(rows, ["ours", "other"])
    assert "| `other` | 5 | 0.5000 ± 0.0000 |" in text
    assert "5 of 5 (0.03), 5 of 5 (0.03) |" in text
    assert "| `ours` | 1 | 0.5000 | 0.6000 |" in live.as_markdown(rows[:1], ["ours"]), "one seed has no interval"
    assert live.compared([1.0, 2.0], [1.0, 2.0]) == (0, 1.0)


def test_a_part_is_a_number_of_a_number(capsys):
    for text in ("0/2", "3/2", "1", "a/b"):
        with pytest.raises(SystemExit):
            live.main([GAME, "--part", text])
    assert "a part is k/n" in capsys.readouterr().err


@pytest.mark.slow
def test_searches_that_train_are_kept_and_go_on(tmp_path):
    words = [
        "digits-v0",
        "--runs",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path),
        "--seeds",
        "1",
        "--learners",
        "random",
    ]
    words += ["--budget", "4"]
    assert live.main(words) == live.main(words) == 0
    table = Trainings.load(tmp_path / "digits-v0.npz")
    assert len(table.codes) == 4
    assert (table.test_accuracy > 0).all()
