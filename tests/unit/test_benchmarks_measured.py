"""Suites on measured games: judged by regret, halved or not, with a budget of pipelines or of simulated seconds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import report
import run
import suite
import summary
from exact import FOUND, exact
from whole_grid import AGENTS, GAME, all_codes, pipelines, small_game, split, trainings

from ma2ml_agents.registry import make_learner
from ma2ml_agents.run.loop import Callback, search
from ma2ml_env.evaluators.halving import Halving
from ma2ml_env.games import trio
from ma2ml_env.trial import Outcome, Proposal, Trial
from ma2ml_env.views.queries import Benchmark

SUITE = """
title = "measured"
axis = "AXIS"
budget = 40
batch = 10
top_k = 4
reference = "evolution"
[[landscapes]]
name = "plain"
game = "GAME"
options = { evaluator = "table", data = "FILE", modules = ["aug", "hpo"] }
[[landscapes]]
name = "macs"
game = "GAME"
options = { evaluator = "table", data = "FILE", modules = ["aug", "hpo"], flops_limit = 5e5 }
[[arms]]
learners = ["evolution", "random"]
seeds = 2
[[arms]]
learners = ["random"]
name = "halved"
options = { halving = [0.25, 0.5] }
seeds = 2
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "whole.npz"
    trainings(failing=[(3, 1, "NAN"), *((4, repeat, "INVALID") for repeat in range(3))]).save(path)
    return path


def written(folder, file, axis="pipelines", **changes):
    path, text = folder / "measured.toml", SUITE.replace("AXIS", axis).replace("GAME", GAME).replace("FILE", str(file))
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def runs_of(path, arm, landscape="plain"):
    return [each for each in suite.load(str(path)).runs if (each.arm, each.landscape.name) == (arm, landscape)]


class Kept(Callback):
    def __init__(self):
        self.batches = []

    def on_batch(self, batch, trials, metrics):
        self.batches.append(list(trials))


def played(one, budget):
    """The same search without the harness."""
    game, kept = one.make(), Kept()
    search(
        game,
        make_learner(one.learner, game.spec, seed=one.seed),
        budget=budget,
        batch=one.batch,
        seed=one.seed,
        callbacks=[kept],
    )
    return kept.batches


def joint(trials):
    return np.array([sum((trial.proposal.codes[agent] for agent in AGENTS), ()) for trial in trials])


@pytest.mark.parametrize("landscape", ["plain", "macs"])
@pytest.mark.parametrize("arm", ["random", "halved"])
def test_a_find_is_judged_by_the_mean_of_its_trainings(file, tmp_path, landscape, arm):
    """What a user would take is the best trial; its regret is what the benchmark says, halved or not."""
    one = runs_of(written(tmp_path, file), arm, landscape)[1]
    stored = run.play(one, {})
    assert stored["judged_by"] == "found"
    game = one.landscape.make()
    bench, trials = Benchmark(game), []
    best = {test: bench.optimum(test=test)[1] for test in (False, True)}
    same = {code: codes[0] for codes in pipelines(game).values() for code in codes}
    for i, batch in enumerate(played(one, 40)):
        trials += batch
        named = max(trials, key=lambda trial: (trial.reward, -trial.number))
        first = {}
        for trial in trials:
            first.setdefault(same[tuple(joint([trial])[0].tolist())], trial)
        top = sorted(first.values(), key=lambda trial: (-trial.reward, trial.number))[:4]
        for name, chosen in (("found", [named]), ("found_top", top)):
            for test, curve in ((False, name), (True, f"{name}_test")):
                expected = best[test] - bench.regret_batch(joint(chosen), test=test).mean()
                assert stored["curves"][curve][i] == pytest.approx(expected, abs=1e-6)
        assert stored["curves"]["distinct"][i] == len(first)
        assert stored["curves"]["seconds"][i] == pytest.approx(sum(t.outcome.seconds for t in trials), abs=1e-5)
    assert best[False] == pytest.approx(exact(game).optima["found"], abs=1e-6)
    assert stored["curves"]["found"] != stored["curves"]["best"]
    assert ("options" in stored["settings"]) == (arm == "halved")


