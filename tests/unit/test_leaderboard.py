"""The leaderboard: a suite with algorithms that play by themselves, and one table by regret to the best of all pipelines."""

import json
import re
from itertools import product
from pathlib import Path

import leaderboard
import numpy as np
import pytest
import report
import run
import suite
from frameworks import ALGORITHMS, algorithm, is_algorithm
from frameworks.record import Enough, RecordedGame

from ma2ml_agents.registry import learner_names
from ma2ml_env.env import AutoMLEnv
from ma2ml_env.games.make import make_game
from ma2ml_env.views.flat import FlatEnv
from ma2ml_env.views.token import TokenParallelEnv

ROOT = Path(__file__).parents[2]
SMOKE = """
title = "smoke"
budget = 24
batch = 12
top_k = 2
reference = "random"
[[landscapes]]
name = "small-24"
nvec = { aug = [3], nas = [2, 2], hpo = [4] }
options = { noise = 0.0 }
[[landscapes]]
name = "small-48"
nvec = { aug = [3], nas = [2, 2], hpo = [4] }
options = { noise = 0.0 }
budget = 48
[[arms]]
learners = ["random", "evolution"]
seeds = 3
[[arms]]
learners = ["uniform.py"]
landscapes = ["small-24"]
seeds = 3
"""
UNIFORM = (ROOT / "benchmarks" / "frameworks" / "uniform.py").read_text()


@pytest.fixture
def smoke(tmp_path):
    (tmp_path / "smoke.toml").write_text(SMOKE)
    (tmp_path / "uniform.py").write_text(UNIFORM)
    return tmp_path / "smoke.toml"


