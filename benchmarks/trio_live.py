"""Do learners stand in the same order on a table and on trainings? `python benchmarks/trio_live.py`.

Searches of `trio-digits-v0` that train every pipeline anew, under seeds of their own, beside searches on its table. Both are
judged by the table: what the mean of a pipeline's trainings lacks to the best one, of the pipeline that the search would name
after a quarter, a half and all of its budget. So the only difference is whether the learner was told a training of the table,
which is part of that mean, or a new one. Means over seeds with 95 % intervals (Student's t), and Kendall's tau of the orders.

A live search is an ordinary run in `--runs`, and goes on where it stopped; `--part k/n` plays a part of them. All their
trainings are kept in `results/trio/live.npz`, which `ma2ml table` can join with others.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

from live import keep, mean_and_half, part, train, trials_of
from provenance import header
from scipy.stats import kendalltau

import ma2ml_env
from ma2ml_agents import make_learner, search
from ma2ml_agents.run.loop import Callback
from ma2ml_env.game import Game
from ma2ml_env.io.files import write_atomic
from ma2ml_env.trial import Trial

GAME, BUDGET = "trio-digits-v0", 240
LEARNERS = ("hybrid", "ma2ml_exact", "evolution", "random")
SHARES = (0.25, 0.5, 1.0)
HERE = Path(__file__).parent
RESULTS = HERE / "results" / "trio"
MARKS = "[1,2,3,5,8,12,16,20]"


def regrets(trials: Sequence[Trial], bench: Any) -> list[float]:
    """Of the pipeline with the highest reward, after each of `SHARES`."""
    found = []
    for share in SHARES:
        best = max(trials[: round(share * len(trials))], key=lambda trial: trial.reward)
        found.append(float(bench.regret(best.proposal.codes)))
    return found


class Kept(Callback):
    """A search's trials."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []

    def on_batch(self, batch: int, trials: Sequence[Trial], metrics: Mapping[str, float]) -> None:
        self.trials += trials


def looked_up(game: Game, learner: str, seed: int) -> list[Trial]:
    """The trials of a search on the table."""
    kept = Kept()
    search(game, make_learner(learner, game.spec, seed=seed), budget=BUDGET, seed=seed, callbacks=[kept])
    return kept.trials


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """(how, learner) -> regrets at each of `SHARES` with their intervals; and tau of the learners' orders at each."""
    levels: dict[str, dict[str, Any]] = {"table": {}, "live": {}}
    for how, of_learners in levels.items():
        for learner in LEARNERS:
            own = [row["regrets"] for row in rows if (row["how"], row["learner"]) == (how, learner)]
            if own:
                of_learners[learner] = [mean_and_half(at) for at in zip(*own, strict=True)]
    both = [learner for learner in LEARNERS if learner in levels["table"] and learner in levels["live"]]
    taus = []
    for at in range(len(SHARES)):
        orders = [[levels[how][learner][at][0] for learner in both] for how in levels]
        taus.append(float(kendalltau(*orders).statistic) if len(both) > 1 else float("nan"))
    return {"levels": levels, "tau": taus}


def as_markdown(told: Mapping[str, Any], seeds: Mapping[str, int]) -> str:
    shares = " | ".join(f"{share:.0%}" for share in SHARES)
    lines = [f"| searches | learner | {shares} |", "|---|---|" + "---|" * len(SHARES)]
    for how, of_learners in told["levels"].items():
        for learner, levels in of_learners.items():
            cells = " | ".join(f"{mean:.4f} ± {half:.4f}" for mean, half in levels)
            lines.append(f"| {how}, {seeds[how]} seeds | `{learner}` | {cells} |")
    lines.append("| tau of the two orders | | " + " | ".join(f"{tau:.2f}" for tau in told["tau"]) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=HERE / "runs" / "trio-live", help="folder of the live searches")
    parser.add_argument("--part", type=part, default=(1, 1), help="k/n: the k-th of n parts of the live searches")
    parser.add_argument("--seeds", type=int, default=3, help="of the live searches")
    parser.add_argument("--table-seeds", type=int, default=20, help="of those on the table")
    parser.add_argument("--out", type=Path, default=RESULTS / "live.json", help="beside it a .md and the trainings")
    args = parser.parse_args(argv)
    k, n = args.part
    searches = [(seed, learner) for seed in range(args.seeds) for learner in LEARNERS]
    place = {each: args.runs / f"{each[1]}-{each[0]}" for each in searches}
    for seed, learner in searches[k - 1 :: n]:
        train(place[seed, learner], GAME, learner, seed, ["--budget", str(BUDGET), "--set", f"curve={MARKS}"])
    if n > 1:
        return 0
    bench, game = ma2ml_env.benchmark(GAME), ma2ml_env.make_game(GAME, "table")
    rows = [
        {"how": "live", "learner": learner, "seed": seed, "regrets": regrets(trials_of(place[seed, learner]), bench)}
        for seed, learner in searches
    ]
    for learner in LEARNERS:
        for seed in range(args.table_seeds):
            told = regrets(looked_up(game, learner, seed), bench)
            rows.append({"how": "table", "learner": learner, "seed": seed, "regrets": told})
    told = summary(rows)
    text = as_markdown(told, {"live": args.seeds, "table": args.table_seeds})
    write_atomic(
        args.out, (json.dumps({**header(), "game": GAME, "budget": BUDGET, **told, "rows": rows}) + "\n").encode()
    )
    write_atomic(args.out.with_suffix(".md"), text.encode())
    print(text)
    return keep(list(place.values()), args.out.with_suffix(".npz"))


if __name__ == "__main__":
    sys.exit(main())
