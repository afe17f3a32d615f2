"""The table of docs/frameworks.md is the one that the results give."""

import json
from pathlib import Path

import pytest
from frameworks import ALGORITHMS, algorithm, environments
from train_frameworks import RESULTS, level, main, page, read, report

ROOT = Path(__file__).parents[2]
ROW = {
    "algorithm": "random", "seed": 0, "pipelines": 5000, "table": "abc", "game": "trio-digits-v0", "data": "the package's",
    "versions": {"numpy": "2"}, "deviation": 0.12, "last": 0.8, "cpu_seconds": 1.0,
}  # fmt: skip


def test_the_page_has_the_table_of_the_results():
    rows = read(RESULTS / "frameworks.jsonl")
    assert page(rows) in (ROOT / "docs" / "frameworks.md").read_text()
    assert report(rows) == (RESULTS / "frameworks.md").read_text()
    above = [float(line.split("|")[-2]) for line in page(rows).splitlines()[3:] if "not played yet" not in line]
    assert len(above) > 10
    assert min(above) > 10


def test_an_error_is_that_of_seeds_or_of_pipelines():
    assert level([ROW]) == (0.8, pytest.approx(0.12 / 240**0.5))
    assert level([ROW, {**ROW, "last": 0.9}]) == (pytest.approx(0.85), pytest.approx(0.05))
    told = page([ROW, {**ROW, "algorithm": "sb3-ppo", "last": 0.9, "deviation": 0.0}])
    assert "| stable_baselines3 | PPO | flat | `make test-full` | .900 ± .000 | 1 | 13 |" in told
    assert "| ray | PPO, a module an agent | parallel_env | `make frameworks` | not played yet | | |" in told


def test_libraries_that_clash_have_an_environment_tests_and_a_row():
    apart = {name: row for name, row in ALGORITHMS.items() if row.apart}
    assert {algorithm for algorithm, _ in environments.LIBRARIES.values()} == set(apart)
    for name, (trained, requirements) in environments.LIBRARIES.items():
        assert requirements[0].startswith(apart[trained].library)
        assert (ROOT / "tests" / "frameworks_apart" / f"test_{name}.py").is_file()
    with pytest.raises(SystemExit, match="2"):
        environments.main(["--only", "sb3"])


def test_rows_of_another_table_are_not_mixed():
    told = page([{**ROW, "last": 0.1}, {**ROW, "table": "def"}])
    assert ".800 ± .008 | 1 |" in told


def test_a_run_by_other_settings_is_none(tmp_path):
    told = algorithm("sb3-sac").told
    lines = [{**ROW, "algorithm": "sb3-sac", **told}, {**ROW, "algorithm": "sb3-sac", **told, "settings": {}}]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(read(tmp_path / "some.jsonl")) == 1


def test_bad_input(capsys):
    assert main(["sb3-pop"]) == 2
    assert "did you mean 'sb3-ppo'" in capsys.readouterr().err
    assert main(["random", "--seeds", "0"]) == 2
    assert "--pipelines and --seeds are at least 1" in capsys.readouterr().err
    assert main(["random", "--game", "digits-v0"]) == 2
    assert "digits-v0 has no table" in capsys.readouterr().err
    assert main(["random", "--data", "missing.npz"]) == 2
    assert "missing.npz" in capsys.readouterr().err


def test_a_run_is_a_line_and_is_not_played_again(tmp_path, capsys):
    words = ["random", "--pipelines", "100", "--seeds", "2", "--out", str(tmp_path / "out.jsonl")]
    assert main(words) == 0
    lines = (tmp_path / "out.jsonl").read_text()
    assert len(lines.splitlines()) == 2
    assert [len(json.loads(line)["means"]) for line in lines.splitlines()] == [5, 5]
    assert main(words) == 0
    assert (tmp_path / "out.jsonl").read_text() == lines
    assert "| `random` | numpy" in (tmp_path / "out.md").read_text()
