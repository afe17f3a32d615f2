"""Fit the surrogate of the large measured game, judge it, and release it if it is good enough.

    python benchmarks/trio_surrogate.py --train random.npz searches.npz --held-out held-out.npz --repeats repeats.npz \
        --out surrogate.npz --report surrogate.json --check

The files are tables by `ma2ml collect` (benchmarks/trio/large-*.toml) and `ma2ml table`. The report has, on the held-out
pipelines, which it never sees, R2 of the logit and Kendall's tau of the accuracy; the same for the trainings of each learner
when they are left out of the fit, and what the surrogate promises too much for those 30 of each search that it likes best.
With `--check` nothing is written but the report where R2 is below .6 or tau below .68, and the exit code is 1.

`--second` fits networks as well, another family, and with `--order random evolution ...` these learners search on both: is
their order the same? The networks are for this question alone, no file has them.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sklearn
from provenance import header
from scipy.stats import kendalltau
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from surrogate_fit import Data, Floats, Noise, fit, fit_end, logit

from ma2ml_agents.registry import make_learner
from ma2ml_env.evaluators.table import Table
from ma2ml_env.game import Game
from ma2ml_env.games.fitted import Columns
from ma2ml_env.games.make import make_game
from ma2ml_env.io.files import write_atomic
from ma2ml_env.modules.nasnet_cost import ImageShape
from ma2ml_env.tables.fitted import END, Fit, Fitted
from ma2ml_env.tables.trainings import Trainings, joined
from ma2ml_env.trial import trial_seed

LEAST = {"r2": 0.6, "tau": 0.68}
"""on held-out pipelines, for a release"""
TOP = 30
DECAYS = (1.0, 10.0, 100.0)
"""of the networks, for all rows together"""
IMAGE = ImageShape(1, 8, 10)
"""of digits"""


def quality(told: Floats, measured: Floats) -> dict[str, float]:
    """R2 of logits, Kendall's tau and the mean of what is promised too much, of accuracies (n,)."""
    wanted, found = logit(measured), logit(told)
    r2 = 1.0 - float(((wanted - found) ** 2).sum() / max(((wanted - wanted.mean()) ** 2).sum(), 1e-12))
    tau = float(np.nan_to_num(kendalltau(told, measured).statistic))
    return {"r2": r2, "tau": tau, "bias": float((told - measured).mean()), "pipelines": len(told)}


