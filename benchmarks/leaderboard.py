"""One table and one picture of all that played a suite: `python benchmarks/leaderboard.py`.

Regret is what the pipeline that an algorithm would name lacks to the best of all. It is divided by what a random pipeline lacks
in the mean, so that games can be averaged: 1 is a random pipeline, 0 the best one. Intervals are of 95 %, by bootstrap over
seeds.

First `python benchmarks/run.py leaderboard`; `--own my_algorithm.py` to both adds a file's `train(make, pipelines, seed)`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from exact import exact
from numpy.typing import NDArray
from stopping import stoppable
from suite import SMALL, Landscape, Suite, is_known, load, noise_free, points
from summary import RESAMPLES, Arm, read

from ma2ml_env.io.files import write_atomic

HERE = Path(__file__).parent
LAST = 10
"""batches at the end whose mean reward is compared with random pipelines'"""
BEYOND = 3.0
"""standard errors above random that count"""
Array = NDArray[np.float64]


def scale(landscape: Landscape) -> tuple[str, float, float]:
    """Curve of what an algorithm would name, its best value, and its mean over all pipelines.

    Raises:
        ValueError: the game has too many pipelines, or nobody knows their rewards.
    """
    game = landscape.make()
    if (known := exact(game)) is not None:
        return "found", known.optima["found"], float(known.validation.mean())
    if not is_known(game) or points(game) >= SMALL:
        raise ValueError(f"landscape {landscape.name}: nobody knows the best of all its pipelines")
    shape = [n for sizes in game.spec.nvec.values() for n in sizes]
    rows = np.stack(np.unravel_index(np.arange(int(np.prod(shape))), shape), axis=1)
    ends = np.cumsum([len(sizes) for sizes in game.spec.nvec.values()])
    true = noise_free(game, dict(zip(game.spec.nvec, np.split(rows, ends[:-1], axis=1), strict=True)))
    return "true_best", float(true.max()), float(true.mean())


def regret(arm: Arm, curve: str, best: float, mean: float) -> Array:
    """Of each seed after each batch, (seeds, batches): 0 is the best pipeline, 1 a random one."""
    return np.maximum(0.0, (best - arm.curves[curve]) / (best - mean))


def averaged(ends: Sequence[Array], rng: np.random.Generator) -> list[float]:
    """Mean over games of the means over seeds, and its interval: seeds are drawn anew within each game."""
    drawn = [np.mean([each[rng.integers(len(each), size=len(each))].mean() for each in ends]) for _ in range(RESAMPLES)]
    return [float(np.mean([each.mean() for each in ends])), *(float(x) for x in np.quantile(drawn, [0.025, 0.975]))]


def beyond(arm: Arm, random: Arm) -> float:
    """Mean reward of the last batches above that of random pipelines, in standard errors over seeds."""
    mine, theirs = (each.curves["batch"][:, -LAST:].mean(axis=1) for each in (arm, random))
    errors = [each.var(ddof=1) / len(each) for each in (mine, theirs) if len(each) > 1]
    return float((mine.mean() - theirs.mean()) / (sum(errors) ** 0.5 or np.inf))


def boards(suite: Suite, arms: dict[str, dict[str, Arm]]) -> dict[int, dict[str, Any]]:
    """Budget -> arm -> its regret over games, regret in each, and standard errors above random; curves for the picture."""
    rng, found = np.random.default_rng(0), {}
    for budget in sorted({run.budget for run in suite.runs}):
        games = [each for each in suite.landscapes if each.name in arms and (each.budget or _budget(suite)) == budget]
        scales = {each.name: scale(each) for each in games}
        names = [name for name in suite.arms() if any(name in arms[game] for game in scales)]
        rows = {}
        for name in names:
            own = {game: regret(arms[game][name], *scales[game]) for game in scales if name in arms[game]}
            random = {game: beyond(arms[game][name], arms[game]["random"]) for game in own if "random" in arms[game]}
            rows[name] = {
                "regret": averaged([each[:, -1] for each in own.values()], rng),
                "games": {game: round(float(each[:, -1].mean()), 5) for game, each in own.items()},
                "seeds": min(len(each) for each in own.values()),
                "above_random": {game: round(value, 2) for game, value in random.items()} if name != "random" else {},
                "curve": [round(float(x), 5) for x in np.mean([each.mean(axis=0) for each in own.values()], axis=0)],
            }
        if rows:
            found[budget] = {"games": list(scales), "arms": rows}
    return found


def _budget(suite: Suite) -> int:
    """Of landscapes that have none of their own."""
    return next((run.budget for run in suite.runs if not run.landscape.budget), 0)


