"""What does each critic know after so many real trainings? `python benchmarks/forecasts.py TABLE ...`: forecasts of the others.

A table is a file by `ma2ml table` or `ma2ml collect`; the game's modules say what its codes mean. Some of its pipelines are
drawn at random, one training each; a critic learns from them, and forecasts all other pipelines. Told are Kendall's and
Pearson's correlation of its forecasts with what these pipelines had (the mean of their trainings), and how much better than
names alone a critic is in the same draws: mean and 95 % interval over the draws.

- names: an effect for each choice; order, ties, features: the closed-form learner's critic that knows these too, one after the
  other; interactions: ties and these; all: everything;
- process: the Gaussian process alone, by which the hybrid judges mutants;
- forest, boosting: scikit-learn's, on choices as numbers where they are ordered and as columns where not;
- forest + features, boosting + features: what the modules tell of codes beside it.

`--sizes 24 48 96 192`, `--draws 20`, `--out FILE.json`.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import torch
from numpy.typing import NDArray
from provenance import header
from scipy.stats import kendalltau, pearsonr
from scipy.stats import t as student
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from ma2ml_agents.gaussian import GaussianProcess
from ma2ml_agents.joint import Joint
from ma2ml_agents.ma2ml_exact.critic import Critic
from ma2ml_agents.returns import blend
from ma2ml_env.games.make import make_game
from ma2ml_env.tables.measured import MAY_PASS
from ma2ml_env.tables.trainings import Trainings
from ma2ml_env.trial import ERRORS, STATUSES, GameSpec

Floats = NDArray[np.float64]
Forecast = Callable[[GameSpec, NDArray[np.int64], Floats, NDArray[np.int64], int], Floats]
"""spec, codes (N, L), targets (N,), other codes (n, L), seed -> forecasts (n,)"""
_STEPS = 20
"""batches whose steps a critic's settings have had; a learner's have one a batch"""


def critic(*known: str) -> Forecast:
    switches = {name: name in known for name in ("order", "ties", "features", "interactions")}

    def forecast(spec: GameSpec, codes: Any, targets: Floats, others: Any, seed: int) -> Floats:
        own = Critic(Joint(spec), **switches)
        x, y, generator = torch.from_numpy(codes), torch.from_numpy(targets), torch.Generator().manual_seed(seed)
        own.learn(x, y, generator, _STEPS)
        return np.asarray(own.mean(torch.from_numpy(others)).numpy())

    return forecast


def process(spec: GameSpec, codes: Any, targets: Floats, others: Any, seed: int) -> Floats:
    own = GaussianProcess(Joint(spec).nvec)
    x, y = torch.from_numpy(codes), torch.from_numpy(targets)
    own.learn(x, y, torch.Generator().manual_seed(seed), _STEPS)
    return np.asarray(own.posterior(x, y).mean(torch.from_numpy(others)).detach().numpy())


def trees(kind: Callable[..., Any], features: bool) -> Forecast:
    def columns(spec: GameSpec, codes: NDArray[np.int64]) -> Floats:
        joint = Joint(spec)
        each = [
            c[:, None] if o else c[:, None] == np.arange(n)
            for c, o, n in zip(codes.T, joint.ordered, joint.nvec, strict=True)
        ]
        told = [spec.features(codes.astype(np.float64))] if features and spec.features is not None else []
        return np.concatenate([*each, *told], axis=1).astype(np.float64)

    def forecast(spec: GameSpec, codes: Any, targets: Floats, others: Any, seed: int) -> Floats:
        fitted = kind(random_state=seed).fit(columns(spec, codes), targets)
        return np.asarray(fitted.predict(columns(spec, others)))

    return forecast


FORECASTS: dict[str, Forecast] = {
    "names": critic(),
    "order": critic("order"),
    "ties": critic("order", "ties"),
    "features": critic("order", "ties", "features"),
    "interactions": critic("order", "ties", "interactions"),
    "all": critic("order", "ties", "features", "interactions"),
    "process": process,
    "forest": trees(RandomForestRegressor, False),
    "forest + features": trees(RandomForestRegressor, True),
    "boosting": trees(partial(HistGradientBoostingRegressor, min_samples_leaf=5), False),
    "boosting + features": trees(partial(HistGradientBoostingRegressor, min_samples_leaf=5), True),
}


def pipelines(paths: Sequence[Path]) -> tuple[str, NDArray[np.int64], list[Floats]]:
    """The game, the codes (n, L) of its pipelines that were trained to the end, and accuracies of each."""
    tables = [Trainings.load(path) for path in paths]
    games = {str(source["game"]) for table in tables for source in table.about["sources"]}
    if len(games) != 1:
        raise ValueError(f"tables of one game, not of {', '.join(sorted(games))}")
    if any(table.about["intervals"] for table in tables):
        raise ValueError("critics are compared on decisions alone, and these trainings have intervals")
    found: dict[tuple[int, ...], list[float]] = {}
    for table in tables:
        whole = (table.status == STATUSES.index("ok")) & (table.fidelity == table.fidelity.max())
        failed = (table.status == STATUSES.index("failed")) & ~np.isin(table.error, [ERRORS.index(e) for e in MAY_PASS])
        for row in np.flatnonzero(whole | failed):
            found.setdefault(tuple(table.codes[row].tolist()), []).append(
                0.0 if failed[row] else float(table.accuracy[row])
            )
    return games.pop(), np.array(list(found)), [np.array(values) for values in found.values()]


def judged(spec: GameSpec, codes: NDArray[np.int64], values: list[Floats], size: int, draws: int) -> dict[str, Any]:
    """Of each critic both correlations, and its gains over `names` in Kendall's."""
    told: dict[str, list[tuple[float, float]]] = {name: [] for name in FORECASTS}
    means = np.array([each.mean() for each in values])
    for draw in range(draws):
        rng = np.random.default_rng([draw, size])
        order = rng.permutation(len(codes))
        known, others = order[:size], order[size:]
        targets = blend(np.array([rng.choice(values[row]) for row in known]))
        for name, forecast in FORECASTS.items():
            said = forecast(spec, codes[known], targets, codes[others], draw)
            same = not np.ptp(said)  # says the same of all, so it knows nothing
            tau, r = (0.0 if same else float(of(said, means[others]).statistic) for of in (kendalltau, pearsonr))
            told[name].append((tau, r))
    return {name: _summary([a for a, _ in rows], [b for _, b in rows], told) for name, rows in told.items()}


