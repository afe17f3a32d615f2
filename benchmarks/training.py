"""Proxy training against a plain script, two cores: `python benchmarks/training.py`; `--out FILE` keeps the JSON.

The same random pipelines of `fashion-mnist-small-v0` (real images, 28 px; `--data` says where they are), proxy training and
validation, the same network class, updates and schedule in both arms:

- ours: the game's evaluator over a pool of two processes, one torch thread each;
- plain: one pipeline after the other, a `DataLoader` of two workers, PIL images through torchvision's transforms (crop, flip,
  the policy as `v2.AutoAugment`, tensor, normalisation, erasing in place of Cutout), the default memory layout and optimiser
  settings; with one and with two torch threads, and the better of the two counts. Beside it, the same script with the network
  and its images in the channels-last layout, which is one line that few scripts have on a CPU.

The arms take turns after every few pipelines; processes are started and warm before the clock. Where other work shares the
machine the wall clock tells little, so the processor's seconds are reported as well, and what they say of two cores of one's
own (`own_cores`): ours needs cpu / 2; plain with one thread max(training, (training + loading) / 2), as its training is a
single chain. `ratio_cpu` compares the two; `ratio_cpu_ideal_threads` lets plain have two threads that share one thread's
seconds without loss, which no real pair does: the truth of an idle machine lies between. `ratio_wall` is what the clock said,
with the better count of threads, `ratio_wall_channels_last` the same against the script in that layout.

The profile (torch.profiler, one thread, share of the time of training steps of two of these pipelines): backward of
convolutions 34-38 %, of batch norm 8-10 %; forward of convolutions 10 %, max pooling 5-9 %, ReLU 5-8 %, and, before strided
pixels were taken first in factorised reductions, fills and copies 9-13 %; the optimiser 1 %, augmentation below 1 %. What
decides is the layout: channels last takes a tenth of the time of max pooling and a third of that of large depthwise filters.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from augment import PlainPolicy
from provenance import tell
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import v2

import ma2ml_env
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.recipe import Recipe
from ma2ml_env.testing import random_codes
from ma2ml_env.training import parts
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.networks.base import Image
from ma2ml_env.training.rate import rate
from ma2ml_env.trial import Outcome, trial_seed

GAME, WORKERS = "fashion-mnist-small-v0", 2


class Timed(Train):
    """The evaluator, which also tells a job's processor time."""

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        start = time.process_time()
        for index, outcome in super().evaluate(jobs):
            now = time.process_time()
            yield index, replace(outcome, metrics={**outcome.metrics, "cpu": now - start})
            start = now


