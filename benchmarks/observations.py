"""What the observation costs a learner: `python benchmarks/observations.py`.

The independent PPO of `examples/ippo.py` plays the surrogate of cifar10-v0 with each `observation`, at several learning rates.
Reported is the mean reward of 240 pipelines after 240, 504, 1,008 and 2,016, means of seeds with 95 % intervals (Student's t).
A finished run is a line of `--out` and is not played again.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import torch
from ippo import BATCH, play
from provenance import header
from scipy.stats import t as student

RESULTS = Path(__file__).parent / "results"
OBSERVATIONS, MARKS, WINDOW = ("noise", "constant", "agent"), (240, 504, 1008, 2016), 240


def table(rows: Sequence[dict]) -> str:
    lines = ["| observation | rate | seeds | " + " | ".join(f"{mark:,}" for mark in MARKS) + " |"]
    lines.append("|---|---|---|" + "---|" * len(MARKS))
    keys = sorted({(row["rate"], row["observation"]) for row in rows}, key=lambda k: (k[0], OBSERVATIONS.index(k[1])))
    for rate, observation in keys:
        own = [row["means"] for row in rows if (row["rate"], row["observation"]) == (rate, observation)]
        cells = []
        for mark in MARKS:
            ends = [
                fmean(means[(mark - WINDOW) // BATCH : mark // BATCH]) for means in own if mark <= len(means) * BATCH
            ]
            half = student.ppf(0.975, len(ends) - 1) * stdev(ends) / len(ends) ** 0.5 if len(ends) > 1 else float("nan")
            cells.append(f"{fmean(ends):.3f} ± {half:.3f}" if ends else "-")
        lines.append(f"| `{observation}` | {rate:g} | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pipelines", type=int, default=MARKS[-1])
    parser.add_argument("--out", type=Path, default=RESULTS / "observations.jsonl", help="a line a run; .md beside it")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)

    def rows() -> list[dict]:
        return [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []

    for seed, rate, observation in product(range(args.seeds), args.rates, OBSERVATIONS):
        if any((row["seed"], row["rate"], row["observation"]) == (seed, rate, observation) for row in rows()):
            continue
        means = [round(mean, 5) for mean in play(observation, args.pipelines, seed, rate=rate)]
        row = {**header(), "observation": observation, "rate": rate, "seed": seed, "means": means}
        with args.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{observation}, rate {rate:g}, seed {seed}: {fmean(means[-WINDOW // BATCH :]):.3f}", flush=True)
    args.out.with_suffix(".md").write_text(table(rows()))
    print(table(rows()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