def accuracy(logits: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def learners(data: Data, about: Mapping[str, Any], noise: Noise) -> dict[str, Any]:
    """Learner -> quality on its trainings when none of them was fitted, and the bias at the top of each of its searches."""
    names = np.array([each.get("learner") for each in about["sources"]])[data.source]
    found: dict[str, Any] = {}
    for name in sorted(set(names.tolist()) - {"random"}):
        own = data[names == name]
        told = accuracy(fit_end(data[names != name], noise).predict(own.features))
        tops = []
        for source in np.unique(own.source):
            rows = np.flatnonzero(own.source == source)
            best = rows[np.argsort(-told[rows], kind="stable")[:TOP]]
            promised, measured = told[best].mean(), own.accuracy[best, -2].mean()
            level = float(logit(np.array(measured)))
            deviation = float(noise.at_end(np.array([level]))[0] * measured * (1.0 - measured))
            tops.append({"bias": float(promised - measured), "noise": deviation, "pipelines": len(best)})
        found[name] = {**quality(told, own.accuracy[:, -2]), "tops": tops}
    return found


class Networks:
    """Another family than trees: the mean of some small networks that were fitted from different beginnings.

    They are told what codes mean, and no choice by name, which made them worse. The decay is the one that does best on a fifth.
    """

    def __init__(self, data: Data, names: Sequence[str], number: int = 5) -> None:
        self.used = np.array(["=" not in name for name in names])
        rows, target = data.features[:, self.used], logit(data.accuracy[:, -2])
        left = np.arange(len(data)) % 5 == 0

        def missed(decay: float) -> float:
            tried = _network(decay, 0).fit(rows[~left], target[~left])
            return float(np.mean((tried.predict(rows[left]) - target[left]) ** 2))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as are wanted
            self.decay = min(DECAYS, key=missed)
            self.members = [_network(self.decay, seed).fit(rows, target) for seed in range(number)]

    def predict(self, rows: Floats) -> Floats:
        return np.mean([member.predict(rows[:, self.used]) for member in self.members], axis=0)


def _network(decay: float, seed: int) -> Pipeline:
    network = MLPRegressor(hidden_layer_sizes=(64, 64), alpha=decay, max_iter=100, random_state=seed)
    return make_pipeline(StandardScaler(), network)


class BySecondFamily(Fitted):
    """The surrogate with the networks' accuracy at the end; the rest is the trees'."""

    def __init__(self, networks: Networks, *of_fitted: Any) -> None:
        super().__init__(*of_fitted)
        self._trees = {**self._trees, END: networks}  # type: ignore[dict-item]


def play(source: Fitted, game: Game, name: str, seed: int, budget: int) -> float:
    """The noise-free mean of the best that a learner was told of."""
    own = Game([*game.modules.values()], Table(source, source.spaces), game.reward, game.base, game.protocol)
    learner, trials = make_learner(name, own.spec, seed=seed), list[Any]()
    while len(trials) < budget:
        proposals = learner.ask(min(own.protocol.batch, budget - len(trials)))
        seeds = [trial_seed(seed, len(trials) + i) for i in range(len(proposals))]
        played = own.play(proposals, seeds, first_number=len(trials))
        learner.tell(played)
        trials += played
    best = sorted(trials, key=lambda trial: -trial.reward)[:TOP]
    codes = {agent: np.array([trial.proposal.codes[agent] for trial in best]) for agent in own.spec.nvec}
    return float(source.look_up(codes, None)[0].mean())


def order(families: Mapping[str, Fitted], game: Game, names: Sequence[str], budget: int, seeds: int) -> dict[str, Any]:
    """Family -> learner -> mean of its searches; and tau of the learners' order on both."""
    means = {
        family: {name: float(np.mean([play(source, game, name, s, budget) for s in range(seeds)])) for name in names}
        for family, source in families.items()
    }
    one, other = ([each[name] for name in names] for each in means.values())
    return {**means, "tau": float(np.nan_to_num(kendalltau(one, other).statistic)), "budget": budget, "seeds": seeds}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--game", default="trio-digits-large-v0")
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="tables that it is fitted to")
    parser.add_argument("--held-out", type=Path, required=True, help="a table that it is judged by")
    parser.add_argument(
        "--repeats", type=Path, required=True, help="a table of pipelines that were trained several times"
    )
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 3, 5, 8, 12, 20], help="of the curve, to the end")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--check", action="store_true", help=f"write no surrogate that is worse than {LEAST}")
    parser.add_argument("--second", action="store_true", help="judge networks beside the trees")
    parser.add_argument(
        "--order", nargs="+", default=[], metavar="LEARNER", help="let them search on both (with --second)"
    )
    parser.add_argument("--budget", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=3)
    told = parser.parse_args(argv)
    try:
        return _run(told)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _run(told: argparse.Namespace) -> int:
    if told.order and not told.second:
        raise ValueError("--order compares both families: give --second as well")
    game = make_game(told.game, "surrogate")  # for its spaces alone
    columns, fidelity = Columns([*game.modules.values()], game.base, IMAGE), game.protocol.fidelity
    if told.epochs != sorted(set(told.epochs)) or told.epochs[-1] != game.protocol.proxy_epochs:
        raise ValueError(f"--epochs rise to {game.protocol.proxy_epochs}, the end, not {told.epochs}")
    table = joined([Trainings.load(path) for path in told.train])
    held_table, repeats = Trainings.load(told.held_out), Trainings.load(told.repeats)
    joined([table, held_table, repeats])  # of one game, by one version
    train, held, several = (Data.of(each, columns, told.epochs, fidelity) for each in (table, held_table, repeats))
    seen = {row.tobytes() for row in train.codes}
    if both := sum(row.tobytes() in seen for row in held.codes):
        raise ValueError(f"{both} held-out pipelines are among those that it is fitted to")
    noise = Noise.of(several)
    made = fit(train, noise, game, table, IMAGE, told.epochs, columns.names)
    source = Fitted(made, {name: module.space for name, module in game.modules.items()}, columns, fidelity)
    said = source.tell(held.codes, None, source.outputs).accuracy
    report: dict[str, Any] = {
        **header(), "scikit-learn": sklearn.__version__, "game": told.game, "trainings": len(train), "least": LEAST,
        "held_out": {name: quality(said[:, i], held.accuracy[:, i]) for i, name in enumerate(source.outputs)},
        "noise": {"levels": accuracy(noise.levels).tolist(), "deviations_of_logit": noise.noise.tolist()},
        "learners": learners(train, table.about, noise),
    }  # fmt: skip
    if told.second:
        networks = Networks(train, columns.names)
        report["second"] = {"decay": networks.decay} | quality(
            accuracy(networks.predict(held.features)), held.accuracy[:, -2]
        )
        if told.order:
            second = BySecondFamily(networks, made, source.spaces, columns, fidelity)
            report["order"] = order({"trees": source, "networks": second}, game, told.order, told.budget, told.seeds)
    write_atomic(told.report, (json.dumps(report, indent=2) + "\n").encode())
    end = report["held_out"][END]
    print(f"held out: R2 {end['r2']:.3f}, tau {end['tau']:.3f} on {end['pipelines']} pipelines")
    if told.check and (short := [name for name, least in LEAST.items() if not end[name] >= least]):
        print(
            f"not released: {', '.join(f'{name} {end[name]:.3f} is below {LEAST[name]}' for name in short)}",
            file=sys.stderr,
        )
        return 1
    kept = {name: round(end[name], 4) for name in ("r2", "tau", "pipelines")}
    Fit(**{**vars(made), "about": {**made.about, "held_out": kept}}).save(told.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