class Pictures(TorchDataset[Any]):
    """The training images as a plain script holds them."""

    def __init__(self, data: Dataset, recipe: Recipe) -> None:
        self.images = [v2.functional.to_pil_image(image) for image in data.train_x]
        self.labels = data.train_y.tolist()
        area, fill = (recipe.cutout / data.size) ** 2, tuple(round(255 * mean) for mean in data.mean)
        self.transform = v2.Compose(
            [
                v2.RandomCrop(data.size, padding=recipe.crop_padding),
                *([v2.RandomHorizontalFlip()] if recipe.flip else []),
                *([PlainPolicy(recipe.augment, fill)] if recipe.augment else []),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(data.mean, data.std),
                *([v2.RandomErasing(1.0, (area, area), (1.0, 1.0))] if area else []),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(self.images[index]), self.labels[index]


def plain(recipe: Recipe, data: Dataset, epochs: int, seed: int, loaders: int = 2, layout: Any = None) -> float:
    """Train and validate as a script would, with so many processes that load images; the accuracy.

    `layout` is torch's memory format; None: the default one.
    """
    layout = layout or torch.contiguous_format
    torch.manual_seed(seed)
    network = parts.network(recipe.network, Image(10, 1, data.size))
    network = network.to(memory_format=layout)
    criterion = parts.loss(recipe.loss)
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, **recipe.optimizer.args
    )
    loader = DataLoader(
        Pictures(data, recipe),
        recipe.batch_size,
        shuffle=True,
        num_workers=loaders,
        persistent_workers=loaders > 0,
        drop_last=True,
    )
    network.train()
    for epoch in range(epochs):
        for number, (images, labels) in enumerate(loader):
            for group in optimizer.param_groups:
                group["lr"] = rate(recipe, epoch * len(loader) + number, epochs * len(loader))
            optimizer.zero_grad()
            criterion(network(images.contiguous(memory_format=layout)), labels).backward()
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
            optimizer.step()
    network.eval()
    right = 0
    with torch.no_grad():
        for x, y in zip(data.validation_x.split(500), data.validation_y.split(500), strict=True):
            x = ((x.float() / 255 - data.mean[0]) / data.std[0]).contiguous(memory_format=layout)
            right += int((network(x).argmax(1) == y).sum())
    return right / len(data.validation_x)


def random_jobs(pipelines: int, epochs: int) -> list[Job]:
    """Jobs of random pipelines of the game, the same at every call."""
    game = ma2ml_env.make_game(GAME, "surrogate")
    codes = random_codes(game.spec.nvec, pipelines)
    jobs = []
    for number in range(pipelines):
        code = {agent: tuple(c[number].tolist()) for agent, c in codes.items()}
        recipe = replace(game.recipe(code), epochs=100)
        jobs.append(Job(number, recipe, code, trial_seed(0, number), epochs / 100))
    return jobs


def timed_plain(job: Job, data: Dataset, epochs: int, threads: int, layout: Any) -> dict[str, float]:
    torch.set_num_threads(threads)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall, cpu = time.monotonic(), time.process_time()
    accuracy = plain(job.recipe, data, epochs, job.seed, layout=layout)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    loading = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    own = max(cpu, (cpu + loading) / 2) if threads == 1 else (cpu + loading) / 2
    return {"wall": wall, "training": cpu, "loading": loading, "own_cores": own, "accuracy": accuracy}


def timed_ours(pool: Pool, jobs: list[Job]) -> list[dict[str, float]]:
    wall = time.monotonic()
    outcomes = [outcome for _, outcome in pool.evaluate(jobs)]
    wall = (time.monotonic() - wall) / len(jobs)
    assert all(outcome.status == "ok" for outcome in outcomes), outcomes
    return [{"wall": wall, "own_cores": o.metrics["cpu"] / WORKERS, "accuracy": o.accuracy} for o in outcomes]


def parser_of(doc: str) -> argparse.ArgumentParser:
    """The options of both benchmarks of training: which pipelines, on which images, for how long."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of Fashion-MNIST")
    parser.add_argument("--pipelines", type=int, default=24, help="random pipelines (24)")
    parser.add_argument("--limit", type=int, default=1000, help="training images; the game itself has 4000 (1000)")
    parser.add_argument("--validation", type=int, default=500, help="validation images; the game itself has 5000 (500)")
    parser.add_argument("--epochs", type=int, default=3, help="of the proxy training, as the game's (3)")
    parser.add_argument("--out", type=Path, help="write the JSON here as well")
    return parser


def source_of(args: argparse.Namespace) -> DataSource:
    return DataSource("fashion-mnist", folder=args.data, limit=args.limit, validation=args.validation)


@cache
def loaded(source: DataSource) -> Dataset:
    """The images, read once in each process."""
    return source.load()


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--turn", type=int, default=4, help="pipelines before the other arm's turn (4)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="torch threads of the plain way (1 2)")
    args = parser.parse_args()
    source = source_of(args)
    data = source.load()
    jobs = random_jobs(args.pipelines, args.epochs)
    ours: list[dict[str, float]] = []
    arms = {
        f"{threads} threads{name}": (threads, layout)
        for name, layout in (("", None), (", channels last", torch.channels_last))
        for threads in sorted({1, *args.threads})
    }
    theirs: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    pool = Pool(partial(Timed, source, device="cpu"), WORKERS)
    try:
        small = [replace(job, recipe=jobs[0].recipe, fidelity=0.01) for job in jobs[:WORKERS]]
        timed_ours(pool, small)  # both processes are up, with their data
        for first in range(0, len(jobs), args.turn):
            turn = jobs[first : first + args.turn]
            ours += timed_ours(pool, turn)
            for arm, told in theirs.items():
                told += [timed_plain(job, data, args.epochs, *arms[arm]) for job in turn]
            print(f"{first + len(turn)} of {len(jobs)} pipelines", flush=True)
    finally:
        pool.close()

    def total(told: list[dict[str, float]], what: str) -> float:
        return sum(one[what] for one in told)

    def hourly(told: list[dict[str, float]], what: str) -> float:
        return round(3600 * len(told) / total(told, what), 1)

    def best(layout: Any) -> str:
        return min((arm for arm in arms if arms[arm][1] is layout), key=lambda arm: total(theirs[arm], "wall"))

    one = theirs["1 threads"]
    each = sorted(a["own_cores"] / o["own_cores"] for o, a in zip(ours, one, strict=True))
    result = {
        "command": f"python benchmarks/training.py --pipelines {args.pipelines} --turn {args.turn} --limit {args.limit}"
        f" --validation {args.validation} --epochs {args.epochs} --threads {' '.join(map(str, args.threads))}",
        "ratio_cpu": round(total(one, "own_cores") / total(ours, "own_cores"), 2),
        "ratio_cpu_pipelines_min_median_max": [round(r, 2) for r in (each[0], statistics.median(each), each[-1])],
        "ratio_cpu_ideal_threads": round(
            (total(one, "training") + total(one, "loading")) / 2 / total(ours, "own_cores"), 2
        ),
        "ratio_wall": round(total(theirs[best(None)], "wall") / total(ours, "wall"), 2),
        "ratio_wall_channels_last": round(total(theirs[best(torch.channels_last)], "wall") / total(ours, "wall"), 2),
        "plain_of_ratio_wall": best(None),
        "ours_per_hour": {"own_cores": hourly(ours, "own_cores"), "wall": hourly(ours, "wall")},
        "plain_per_hour": {
            arm: {"own_cores": hourly(told, "own_cores"), "wall": hourly(told, "wall")} for arm, told in theirs.items()
        },
        "plain_cpu_s_of_a_pipeline": {
            arm: {what: round(total(told, what) / len(told), 2) for what in ("training", "loading")}
            for arm, told in theirs.items()
        },
        "mean_accuracy": {
            "ours": round(total(ours, "accuracy") / len(ours), 3),
            **{arm: round(total(told, "accuracy") / len(told), 3) for arm, told in theirs.items()},
        },
    }
    tell(result, args.out)


if __name__ == "__main__":
    main()
