"""The benchmark harness: suites, runs that resume, and the arithmetic of the report."""

import json
from dataclasses import replace
from pathlib import Path

import compare
import numpy as np
import pytest
import report
import run
import suite
import summary

from ma2ml_agents.run.cli import main
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


def arm(name, top, budget=40):
    top = np.array(top)
    trials = np.linspace(budget / top.shape[1], budget, top.shape[1]).astype(int)
    return summary.Arm(name, tuple(range(len(top))), trials, {"top": top}, 0.0)


@pytest.mark.parametrize("path", sorted((FOLDER / "suites").glob("*.toml")), ids=lambda p: p.stem)
def test_every_suite_names_learners_and_settings_that_exist(path):
    loaded = suite.load(path.stem)
    assert loaded.reference in loaded.arms()
    files = {each.file(Path()) for each in loaded.runs}
    assert len(files) == len(loaded.runs)  # no two runs share one
    for each in loaded.runs:
        json.dumps(each.settings())


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


def test_ratio_is_the_share_of_the_rivals_budget_until_its_mean_final_level():
    mine = arm("mine", [[0.5, 0.7, 0.8, 0.9], [0.6, 0.6, 0.6, 0.6], [0.8, 0.8, 0.8, 0.8]])
    rival = arm("rival", [[0.1, 0.2, 0.6, 0.7], [0.1, 0.2, 0.6, 0.7]])
    assert summary.ratios(mine, rival, "top").tolist() == [0.5, summary.NEVER, 0.25]
    row = summary.compare(mine, rival, "top", np.random.default_rng(0))
    assert row["ratio"] == 0.5
    assert row["never"] == pytest.approx(1 / 3)


def test_a_rivals_own_time_is_its_ratio_to_itself():
    rival = arm("rival", [[0.1, 0.6, 0.7, 0.7], [0.1, 0.6, 0.7, 0.7]])
    assert summary.own_time(rival, "top") == 0.75
    assert summary.own_time(arm("rival", [[0.1, 0.2, 0.3, 0.4]]), "top") == 1.0
    uneven = arm("rival", [[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.9], [0.1, 0.2, 0.3, 0.4]])
    assert summary.own_time(uneven, "top") == summary.NEVER, "most of its seeds do not reach the mean of the others"


def test_what_an_equal_rivals_ratio_would_be():
    """Curves that stand still for half of their budget are reached by their equals at the half; rising ones late or never."""
    rng = np.random.default_rng(0)
    still = {"x": arm("mine", [[0.1, 0.7, 0.7, 0.7]] * 10)}
    assert summary.null(still, {"x": "top"}, rng) == {"mean": 0.5, "interval": [0.5, 0.5]}
    rising = {"x": arm("mine", np.linspace(0.1, 0.9, 40) + rng.normal(0, 0.002, (20, 1)), budget=400)}
    told = summary.null(rising, {"x": "top"}, rng)
    assert 1.0 < told["mean"] < summary.NEVER
    assert summary.null({"x": arm("mine", [[0.1, 0.2]] * 9)}, {"x": "top"}, rng) is None, "two halves of five seeds"


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


def test_a_game_with_intervals_is_judged_and_reported(tmp_path, capsys):
    path = tmp_path / "continuous.toml"
    path.write_text(CONTINUOUS)
    assert run.main([str(path), "--out", str(tmp_path), "--jobs", "1"]) == 0
    assert report.main([str(path), "--out", str(tmp_path), "--results", str(tmp_path), "--no-pictures"]) == 0
    told = json.loads((tmp_path / "continuous.json").read_text())["landscapes"]
    assert told["both"]["judged_by"] == told["alone"]["judged_by"] == "top"
    assert 0.8 < told["both"]["elite_level"] < 1.0
    assert 0.8 < told["alone"]["elite_level"] < 1.0


def test_intervals_are_over_the_rivals_seeds_as_well():
    mine = arm("mine", [[0.2, 0.4, 0.6, 0.8]] * 8)
    rival = arm("rival", [[0.0, 0.0, 0.0, level] for level in (0.1, 0.1, 0.9, 0.9)])
    drawn = [np.median(summary.ratios(mine, rival, "top", np.random.default_rng(seed))) for seed in range(40)]
    assert min(drawn) < 0.75 == np.median(summary.ratios(mine, rival, "top")) < max(drawn)


def test_a_level_where_all_end_is_reached_although_the_mean_of_equal_floats_is_above_them():
    rival = arm("rival", [[0.95]] * 6)
    assert rival.final("top").mean() > 0.95
    assert summary.ratios(arm("mine", [[0.95]]), rival, "top").tolist() == [1.0]


def test_success_is_to_find_one_of_the_best_pipelines_within_504():
    curves = {"true_best": np.array([[0.5, 0.9, 0.9], [0.5, 0.5, 0.9], [0.5, 0.8999999, 0.9]])}
    found = summary.Arm("a", (0, 1, 2), np.array([252, 504, 756]), curves, 0.0)
    assert found.success(0.9) == pytest.approx(2 / 3)  # the second comes too late


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


