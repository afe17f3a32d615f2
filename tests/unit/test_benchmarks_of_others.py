"""The benchmarks of observations and of other people's objectives: finished runs are kept, and the tables say what is there."""

import json
import re
from pathlib import Path

import objectives
import observations
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_finished_study_is_not_played_again(tmp_path, capsys):
    out = tmp_path / "o.jsonl"
    words = ["--trials", "3", "--seeds", "1", "--samplers", "RandomSampler", "MA2MLSampler", "--out", str(out)]
    assert objectives.main(words) == 0
    kept = out.read_text()
    assert {json.loads(line)["objective"] for line in kept.splitlines()} == set(objectives.OBJECTIVES)
    assert objectives.main(words) == 0
    assert out.read_text() == kept
    assert (tmp_path / "o.md").read_text().count("| `RandomSampler` | 1 |") == 5
    assert "branin" in capsys.readouterr().out


def test_the_table_of_objectives_compares_seed_by_seed():
    rows = [
        {"objective": "branin", "sampler": sampler, "seed": seed, "best": best}
        for sampler, bests in ((objectives.OURS, (1.0, 2.0)), ("TPESampler", (2.0, 1.5)))
        for seed, best in enumerate(bests)
    ]
    ours, tpe = objectives.table(rows).splitlines()[2:]
    assert ours == "| branin | `MA2MLSampler` | 2 | 1.500 ± 6.353 |  |"
    assert tpe == "| branin | `TPESampler` | 2 | 1.750 ± 3.177 | 1 of 2 |"


@pytest.mark.slow
def test_the_page_has_the_kept_curves():
    kept = ROOT / "benchmarks" / "results" / "observations"
    rows = [json.loads(line) for line in kept.with_suffix(".jsonl").read_text().splitlines()]
    assert observations.table(rows) == kept.with_suffix(".md").read_text()
    page = (ROOT / "docs" / "environment.md").read_text()
    for line in observations.table(rows).splitlines()[2:]:
        assert re.sub(r"(?<!\d)0\.", ".", line) in page


def test_the_curves_are_drawn_the_same_each_time(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra bench is not installed")
    means = [[0.8 + 0.001 * (seed + batch) for batch in range(20)] for seed in range(3)]
    rows = [{"observation": "noise", "rate": 0.001, "seed": seed, "means": own} for seed, own in enumerate(means)]
    for name in ("one.svg", "two.svg"):
        observations.draw(rows, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.svg").read_text().count("<path") > 10


def test_a_run_of_observations_is_kept(tmp_path):
    out = tmp_path / "o.jsonl"
    words = ["--rates", "1e-3", "--seeds", "1", "--pipelines", "48", "--out", str(out)]
    assert observations.main(words) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["observation"] for row in rows] == ["noise", "constant", "agent"]
    assert all(len(row["means"]) == 2 for row in rows)
    assert observations.main(words) == 0
    assert len(out.read_text().splitlines()) == 3


def test_the_table_of_observations_takes_the_last_pipelines_before_each_mark():
    means = [0.5] * 10 + [0.7] * 11 + [0.8] * 63  # of 84 batches of 24
    rows = [{"observation": "noise", "rate": 0.001, "seed": seed, "means": means} for seed in range(2)]
    line = observations.table(rows).splitlines()[2]
    assert line == "| `noise` | 0.001 | 2 | 0.500 ± 0.000 | 0.700 ± 0.000 | 0.800 ± 0.000 | 0.800 ± 0.000 |"