def test_all_codes_of_a_pipeline_are_one_of_the_top_k(file):
    game = small_game("table", data=file)
    twins = next(codes for codes in pipelines(game).values() if len(codes) > 2)
    curves = run.Curves(game, 2)
    other = next(codes[0] for codes in pipelines(game).values() if codes is not twins)
    rewards = {twins[0]: 0.5, twins[1]: 0.9, other: 0.9}  # of equals the first is named
    trials = [
        Trial(i, i, Proposal(split(game, code)), Outcome(), reward) for i, (code, reward) in enumerate(rewards.items())
    ]
    curves.on_batch(0, trials, {})
    assert curves.curves["distinct"] == [2.0]
    assert curves.curves["top"] == [0.7], "the first measurement of each counts"
    means = [
        game.evaluator.source.mean_curves[np.flatnonzero((all_codes(game) == code).all(1))[0], -1]
        for code in (twins[1], other)
    ]
    assert curves.curves["found"] == [pytest.approx(means[0], abs=1e-6)]
    assert curves.curves["found_top"] == [pytest.approx(np.mean(means), abs=1e-6)]


def test_a_halved_table_is_known_as_the_table_is(file):
    whole, halved = (small_game("table", data=file, halving=rungs) for rungs in ((), (0.25, 0.5)))
    assert isinstance(halved.evaluator, Halving)
    assert suite.is_known(halved)
    assert suite.elite_level(halved) == suite.elite_level(whole)
    codes = dict(zip(AGENTS, np.split(all_codes(whole), [2], axis=1), strict=True))
    assert suite.noise_free(halved, codes).tolist() == suite.noise_free(whole, codes).tolist()
    assert exact(halved).digest == exact(whole).digest
    assert exact(small_game()) is None


def test_the_digest_is_of_what_was_measured_and_what_it_is_worth(file, tmp_path):
    table = trainings(failing=[(3, 1, "NAN"), *((4, repeat, "INVALID") for repeat in range(3))])
    digests = {
        exact(small_game("table", data=file)).digest,
        exact(small_game("table", data=file, flops_limit=5e5)).digest,
    }
    for name in ("accuracy", "test_accuracy", "curve", "seconds"):
        values = vars(table)[name].copy()
        values[7] += 0.001
        replace(table, **{name: values}).save(tmp_path / "changed.npz")
        digests.add(exact(small_game("table", data=tmp_path / "changed.npz")).digest)
    assert len(digests) == 6


@pytest.mark.parametrize("arm", ["random", "halved"])
def test_a_search_by_seconds_ends_with_the_last_batch_that_ends_in_time(file, tmp_path, arm):
    one = runs_of(written(tmp_path, file, "seconds"), arm)[0]
    stored = run.play(one, {})
    source = small_game("table", data=file).evaluator.source
    each = [source.mean_seconds[np.flatnonzero((source.rows(np.arange(192)) == codes[0]).all(1))[0]]
            for codes in pipelines(one.make()).values()]  # fmt: skip
    assert stored["seconds"] == pytest.approx(40 * np.mean(each))
    ends = np.cumsum([sum(trial.outcome.seconds for trial in batch) for batch in played(one, 200)])
    assert len(stored["curves"]["found"]) == (ends <= stored["seconds"]).sum() < len(ends)
    assert stored["curves"]["seconds"] == pytest.approx(ends[: len(stored["curves"]["found"])].tolist(), abs=1e-5)
    assert stored["trials"] == 10 * len(stored["curves"]["found"])
    assert (stored["trials"] > 60) == (arm == "halved")


def test_a_budget_of_less_than_a_batch_is_told(file, tmp_path):
    path = written(tmp_path, file, "seconds", budget=("budget = 40", "budget = 5"))
    with pytest.raises(ValueError, match="a batch takes longer than the"):
        run.play(runs_of(path, "random")[0], {})


def test_levels_by_seconds_are_those_of_the_batches_that_have_ended(file, tmp_path):
    both = runs_of(written(tmp_path, file, "seconds"), "random")
    curves = {"found": [0.5, 0.7], "seconds": [30.0, 60.0], "distinct": [9.0, 15.0], "true_best": [0.8, 0.9]}
    late = {**curves, "seconds": [45.5, 99.0]}
    stored = [
        {"curves": {**c, "top": c["found"]}, "seconds": 100.0, "trials": 20, "learner_seconds_per_batch": 0.0}
        for c in (curves, late)
    ]
    arm = summary._arm("x", list(zip(both, stored, strict=True)))
    assert arm.spent.tolist() == pytest.approx(list(range(1, 101)))
    assert [np.searchsorted(row, [0.5, 0.7]).tolist() for row in arm.curves["found"]] == [[29, 59], [45, 98]]
    assert arm.begun == 45
    assert arm.paired(arm, "found", 0.25)[0].tolist() == [0.0, 0.0], "nothing is found yet"
    assert arm.paired(arm, "found", 0.5)[0].tolist() == [0.5, 0.5]
    assert arm.final("found").tolist() == [0.7, 0.7]
    assert (arm.success(0.9), arm.success(0.91)) == (1.0, 0.0)
    assert arm.trials.tolist() == [20, 20]


