"""Searches that train every pipeline, side by side: `python benchmarks/live.py digits-v0`.

Each learner plays the game's own protocol under the same seeds, as `ma2ml search` does. Told are the mean reward of the best
30 distinct pipelines after a quarter, a half and all of the budget, the best reward, and the mean of the second batch, the
first that a learner chooses: means over seeds with 95 % intervals (Student's t), and for the first learner against each other
one how many seeds it wins and Wilcoxon's one-sided p at half and end.

A search is an ordinary run in `--runs`, and goes on where it stopped; `--part k/n` plays a part of them. All trainings, with
their test accuracies, become `results/live/GAME.npz`, which `ma2ml table` can join with others. `GAME.svg` draws the means.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

from provenance import header
from scipy.stats import t as student
from scipy.stats import wilcoxon

from ma2ml_agents.cli.main import main as ma2ml
from ma2ml_agents.reports.chart import Point, panels
from ma2ml_agents.run.standing import Key, Standing, mean_reward, recipe_key
from ma2ml_env.games.make import make_game
from ma2ml_env.io.files import write_atomic
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Trial

LEARNERS = ("ma2ml_exact", "hybrid", "evolution", "random")
SHARES = (0.25, 0.5, 1.0)
TOP_K = 30
HERE = Path(__file__).parent
COLUMNS = ("second batch", *(f"top {TOP_K} at {share:.0%}" for share in SHARES), "best")


def train(run: Path, game: str, learner: str, seed: int, further: Sequence[str]) -> None:
    """Play a search that trains, or what is left of it; `further` are words of `ma2ml search`."""
    if (run / "run.sqlite").exists():
        words = ["resume", str(run)]
    else:
        words = ["search", game, "--run", str(run), "--learner", learner, "--seed", str(seed), "--evaluator", "train"]
        words += ["--device", "cpu", "--workers", "1", "--set", "test=true", *further]
    if code := ma2ml(words):
        raise SystemExit(code)


def keep(runs: Sequence[Path], file: Path) -> int:
    """All their trainings as one table; the exit code of writing it."""
    half = file.with_suffix(".part.npz")
    half.unlink(missing_ok=True)
    code = ma2ml(["table", *map(str, runs), "--out", str(half)])
    if not code:
        half.replace(file)
    return code


def trials_of(run: Path) -> list[Trial]:
    """Of a search."""
    with TrialStore(run, create=False) as store:
        return list(store.trials())


def levels(trials: Sequence[Trial], batch: int, key: Key) -> list[float]:
    """What `COLUMNS` say of one search."""
    standing, found, done = Standing(TOP_K, key), [], 0
    for share in SHARES:
        end = round(share * len(trials))
        standing.add(trials[done:end])
        found.append(standing.top_mean)
        done = end
    best = standing.best
    return [mean_reward(trials[batch : 2 * batch]), *found, 0.0 if best is None else best.reward]


def curve(trials: Sequence[Trial], batch: int, key: Key) -> list[Point]:
    """Mean reward of the best `TOP_K` distinct pipelines of one search after each batch; of all, while there are fewer."""
    standing, points = Standing(TOP_K, key), []
    for first in range(0, len(trials), batch):
        standing.add(trials[first : first + batch])
        points.append((float(len(standing.trials)), standing.top_mean))
    return points


def picture(curves: Mapping[str, Sequence[Sequence[Point]]]) -> str:
    """An SVG of each learner's mean curve over its seeds, which have equal batches."""
    series = {
        name: [(at[0][0], fmean(y for _, y in at)) for at in zip(*found, strict=True)] for name, found in curves.items()
    }
    return panels([(series, "pipelines trained", f"mean reward of the best {TOP_K}", ())])


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """With half of a 95 % interval of Student's t; NaN of one value."""
    n = len(values)
    return fmean(values), float(student.ppf(0.975, n - 1)) * stdev(values) / n**0.5 if n > 1 else float("nan")


