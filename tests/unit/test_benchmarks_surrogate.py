"""The fit of a surrogate: judged on what it never saw, refused where it is poor. On invented trainings."""

import json
from dataclasses import replace

import numpy as np
import pytest
import run
import suite
import surrogate_fit
import trio_surrogate
from invented_trainings import EPOCHS, columns, deviation, joint, large_game, trainings

from ma2ml_env.tables.fit import Fit
from ma2ml_env.tables.trainings import joined

GAME = large_game()
SPACE = joint(GAME)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    made = {
        "train": trainings(SPACE.sample(700, 1), seed=1, failing=[3, 4]),
        "evolution": joined([trainings(SPACE.sample(40, 10 + s), seed=10 + s, learner="evolution") for s in (0, 1)]),
        "held": trainings(SPACE.sample(200, 2), seed=2),
        "repeats": trainings(np.repeat(SPACE.sample(40, 3), 4, axis=0), seed=3),
    }
    for name, table in made.items():
        table.save(folder / f"{name}.npz")
    return folder


@pytest.fixture
def fit(tables, tmp_path, monkeypatch):
    """Run the script; its exit code, report and surrogate. Few trees, so that it is quick."""
    monkeypatch.setattr(surrogate_fit, "TREES", {**surrogate_fit.TREES, "max_iter": 60, "learning_rate": 0.2})
    monkeypatch.setattr(surrogate_fit, "FEW_TREES", {**surrogate_fit.FEW_TREES, "max_iter": 15})

    def run(*words, **other):
        files = {"train": tables / "train.npz", "held": tables / "held.npz", "repeats": tables / "repeats.npz", **other}
        out, report = tmp_path / "surrogate.npz", tmp_path / "report.json"
        told = ["--train", str(files["train"]), str(tables / "evolution.npz"), "--held-out", str(files["held"])]
        told += ["--repeats", str(files["repeats"]), "--out", str(out), "--report", str(report), *words]
        code = trio_surrogate.main(told)
        return code, json.loads(report.read_text()) if report.exists() else None, out

    return run


@pytest.mark.slow
def test_it_is_judged_by_what_it_never_saw(fit, tables):
    code, report, out = fit("--check")
    assert code == 0
    assert report["trainings"] == 780
    assert list(report["held_out"]) == ["1", "3", "5", "8", "12", "end", "test"]
    for each in report["held_out"].values():
        assert each["r2"] > 0.7
        assert each["tau"] > 0.6
        assert abs(each["bias"]) < 0.02
        assert each["pipelines"] == 200
    assert list(report["left_out"]) == ["evolution"]
    own = report["left_out"]["evolution"]
    assert own["r2"] > 0.6
    assert [top["pipelines"] for top in own["tops"]] == [30, 30]
    assert all(abs(top["bias"]) < 0.1 and 0.0 < top["noise"] < 0.1 for top in own["tops"])
    assert Fit.load(out).about["held_out"] == {
        name: round(report["held_out"]["end"][name], 4) for name in ("r2", "tau", "pipelines")
    }
    assert out.stat().st_size < 500_000


def test_a_poor_one_is_not_released(fit, tmp_path, capsys):
    """Accuracies that have nothing to do with the pipelines."""
    table = trainings(SPACE.sample(200, 2), seed=2)
    order = np.random.default_rng(0).permutation(len(table))
    replace(table, accuracy=table.accuracy[order], curve=table.curve[order]).save(tmp_path / "held.npz")
    code, report, out = fit("--check", held=tmp_path / "held.npz")
    assert code == 1
    assert report["held_out"]["end"]["r2"] < 0.1
    assert not out.exists()
    assert "not released: r2" in capsys.readouterr().err


def test_quality_by_hand():
    measured = np.array([0.2, 0.5, 0.9, 0.7])
    same = trio_surrogate.quality(measured, measured)
    assert same == {"r2": 1.0, "tau": 1.0, "bias": 0.0, "pipelines": 4}
    turned = trio_surrogate.quality(np.array([0.9, 0.7, 0.2, 0.5]), measured)
    assert turned["tau"] == -1.0
    assert turned["r2"] < 0
    assert trio_surrogate.quality(measured + 0.05, measured)["bias"] == pytest.approx(0.05)


def test_noise_is_found_in_repeats():
    told = columns(GAME)
    data = surrogate_fit.Data.of(trainings(np.repeat(SPACE.sample(400, 5), 4, axis=0), seed=5), told, EPOCHS, 1.0)
    noise = surrogate_fit.Noise.of(data)
    known = noise.levels[1:]  # the lowest is that of first epochs, at which hardly a training ends
    assert noise.at_end(known) == pytest.approx(deviation(known), rel=0.15)
    assert noise.shared == pytest.approx([0.6, 0.6, 0.6, 0.6, 0.6, 1.0, 0.6], abs=0.1)


