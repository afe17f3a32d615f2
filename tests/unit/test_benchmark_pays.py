"""The benchmark of whether a search pays: what each arm may spend, what is kept, and what the table says."""

import json
from itertools import islice

import numpy as np
import pays
import pytest

from ma2ml_agents.after.floors import PLAIN_RATES
from ma2ml_env.evaluators.train import Train
from ma2ml_env.games.make import make_game
from ma2ml_env.training.data.npz import read_npz
from ma2ml_env.training.data.raw import Raw
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.trial import Outcome


def row(data, seed, arm, test, seconds=10.0):
    return {
        "data": data,
        "seed": seed,
        "arm": arm,
        "test": test,
        "seconds": seconds,
        "floors": {"a plain network": 0.5},
    }


def test_the_table_pairs_seeds_and_leaves_out_what_has_no_partner():
    rows = [row("digits", 0, "ours", 0.9), row("digits", 0, "plain", 0.8), row("digits", 1, "ours", 0.9)]
    rows += [row("digits", 2, "ours", 0.8), row("digits", 2, "plain", 0.9, 12.0), row("cifar10", 0, "ours", 0.5)]
    found = pays.table(rows)
    assert set(found) == {"digits"}
    assert (found["digits"]["seeds"], found["digits"]["above_in"]) == (2, 1)
    assert found["digits"]["difference"] == pytest.approx(0.0)
    assert found["digits"]["interval"] == pytest.approx(12.706 * 0.1 * 2**0.5 / 2**0.5, abs=1e-3)
    assert found["digits"]["plain_seconds"] == 11
    assert "| digits | 2 | 0.8500 | 0.8500 | +0.0000" in pays.as_markdown(found)


def test_plain_tries_the_six_rates_first_then_more():
    base = make_game("own-small-v1", "surrogate", size=8).base
    first = list(islice(pays.candidates(base, 8), 12))
    assert [recipe.learning_rate for recipe in first[:6]] == list(PLAIN_RATES)
    assert first[6].network.args["widths"] == (32, 64, 128)
    assert not any(recipe.augment or recipe.crop_padding or recipe.cutout for recipe in first)
    keys = [recipe.key for recipe in pays.candidates(base, 8)]
    assert len(keys) == len(set(keys)) == 72


def test_plain_spends_what_ours_did_and_its_best_is_measured(monkeypatch):
    clock, asked = [0.0], []

    def evaluate(self, jobs):
        [job] = jobs
        clock[0] += 10.0
        asked.append((self.train_on_validation, job.recipe))
        narrow = job.recipe.network.args["widths"][0] == 16
        yield 0, Outcome(accuracy=0.75 if self.train_on_validation else job.recipe.learning_rate * narrow)

    monkeypatch.setattr(pays, "spent", lambda: clock[0])
    monkeypatch.setattr(Train, "evaluate", evaluate)
    base, source = make_game("own-small-v1", "surrogate", size=8).base, DataSource("digits", size=8)
    told = pays.tuned(source, base, 0, 120.0)
    assert 100.0 <= told["seconds"] <= 120.0
    assert [last for last, _ in asked] == [False] * told["tried"] + [True]
    assert asked[-1][1].learning_rate == max(PLAIN_RATES), "the best is trained again"
    assert told["test"] == 0.75
    assert pays.tuned(source, base, 0, 1.0)["tried"] == 6, "the six rates at least"


def test_data_are_written_as_a_user_has_them(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(256, size=(1300, 3, 4, 4)).astype(np.uint8), np.arange(1300) % 3
    raw = read_npz(pays.written("digits", Raw({"train": x}, {"train": y}, ("a", "b", "c")), tmp_path))
    assert (len(raw.y["train"]), len(raw.y["test"])) == (1200, 100)
    everything = np.concatenate([raw.x["train"], raw.x["test"]])
    assert sorted(map(bytes, everything)) == sorted(map(bytes, x)), "each image once, none of the test in the training"


@pytest.mark.slow
def test_both_arms_run_and_are_not_run_again(tmp_path, monkeypatch):
    results = tmp_path / "pays.jsonl"
    command = ["--out", str(tmp_path / "runs"), "--results", str(results), "--only", "digits", "--seeds", "1", "--set"]
    command += ["budget=2", "batch=2", "top_k=1", "proxy_epochs=1", "final_epochs=2"]
    assert pays.main(command) == 0
    ours, plain = (json.loads(line) for line in results.read_text().splitlines())
    assert ours["seconds"] == pytest.approx(ours["search_seconds"] + ours["retrain_seconds"], abs=0.2)
    assert set(ours["floors"]) == {"a linear model", "a plain network", "the base recipe"}
    assert plain["tried"] >= 6
    monkeypatch.setattr(pays, "play", lambda *a: pytest.fail("played again"))
    assert pays.main(command) == 0
    assert pays.main([*command, "--bar", "0.9"]) == 1
