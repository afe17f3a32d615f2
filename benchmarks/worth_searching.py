"""Is a game worth searching? `python benchmarks/worth_searching.py digits-v0`; `--suite figure5` for a suite's first game.

Trains random pipelines under two seeds each and prints one JSON object: the spread of their accuracies beside its sampling
error sqrt(p (1 - p) / validation images), and the rank correlation between the seeds. A game whose spread is its sampling error
would make a search rank noise.
"""

import argparse
import math
import statistics
from typing import Any

import numpy as np
from provenance import tell
from suite import load

import ma2ml_env
from ma2ml_env.evaluators.base import Job
from ma2ml_env.testing import random_codes
from ma2ml_env.trial import trial_seed


def ranks(values: list[float]) -> np.ndarray:
    """Ranks from 0, equal values at their mean rank."""
    array = np.array(values)
    return np.array([(array < v).sum() + ((array == v).sum() - 1) / 2 for v in array])


def measure(game_id: str, pipelines: int, workers: int, validation: int, options: dict[str, Any]) -> dict[str, Any]:
    game = ma2ml_env.make_game(game_id, workers=workers, **options)
    codes = random_codes(game.spec.nvec, pipelines, seed=0)
    jobs = []
    for i in range(2 * pipelines):
        row = {agent: tuple(c[i % pipelines].tolist()) for agent, c in codes.items()}
        # Straight to the trainer under two seeds: the cache would answer the second from the first.
        jobs.append(Job(i, game.recipe(row), row, trial_seed(0, i), game.protocol.fidelity))
    outcomes = dict(game.evaluator.inner.evaluate(jobs))
    game.evaluator.close()
    first, second = ([outcomes[i + s * pipelines].accuracy for i in range(pipelines)] for s in (0, 1))
    mean = statistics.mean(first + second)
    error = math.sqrt(mean * (1 - mean) / validation)
    return {
        "game": game_id,
        "pipelines": pipelines,
        "failed": sum(o.status != "ok" for o in outcomes.values()),
        "mean_accuracy": mean,
        "sd_accuracy": statistics.stdev(first),
        "sampling_error": error,
        "sd_over_sampling_error": statistics.stdev(first) / error,
        "spearman_between_seeds": float(np.corrcoef(ranks(first), ranks(second))[0, 1]),
        "seconds_per_pipeline": statistics.median(o.seconds for o in outcomes.values()),
        "median_macs": statistics.median(o.flops for o in outcomes.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("game", nargs="?", default="digits-v0")
    parser.add_argument("--pipelines", type=int, default=48, help="random pipelines, each under two seeds (48)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--validation", type=int, default=500, help="validation images, for the sampling error (500)")
    parser.add_argument("--data", default=None, help="folder of the data set")
    parser.add_argument("--suite", default=None, help="take the game and its options from a suite's first landscape")
    given = parser.parse_args()
    game, options, validation = given.game, {}, given.validation
    if given.suite:
        first = load(given.suite).landscapes[0]
        game, options = first.game, {k: v for k, v in first.options.items() if k != "evaluator"}
        validation = options.get("validation", validation)
    if given.data:
        options["data"] = given.data
    tell(measure(game, given.pipelines, given.workers, validation, options))


if __name__ == "__main__":
    main()