def test_the_best_rival_of_a_landscape_is_no_control():
    levels = {"mine": 0.5, "good": 0.6, "best": 0.7, "control": 0.9}
    landscape = suite.Landscape("x", nvec={"a": [4, 3]})
    runs = tuple(suite.Run("s", landscape, name, "random", {}, 0, 40, 10, 3) for name in levels)
    made = suite.Suite("s", "s", "mine", (landscape,), runs, controls=("control",))
    arms = {name: arm(name, [[level / 2, level - 0.02, level, level]] * 3) for name, level in levels.items()}
    found = summary._over_all(made, {"x": arms}, {"x": "top"}, np.random.default_rng(0))
    assert found["each landscape's best rival"] == found["best"] | {"landscapes": 1}
    told = summary._over_all(replace(made, siblings=("best",)), {"x": arms}, {"x": "top"}, np.random.default_rng(0))
    assert told["each landscape's best rival but siblings"]["worst"] == told["good"]["worst"]
    assert told["each landscape's best rival"]["worst"] == told["best"]["worst"]


def test_real_trainings_have_no_level_without_noise(tmp_path, capsys):
    path = tmp_path / "real.toml"
    path.write_text(REAL)
    assert run.main([str(path), "--out", str(tmp_path), "--jobs", "1"]) == 0
    assert report.main([str(path), "--out", str(tmp_path), "--results", str(tmp_path), "--no-pictures"]) == 0
    assert "| - |" in capsys.readouterr().out
    stored = json.loads((tmp_path / "real.json").read_text())["landscapes"]["digits"]
    assert stored["elite_level"] is None


def test_pairs_are_by_seed():
    a = summary.Arm("a", (0, 1, 2), np.array([1, 2]), {"top": np.array([[0, 1.0], [0, 2.0], [0, 3.0]])}, 0.0)
    b = summary.Arm("b", (2, 0), np.array([1, 2]), {"top": np.array([[0, 30.0], [0, 10.0]])}, 0.0)
    mine, theirs = a.paired(b, "top", 1.0)
    assert mine.tolist() == [1.0, 3.0]
    assert theirs.tolist() == [10.0, 30.0]


def test_levels_are_compared_over_all_pairs_of_landscape_and_seed():
    landscapes = tuple(suite.Landscape(name, nvec={"a": [4, 3]}) for name in "xy")
    levels = {"mine": 0.5, "below": 0.4, "lowest": 0.3}
    runs = tuple(suite.Run("s", land, name, "random", {}, 0, 40, 10, 3) for land in landscapes for name in levels)
    made = suite.Suite(
        "s", "s", "mine", landscapes, runs, pairs=(("below", "lowest"), ("lowest", "below"), ("mine", "absent"))
    )
    rows = np.arange(5)[:, None] / 100 + np.array([0.1, 0.2, 0.3, 0.4])
    arms = {name: arm(name, rows + level * np.array([0, 1, 1, 1])) for name, level in levels.items()}
    for each in arms.values():
        each.curves.update({curve: each.curves["top"] for curve in ("best", "true_best", "distinct")})
    told = summary.summarise(made, {"x": arms, "y": arms}, {"x": "top", "y": "top"})
    alone, pooled = told["x"]["rivals"]["below"], told["all"]["below"]["p_above"]
    assert alone["at_25%"]["p_above"] == pooled["25%"] == 1.0  # all equal there
    assert pooled["100%"] < 0.01 < alone["at_100%"]["p_above"] < 0.07  # ten pairs, and five
    first, second = told["pairs"]  # the third has no runs
    assert (first["above"], first["below"]) == ("below", "lowest")
    assert first["p_above"]["100%"] < 0.01
    assert second["p_above"]["100%"] > 0.9
    text = report._overall_table("mine", told["all"], told["pairs"])
    assert any(line.startswith("`below` above `lowest`: p = 1.00, 0.00") for line in text)


@pytest.mark.parametrize(("seeds", "p"), [(1, ""), (4, ""), (5, "0.03, 0.03, 0.03")])
def test_few_pairs_have_no_p(seeds, p):
    levels = {"mine": 0.5, "rival": 0.4, "below": 0.3}
    landscape = suite.Landscape("x", nvec={"a": [4, 3]})
    runs = tuple(suite.Run("s", landscape, name, "random", {}, 0, 40, 10, 3) for name in levels)
    made = suite.Suite("s", "s", "mine", (landscape,), runs, pairs=(("rival", "below"),))
    arms = {name: arm(name, [[level] * 4] * seeds) for name, level in levels.items()}
    for each in arms.values():
        each.curves.update({curve: each.curves["top"] for curve in ("best", "true_best", "distinct")})
    told = json.loads(json.dumps(summary.summarise(made, {"x": arms}, {"x": "top"}), allow_nan=False))
    assert report._landscape_table("x", told["x"])[-2].endswith(f"| 0% | {p} |")
    overall = report._overall_table("mine", told["all"], told["pairs"])
    assert any(line.startswith("| `rival` |") and line.endswith(f"| {p} |") for line in overall)
    assert (f"`rival` above `below`: p = {p}." in overall) == bool(p)


