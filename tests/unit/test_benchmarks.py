"""The benchmark harness: suites, runs that resume, what programs do with bad input."""

import json
from dataclasses import make_dataclass
from pathlib import Path

import compare
import numpy as np
import pytest
import report
import run
import suite

from ma2ml_agents.baselines.random_search import RandomSearch
from ma2ml_agents.cli.main import main
from ma2ml_env.testing import check_module

FOLDER = Path(__file__).parents[2] / "benchmarks"

TINY = """
title = "tiny"
budget = 24
batch = 8
top_k = 3
reference = "evolution"
[[landscapes]]
name = "synthetic"
nvec = { a = [4, 3], b = [5] }
[[landscapes]]
name = "digits"
game = "digits-v0"
options = { evaluator = "surrogate", seed = 1 }
[[arms]]
learners = ["evolution", "random"]
seeds = 2
"""

REAL = """
title = "real"
budget = 2
batch = 2
top_k = 1
reference = "random"
[[landscapes]]
name = "digits"
game = "digits-v0"
options = { evaluator = "train", device = "cpu", cells = 1, reductions = [], filters = 2, limit = 64, proxy_epochs = 1 }
[[arms]]
learners = ["random"]
seeds = 1
"""

CONTINUOUS = """
title = "continuous"
budget = 16
batch = 8
top_k = 3
reference = "evolution"
[[landscapes]]
name = "both"
game = "digits-continuous-v0"
options = { evaluator = "surrogate" }
[[landscapes]]
name = "alone"
game = "digits-continuous-v0"
options = { evaluator = "surrogate", modules = ["hpo_continuous"] }
[[arms]]
learners = ["evolution", "random"]
seeds = 1
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.mark.parametrize("path", sorted((FOLDER / "suites").glob("*.toml")), ids=lambda p: p.stem)
def test_every_suite_names_learners_and_settings_that_exist(path):
    loaded = suite.load(path.stem)
    assert loaded.reference in loaded.arms()
    files = {each.file(Path()) for each in loaded.runs}
    assert len(files) == len(loaded.runs)  # no two runs share one
    for each in loaded.runs:
        json.dumps(each.settings())


@pytest.mark.slow
def test_a_run_is_kept_and_a_suite_goes_on(tiny, tmp_path, capsys):
    out = tmp_path / "runs"
    assert run.main([str(tiny), "--out", str(out), "--jobs", "1", "--only", "random"]) == 0
    files = sorted(out.rglob("*.json"))
    assert len(files) == 4
    before = {file: file.stat().st_mtime_ns for file in files}
    stored = json.loads(files[0].read_text())
    assert {"version", "commit", "settings", "curves"} <= stored.keys()
    assert len(stored["curves"]["top"]) == 3
    assert run.main([str(tiny), "--out", str(out), "--jobs", "1"]) == 0
    assert len(list(out.rglob("*.json"))) == 8
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    stored["settings"]["budget"] = 8
    files[0].write_text(json.dumps(stored))  # settings that are no longer the suite's
    assert not run.is_done(suite.load(str(tiny)).runs[-1], tmp_path)
    assert run.main([str(tiny), "--out", str(out), "--jobs", "1"]) == 0
    assert json.loads(files[0].read_text())["settings"]["budget"] == 24
    assert report.main([str(tiny), "--out", str(out), "--results", str(tmp_path / "r"), "--no-pictures"]) == 0
    text = (tmp_path / "r" / "tiny.md").read_text()
    assert "| `random` | 2 |" in text
    assert json.loads((tmp_path / "r" / "tiny.json").read_text())["runs"] == 8


class WithoutState:
    """Somebody's learner, as examples/own_learner.py: it asks and is told, and has no state to go back to."""

    Config = make_dataclass("Config", [])

    def __init__(self, spec, config=None, *, seed=0, device="cpu"):
        self.inner = RandomSearch(spec, seed=seed)

    def ask(self, n, states=None):
        return self.inner.ask(n, states)

    def tell(self, trials):
        return {}


