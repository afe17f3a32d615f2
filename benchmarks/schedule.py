"""How near to the best the order of a pool's jobs comes: `python benchmarks/schedule.py`.

24 uneven jobs on 2, 4 and 8 simulated devices, a job at a time each. Their durations are predicted within 20 per cent: what the
schedule is told is the duration times a uniform number in [0.8, 1.2]. The makespan is divided by the lower bound
max(sum / m, longest), which no order can beat. First come, first served is the control on the same draws. Durations are uniform
in [1, 10] seconds, and, in a second table, log-normal with a standard deviation of one in the logarithm, where one in a hundred
jobs is ten times the median.

`--measure N` also trains N random pipelines of a game here, one at a time, and tells how near the learned predictor comes to
their CPU seconds, which other work on this machine disturbs least: it learns from every other one and is asked about the rest.
"unit" is the control, which predicts the mean of what it learned from for all.
"""

import argparse
import heapq
import time
from pathlib import Path
from typing import Any

import numpy as np
from provenance import tell

from ma2ml_env.evaluators.workers.schedule import Cost, Schedule

RESULTS = Path(__file__).parent / "results" / "schedule.json"
JOBS = 24
ERROR = 0.2
DRAWS = {"uniform": lambda rng: rng.uniform(1.0, 10.0, JOBS), "log_normal": lambda rng: rng.lognormal(0.0, 1.0, JOBS)}


def makespan(durations: np.ndarray, order: list[int], devices: int) -> float:
    """When the last of the jobs ends; each starts on the device that is free first."""
    free = [0.0] * devices
    for index in order:
        heapq.heapreplace(free, free[0] + float(durations[index]))
    return max(free)


def measure(devices: int, draws: int, seed: int = 0, kind: str = "uniform") -> dict[str, Any]:
    """Makespan over lower bound of `draws` sets of jobs: median and 95th percentile, longest first and first come."""
    rng = np.random.default_rng(seed)
    ratios: dict[str, list[float]] = {"longest_first": [], "first_come": []}
    for _ in range(draws):
        durations = DRAWS[kind](rng)
        predicted = durations * rng.uniform(1.0 - ERROR, 1.0 + ERROR, JOBS)
        bound = max(durations.sum() / devices, durations.max())
        order = Schedule().order([Cost(macs=float(seconds)) for seconds in predicted])
        ratios["longest_first"].append(makespan(durations, order, devices) / bound)
        ratios["first_come"].append(makespan(durations, list(range(JOBS)), devices) / bound)
    return {
        name: {"median": round(float(np.median(r)), 4), "p95": round(float(np.quantile(r, 0.95)), 4)}
        for name, r in ratios.items()
    }


def measure_predictor(game_id: str, pipelines: int, data: str | None) -> dict[str, Any]:
    """Relative errors of predicted seconds on real trainings."""
    import ma2ml_env
    from ma2ml_env.evaluators.base import Wrapper
    from ma2ml_env.evaluators.workers.schedule import Predictor
    from ma2ml_env.testing import random_codes

    game = ma2ml_env.make_game(game_id, data=data)
    trainer: Any = game.evaluator
    while isinstance(trainer, Wrapper):
        trainer = trainer.inner
    codes = random_codes(game.spec.nvec, pipelines, seed=0)
    found: list[tuple[Cost, float]] = []
    for i in range(pipelines):
        job = game.job(i, {agent: tuple(c[i].tolist()) for agent, c in codes.items()}, i)
        cost = trainer.cost(job)
        trainer.flops(job)  # counted once and cached: not a part of the training
        began = time.process_time()
        [(_, outcome)] = trainer.evaluate([job])
        if outcome.status == "ok":
            found.append((cost, time.process_time() - began))
    predictor = Predictor()
    for cost, seconds in found[::2]:
        predictor.learn(cost, seconds)
    mean = float(np.mean([seconds for _, seconds in found[::2]]))
    errors = {
        "predictor": [abs(predictor.seconds(cost) / seconds - 1.0) for cost, seconds in found[1::2]],
        "unit": [abs(mean / seconds - 1.0) for _, seconds in found[1::2]],
    }
    return {"game": game_id, "asked": len(errors["unit"])} | {
        name: {
            "median_error": round(float(np.median(e)), 4),
            "share_within_20_per_cent": round(float(np.mean(np.array(e) <= ERROR)), 4),
        }
        for name, e in errors.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000, help="sets of jobs (1,000)")
    parser.add_argument("--measure", type=int, default=0, help="real pipelines to predict (none)")
    parser.add_argument("--game", default="digits-v0", help="that is measured (digits-v0)")
    parser.add_argument("--data", default=None, help="folder of its data set")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the numbers are written")
    given = parser.parse_args()
    found: dict[str, Any] = {
        "command": f"python benchmarks/schedule.py --draws {given.draws}",
        "jobs": JOBS,
        "prediction_error": ERROR,
        "draws": given.draws,
    }
    for kind in DRAWS:
        found[kind] = {f"{m} devices": measure(m, given.draws, kind=kind) for m in (2, 4, 8)}
    if given.measure:
        found["predictor"] = measure_predictor(given.game, given.measure, given.data)
    tell(found, given.results)


if __name__ == "__main__":
    main()
