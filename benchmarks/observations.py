"""What the observation costs a learner: `python benchmarks/observations.py`.

The independent PPO of `examples/ippo.py` plays the surrogate of cifar10-v0 with each `observation`, at several learning rates.
Reported is the mean reward of 240 pipelines after 240, 504, 1,008 and 2,016, means of seeds with 95 % intervals (Student's t).
A finished run is a line of `--out` and is not played again. `--picture FILE.svg` draws the curves (extra `bench`).
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

import numpy as np
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


def draw(rows: Sequence[dict], path: Path) -> None:
    """Mean reward of each batch, smoothed over ten, by observation; a panel for each rate, bands of 95 % over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "ma2ml"  # the same file each time
    from matplotlib import pyplot

    rates = sorted({row["rate"] for row in rows})
    figure, panels = pyplot.subplots(1, len(rates), figsize=(3.6 * len(rates), 3.2), sharey=True, squeeze=False)
    for panel, rate in zip(panels[0], rates, strict=True):
        for observation in OBSERVATIONS:
            own = np.array([row["means"] for row in rows if (row["rate"], row["observation"]) == (rate, observation)])
            if len(own) < 2:
                continue
            smooth = np.stack([np.convolve(means, np.full(10, 0.1), "valid") for means in own])
            mean, x = smooth.mean(0), BATCH * np.arange(10, len(own[0]) + 1)
            half = student.ppf(0.975, len(own) - 1) * smooth.std(0, ddof=1) / len(own) ** 0.5
            panel.plot(x, mean, label=observation)
            panel.fill_between(x, mean - half, mean + half, alpha=0.2)
        panel.set(title=f"learning rate {rate:g}", xlabel="pipelines")
    panels[0][0].set_ylabel("mean reward")
    panels[0][0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pipelines", type=int, default=MARKS[-1])
    parser.add_argument("--out", type=Path, default=RESULTS / "observations.jsonl", help="a line a run; .md beside it")
    parser.add_argument("--picture", type=Path, help="an SVG of the curves")
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
    if args.picture:
        draw(rows(), args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