@pytest.mark.parametrize("axis", ["pipelines", "seconds"])
def test_regrets_are_reported(file, tmp_path, axis, monkeypatch, capsys):
    monkeypatch.setattr(summary, "RESAMPLES", 50)
    path = written(tmp_path, file, axis)
    told = {"version": "1", "commit": "c", "python": "3", "numpy": "2", "torch": "2", "machine": "m"}
    for each in suite.load(str(path)).runs:
        run.play_and_write(each, told, tmp_path)
    words = [str(path), "--out", str(tmp_path), "--results", str(tmp_path / "r"), "--no-pictures"]
    assert report.main(words) == 0
    text = (tmp_path / "r" / "measured.md").read_text()
    landscapes = json.loads((tmp_path / "r" / "measured.json").read_text())["landscapes"]
    for name in ("plain", "macs"):
        part = landscapes[name]
        assert part["judged_by"] == "found"
        for arm, row in part["regrets"].items():
            assert row.keys() == FOUND.keys()
            for curve in FOUND:
                for share in ("25%", "50%", "100%"):
                    level = part["levels"][arm][f"{curve}_at_{share}"]
                    assert row[curve][share] == pytest.approx(part["optima"][curve] - level, abs=2e-5)
                    assert row[curve][share] >= 0.0
                assert ("p_less" in row[curve]) == (arm != "evolution")
        at_end = part["regrets"]["random"]["found"]["100%"]
        assert f"{at_end:.4f} (" in text
    assert text.count("**Regret** to the best of all pipelines") == 2
    unit = "simulated seconds" if axis == "seconds" else "pipelines"
    assert f"The ratio is the number of {unit} after" in text
    pipelines_of = {arm: level.get("pipelines") for arm, level in landscapes["plain"]["levels"].items()}
    assert (
        pipelines_of["halved"] > 60 > pipelines_of["random"]
        if axis == "seconds"
        else set(pipelines_of.values()) == {None}
    )
    trainings(seed=1).save(tmp_path / "other.npz")
    monkeypatch.setattr(suite, "exact", lambda game: exact(small_game("table", data=tmp_path / "other.npz")))
    assert report.main(words) == 2, "all of these are runs on another table"
    assert "no runs of measured" in capsys.readouterr().err


def test_a_run_on_another_table_is_played_again(file, tmp_path):
    one = runs_of(written(tmp_path, file), "random")[0]
    run.play_and_write(one, {}, tmp_path)
    assert run.is_done(one, tmp_path, suite.tables_of([one]))
    assert not run.is_done(one, tmp_path, {"plain": "0" * 16})


def test_a_table_that_is_not_there_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trio, "TRIO_DIGITS", replace(trio.TRIO_DIGITS, measured=None))
    for name in ("trio", "trio-seconds"):
        assert run.main([name, "--landscapes", "trio-digits", "--out", str(tmp_path / "runs")]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert "landscape trio-digits: trio-digits-v0 has no table" in told
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("axis", "old", "new", "message"),
    [
        ("second", "", "", "axis 'second'; did you mean 'seconds'"),
        (
            "seconds",
            'evaluator = "table", data = "{file}"',
            'evaluator = "surrogate"',
            "'plain' has no simulated seconds",
        ),
        (
            "pipelines",
            "[0.25, 0.5]",
            "[0.25, 0.6]",
            "arm halved: halving at 0.25 0.6 of 20 epochs would look at epoch 5, 12",
        ),
        ("pipelines", "{ halving = [0.25, 0.5] }", "{ flops_limit = 1e6 }", "another reward than other arms"),
        ("pipelines", "{ halving = [0.25, 0.5] }", "{ halvign = [0.25, 0.5] }", "unknown option 'halvign'"),
        ("pipelines", "{ halving = [0.25, 0.5] }", "3", "measured.toml: "),
    ],
)
def test_bad_measured_suites_are_one_line_and_nothing_is_run(file, tmp_path, capsys, axis, old, new, message):
    path = written(tmp_path, file, axis, **({"x": (old.replace("{file}", str(file)), new)} if old else {}))
    assert run.main([str(path), "--out", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert message in told
    assert not (tmp_path / "runs").exists()


def test_what_earlier_suites_say_of_a_run_is_as_before():
    one = suite.load("smoke").runs[0]
    assert one.settings().keys() == {"landscape", "learner", "config", "seed", "budget", "batch", "top_k"}
    assert suite.tables_of(suite.load("smoke").runs) == {}
