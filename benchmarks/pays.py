"""Does a search pay on small data? `python benchmarks/pays.py`: its winner against a tuned plain network at equal seconds.

Three data sets: digits (1,200 images of 8 pixels, 597 for the test), Fashion-MNIST and CIFAR-10 (4,000 images and 1,000 for
validation, brought to 16 pixels; 10,000 for the test). Two arms a seed; the seed is also that of the split:

- ours: `ma2ml search own-small-v1`, then `ma2ml retrain` with its floors: all of it counts. The winner is trained once on
  training and validation images.
- plain: what is left out of a search. It has the processor seconds that ours took, floors included, and spends them on a plain
  network without augmentation but the flip: six learning rates at 16 channels and 30 epochs, then the same at 32 channels, at
  60 epochs, and with other weight decays, until a last training remains: the best by validation images, trained on training and
  validation images.

Seconds are the processor's, of this process and its children, so other work on the machine does not count. A finished run is
a line of `results/pays.jsonl` (`--results`) and is not played again; a search that is stopped goes on. `--only` and `--seeds`
pick. The table is `results/pays.md`, the figures are in `results/pays.json`. `--bar X` fails if ours is not above plain by X on
average.

Data: `--fashion DIR` is the folder of the idx files, `--cifar FILE` an npz with x_train, y_train, x_test, y_test.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import torch
from provenance import header
from scipy.stats import t as student

from ma2ml_agents.after.floors import PLAIN_RATES, plain
from ma2ml_agents.cli.main import main as ma2ml
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.games.make import make_game
from ma2ml_env.io.files import write_atomic
from ma2ml_env.recipe import Recipe
from ma2ml_env.training.data.known import read_digits, read_fashion_mnist
from ma2ml_env.training.data.npz import read_npz
from ma2ml_env.training.data.raw import Raw
from ma2ml_env.training.data.source import DataSource

RESULTS = Path(__file__).parent / "results"
TRAIN, VALIDATION = 5000, {"digits": 200, "fashion-mnist": 1000, "cifar10": 1000}
SIZE = {"digits": 8, "fashion-mnist": 16, "cifar10": 16}
GAME = "own-small-v1"


def written(name: str, raw: Raw, folder: Path) -> Path:
    """The data as a user has them: an npz file of a random part of the training images and all that are for the test."""
    path = folder / f"{name}.npz"
    if not path.exists():
        x, y = raw.x["train"], raw.y["train"]
        order = np.random.default_rng(0).permutation(len(y))
        count = TRAIN if "test" in raw.x else 1200
        train, rest = np.sort(order[:count]), np.sort(order[count:])
        test = (raw.x["test"], raw.y["test"]) if "test" in raw.x else (x[rest], y[rest])
        shaped = [images.transpose(0, 2, 3, 1) for images in (x[train], test[0])]
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{name}.partial.npz"
        np.savez(partial, x_train=shaped[0], y_train=y[train], x_test=shaped[1], y_test=test[1])
        partial.rename(path)
    return path


def spent() -> float:
    """Processor seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def ours(data: str, npz: Path, seed: int, run: Path, options: Sequence[str]) -> dict[str, Any]:
    """Search, retrain with floors, and what came of it. Each of the two commands counts from its start to its end."""
    told: dict[str, Any] = {}
    sets = [f"validation={VALIDATION[data]}", f"seed={seed}", *([] if data == "digits" else ["flip=true"]), *options]
    search = ["search", GAME, "--npz", str(npz), "--size", str(SIZE[data]), "--seed", str(seed), "--run", str(run)]
    for name, command in (
        ("search", [*search, *(word for each in sets for word in ("--set", each))]),
        ("retrain", ["retrain", str(run), "--repeats", "1"]),
    ):
        kept = run.parent / f"{run.name}.{name}.json"  # a command that was stopped goes on; its seconds add up
        if not kept.exists():  # it was killed, so nobody knows what it had spent
            shutil.rmtree(run if name == "search" else run / "retrain", ignore_errors=True)
        before = json.loads(kept.read_text()) if kept.exists() else {"seconds": 0.0, "done": False}
        if not before["done"]:
            began = spent()
            try:
                code = ma2ml([*command, "--workers", "1", "--device", "cpu"])
                before["done"] = code == 0
                if code:
                    raise RuntimeError(f"ma2ml {' '.join(command)}: exit code {code}")
            finally:
                before["seconds"] += spent() - began
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(kept, json.dumps(before).encode())
        told[f"{name}_seconds"] = round(before["seconds"], 1)
    summary = json.loads((run / "retrain" / "summary.json").read_text())
    winner = next(row for row in summary["top"] if row["trial"] == summary["winner"])
    return {
        "seconds": round(told["search_seconds"] + told["retrain_seconds"], 1),
        **told,
        "test": summary["mean"],
        "trial": summary["winner"],
        "validation": winner["outcome"]["accuracy"],
        "recipe": winner["recipe"],
        "floors": {floor["name"]: floor["mean"] for floor in summary["floors"]},
    }


def candidates(base: Recipe, size: int) -> Iterator[Recipe]:
    """Plain networks in the order in which they are tried."""
    usual = plain(base, size)
    wide = usual.network.with_args(widths=tuple(2 * width for width in usual.network.args["widths"]))
    decays = (usual.weight_decay, 10 * usual.weight_decay, usual.weight_decay / 5)
    for decay, epochs, network in product(decays, (30, 60), (usual.network, wide)):
        for rate in PLAIN_RATES:
            yield replace(usual, network=network, learning_rate=rate, weight_decay=decay, epochs=epochs)


