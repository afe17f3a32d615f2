"""Ours on a pool and on Ray, against Ray Tune running a plain script: `python benchmarks/tune.py`; `--out FILE` keeps the JSON.

The same random pipelines of `fashion-mnist-small-v0` as in `training.py`, and its plain script, two cores. Four arms, one after
the other, each from nothing to the last accuracy: starting processes and Ray is part of the time.

- pool: two processes, one torch thread each;
- ray_pool: the same jobs as tasks of a Ray that is started here, with two CPUs;
- tune, one CPU a trial: two trials at once, each loads its images itself;
- tune, two CPUs a trial: one trial at a time, two loading processes, two torch threads.

Tune keeps its processes, and so the images, between trials (`reuse_actors`). Ours are compared with the better of its two
arms. `--rounds` repeats all of it, in turns; the ratios are those of the medians. Needs `pip install "ray[tune]"`.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from provenance import tell
from training import WORKERS, parser_of, random_jobs, source_of

from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.evaluators.workers.ray_pool import RayPool
from ma2ml_env.training.data.source import DataSource


def ours(make: Callable[..., Evaluator], source: DataSource, jobs: Sequence[Job]) -> list[float]:
    evaluator = make(partial(Train, source, device="cpu"), WORKERS)
    try:
        outcomes = [outcome for _, outcome in evaluator.evaluate(jobs)]
    finally:
        evaluator.close()
    assert all(outcome.status == "ok" for outcome in outcomes), outcomes
    return [outcome.accuracy for outcome in outcomes]


def tune(cpus: int, source: DataSource, jobs: Sequence[Job], epochs: int) -> list[float]:
    import ray
    from ray.tune import RunConfig, TuneConfig, Tuner, grid_search, with_resources

    path = str(Path(__file__).parent)

    def trainable(config: dict[str, Any]) -> dict[str, float]:
        import sys

        sys.path.insert(0, path)
        from training import loaded, plain

        torch.set_num_threads(cpus)
        job = jobs[config["number"]]
        return {"accuracy": plain(job.recipe, loaded(source), epochs, job.seed, 0 if cpus == 1 else 2)}

    with TemporaryDirectory() as folder:
        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            results = Tuner(
                with_resources(trainable, {"cpu": cpus}),
                param_space={"number": grid_search(list(range(len(jobs))))},
                tune_config=TuneConfig(max_concurrent_trials=WORKERS // cpus, reuse_actors=True),
                run_config=RunConfig(storage_path=folder, verbose=0),
            ).fit()
        finally:
            ray.shutdown()
    assert not results.errors, results.errors
    return [float(result.metrics["accuracy"]) for result in results]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="of all arms (1)")
    args = parser.parse_args()
    source = source_of(args)
    jobs = random_jobs(args.pipelines, args.epochs)
    arms: dict[str, Callable[[], list[float]]] = {
        "pool": partial(ours, Pool, source, jobs),
        "ray_pool": partial(ours, RayPool, source, jobs),
        "tune, 1 CPU a trial": partial(tune, 1, source, jobs, args.epochs),
        "tune, 2 CPUs a trial": partial(tune, 2, source, jobs, args.epochs),
    }
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    accuracy = {}
    for _ in range(args.rounds):
        for name, play in arms.items():
            start = time.monotonic()
            accuracy[name] = round(statistics.mean(play()), 3)
            seconds[name].append(round(time.monotonic() - start, 1))
            print(f"{name}: {seconds[name][-1]} s", flush=True)
    median = {name: statistics.median(each) for name, each in seconds.items()}
    rival = min((name for name in arms if name.startswith("tune")), key=lambda name: median[name])
    result = {
        "command": f"python benchmarks/tune.py --pipelines {args.pipelines} --limit {args.limit}"
        f" --validation {args.validation} --epochs {args.epochs} --rounds {args.rounds}",
        "rival": rival,
        "ratio": {name: round(median[rival] / median[name], 2) for name in ("pool", "ray_pool")},
        "seconds": seconds,
        "pipelines_per_hour": {name: round(3600 * args.pipelines / each, 1) for name, each in median.items()},
        "mean_accuracy": accuracy,
    }
    tell(result, args.out)


if __name__ == "__main__":
    main()