def test_what_it_cannot_be_fitted_to_is_refused(fit, tables, tmp_path, capsys):
    held = trainings(SPACE.sample(20, 2), seed=2)
    cases = {
        "held-out pipelines are among those": {"held": tables / "train.npz"},
        "at least ten pipelines": {"repeats": tables / "held.npz"},
        "other MACs": {"held": held.__class__(**{**vars(held), "flops": held.flops + 1})},
        "no accuracy after one of its epochs": {"held": replace(held, test_accuracy=held.test_accuracy * np.nan)},
        "different levels": {
            "held": replace(held, about={**held.about, "sources": [{**held.about["sources"][0], "levels": "x"}]})
        },
        "no table": {"held": tmp_path / "nowhere.npz"},
    }
    for number, (message, other) in enumerate(cases.items()):
        files = {}
        for name, table in other.items():
            files[name] = table
            if hasattr(table, "save"):
                files[name] = tmp_path / f"{number}.npz"
                table.save(files[name])
        code, report, out = fit(**files)
        assert (code, report, out.exists()) == (2, None, False), message
        assert message in capsys.readouterr().err
    replace(held, about={**held.about, "sources": [{**held.about["sources"][0], "levels": "x"}]}).save(
        tmp_path / "x.npz"
    )
    earlier = tmp_path / "x.npz"  # all of them: they agree with each other, and not with the game
    assert fit("--train", str(earlier), held=earlier, repeats=earlier)[0] == 2
    assert "trainings of earlier levels" in capsys.readouterr().err
    assert fit("--learners", "random")[0] == 2
    assert fit("--next", str(tmp_path / "next.json"))[0] == 2
    assert fit("--epochs", "1", "5")[0] == 2
    assert fit("--epochs", "1", "4", "20")[0] == 2
    assert "the curves have the epochs" in capsys.readouterr().err


@pytest.mark.slow
def test_what_it_promises_most_is_trained_and_judged(fit, tmp_path):
    """A list as `ma2ml collect` reads it; of the trainings of the list it is told what was promised too much."""
    list_ = tmp_path / "next.json"
    code, _, _ = fit("--learners", "random", "evolution", "--next", str(list_), "--budget", "48", "--seeds", "1")
    assert code == 0
    rows = json.loads(list_.read_text())
    keys = {GAME.recipe(GAME.codes(row)).key for row in rows}
    assert 50 < len(keys) == len(rows) <= 60
    codes = np.array([sum(GAME.codes(row).values(), ()) for row in rows])
    poor = trainings(codes, seed=20)
    poor = replace(poor, accuracy=poor.accuracy * 0.8, curve=poor.curve * 0.8)
    poor.save(tmp_path / "optima.npz")
    code, report, _ = fit("--optima", str(tmp_path / "optima.npz"))
    assert code == 0
    assert report["trainings"] == 780 + len(rows)
    assert list(report["left_out"]) == ["evolution", "optima"]
    [top] = report["left_out"]["optima"]["tops"]
    assert top["bias"] > 0.1 > top["noise"]


@pytest.mark.slow
def test_another_family_judges_the_order_of_learners(fit):
    code, report, _ = fit("--second", "--learners", "random", "evolution", "--budget", "72", "--seeds", "1")
    assert code == 0
    assert report["second"]["r2"] > 0.5
    told = report["order"]
    assert told["tau"] == 1.0
    for family in ("trees", "networks"):
        assert told[family]["evolution"] > told[family]["random"]
    assert told["trees"] != told["networks"]


def test_trainings_that_are_known_well_weigh_more(monkeypatch):
    """Of pipelines that no feature tells apart, half at .9 where the noise is small and half at .3 where it is large."""
    monkeypatch.setattr(surrogate_fit, "TREES", {"max_iter": 5, "max_leaf_nodes": 4})
    n, outputs = 200, len(EPOCHS) + 1
    accuracy = np.tile(np.where(np.arange(n) < n // 2, 0.9, 0.3)[:, None], outputs)
    nothing = np.zeros(n, dtype=np.int64)
    data = surrogate_fit.Data(nothing[:, None], np.zeros((n, 1)), accuracy, np.ones(n), nothing)
    ends = surrogate_fit.logit(np.array([0.3, 0.9]))
    deviations = np.tile(np.array([[3.0], [0.1]]), outputs)
    found = surrogate_fit.fit_end(data, surrogate_fit.Noise(ends, deviations, np.ones(outputs))).predict(
        np.zeros((1, 1))
    )[0]
    assert found > ends.mean() + 0.5


SUITE = """
title = "invented"
budget = 12
batch = 6
top_k = 3
reference = "random"
[[landscapes]]
name = "large"
game = "trio-digits-large-v0"
options = { evaluator = "table", data = "FILE" }
[[arms]]
learners = ["random"]
seeds = 1
"""


@pytest.mark.slow
def test_a_suite_plays_it_and_on_another_one_again(fit, tmp_path):
    _, _, out = fit()
    path = tmp_path / "large.toml"
    path.write_text(SUITE.replace("FILE", str(out)))
    [one] = suite.load(str(path)).runs
    stored = json.loads(json.dumps(run.play(one, {})))
    assert stored["judged_by"] == "top"
    assert one.is_of(stored, suite.tables_of([one]))
    made = Fit.load(out)
    replace(made, largest=made.largest * 0.9).save(out)
    assert not one.is_of(stored, suite.tables_of([one]))
    path.write_text('axis = "seconds"' + SUITE.replace("FILE", str(out)))
    with pytest.raises(ValueError, match="measured whole, not of a surrogate"):
        suite.tables_of(suite.load(str(path)).runs)
