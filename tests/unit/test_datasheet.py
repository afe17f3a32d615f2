"""The figures of a measured game's datasheet, on invented trainings of all of its pipelines."""

import json
from dataclasses import replace
from types import SimpleNamespace

import datasheet
import numpy as np
import pytest
from scipy.stats import kendalltau
from whole_grid import trainings

from ma2ml_env.games.make import make_game

GAME = "trio-digits-v0"


@pytest.fixture(scope="module")
def table():
    return trainings(3, game=make_game(GAME, "surrogate"))


@pytest.fixture(scope="module")
def sheet(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "digits.npz"
    table.save(path)
    return datasheet.Sheet(GAME, str(path))


def test_counts_are_those_of_the_trainings(sheet, table):
    told = sheet.counts()
    assert (told["codes"], told["pipelines"], told["trainings"]) == (3072, 2304, 3 * 2304)
    assert told["pipelines_by_trainings"] == {"3": 2304}
    assert told["failed_trainings"] == 0
    assert told["hours"] == pytest.approx(table.seconds.sum() / 3600)
    assert told["made"]["torch"] == ["2"]


def test_retest_is_the_mean_over_pairs_and_the_part_is_chosen_by_the_third(sheet, table):
    told, values = sheet.retest(), table.accuracy.reshape(3, -1)
    pairs = [kendalltau(values[a], values[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
    assert told["all"] == pytest.approx(np.mean(pairs))
    ordered = sheet.repeats.T  # of the pipelines in order of their codes: ties are cut in that order
    by_third = []
    for a, b, c in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        top = np.argsort(-ordered[c], kind="stable")[:115]
        by_third.append(kendalltau(ordered[a][top], ordered[b][top]).statistic)
    assert told["top 5 %"] == pytest.approx(np.mean(by_third))
    assert told["all"] > told["upper half"] > told["top 5 %"]


def test_the_noise_is_that_of_the_trainings(sheet, table):
    told, values = sheet.noise(), table.accuracy.reshape(3, -1)
    within = np.sqrt(values.var(axis=0, ddof=1).mean())
    assert told["over_deviation"] == pytest.approx(within / values.mean(0).std())
    assert 0.015 < told["near"]["0.6"] < 0.025  # .02 was invented


def test_no_policy_is_best_where_it_was_made_best(table, tmp_path):
    accuracy, none, conv = table.accuracy.copy(), table.codes[:, 1] == 0, table.codes[:, 2] == 0
    accuracy[none & conv] = 0.99  # a quarter of (NAS, HPO)
    accuracy[none & ~conv] = 0.1
    replace(table, accuracy=accuracy).save(tmp_path / "t.npz")
    told = datasheet.Sheet(GAME, str(tmp_path / "t.npz"))
    assert told.no_policy() == 0.25
    assert told.optimum()["values"]["aug"]["strength"] == "none"
    assert told.optimum()["accuracy"] == pytest.approx(0.99)


def test_shares_and_shapley_add_up(sheet):
    told, best = sheet.variance(), sheet.optimum()
    assert sum(told["alone"].values()) + told["across_agents"] == pytest.approx(1.0)
    assert sum(best["shapley"].values()) == pytest.approx(best["accuracy"] - best["mean_of_all"])
    assert best["not_told_apart"] >= 1
    assert best["equilibria"] >= 1


def test_a_table_of_single_trainings_has_no_noise(tmp_path):
    trainings(1, game=make_game(GAME, "surrogate")).save(tmp_path / "t.npz")
    told = datasheet.Sheet(GAME, str(tmp_path / "t.npz")).figures()
    assert "noise" not in told
    assert "not_told_apart" not in told["optimum"]


def test_the_command_prints_a_table_and_keeps_the_figures(table, tmp_path, capsys):
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    table.save(one)
    replace(table, accuracy=1.0 - table.accuracy).save(other)
    out = tmp_path / "sheet.json"
    args = [GAME, "--data", str(one), "--beside", GAME, "--beside-data", str(other), "--out", str(out)]
    assert datasheet.main(args) == 0
    assert "| trainings | 6,912: 2,304 pipelines x 3 |" in capsys.readouterr().out
    told = json.loads(out.read_text())
    assert told["beside"][GAME]["kendall"] == pytest.approx(-1.0, abs=0.001)
    assert told["beside"][GAME]["pipelines"] == 2304
    assert told["game"] == GAME
    assert told["version"]


def test_games_with_other_rates_are_compared_where_they_meet(sheet):
    whole = datasheet.Sheet(GAME, None)
    values = whole.by_values()
    assert values.keys() == sheet.by_values().keys()
    few = SimpleNamespace(by_values=lambda: {key: mean for key, mean in values.items() if "0.6" in key})
    told = datasheet.beside(whole, few)
    assert told["pipelines"] == 2304 // 4
    assert told["kendall"] == pytest.approx(1.0)
    with pytest.raises(SystemExit, match="no pipelines in common"):
        datasheet.beside(whole, SimpleNamespace(by_values=dict))


def test_a_game_of_another_table_is_refused(monkeypatch):
    monkeypatch.setattr(
        datasheet.ma2ml_env, "make_game", lambda *_, **__: SimpleNamespace(evaluator=SimpleNamespace(source=None))
    )
    with pytest.raises(SystemExit, match="no measured game"):
        datasheet.Sheet("jahs-early-v0", None)