def compared(first: Sequence[float], second: Sequence[float]) -> tuple[int, float]:
    """In how many pairs the first is above, and Wilcoxon's one-sided p of that."""
    if all(a == b for a, b in zip(first, second, strict=True)):
        return 0, 1.0
    wins = sum(a > b for a, b in zip(first, second, strict=True))
    return wins, float(wilcoxon(first, second, alternative="greater").pvalue)


def as_markdown(rows: Sequence[Mapping[str, Any]], learners: Sequence[str]) -> str:
    """A row a learner; the first one is compared with the others."""
    own = {name: {row["seed"]: row["levels"] for row in rows if row["learner"] == name} for name in learners}
    lines = [f"| learner | seeds | {' | '.join(COLUMNS)} | `{learners[0]}` above it at 50, 100 %, p |"]
    lines.append("|---" * (len(COLUMNS) + 3) + "|")
    for name, told in own.items():
        pairs = map(mean_and_half, zip(*told.values(), strict=True))
        cells = [f"{mean:.4f}" + ("" if math.isnan(half) else f" ± {half:.4f}") for mean, half in pairs]
        against = ""
        if name != learners[0]:
            seeds = sorted(told.keys() & own[learners[0]].keys())
            for at in (2, 3):
                wins, p = compared([own[learners[0]][s][at] for s in seeds], [told[s][at] for s in seeds])
                against += f"{'' if at == 2 else ', '}{wins} of {len(seeds)} ({p:.2f})"
        lines.append(f"| `{name}` | {len(told)} | {' | '.join(cells)} | {against} |")
    return "\n".join(lines) + "\n"


def part(text: str) -> tuple[int, int]:
    """K and n of `k/n`."""
    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise argparse.ArgumentTypeError(f"a part is k/n, as in 1/4, not {text!r}")
    return int(k), int(n)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("game", help="a game that trains")
    parser.add_argument("--budget", type=int, help="pipelines, if not the game's")
    parser.add_argument("--data", help="folder of the game's data set")
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=HERE / "runs" / "live", help="folder of the searches")
    parser.add_argument("--part", type=part, default=(1, 1), help="k/n: the k-th of n parts of the searches")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results" / "live", help="folder of GAME.json, .md, .svg and .npz"
    )
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f"--seeds is at least 1, not {args.seeds}")
    k, n = args.part
    told = {"--budget": args.budget, "--data": args.data}
    further = [word for name, value in told.items() if value for word in (name, str(value))]
    searches = [(seed, learner) for seed in range(args.seeds) for learner in args.learners]
    place = {each: args.runs / args.game / f"{each[1]}-{each[0]}" for each in searches}
    for seed, learner in searches[k - 1 :: n]:
        train(place[seed, learner], args.game, learner, seed, further)
    if n > 1:
        return 0
    game = make_game(args.game, "surrogate")  # the same modules and protocol; nothing is trained here
    budget, batch, key = args.budget or game.protocol.budget, game.protocol.batch, recipe_key(game)
    rows, curves = list[dict[str, Any]](), dict[str, list[list[Point]]]()
    for seed, learner in searches:
        trials = trials_of(place[seed, learner])
        if len(trials) != budget:
            print(f"error: {place[seed, learner]} has {len(trials)} trials, and not {budget}", file=sys.stderr)
            return 2
        rows.append({"learner": learner, "seed": seed, "levels": levels(trials, batch, key)})
        curves.setdefault(learner, []).append(curve(trials, batch, key))
    text = as_markdown(rows, args.learners)
    args.out.mkdir(parents=True, exist_ok=True)
    kept = {**header(), "game": args.game, "budget": args.budget, "columns": COLUMNS, "rows": rows}
    write_atomic(args.out / f"{args.game}.json", (json.dumps(kept) + "\n").encode())
    write_atomic(args.out / f"{args.game}.md", text.encode())
    write_atomic(args.out / f"{args.game}.svg", (picture(curves) + "\n").encode())
    print(text)
    return keep(list(place.values()), args.out / f"{args.game}.npz")


if __name__ == "__main__":
    sys.exit(main())