@pytest.mark.parametrize(
    ("seeds", "ratio", "half", "end", "verdict"),
    [
        (4, 0.3, None, None, "open"),  # few seeds win nothing
        (4, 1.3, None, None, "**lost**"),
        (5, 0.3, 0.02, 0.3, "won"),
        (5, 0.3, 0.3, 0.02, "won"),
        (20, 0.5, 0.2, 0.3, "level"),  # an equal's, where curves stand still
        (20, 1.4, 0.3, 0.4, "level"),  # an equal's, where they rise
        (20, 1.4, 0.3, 0.98, "**lost**"),
        (20, 0.5, 0.01, 0.98, "**lost**"),
    ],
)
def test_verdicts_need_a_test(seeds, ratio, half, end, verdict):
    row = {
        "geometric_mean": ratio, "interval": [ratio, ratio], "of_own_time": ratio, "worst": ["x", ratio],
        "p_above": {"25%": 0.5, "50%": half, "100%": end}, "p_below": {"100%": None if end is None else 1 - end},
        "seeds": seeds,
    }  # fmt: skip
    assert f"| {verdict} |" in report._overall_table("mine", {"rival": row}, [])[-2]


def test_an_arm_that_does_the_same_is_level():
    """A setting that never comes into play: no difference in any pair, which is no loss."""
    arms = {name: arm(name, [[0.1, 0.2, 0.3, 0.4]] * 10) for name in ("mine", "same")}
    made = suite.Suite("s", "s", "mine", (suite.Landscape("x", nvec={"a": [4, 3]}),), tuple(
        suite.Run("s", suite.Landscape("x"), name, "random", {}, 0, 40, 10, 3) for name in arms))  # fmt: skip
    row = summary._over_all(made, {"x": arms}, {"x": "top"}, np.random.default_rng(0))["same"]
    assert report._verdict(row) == "level"
    arms["same"].curves["top"][:, -1] += np.arange(10) / 100 + 0.01
    row = summary._over_all(made, {"x": arms}, {"x": "top"}, np.random.default_rng(0))["same"]
    assert report._verdict(row) == "**lost**"


def test_a_lucky_run_is_no_best_rival():
    arms = {
        "mine": arm("mine", [[0.5] * 4] * 8),
        "rival": arm("rival", [[0.4] * 4] * 8),
        "lucky": arm("lucky", [[0.9] * 4]),
    }
    made = suite.Suite("s", "s", "mine", (suite.Landscape("x", nvec={"a": [4, 3]}),), tuple(
        suite.Run("s", suite.Landscape("x"), name, "random", {}, 0, 40, 10, 3) for name in arms))  # fmt: skip
    overall = summary._over_all(made, {"x": arms}, {"x": "top"}, np.random.default_rng(0))
    assert overall["each landscape's best rival"]["worst"] == ["x", 0.25]
    assert overall["lucky"]["worst"] == ["x", summary.NEVER]


def test_seeds_are_those_of_both():
    arms = {"mine": arm("mine", [[0.5] * 4] * 8), "rival": arm("rival", [[0.1] * 4])}
    made = suite.Suite("s", "s", "mine", (suite.Landscape("x", nvec={"a": [4, 3]}),), tuple(
        suite.Run("s", suite.Landscape("x"), name, "random", {}, 0, 40, 10, 3) for name in arms))  # fmt: skip
    overall = summary._over_all(made, {"x": arms}, {"x": "top"}, np.random.default_rng(0))
    assert overall["rival"]["seeds"] == 1
    assert "| open |" in report._overall_table("mine", overall, [])[4]


def test_a_loss_is_marked(tiny, tmp_path):
    levels = {"mine": [[0.1, 0.2, 0.3, 0.4]] * 4, "rival": [[0.5, 0.6, 0.7, 0.8]] * 4}
    landscape = suite.Landscape("x", nvec={"a": [4, 3]})
    made = suite.Suite("s", "s", "mine", (landscape,), tuple(
        suite.Run("s", landscape, name, "random", {}, 0, 40, 10, 3) for name in levels))  # fmt: skip
    arms = {}
    for name, rows in levels.items():
        each = arm(name, rows)
        curves = {curve: each.curves["top"] for curve in ("top", "best", "true_best", "distinct")}
        arms[name] = summary.Arm(name, each.seeds, each.trials, curves, 0.1)
    told = summary.summarise(made, {"x": arms}, {"x": "top"})
    header = {
        "runs": 8,
        "cpu_hours": 0.1,
        "missing": 0,
        "stale": 0,
        "version": "",
        "commits": ["c"],
        "torch": "",
        "machine": "",
    }
    text = report.markdown(made, told, header)
    assert text.count("**lost**") == 3  # the rival, as each landscape's best, and on the landscape


@pytest.mark.parametrize("program", [run, report], ids=["run", "report"])
def test_an_unknown_suite_is_one_line_and_exit_code_2(program, capsys):
    assert program.main(["no-such-suite"]) == 2
    assert "smoke" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
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