def markdown(suite: Suite, found: dict[int, dict[str, Any]], header: dict[str, Any]) -> str:
    """A row an algorithm; the least regret at the largest budget first, then those that did not play it."""
    budgets = sorted(found)
    names = {name for board in found.values() for name in board["arms"]}

    def place(name: str) -> tuple[float, ...]:
        return tuple(_regret(found[budget], name) for budget in reversed(budgets))

    lines = [
        f"# {suite.title}",
        "",
        f"{len(names)} algorithms, {header['runs']} runs, {header['missing'] + header['stale']} of the suite not played, "
        f"{header['cpu_hours']} core-hours. " + " ".join(str(__doc__).split("\n\n")[1].split()),
        "",
        "Above random: games in which the mean reward of the last ten batches is above that of random pipelines by three "
        "standard errors, exploration included.",
        "",
        "| algorithm | seeds | " + " | ".join(f"regret at {budget:,} | above random" for budget in budgets) + " |",
        "|---" * (2 + 2 * len(budgets)) + "|",
    ]
    for name in sorted(names, key=place):
        rows = [found[budget]["arms"].get(name) for budget in budgets]
        seeds = min(row["seeds"] for row in rows if row)
        lines.append(f"| `{name}` | {seeds} | " + " | ".join(map(_cells, rows)) + " |")
    for budget in budgets:
        games = found[budget]["games"]
        lines += ["", f"## Regret in each game, {budget:,} pipelines", "", "| algorithm | " + " | ".join(games) + " |"]
        lines.append("|---" * (1 + len(games)) + "|")
        for name in sorted(found[budget]["arms"], key=lambda name: _regret(found[budget], name)):
            each = found[budget]["arms"][name]["games"]
            lines.append(f"| `{name}` | " + " | ".join(f"{each[g]:.4f}" if g in each else "-" for g in games) + " |")
    return "\n".join([*lines, "", f"![regret by pipelines]({suite.name}-board.svg)", ""])


def _regret(board: dict[str, Any], name: str) -> float:
    return float(board["arms"][name]["regret"][0]) if name in board["arms"] else np.inf


def _cells(row: dict[str, Any] | None) -> str:
    if row is None:
        return "- | "
    mean, low, high = row["regret"]
    above = row["above_random"].values()
    told = f"{sum(value > BEYOND for value in above)} of {len(above)}" if above else ""
    return f"{mean:.4f} ({low:.4f} to {high:.4f}) | {told}"


def draw(suite: Suite, found: dict[int, dict[str, Any]], file: Path) -> None:
    """Regret, the mean over games, against pipelines, a panel for each budget."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": suite.name, "font.size": 9}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(7 * len(found), 5), squeeze=False)
    batch = suite.runs[0].batch
    for axis, (budget, board) in zip(axes[0], sorted(found.items()), strict=True):
        order = sorted(board["arms"], key=lambda name: _regret(board, name))
        for number, name in enumerate(order):
            curve = board["arms"][name]["curve"]
            spent = np.minimum(np.arange(1, len(curve) + 1) * batch, budget)
            style = ("-", "--", ":")[number // 10 % 3]
            axis.plot(spent, curve, style, color=f"C{number % 10}", label=name, linewidth=1.2)
        axis.set(xlabel="pipelines", ylabel="regret: 1 is a random pipeline, 0 the best one", xscale="log")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=6, ncol=2)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", nargs="?", default="leaderboard", help="a name in benchmarks/suites, or a TOML file")
    parser.add_argument(
        "--own", type=Path, nargs="*", default=[], metavar="FILE", help="algorithms of your own, a file each"
    )
    parser.add_argument("--out", type=Path, default=HERE / "runs", help="folder of the runs (benchmarks/runs)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where to (benchmarks/results)")
    args = parser.parse_args(argv)
    try:
        suite = load(args.suite, args.own)
        arms, _, header, _ = read(suite, args.out)
        found = boards(suite, arms)
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    args.results.mkdir(parents=True, exist_ok=True)
    text = markdown(suite, found, header)
    file = args.results / f"{suite.name}-board"
    write_atomic(file.with_suffix(".json"), (json.dumps({**header, "boards": found}, indent=1) + "\n").encode())
    write_atomic(file.with_suffix(".md"), text.encode())
    if find_spec("matplotlib") is None:
        print("no picture: matplotlib comes with the extra `bench`", file=sys.stderr)
    else:
        draw(suite, found, file.with_suffix(".svg"))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(stoppable(main))