def _summary(tau: list[float], r: list[float], told: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    gains = [own - base for own, (base, _) in zip(tau, told["names"], strict=True)]
    half = float(student.ppf(0.975, len(gains) - 1)) * stdev(gains) / len(gains) ** 0.5
    numbers = {"kendall": fmean(tau), "pearson": fmean(r), "gain": fmean(gains), "interval": half}
    return {name: round(number, 3) for name, number in numbers.items()}


def as_markdown(found: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = ["| critic | " + " | ".join(f"{size} trainings" for size in found) + " |", "|---|" + "---|" * len(found)]
    for name in FORECASTS:
        cells = [
            f"{row['kendall']:.3f} ({row['gain']:+.3f} ± {row['interval']:.3f})"
            for row in (found[s][name] for s in found)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", type=Path, nargs="+", help="files of trainings of one game")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[24, 48, 96, 192], help="trainings that critics learn from"
    )
    parser.add_argument("--draws", type=int, default=20, help="of these, at least 2")
    parser.add_argument("--out", type=Path, help="JSON; the table stands beside it as .md")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        name, codes, values = pipelines(args.tables)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if args.draws < 2 or not all(2 <= size < len(codes) for size in args.sizes):
        parser.error(f"at least 2 draws, and 2 to {len(codes) - 1} trainings of {len(codes)} pipelines")
    spec = make_game(name, "surrogate").spec
    found = {str(size): judged(spec, codes, values, size, args.draws) for size in args.sizes}
    table = as_markdown(found)
    print(f"{name}: {len(codes)} pipelines, {sum(map(len, values))} trainings\n\n{table}")
    if args.out is not None:
        about = {**header(), "command": "python benchmarks/forecasts.py", "game": name, "pipelines": len(codes)}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({**about, "draws": args.draws, **found}, indent=2) + "\n")
        args.out.with_suffix(".md").write_text(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
