"""Proxy training on a GPU against a plain script: `python benchmarks/gpu.py`; `--out FILE` keeps the JSON.

Random pipelines of three games, on images of CIFAR's shape made of noise: what is timed does not depend on what they show.
The arms:

- ours: the training loop as it is, images and augmentation on the GPU, steps replayed as CUDA graphs;
- eager: the same without graphs;
- plain: a `DataLoader` of eight workers with pinned memory, PIL images through torchvision's transforms, and the best that a
  few lines make of the rest: bfloat16 by autocast, channels last.

Images a second are those of a later epoch, so that no arm's start is counted; the arms follow each other pipeline by pipeline.
`seconds_to_start` is what an epoch of ours took longer at first: kernels are chosen and the graph is recorded.
"""

import argparse
import statistics
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from provenance import tell
from torch import nn
from torch.utils.data import DataLoader
from training import Pictures

import ma2ml_env
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.recipe import Recipe
from ma2ml_env.testing import random_codes
from ma2ml_env.training import loop, parts
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.images import batches
from ma2ml_env.training.networks.base import Image
from ma2ml_env.training.rate import rate
from ma2ml_env.trial import trial_seed

CUDA = torch.device("cuda")
GAMES = {"cifar10-v0": 40, "cifar100-resnet56-aug-hpo-v0": 100, "cifar10-small-v0": 100}
"""name -> steps of an epoch that is timed"""
SEARCHES: dict[str, dict[str, Any]] = {
    "search_cifar10-small-v0": {
        "game": "cifar10-small-v0", "pipelines": 16, "workers": [1, 4], "images": 10_000, "limit": 4000, "epochs": 3,
    },
    "search_cifar10-v0_a_hundred_and_twentieth": {
        "game": "cifar10-v0", "pipelines": 6, "workers": [1, 3], "images": 6000, "limit": 4500, "epochs": 1,
    },
}  # fmt: skip
"""name -> arguments of `throughput`"""
LOADERS = 8


def recipes(game: str, count: int) -> list[Recipe]:
    """Random pipelines of a game, the same at every call."""
    made = ma2ml_env.make_game(game, "surrogate")
    codes = random_codes(made.spec.nvec, count)
    return [made.recipe({agent: tuple(c[row].tolist()) for agent, c in codes.items()}) for row in range(count)]


def noise(images: int, classes: int = 10) -> Dataset:
    """Images (N, 3, 32, 32) of noise; the first tenth of them is for validation as well."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(256, (images, 3, 32, 32), generator=draw, dtype=torch.uint8)
    y = torch.randint(classes, (images,), generator=draw)
    few = max(1, images // 10)
    names = tuple(map(str, range(classes)))
    return Dataset(x, y, x[:few], y[:few], x[:few], y[:few], classes, names, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


def ours(recipe: Recipe, data: Dataset, graphs: bool) -> tuple[float, float]:
    """(seconds of an epoch, seconds to start)."""
    told = [time.monotonic()]
    loop.fit(
        replace(recipe, epochs=100),
        data,
        seed=0,
        fidelity=0.03,
        device=CUDA,
        cuda_graphs=graphs,
        on_epoch=lambda epoch, loss: told.append(time.monotonic()),
    )
    epoch = min(told[2] - told[1], told[3] - told[2])
    return epoch, told[1] - told[0] - epoch


def augmentation(recipe: Recipe, data: Dataset) -> float:
    """Seconds that the batches of an epoch take by themselves."""
    seconds = []
    for _ in range(3):
        torch.cuda.synchronize()
        began = time.monotonic()
        for _ in batches.epoch(recipe, data, recipe.batch_size, torch.Generator().manual_seed(0), CUDA):
            pass
        torch.cuda.synchronize()
        seconds.append(time.monotonic() - began)
    return min(seconds)


def plain(recipe: Recipe, data: Dataset) -> float:
    """Seconds of an epoch of a script."""
    network = parts.network(recipe.network, Image(data.classes, 3, data.size))
    network = network.to(CUDA, memory_format=torch.channels_last)
    criterion = parts.loss(recipe.loss).to(CUDA)
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, **recipe.optimizer.args
    )
    loader = DataLoader(
        Pictures(data, recipe),
        recipe.batch_size,
        shuffle=True,
        num_workers=LOADERS,
        persistent_workers=True,
        pin_memory=True,
        drop_last=True,
    )
    seconds = []
    for epoch in range(3):
        began = time.monotonic()
        for number, (images, labels) in enumerate(loader):
            x = images.to(CUDA, non_blocking=True, memory_format=torch.channels_last)
            y = labels.to(CUDA, non_blocking=True)
            for group in optimizer.param_groups:
                group["lr"] = rate(recipe, epoch * len(loader) + number, 3 * len(loader))
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16):
                loss = criterion(network(x), y)
            loss.backward()
            if recipe.clip_norm > 0.0:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
            optimizer.step()
        torch.cuda.synchronize()
        seconds.append(time.monotonic() - began)
    return min(seconds[1:])


def compare(game: str, steps: int, pipelines: int) -> dict[str, Any]:
    """Images a second of the arms on a game's pipelines, and the share of augmentation."""
    rows = []
    for recipe in recipes(game, pipelines):
        cpu = noise(steps * recipe.batch_size, 100 if "100" in game else 10)
        data = cpu.to(CUDA)
        images = len(data.train_x)
        epoch, start = ours(recipe, data, graphs=True)
        eager = ours(recipe, data, graphs=False)[0]
        row = {"ours": images / epoch, "eager": images / eager, "plain": images / plain(recipe, cpu)}
        row |= {"seconds_to_start": start, "augmentation_share": augmentation(recipe, data) / epoch}
        rows.append({name: round(value, 4 if value < 1 else 1) for name, value in row.items()})
        print(game, rows[-1], flush=True)

    def ratio(rival: str) -> list[float]:
        return sorted(round(row["ours"] / row[rival], 2) for row in rows)

    return {
        "pipelines": rows,
        **{
            f"ratio_{rival}_min_median_max": [ratio(rival)[0], statistics.median(ratio(rival)), ratio(rival)[-1]]
            for rival in ("plain", "eager")
        },
    }


