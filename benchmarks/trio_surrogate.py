"""Fit the surrogate of the large measured game, judge it, and release it if it is good enough.

    python benchmarks/trio_surrogate.py --train random.npz searches.npz --held-out held-out.npz --repeats repeats.npz \
        --out surrogate.npz --report surrogate.json --check

The files are tables by `ma2ml collect` (benchmarks/trio/large-*.toml) and `ma2ml table`. The report has, on the held-out
pipelines, which it never sees, R2 of the logit and Kendall's tau of the accuracy; the same for the trainings of each learner
when they are left out of the fit, and what the surrogate promises too much for those 30 of each search that it likes best.
With `--check` nothing is written but the report where R2 is below .6 or tau below .68, and the exit code is 1.

`--second` fits networks as well, another family, and with `--learners random evolution ...` these search on both: is their
order the same? The networks are for this question alone, no file has them. `--next FILE.json` writes what they find best on the
surrogate, for `ma2ml collect` (`of = "file"`); the table of their trainings is given to the next fit by `--optima`, which
tells first how much was promised too much for them.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sklearn
from numpy.typing import NDArray
from provenance import header
from scipy.stats import kendalltau
from surrogate_fit import Data, Floats, Noise, fit, fit_end, logit
from surrogate_judges import TOP, BySecondFamily, Networks, optima, order

from ma2ml_env.games.fitted import Columns
from ma2ml_env.games.make import make_game
from ma2ml_env.games.measured import check_about
from ma2ml_env.io.files import write_atomic
from ma2ml_env.modules.nasnet_cost import ImageShape
from ma2ml_env.registry import resolve
from ma2ml_env.tables.fit import END, Fit
from ma2ml_env.tables.fitted import Fitted
from ma2ml_env.tables.trainings import Trainings, joined

LEAST = {"r2": 0.6, "tau": 0.68}
"""on held-out pipelines, for a release"""
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


def left_out(train: Data, groups: NDArray[np.str_], noise: Noise) -> dict[str, Any]:
    """Group -> quality on its trainings when none of them was fitted, and the bias at the top of each of its runs.

    Args:
        train: what the surrogate is fitted to.
        groups: (n,) whose each training is: a learner's, or the optima of former fits. Random ones are no group.
        noise: to tell the bias in deviations.
    """
    found: dict[str, Any] = {}
    for name in sorted(set(groups.tolist()) - {"random"}):
        own = train[groups == name]
        told = accuracy(fit_end(train[groups != name], noise).predict(own.features))
        tops = []
        for source in np.unique(own.source):
            rows = np.flatnonzero(own.source == source)
            best = rows[np.argsort(-told[rows], kind="stable")[:TOP]]
            promised, measured = told[best].mean(), own.accuracy[best, -2].mean()
            spread = noise.at_end(logit(np.array([measured])))[0] * measured * (1.0 - measured)
            tops.append({"bias": float(promised - measured), "noise": float(spread), "pipelines": len(best)})
        found[name] = {**quality(told, own.accuracy[:, -2]), "tops": tops}
    return found


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
    parser.add_argument("--optima", type=Path, nargs="+", default=[], help="tables of what former fits promised most")
    parser.add_argument("--second", action="store_true", help="judge networks beside the trees")
    parser.add_argument("--learners", nargs="+", default=[], help="search on it, and on the networks if there are any")
    parser.add_argument("--next", type=Path, help="where what the learners find best is written, to be trained")
    parser.add_argument("--budget", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=3)
    told = parser.parse_args(argv)
    try:
        return _run(told)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _run(told: argparse.Namespace) -> int:
    if (told.learners and not (told.second or told.next)) or (told.next and not told.learners):
        raise ValueError("--learners search for --second or for --next, which needs them")
    game = make_game(told.game, "surrogate")  # for its spaces alone
    agents, fidelity = [*game.modules.values()], game.protocol.fidelity
    columns = Columns(agents, game.base, IMAGE)
    if told.epochs != sorted(set(told.epochs)) or told.epochs[-1] != game.protocol.proxy_epochs:
        raise ValueError(f"--epochs rise to {game.protocol.proxy_epochs}, the end, not {told.epochs}")
    table = joined([Trainings.load(path) for path in (*told.train, *told.optima)])
    held_table, repeats = Trainings.load(told.held_out), Trainings.load(told.repeats)
    joined([table, held_table, repeats])  # by one version
    for each in (table, held_table, repeats):
        check_about(each.about, resolve("games", told.game), agents, game.base, fidelity, seed=0)
    train, held, several = (Data.of(each, columns, told.epochs, fidelity) for each in (table, held_table, repeats))
    seen = {row.tobytes() for row in train.codes}
    if both := sum(row.tobytes() in seen for row in held.codes):
        raise ValueError(f"{both} held-out pipelines are among those that it is fitted to")
    noise = Noise.of(several)
    names = np.array([str(each.get("learner")) for each in table.about["sources"]])[train.source]
    former = {row.tobytes() for path in told.optima for row in columns.canonical(Trainings.load(path).codes)}
    promised = np.array([row.tobytes() in former for row in train.codes])
    made = fit(train, noise, game, table, IMAGE, told.epochs, columns.names)
    source = Fitted(made, {name: module.space for name, module in game.modules.items()}, columns, fidelity)
    said = source.tell(held.codes, None, source.outputs).accuracy
    report: dict[str, Any] = {
        **header(), "scikit-learn": sklearn.__version__, "game": told.game, "trainings": len(train), "least": LEAST,
        "held_out": {name: quality(said[:, i], held.accuracy[:, i]) for i, name in enumerate(source.outputs)},
        "noise": {"levels": accuracy(noise.levels).tolist(), "deviations_of_logit": noise.noise.tolist()},
        "left_out": left_out(train, np.where(promised, "optima", names), noise),
    }  # fmt: skip
    if told.second:
        networks = Networks(train, columns.names)
        report["second"] = {"decay": networks.decay} | quality(
            accuracy(networks.predict(held.features)), held.accuracy[:, -2]
        )
        if told.learners:
            second = BySecondFamily(networks, made, source.spaces, columns, fidelity)
            report["order"] = order({"trees": source, "networks": second}, game, told.learners, told.budget, told.seeds)
    if told.next:
        best = optima(source, game, told.learners, told.budget, told.seeds)
        write_atomic(told.next, (json.dumps(best) + "\n").encode())
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