def trained(trainer: Train, recipe: Recipe, seed: int) -> float:
    """Accuracy on the images that the trainer measures, in [0, 1]; 0 of what failed."""
    [(_, outcome)] = trainer.evaluate([Job(0, recipe, {}, seed, 1.0)])
    return outcome.accuracy


def tuned(source: DataSource, base: Recipe, seed: int, seconds: float) -> dict[str, Any]:
    """The best plain network that these seconds find, and its accuracy on the test images."""
    began = spent()
    search, last = Train(source, device="cpu"), Train(source, device="cpu", train_on_validation=True)
    tried: list[tuple[float, Recipe]] = []
    dearest = 0.0
    for number, recipe in enumerate(candidates(base, source.size or 32)):
        if number >= len(PLAIN_RATES) and spent() - began + 2.25 * dearest > seconds:
            break  # this one and the last, on a quarter more images
        start = spent()
        tried.append((trained(search, recipe, seed), recipe))
        dearest = max(dearest, spent() - start)
    best = max(tried, key=lambda one: one[0])
    test = trained(last, best[1], seed)
    told = {"seconds": round(spent() - began, 1), "test": test, "validation": best[0], "tried": len(tried)}
    return {**told, "recipe": best[1].to_json()}


def play(data: str, npz: Path, seed: int, arm: str, seconds: float, args: argparse.Namespace) -> dict[str, Any]:
    """One run."""
    torch.set_num_threads(1)
    if arm == "ours":
        return ours(data, npz, seed, args.out / f"{data}-{seed}", args.set)
    source = DataSource("npz", str(npz), size=SIZE[data], seed=seed, validation=VALIDATION[data])
    base = make_game(GAME, "surrogate", size=SIZE[data], flip=data != "digits").base
    return tuned(source, base, seed, seconds)


def table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For each data set: seeds that both arms have, means, and the paired difference with its 95 % interval."""
    found: dict[str, Any] = {}
    for data in SIZE:
        by = {
            arm: {row["seed"]: row for row in rows if row["data"] == data and row["arm"] == arm}
            for arm in ("ours", "plain")
        }
        seeds = sorted(by["ours"].keys() & by["plain"].keys())
        if not seeds:
            continue
        differences = [by["ours"][seed]["test"] - by["plain"][seed]["test"] for seed in seeds]
        half = None
        if len(seeds) > 1:
            half = float(student.ppf(0.975, len(seeds) - 1)) * stdev(differences) / len(seeds) ** 0.5
        found[data] = {
            "seeds": len(seeds),
            **{arm: round(fmean(by[arm][seed]["test"] for seed in seeds), 4) for arm in by},
            "difference": round(fmean(differences), 4),
            "interval": None if half is None else round(half, 4),
            "above_in": sum(difference > 0 for difference in differences),
            **{f"{arm}_seconds": round(fmean(by[arm][seed]["seconds"] for seed in seeds)) for arm in by},
            "floor": round(fmean(by["ours"][seed]["floors"]["a plain network"] for seed in seeds), 4),
        }
    return found


def as_markdown(found: dict[str, Any]) -> str:
    lines = [
        "| data | seeds | winner | plain, equal seconds | difference | above in | seconds of both | plain as a floor |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for data, row in found.items():
        around = "" if row["interval"] is None else f" ± {row['interval']:.4f}"
        lines.append(
            f"| {data} | {row['seeds']} | {row['ours']:.4f} | {row['plain']:.4f} | {row['difference']:+.4f}{around} | "
            f"{row['above_in']} | {row['ours_seconds']}, {row['plain_seconds']} | {row['floor']:.4f} |"
        )
    return "\n".join(lines) + "\n"


def stored(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "runs" / "pays", help="folder of runs and data"
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS / "pays.jsonl", help="a line a finished run; .json and .md beside it"
    )
    parser.add_argument(
        "--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="folder of Fashion-MNIST"
    )
    parser.add_argument("--cifar", type=Path, help="npz of CIFAR-10; without it CIFAR-10 is left out")
    parser.add_argument("--only", nargs="*", choices=list(SIZE), default=list(SIZE), help="these data alone")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to N - 1 (5)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="another protocol of ours")
    parser.add_argument(
        "--bar", type=float, help="fail if ours is not above plain by so much, on average over the data sets"
    )
    args = parser.parse_args(argv)
    readers = {
        "digits": read_digits,
        "fashion-mnist": lambda: read_fashion_mnist(args.fashion, False),
        "cifar10": lambda: read_npz(args.cifar),
    }
    wanted = [data for data in args.only if data != "cifar10" or args.cifar]
    for seed, data in product(range(args.seeds), wanted):
        for arm in ("ours", "plain"):
            rows = {(row["data"], row["seed"], row["arm"]): row for row in stored(args.results)}
            if (data, seed, arm) in rows:
                continue
            npz = written(data, readers[data](), args.out / "data")
            seconds = rows[data, seed, "ours"]["seconds"] if arm == "plain" else 0.0
            result = {**header(), "data": data, "seed": seed, "arm": arm, **play(data, npz, seed, arm, seconds, args)}
            args.results.parent.mkdir(parents=True, exist_ok=True)
            with args.results.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(f"{data} {seed} {arm}: test {result['test']:.4f} after {result['seconds']:.0f} s", flush=True)
    found = table(stored(args.results))
    args.results.with_suffix(".json").write_text(
        json.dumps({"command": "python benchmarks/pays.py", **found}, indent=2) + "\n"
    )
    args.results.with_suffix(".md").write_text(as_markdown(found))
    print(as_markdown(found))
    if args.bar is not None and fmean(row["difference"] for row in found.values()) < args.bar:
        print(f"error: ours is not above plain by {args.bar} on average", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