def throughput(
    game: str, pipelines: int, workers: list[int], *, images: int, limit: int, epochs: int
) -> dict[str, Any]:
    """Pipelines an hour of a pool, its processes warm, which share the GPU; each trains on `limit` of the images."""
    data = noise(images)
    small = recipes("cifar10-small-v0", 1)[0]
    jobs = [
        Job(number, replace(recipe, epochs=100), {}, trial_seed(0, number), epochs / 100)
        for number, recipe in enumerate(recipes(game, pipelines))
    ]
    hourly: dict[str, float] = {}
    with TemporaryDirectory() as folder:  # where the workers read them
        file = Path(folder) / "noise.npz"
        np.savez(file, x_train=data.train_x.permute(0, 2, 3, 1).numpy(), y_train=data.train_y.numpy())
        source = DataSource("npz", folder=str(file), limit=limit)
        for count in workers:
            pool = Pool(partial(Train, source, device="cuda"), count)
            try:
                list(pool.evaluate([replace(job, recipe=small) for job in jobs[:count]]))
                began = time.monotonic()
                outcomes = [outcome for _, outcome in pool.evaluate(jobs)]
                seconds = time.monotonic() - began
            finally:
                pool.close()
            assert all(outcome.status == "ok" for outcome in outcomes), outcomes
            hourly[f"{count} workers"] = round(3600 * pipelines / seconds, 1)
            print(game, hourly, flush=True)
    return {"pipelines": pipelines, "training_images": limit, "epochs": epochs, "an_hour": hourly}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipelines", type=int, default=3, help="random pipelines of each game (3)")
    parser.add_argument("--out", type=Path, help="write the JSON here as well, after each part")
    parser.add_argument("--parts", nargs="+", choices=[*GAMES, *SEARCHES], help="some of it, in this order (all)")
    args = parser.parse_args()
    chosen = args.parts or [*GAMES, *SEARCHES]
    result: dict[str, Any] = {
        "command": f"python benchmarks/gpu.py --pipelines {args.pipelines} --parts {' '.join(chosen)}",
        "device": torch.cuda.get_device_name(0),
    }
    for name in chosen:
        if name in GAMES:
            result[name] = compare(name, GAMES[name], args.pipelines)
        else:
            result[name] = throughput(**SEARCHES[name])
        if args.out:
            tell(result, args.out)
    if not args.out:
        tell(result, None)


if __name__ == "__main__":
    main()
