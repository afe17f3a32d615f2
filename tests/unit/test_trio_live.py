"""Searches that train beside searches on the table of the same game."""

import json

import pytest
import trio_live

import ma2ml_env
from ma2ml_agents.cli.main import main as ma2ml
from ma2ml_env.tables.trainings import Trainings

ROWS = [
    {"how": how, "learner": learner, "seed": seed, "regrets": [level + 0.01 * seed, level / 2, 0.0]}
    for how, levels in {
        "live": {"hybrid": 0.01, "random": 0.03},
        "table": {"hybrid": 0.02, "random": 0.04},
    }.items()
    for learner, level in levels.items()
    for seed in (0, 1)
]


def test_regrets_are_of_what_the_search_would_name():
    bench, game = ma2ml_env.benchmark(trio_live.GAME), ma2ml_env.make_game(trio_live.GAME, "table")
    trials = trio_live.looked_up(game, "random", 0)
    assert len(trials) == trio_live.BUDGET
    found = trio_live.regrets(trials, bench)
    for regret, share in zip(found, (60, 120, 240), strict=True):
        named = sorted(trials[:share], key=lambda trial: -trial.reward)[0]
        assert regret == pytest.approx(bench.optimum()[1] - bench.query(named.proposal.codes).accuracy)
    assert found[0] > 0.0


def test_the_summary_has_intervals_and_the_orders_tau():
    told = trio_live.summary(ROWS)
    mean, half = told["levels"]["live"]["hybrid"][0]
    assert mean == pytest.approx(0.015)
    assert half == pytest.approx(12.706 * 0.01 / 2, rel=1e-3)  # Student's t of one degree of freedom
    assert told["tau"][:2] == pytest.approx([1.0, 1.0])
    text = trio_live.as_markdown(told, {"live": 2, "table": 2})
    assert "| live, 2 seeds | `hybrid` | 0.0150 ± 0.0635 |" in text
    swapped = [row | {"regrets": [-each for each in row["regrets"]]} if row["how"] == "live" else row for row in ROWS]
    assert trio_live.summary(swapped)["tau"][1] == pytest.approx(-1.0)


def test_searches_are_played_in_parts_and_kept(tmp_path, monkeypatch):
    def looked_up(run, game, learner, seed, further):
        words = ["search", trio_live.GAME, "--run", str(run), "--learner", learner, "--seed", str(seed)]
        assert ma2ml([*words, "--budget", "24"]) == 0

    monkeypatch.setattr(trio_live, "BUDGET", 24)
    monkeypatch.setattr(trio_live, "LEARNERS", ("evolution", "random"))
    monkeypatch.setattr(trio_live, "train", looked_up)  # in place of some seconds a pipeline
    runs, out = tmp_path / "runs", tmp_path / "live.json"
    words = ["--runs", str(runs), "--seeds", "1", "--table-seeds", "2", "--out", str(out)]
    assert trio_live.main([*words, "--part", "1/2"]) == 0
    assert [each.name for each in runs.iterdir()] == ["evolution-0"]
    assert not out.exists()
    assert trio_live.main([*words, "--part", "2/2"]) == 0
    monkeypatch.setattr(trio_live, "train", lambda *told: None)
    assert trio_live.main(words) == 2, "there are no trainings to keep"
    kept = json.loads(out.read_text())
    assert [row["how"] for row in kept["rows"]].count("table") == 4
    assert out.with_suffix(".md").read_text().count("±") == 12


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "-1/2"])
def test_a_part_that_is_none_is_one_line(text, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        trio_live.main([f"--part={text}"])
    assert "a part is k/n, as in 1/4" in capsys.readouterr().err


@pytest.mark.slow
def test_a_live_search_trains_under_seeds_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(trio_live, "BUDGET", 3)
    monkeypatch.setattr(trio_live, "LEARNERS", ("random",))
    out = tmp_path / "live.json"
    assert (
        trio_live.main(["--runs", str(tmp_path / "runs"), "--seeds", "1", "--table-seeds", "1", "--out", str(out)]) == 0
    )
    table = Trainings.load(out.with_suffix(".npz"))
    assert len(table.codes) == 3
    assert table.curve.shape == (3, 8)