def block():
    """The algorithm of the page."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "leaderboard.md").read_text(), re.M | re.S)
    return code


def test_own_algorithm_is_at_most_fifteen_lines():
    lines = [line for line in block().splitlines() if line.strip()]
    assert len(lines) <= 15


@pytest.mark.slow
def test_one_table_of_all_that_played(smoke, tmp_path, capsys):
    """The page's algorithm stands in it, beside learners and a file that the suite names; nothing is played twice."""
    own = tmp_path / "my_algorithm.py"
    own.write_text(block())
    where = ["--out", str(tmp_path / "runs")]
    words = [str(smoke), "--own", str(own), *where]
    assert run.main([*words, "--jobs", "1"]) == 0
    before = {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*.json")}
    assert len(before) == 3 * (2 + 2 + 1 + 2)
    assert run.main([*words, "--jobs", "1"]) == 0
    assert {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*.json")} == before
    assert leaderboard.main([*words, "--results", str(tmp_path)]) == 0
    text = (tmp_path / "smoke-board.md").read_text()
    assert re.search(r"^\| `my_algorithm` \| 3 \| \d\.\d+ \(\d\.\d+ to \d\.\d+\) \| \d of 1 \| \d\.\d+ \(", text, re.M)
    assert re.search(r"^\| `uniform` \| 3 \| \d\.\d+ \(.*\) \| \d of 1 \| - \|  \|$", text, re.M)
    assert "4 algorithms, 21 runs, 0 of the suite not played" in text
    found = json.loads((tmp_path / "smoke-board.json").read_text())["boards"]
    assert found["48"]["arms"]["my_algorithm"]["regret"][0] <= found["24"]["arms"]["random"]["regret"][0]
    assert (tmp_path / "smoke-board.svg").exists()
    assert report.main([str(smoke), *where, "--results", str(tmp_path / "report"), "--no-pictures"]) == 0
    own.write_text(block() + "\n")  # another file is another algorithm: it is played again
    assert leaderboard.main([*words, "--results", str(tmp_path)]) == 0
    assert "3 algorithms, 15 runs, 6 of the suite not played" in capsys.readouterr().out


def test_regret_is_that_of_all_pipelines():
    """By brute force: 0 at the best pipeline, 1 at the mean of all."""
    landscape = suite.Landscape("small", nvec={"a": (3,), "b": (2, 4)}, options={"noise": 0.0})
    curve, best, mean = leaderboard.scale(landscape)
    game = landscape.make()
    codes = np.array(list(product(range(3), range(2), range(4))))
    rewards = game.score({"a": codes[:, :1], "b": codes[:, 1:]}, np.arange(24))
    assert (curve, best, mean) == ("true_best", pytest.approx(rewards.max()), pytest.approx(rewards.mean()))
    with pytest.raises(ValueError, match="landscape large: nobody knows the best of all its pipelines"):
        leaderboard.scale(suite.Landscape("large", game="digits-v0", options={"evaluator": "surrogate"}))


def test_the_suite_is_as_the_page_says():
    made = suite.load("leaderboard")
    assert len(made.arms()) == 33
    assert {run.budget for run in made.runs} == {240, 5000}
    assert all(run.learner in learner_names() or is_algorithm(run.learner) for run in made.runs)
    here = {name for name, row in ALGORITHMS.items() if not row.apart and name != "random"}
    assert here == {run.arm for run in made.runs if is_algorithm(run.learner)}
    ends = {each.name.rsplit("-", 1)[1]: each.budget for each in made.landscapes}
    assert ends == {"240": 0, "5000": 5000}


def test_a_recorded_game_counts_every_view_and_ends_in_the_middle():
    game = make_game("trio-digits-v0", "surrogate")
    flat, tokens = RecordedGame(game, 10), RecordedGame(game, 10)
    env = FlatEnv(AutoMLEnv(flat, 3))
    rewards = []
    for number in range(9):
        env.reset(seed=None if number else 3)
        rewards.append(env.step(np.zeros(7, dtype=np.int64))[1])
    env.reset()
    with pytest.raises(Enough):
        env.step(np.zeros(7, dtype=np.int64))
    assert [trial.reward for trial in flat.trials][:9] == rewards
    assert [trial.number for trial in flat.trials] == list(range(10))
    env = TokenParallelEnv(AutoMLEnv(tokens, 3))
    for _ in range(9):
        env.reset()
        while env.agents:
            env.step(dict.fromkeys(env.agents, 0))
    batch = {agent: np.zeros((24, len(sizes)), dtype=np.int64) for agent, sizes in game.spec.nvec.items()}
    with pytest.raises(Enough):
        env.env.evaluate_batch(batch)
    assert [trial.reward for trial in tokens.trials] == [trial.reward for trial in flat.trials]  # equal seeds of trials
    whole = RecordedGame(game, 100)
    assert AutoMLEnv(whole, 3).evaluate_batch(batch).tolist() == AutoMLEnv(game, 3).evaluate_batch(batch).tolist()


def test_standardised_rewards_are_told_and_those_of_the_game_kept():
    game = make_game("trio-digits-v0", "surrogate")
    recorded = RecordedGame(game, 1000, standardise=True)
    rng, env = np.random.default_rng(0), AutoMLEnv(recorded, 0)
    batch = {agent: rng.integers(0, sizes, (240, len(sizes))) for agent, sizes in game.spec.nvec.items()}
    told = env.evaluate_batch(batch)
    kept = np.array([trial.reward for trial in recorded.trials])
    assert told == pytest.approx((kept - kept.mean()) / kept.std())
    assert env.evaluate_batch(batch).mean() == pytest.approx(told.mean(), abs=0.05)  # the scale is fixed from here on


def test_bad_input(smoke, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"unknown algorithm 'sb3-pop'; did you mean 'sb3-ppo'\?"):
        algorithm("sb3-pop")
    assert run.main([str(smoke), "--own", str(tmp_path / "missing.py")]) == 2
    assert "missing.py" in capsys.readouterr().err
    assert leaderboard.main([str(smoke), "--out", str(tmp_path / "nothing")]) == 2
    assert "no runs of smoke" in capsys.readouterr().err
    smoke.write_text(SMOKE.replace('learners = ["uniform.py"]', 'learners = ["sb3-ppo"]\nconfig = { n_steps = 2 }'))
    with pytest.raises(ValueError, match="sb3-ppo has no config here"):
        suite.load(str(smoke))
    lazy = tmp_path / "lazy.py"
    lazy.write_text("def train(make, pipelines, seed):\n    make()\n")
    with pytest.raises(RuntimeError, match="training ended after 0 of 5 pipelines"):
        algorithm(str(lazy)).train(make_game("trio-digits-v0", "surrogate"), 5)
