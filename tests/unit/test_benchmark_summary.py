"""What a report computes: ratios and their intervals, tests by pairs of seeds, verdicts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import report
import suite
import summary


def arm(name, top, budget=40):
    top = np.array(top)
    trials = np.linspace(budget / top.shape[1], budget, top.shape[1]).astype(int)
    return summary.Arm(name, tuple(range(len(top))), trials, {"top": top}, 0.0)


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


def test_pairs_are_by_seed():
    a = summary.Arm("a", (0, 1, 2), np.array([1, 2]), {"top": np.array([[0, 1.0], [0, 2.0], [0, 3.0]])}, 0.0)
    b = summary.Arm("b", (2, 0), np.array([1, 2]), {"top": np.array([[0, 30.0], [0, 10.0]])}, 0.0)
    mine, theirs = a.paired(b, "top", 1.0)
    assert mine.tolist() == [1.0, 3.0]
    assert theirs.tolist() == [10.0, 30.0]


@pytest.mark.slow
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
    land = suite.Landscape("x", nvec={"a": [4, 3]})
    made = suite.Suite("s", "s", "mine", (land,), tuple(
        suite.Run("s", land, name, "random", {}, 0, 40, 10, 3) for name in arms))  # fmt: skip
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
    land = suite.Landscape("x", nvec={"a": [4, 3]})
    made = suite.Suite("s", "s", "mine", (land,), tuple(
        suite.Run("s", land, name, "random", {}, 0, 40, 10, 3) for name in arms))  # fmt: skip
    overall = summary._over_all(made, {"x": arms}, {"x": "top"}, np.random.default_rng(0))
    assert overall["each landscape's best rival"]["worst"] == ["x", 0.25]
    assert overall["lucky"]["worst"] == ["x", summary.NEVER]


def test_seeds_are_those_of_both():
    arms = {"mine": arm("mine", [[0.5] * 4] * 8), "rival": arm("rival", [[0.1] * 4])}
    land = suite.Landscape("x", nvec={"a": [4, 3]})
    made = suite.Suite("s", "s", "mine", (land,), tuple(
        suite.Run("s", land, name, "random", {}, 0, 40, 10, 3) for name in arms))  # fmt: skip
    overall = summary._over_all(made, {"x": arms}, {"x": "top"}, np.random.default_rng(0))
    assert overall["rival"]["seeds"] == 1
    assert "| open |" in report._overall_table("mine", overall, [])[4]


def test_a_loss_is_marked():
    levels = {"mine": [[0.1, 0.2, 0.3, 0.4]] * 4, "rival": [[0.5, 0.6, 0.7, 0.8]] * 4}
    landscape = suite.Landscape("x", nvec={"a": [4, 3]})
    made = suite.Suite("s", "s", "mine", (landscape,), tuple(
        suite.Run("s", landscape, name, "random", {}, 0, 40, 10, 3) for name in levels))  # fmt: skip
    arms = {}
    for name, rows in levels.items():
        each = arm(name, rows)
        curves = {curve: each.curves["top"] for curve in ("top", "best", "true_best", "distinct")}
        arms[name] = summary.Arm(name, each.seeds, each.spent, curves, 0.1)
    told = summary.summarise(made, {"x": arms}, {"x": "top"})
    header = {
        "runs": 8,
        "cpu_hours": 0.1,
        "missing": 0,
        "stale": 0,
        "version": ["1"],
        "commit": ["c"],
        "torch": ["2.10", "2.14"],
        "machine": ["m"],
    }
    text = report.markdown(made, told, header)
    assert "torch 2.10, 2.14, m." in text  # whatever made the runs is told
    assert text.count("**lost**") == 3  # the rival, as each landscape's best, and on the landscape
