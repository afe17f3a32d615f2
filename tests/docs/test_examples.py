"""The programs in `examples/` run as they stand, and show what they say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name, *arguments):
    """What a program prints; its warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name), *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_they_are_short():
    assert len(EXAMPLES) == 4
    for path in EXAMPLES:
        code = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith('"""')]
        assert len(code) <= 40, path.name


def test_own_marl_loop_learns():
    told = [float(number) for number in re.findall(r"\d\.\d+", run("own_marl_loop.py"))]
    first, last, optimum = told
    assert first < 0.83  # an average pipeline of this landscape has .80
    assert first + 0.1 < last <= optimum + 0.01


@pytest.mark.slow
def test_ippo_learns():
    first, last = [float(number) for number in re.findall(r"\d\.\d+", run("ippo.py"))]
    assert first < 0.83
    assert last > first + 0.08


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_own_learner_stands_in_the_benchmarks_table(tmp_path):
    table = run("own_learner.py", tmp_path)
    assert "| `pbil` | 5 |" in table
    assert "| `random` | 5 |" in table
    assert "| `ma2ml` | 5 |" in table
    landscape = json.loads((tmp_path / "own_learner.json").read_text())["landscapes"]["digits"]
    assert landscape["levels"]["pbil"]["top_at_100%"] > landscape["levels"]["random"]["top_at_100%"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_search_and_export_ends_with_a_model(tmp_path):
    told = run("search_and_export.py", tmp_path / "run")
    accuracy = re.search(r"export: trial \d+, test accuracy (\d\.\d+)", told)
    assert float(accuracy[1]) > 0.3  # a tenth is chance
    difference = re.search(r"largest difference of logits: (\S+)", told)
    assert float(difference[1]) < 1e-3
    weights = tmp_path / "run" / "export" / "weights.safetensors"
    before = weights.read_bytes()
    assert "export: trial" in run("search_and_export.py", tmp_path / "run")  # again: nothing is trained anew
    assert weights.read_bytes() == before
