"""The benchmark of whether a search pays: what each arm may spend, what is kept, and what the table says."""

import json
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pays
import pytest

from ma2ml_agents.after.floors import PLAIN_RATES
from ma2ml_env.games.make import make_game
from ma2ml_env.training import loop
from ma2ml_env.training.data.own import Raw, read_npz


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


@dataclass
class Fitted:
    accuracy: float
    network: object = None


def test_plain_spends_what_ours_did_and_its_best_is_measured(monkeypatch):
    clock, fitted = [0.0], []

    def fit(recipe, data, *, seed, fidelity):
        clock[0] += 10.0
        fitted.append(recipe)
        return Fitted(recipe.learning_rate if recipe.network.args["widths"][0] == 16 else 0.0)

    class Data:
        size, test_x, test_y = 8, None, None

        def merged(self):
            return self

    monkeypatch.setattr(pays, "spent", lambda: clock[0])
    monkeypatch.setattr(loop, "fit", fit)
    monkeypatch.setattr(loop, "accuracy", lambda *a: 0.75)
    base = make_game("own-small-v1", "surrogate", size=8).base
    told = pays.tuned(Data(), base, 0, 120.0)
    assert 100.0 <= told["seconds"] <= 120.0
    assert told["tried"] == len(fitted) - 1
    assert fitted[-1].learning_rate == max(PLAIN_RATES), "the best is trained again"
    assert told["test"] == 0.75
    assert pays.tuned(Data(), base, 0, 1.0)["tried"] == 6, "the six rates at least"


def test_data_are_written_as_a_user_has_them(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(256, size=(1300, 3, 4, 4)).astype(np.uint8), np.arange(1300) % 3
    raw = read_npz(pays.written("digits", Raw(x, y, ("a", "b", "c")), tmp_path))
    assert (len(raw.train_y), len(raw.test_y)) == (1200, 100)
    everything = np.concatenate([raw.train_x, raw.test_x])
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
