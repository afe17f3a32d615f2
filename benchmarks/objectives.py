"""Our learners on objectives that are no AutoML game: `python benchmarks/objectives.py`.

`MA2MLSampler` beside Optuna's TPE (its default, which models parameters together, and without that), its Gaussian process and
random search, as samplers of the same studies: five objectives to be minimised, 100 trials each, ten seeds. Reported is the
best value that was found, mean and 95 % interval over seeds (Student's t), and in how many seeds `MA2MLSampler` has the lower
one. A finished study is a line of `--out` and is not played again.

- branin: two floats. rosenbrock: four floats. integers: eight integers of 21 values, a sum of squares.
- names: twelve parameters of six names, a random sum and random signs of pairs.
- wine: a random forest on noisy wine data, error of three-fold cross-validation; five parameters of three kinds.
"""

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import optuna
import torch
from provenance import header
from scipy.stats import t as student
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

from ma2ml_agents.optuna_sampler import MA2MLSampler

RESULTS = Path(__file__).parent / "results"
OURS = "MA2MLSampler"
SAMPLERS: dict[str, Callable[[int], Any]] = {
    OURS: lambda seed: MA2MLSampler(seed=seed),
    "MA2MLSampler(hybrid)": lambda seed: MA2MLSampler("hybrid", seed=seed),
    "TPESampler": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "TPESampler(multivariate=False)": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=False),
    "GPSampler": lambda seed: optuna.samplers.GPSampler(seed=seed),
    "RandomSampler": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


def branin(trial: optuna.Trial) -> float:
    x, y = trial.suggest_float("x", -5, 10), trial.suggest_float("y", 0, 15)
    bowl = (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
    return bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def rosenbrock(trial: optuna.Trial) -> float:
    x = [trial.suggest_float(f"x{i}", -2, 2) for i in range(4)]
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(3))


def integers(trial: optuna.Trial) -> float:
    return sum((trial.suggest_int(f"k{i}", 0, 20) - 3 - 2 * i) ** 2 for i in range(8)) / 8


def names(trial: optuna.Trial) -> float:
    rng = np.random.default_rng(0)
    single, pairs = rng.normal(size=(12, 6)), 0.3 * rng.normal(size=(12, 12))
    code = [trial.suggest_categorical(f"c{i}", list(range(6))) for i in range(12)]
    together = sum(pairs[i, j] * ((code[i] + code[j]) % 2) for i in range(12) for j in range(i))
    return float(single[range(12), code].sum() + together)


@cache
def noisy_wine() -> tuple[Any, Any]:
    x, y = load_wine(return_X_y=True)
    return x + np.random.default_rng(0).normal(size=x.shape) * x.std(0) * 1.5, y


def wine(trial: optuna.Trial) -> float:
    forest = RandomForestClassifier(
        n_estimators=trial.suggest_int("trees", 2, 40),
        max_depth=trial.suggest_int("depth", 1, 12),
        max_features=trial.suggest_float("features", 0.1, 1.0),
        criterion=trial.suggest_categorical("criterion", ["gini", "entropy"]),
        min_samples_leaf=trial.suggest_int("leaf", 1, 20),
        random_state=0,
    )
    return 1.0 - float(cross_val_score(forest, *noisy_wine(), cv=3).mean())


OBJECTIVES = {f.__name__: f for f in (branin, rosenbrock, integers, names, wine)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    best = {(row["objective"], row["sampler"], row["seed"]): row["best"] for row in rows}
    lines = ["| objective | sampler | seeds | best value | ours lower in |", "|---|---|---|---|---|"]
    for objective, sampler in product(OBJECTIVES, SAMPLERS):
        own = {seed: value for (o, s, seed), value in best.items() if (o, s) == (objective, sampler)}
        if not own:
            continue
        half = math.nan
        if len(own) > 1:
            half = float(student.ppf(0.975, len(own) - 1)) * stdev(own.values()) / len(own) ** 0.5
        pairs = [(best[objective, OURS, seed], own[seed]) for seed in own if (objective, OURS, seed) in best]
        lower = "" if sampler == OURS else f"{sum(a < b for a, b in pairs)} of {len(pairs)}"
        lines.append(f"| {objective} | `{sampler}` | {len(own)} | {fmean(own.values()):.3f} ± {half:.3f} | {lower} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--samplers", nargs="+", choices=list(SAMPLERS), default=list(SAMPLERS))
    parser.add_argument("--out", type=Path, default=RESULTS / "objectives.jsonl", help="a line a study; .md beside it")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        play(args)
    finally:
        optuna.logging.set_verbosity(before)
    return 0


def play(args: argparse.Namespace) -> None:
    def rows() -> list[dict[str, Any]]:
        return [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []

    for seed, objective, sampler in product(range(args.seeds), OBJECTIVES, args.samplers):
        key = {"objective": objective, "sampler": sampler, "seed": seed}
        if any(all(row[name] == value for name, value in key.items()) for row in rows()):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(sampler=SAMPLERS[sampler](seed))
            study.optimize(OBJECTIVES[objective], n_trials=args.trials)
        with args.out.open("a") as file:
            file.write(json.dumps({**header(), **key, "trials": args.trials, "best": study.best_value}) + "\n")
        print(f"{objective}, {sampler}, seed {seed}: {study.best_value:.4f}", flush=True)
    args.out.with_suffix(".md").write_text(table(rows()))
    print(table(rows()))


if __name__ == "__main__":
    sys.exit(main())