def test_a_learner_without_a_state_can_be_benchmarked(tiny, monkeypatch):
    monkeypatch.setattr(run, "make_learner", lambda name, spec, *, seed, **config: WithoutState(spec, seed=seed))
    assert run.play(suite.load(str(tiny)).runs[0], {})["curves"]["top"]


@pytest.mark.slow
def test_runs_that_were_reported_are_not_run_again(tiny, tmp_path, monkeypatch, capsys):
    assert run.main([str(tiny), "--out", str(tmp_path / "a"), "--jobs", "1", "--landscapes", "synthetic"]) == 0
    results = tmp_path / "results"
    arguments = [str(tiny), "--out", str(tmp_path / "a"), "--results", str(results), "--no-pictures"]
    assert report.main(arguments) == 0
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "play_and_write", None)  # would fail
    assert run.main([str(tiny), "--out", str(tmp_path / "b"), "--jobs", "1", "--landscapes", "synthetic"]) == 0
    one = Path("tiny/synthetic/evolution/1.json")
    assert json.loads((tmp_path / "b" / one).read_text()) == json.loads((tmp_path / "a" / one).read_text())
    again = [str(tiny), "--out", str(tmp_path / "c"), "--jobs", "1", "--landscapes", "synthetic", "--fresh"]
    assert run.main(again) == 1


def test_top_k_is_of_distinct_pipelines_and_best_never_falls(tiny):
    one = next(each for each in suite.load(str(tiny)).runs if each.learner == "random")
    curves = run.play(one, {})["curves"]
    assert curves["best"] == sorted(curves["best"])
    assert curves["distinct"][-1] <= 24
    assert all(top <= best for top, best in zip(curves["top"], curves["best"], strict=True))


@pytest.mark.slow
def test_a_file_that_is_torn_counts_as_missing_and_no_common_seed_is_no_number(tiny, tmp_path, capsys):
    out = tmp_path / "runs"
    assert run.main([str(tiny), "--out", str(out), "--jobs", "1", "--landscapes", "synthetic"]) == 0
    (out / "tiny" / "synthetic" / "evolution" / "0.json").unlink()
    (out / "tiny" / "synthetic" / "random" / "1.json").write_text('{"a"')
    arguments = [str(tiny), "--out", str(out), "--results", str(tmp_path / "r"), "--no-pictures"]
    capsys.readouterr()
    assert report.main(arguments) == 0
    assert "random/1.json cannot be read and counts as missing" in capsys.readouterr().err
    text = (tmp_path / "r" / "tiny.json").read_text()
    assert "NaN" not in text
    (rival,) = json.loads(text)["landscapes"]["synthetic"]["rivals"].values()
    assert rival["at_100%"] == {"mean": None, "interval": None, "p_above": None}


@pytest.mark.slow
def test_a_game_with_intervals_is_judged_and_reported(tmp_path, capsys):
    path = tmp_path / "continuous.toml"
    path.write_text(CONTINUOUS)
    assert run.main([str(path), "--out", str(tmp_path), "--jobs", "1"]) == 0
    assert report.main([str(path), "--out", str(tmp_path), "--results", str(tmp_path), "--no-pictures"]) == 0
    told = json.loads((tmp_path / "continuous.json").read_text())["landscapes"]
    assert told["both"]["judged_by"] == told["alone"]["judged_by"] == "top"
    assert 0.8 < told["both"]["elite_level"] < 1.0
    assert 0.8 < told["alone"]["elite_level"] < 1.0


def test_elite_level_is_the_quantile_of_all_pipelines_without_noise():
    game = suite.Landscape("x", nvec={"a": [10, 10], "b": [20]}, options={"noise": 0.1}).make()
    codes = np.array(list(np.ndindex(10, 10, 20)))
    rewards = np.sort(suite.noise_free(game, {"a": codes[:, :2], "b": codes[:, 2:]}))
    level = suite.elite_level(game, share=0.01)
    assert level in rewards
    assert (rewards >= level).sum() == 20


