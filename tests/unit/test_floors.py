"""What the winner of a search has to beat: how it is trained, and what is said of who does not."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from ma2ml_agents.after.export import export
from ma2ml_agents.after.floors import LINEAR_RATES, PLAIN_RATES, floors, judge, linear, plain
from ma2ml_agents.after.retrain import retrain
from ma2ml_agents.after.retrained import Finished, Floor
from ma2ml_agents.cli.main import main
from ma2ml_agents.run.stored import build_without_evaluator, stored_config
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.io.predictions import predictions_path, write_predictions
from ma2ml_env.metrics import Predictions
from ma2ml_env.recipe import Recipe
from ma2ml_env.store.store import TrialStore
from ma2ml_env.training import flops
from ma2ml_env.training.networks.base import Image
from ma2ml_env.training.networks.plain import Plain
from ma2ml_env.trial import Outcome, Proposal, Trial

TINY = ("proxy_epochs=1", "final_epochs=2", "cells=1", "reductions=[]", "filters=2", "limit=64", "validation=60")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    run = tmp_path_factory.mktemp("floors") / "run"
    sets = [word for setting in (*TINY, "repeats=2") for word in ("--set", setting)]
    args = ["--learner", "random", "--budget", "3", "--batch", "3", "--workers", "1"]
    assert main(["search", "digits-v0", "--run", str(run), *args, *sets]) == 0
    return run


@pytest.fixture(scope="module")
def retrained(searched, tmp_path_factory):
    run = shutil.copytree(searched, tmp_path_factory.mktemp("floored") / "run")
    return run, retrain(run, top_k=1, with_floors=True)


def finished(*accuracies):
    job, trial = Job(0, Recipe(), {}, 0, 1.0), Trial(0, 0, Proposal({"a": (0,)}), Outcome(), 0.0)
    return [Finished(trial, job, Outcome(accuracy=a, test_accuracy=a), Path("nowhere.safetensors")) for a in accuracies]


def test_floors_are_trained_as_the_winner_is(retrained):
    _, result = retrained
    names = [floor.name for floor in result.floors]
    assert names == ["a linear model", "a plain network", "the base recipe"]
    for floor in result.floors:
        assert len(floor.trainings) == len(result.repeats) == 2
        assert all(one.outcome.metrics["epochs"] == 2.0 for one in floor.trainings)
        # 124 images in batches of 32, not 64: validation images are among them
        assert all(one.outcome.metrics["steps"] == 8.0 for one in floor.trainings)
        assert len({one.job.seed for one in floor.trainings}) == 2
    assert all(not one.job.recipe.augment for floor in result.floors[:2] for one in floor.trainings)


def test_the_rate_is_the_best_of_six_by_validation_images(retrained):
    run, result = retrained
    rows = [json.loads(line) for line in (run / "retrain" / "results.jsonl").read_text().splitlines()]
    with TrialStore(run) as store:
        base = build_without_evaluator(stored_config(store)).base
    for stage, floor, recipe, rates in (
        ("rates-linear", result.floors[0], linear(base), LINEAR_RATES),
        ("rates-plain", result.floors[1], plain(base, 8), PLAIN_RATES),
    ):
        found = {row["recipe_key"]: row["outcome"]["accuracy"] for row in rows if row["stage"] == stage}
        tried = {rate: found[replace(recipe, learning_rate=rate).key] for rate in rates}
        assert len(tried) == 6
        assert tried[floor.rate] == max(tried.values())


def test_stopped_at_any_training_it_goes_on_to_the_same(searched, retrained, tmp_path):
    run = shutil.copytree(searched, tmp_path / "run")
    seen = []

    def stop(job, outcome):
        seen.append((job.recipe.key, job.seed))
        if len(seen) % 5 == 0:
            raise KeyboardInterrupt

    while True:
        try:
            result = retrain(run, top_k=1, with_floors=True, on_outcome=stop)
            break
        except KeyboardInterrupt:
            continue
    assert len(seen) == 1 + 2 + 2 + 2 * (6 + 2)
    assert [floor.told() for floor in result.floors] == [floor.told() for floor in retrained[1].floors]
    assert result.verdict == retrained[1].verdict


def test_a_winner_that_is_not_better_says_so_everywhere(searched, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(searched, tmp_path / "run")
    assert main(["retrain", str(run), "--top-k", "1", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    for name in ("a linear model", "a plain network", "the base recipe"):
        assert name in out
    assert "THE SEARCH DID NOT PAY" in out, "two filters and two epochs are no better than a linear model"
    verdict = json.loads((run / "retrain" / "summary.json").read_text())["verdict"]
    assert verdict["better"] is False
    folder, card = export(run)
    assert card["verdict"] == verdict
    assert "THE SEARCH DID NOT PAY" in (folder / "card.md").read_text()


def test_without_floors_nothing_of_them_is_trained(searched, tmp_path, capsys):
    run = shutil.copytree(searched, tmp_path / "run")
    assert main(["retrain", str(run), "--top-k", "1", "--no-floors", "--workers", "1"]) == 0
    assert "plain network" not in capsys.readouterr().out
    stages = {json.loads(line)["stage"] for line in (run / "retrain" / "results.jsonl").read_text().splitlines()}
    assert {stage.partition("-")[0] for stage in stages} == {"top", "repeats"}
    assert json.loads((run / "retrain" / "summary.json").read_text())["verdict"] is None
    assert "floors" not in export(run)[1]


def test_a_floor_that_cannot_be_trained_is_left_out_and_told(searched, tmp_path, monkeypatch, caplog):
    evaluate = Train.evaluate

    def some_fail(self, jobs):
        for index, job in enumerate(jobs):
            if job.recipe.network.args.get("widths"):
                yield index, Outcome("failed", error="CRASH", note="no luck")
            else:
                yield index, next(evaluate(self, [job]))[1]

    monkeypatch.setattr(Train, "evaluate", some_fail)
    run = shutil.copytree(searched, tmp_path / "run")
    result = retrain(run, top_k=1, with_floors=True)
    assert [floor.name for floor in result.floors] == ["a linear model", "the base recipe"]
    assert "a plain network could not be trained, so the winner is not compared with it: CRASH no luck" in caplog.text


def test_a_training_of_a_floor_that_fails_is_counted(searched, tmp_path, monkeypatch):
    evaluate = Train.evaluate

    def some_fail(self, jobs):
        for index, job in enumerate(jobs):
            if job.recipe.network.kind == "plain" and job.fidelity == 1.0 and job.number == 1:
                yield index, Outcome("failed", error="NAN", note="no luck")
            else:
                yield index, next(evaluate(self, [job]))[1]

    monkeypatch.setattr(Train, "evaluate", some_fail)
    run = shutil.copytree(searched, tmp_path / "run")
    result = retrain(run, top_k=1, with_floors=True)
    assert [len(floor.trainings) for floor in result.floors] == [1, 1, 2]
    assert result.failed == 2


@pytest.mark.parametrize(
    ("winner", "floor", "images", "better"),
    [
        ((0.95, 0.95, 0.95), (0.90, 0.90, 0.90), 10_000, True),
        ((0.95, 0.95, 0.95), (0.90, 0.90, 0.90), 100, False),  # five images more, of 100
        ((0.96, 0.94, 0.95), (0.90, 0.90, 0.90), 10_000, True),
        ((0.99, 0.91, 0.95), (0.90, 0.90, 0.90), 10_000, False),  # three seeds hardly tell a deviation
        ((0.99, 0.81, 0.90), (0.89, 0.89, 0.89), 10_000, False),  # by one lucky seed
        ((0.89, 0.89, 0.89), (0.90, 0.90, 0.90), 10_000, False),
    ],
)
def test_better_is_by_more_than_seeds_and_test_images_tell(winner, floor, images, better):
    floors = [Floor("weak", finished(0.1)), Floor("strong", finished(*floor))]
    verdict = judge(finished(*winner), floors, images, 2)
    assert verdict.against == "strong"
    assert verdict.better is better
    assert ("NOT PAY" in verdict.sentence()) is not better


def test_the_interval_by_hand():
    verdict = judge(finished(0.8, 0.9), [Floor("a", finished(0.5, 0.5))], 100, 2)
    deviation = math.sqrt(2 * 0.05**2)
    whole = deviation**2 / 2 + 0.85 * 0.15 / 100 + 0.5 * 0.5 / 100
    freedom = whole**2 / (deviation**2 / 2) ** 2  # of one of two trainings; images have as good as infinitely many
    assert verdict.interval == pytest.approx(student.ppf(0.975, freedom) * math.sqrt(whole))
    once = judge(finished(0.9), [Floor("a", finished(0.5))], 100, 2)
    assert once.interval == pytest.approx(1.96 * math.sqrt(0.9 * 0.1 / 100 + 0.5 * 0.5 / 100), rel=1e-4)
    assert verdict.difference == pytest.approx(0.35)


def test_images_are_compared_one_by_one_where_it_is_known_what_was_said_of_them(tmp_path):
    labels = np.zeros(100, dtype=np.int64)

    def said(name, wrong):
        told, path = labels.copy(), tmp_path / f"{name}.safetensors"
        told[wrong] = 1
        write_predictions(predictions_path(path), Predictions(2, labels, told, told, np.zeros(100, dtype=np.float32)))
        return [replace(one, weights=path) for one in finished(1.0 - len(wrong) / 100)]

    winner, floor = said("winner", range(10)), said("floor", range(20))
    verdict = judge(winner, [Floor("a", floor)], 100, 2)
    by_hand = 1.96 * np.std([1.0] * 10 + [0.0] * 90, ddof=1) / 10
    assert verdict.interval == pytest.approx(by_hand, rel=1e-4)
    assert verdict.better
    assert judge(finished(0.9), [Floor("a", finished(0.8))], 100, 2).interval > 1.5 * by_hand


def test_one_training_has_no_deviation_and_other_metrics_are_not_compared_and_both_are_said():
    floors = [Floor("a", finished(0.5, 0.5))]
    assert "test images alone, for one training has no deviation" in judge(finished(0.9), floors, 100, 2).sentence()
    assert "trainings and test images)" in judge(finished(0.9, 0.8), floors, 100, 2).sentence()
    told = judge(finished(0.9, 0.8), floors, 100, 2, "macro_f1").sentence()
    assert told.endswith("compares test accuracies, and the search went by macro F1")


def test_rates_are_chosen_by_the_runs_metric():
    def train(stage, recipes, share):
        return [
            replace(
                one, job=replace(one.job, recipe=recipe), outcome=replace(one.outcome, metrics={"log_loss": number})
            )
            for number, (one, recipe) in enumerate(
                zip(finished(*np.linspace(0.1, 0.6, len(recipes))), recipes, strict=True)
            )
        ]

    assert [floor.rate for floor in floors(Recipe(), 8, 1, train)] == [LINEAR_RATES[-1], PLAIN_RATES[-1]]
    assert [floor.rate for floor in floors(Recipe(), 8, 1, train, "log_loss")] == [LINEAR_RATES[0], PLAIN_RATES[0]]


def test_there_is_no_verdict_without_a_floor():
    assert judge(finished(0.9), [], 100, 2) is None


@pytest.mark.parametrize("size", [1, 2, 7, 8, 28, 32, 65])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_plain_network_takes_any_image(size, channels):
    for widths in ((), (2, 4, 8)):
        network = Plain(widths, image=Image(5, channels, size))
        logits = network(torch.rand(3, channels, size, size))
        assert logits.shape == (3, 5)
        logits.sum().backward()


def test_its_macs_by_hand():
    macs, params = flops.count(Plain((16, 32, 64), image=Image(10, 1, 28)), 1, 28)
    assert macs == 9 * (16 * 28**2 + 16 * 32 * 14**2 + 32 * 64 * 7**2) + 64 * 3 * 3 * 10
    assert params == 9 * (16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + (64 * 3 * 3 + 1) * 10
    assert flops.count(Plain((), image=Image(10, 1, 28)), 1, 28) == (7840, 7850)


def test_larger_images_have_more_blocks():
    blocks = {size: len(plain(Recipe(), size).network.args["widths"]) for size in (8, 32, 63, 64, 128, 224)}
    assert blocks == {8: 3, 32: 3, 63: 3, 64: 4, 128: 5, 224: 5}


def test_a_width_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Plain((4, 0), image=Image(10))