def test_elite_level_of_a_space_too_large_to_list_is_that_of_a_sample():
    game = suite.Landscape("x", nvec={"a": [10] * 12}).make()
    fresh = np.random.default_rng(1).integers(10, size=(20_000, 12))
    above = (suite.noise_free(game, {"a": fresh}) >= suite.elite_level(game, share=0.01)).mean()
    assert above == pytest.approx(0.01, abs=0.004)  # five standard errors


@pytest.mark.slow
def test_real_trainings_have_no_level_without_noise(tmp_path, capsys):
    path = tmp_path / "real.toml"
    path.write_text(REAL)
    assert run.main([str(path), "--out", str(tmp_path), "--jobs", "1"]) == 0
    assert report.main([str(path), "--out", str(tmp_path), "--results", str(tmp_path), "--no-pictures"]) == 0
    assert "| - |" in capsys.readouterr().out
    stored = json.loads((tmp_path / "real.json").read_text())["landscapes"]["digits"]
    assert stored["elite_level"] is None


@pytest.mark.parametrize("program", [run, report], ids=["run", "report"])
def test_an_unknown_suite_is_one_line_and_exit_code_2(program, capsys):
    assert program.main(["no-such-suite"]) == 2
    assert "smoke" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (TINY.replace("batch = 8\n", ""), [], "'batch' is missing"),
        (TINY.replace('"random"', '"randm"'), [], "did you mean 'random'"),
        (TINY.replace("seeds = 2", "seeds = 2\nconfig = { popultion = 3 }"), [], "popultion"),
        (TINY.replace("budget", "bugdet"), [], "budget"),
        (TINY + "[[", [], "bad.toml"),
        (TINY, ["--only", "evoluton"], "did you mean 'evolution'"),
        (TINY, ["--landscapes", "digit"], "did you mean 'digits'"),
        (TINY, ["--jobs", "0"], "--jobs"),
    ],
)
def test_a_bad_suite_or_choice_is_one_line_and_nothing_is_run(text, arguments, message, tmp_path, capsys):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    assert run.main([str(path), "--out", str(tmp_path / "runs"), *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert message in told
    assert not (tmp_path / "runs").exists()


def test_bare_decisions_are_a_module():
    check_module(suite.Slots("a", (4, 3)))


def test_noise_free_rewards_are_those_of_a_silent_landscape():
    noisy = suite.Landscape("x", nvec={"a": (4, 3), "b": (5,)}, options={"seed": 3, "noise": 0.05}).make()
    silent = suite.Landscape("x", nvec={"a": (4, 3), "b": (5,)}, options={"seed": 3, "noise": 0.0}).make()
    codes = {"a": np.array([[0, 1], [3, 2]]), "b": np.array([[4], [0]])}
    assert suite.noise_free(noisy, codes) == pytest.approx(silent.score(codes, np.arange(2)))
    assert noisy.score(codes, np.arange(2)) != pytest.approx(suite.noise_free(noisy, codes))


@pytest.mark.slow
def test_bench_of_the_command_line_runs_a_suite_and_prints_its_tables(tiny, tmp_path, capfd):
    assert main(["bench", str(tiny), "--out", str(tmp_path / "runs"), "--jobs", "1"]) == 0
    assert "| rival | ratio" in capfd.readouterr().out
    assert (tmp_path / "runs" / "tiny.md").is_file()
    assert main(["bench", "no-such-suite"]) == 2


def test_compare_of_a_commit_that_is_not_there_is_one_line_and_exit_code_2(capsys):
    assert compare.main(["no-such-commit", "HEAD"]) == 2
    assert "error" in capsys.readouterr().err


def test_compare_is_paired_by_landscape_arm_and_seed():
    def stored(level):
        return {"curves": {"top": [0.0, level]}, "judged_by": "top", "learner_seconds_per_batch": 0.5}

    old = {("x", "a", 0): stored(0.5), ("x", "a", 1): stored(0.7), ("y", "a", 0): stored(0.1)}
    new = {("x", "a", 0): stored(0.6), ("x", "a", 1): stored(0.8)}
    made = compare.table(old, new)
    assert made.row_count == 1
    assert next(iter(made.columns[5].cells)) == "+0.1000 (+0.1000 to +0.1000)"
