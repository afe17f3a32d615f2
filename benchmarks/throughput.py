"""How fast the game itself is, on one core: `python benchmarks/throughput.py`.

Prints one JSON object: pipelines a second of `evaluate_batch` and of `Game.play` on the paper's CIFAR spaces, microseconds of a
step and of reset and step in surrogate mode, seconds of `ask(24)` and `tell` of `ma2ml` at its defaults, at the start of a
search and near its end, on the spaces of CIFAR (100 decisions) and ImageNet (189), and the import. Each number is the median
of repetitions; `--repeat` sets how many.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

from provenance import tell

import ma2ml_env
from ma2ml_env.testing import random_codes
from ma2ml_env.trial import Proposal, trial_seeds

PIPELINES = 10_000
BATCH = 24
TRIALS = 1_800  # nine tenths of a search of the paper


def seconds(call: Callable[[], object], repeat: int) -> float:
    """Median seconds of a call."""
    spent = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def environment(repeat: int) -> dict[str, float]:
    env = ma2ml_env.parallel_env("cifar10-v0", "surrogate")
    game = env.game
    actions = random_codes(game.spec.nvec, PIPELINES)
    proposals = [Proposal({a: tuple(c[i].tolist()) for a, c in actions.items()}) for i in range(PIPELINES)]
    seeds = trial_seeds(0, 0, PIPELINES).tolist()
    step, both = [], []
    for i in range(PIPELINES):
        joint = {a: c[i] for a, c in actions.items()}
        start = time.perf_counter()
        env.reset()
        middle = time.perf_counter()
        env.step(joint)
        end = time.perf_counter()
        step.append(end - middle)
        both.append(end - start)
    return {
        "evaluate_batch_per_second": PIPELINES / seconds(lambda: env.evaluate_batch(actions), repeat),
        "play_per_second": PIPELINES / seconds(lambda: game.play(proposals, seeds), repeat),
        "step_us": statistics.median(step) * 1e6,
        "reset_and_step_us": statistics.median(both) * 1e6,
    }


def learner(name: str, known: int, repeat: int) -> float:
    """Median seconds of `ask(24)` and `tell` after two such batches and so many random trials."""
    import torch

    from ma2ml_agents import make_learner

    torch.set_num_threads(1)
    game = ma2ml_env.make_game(name, "surrogate")
    made = make_learner("ma2ml", game.spec)
    if known:
        codes = random_codes(game.spec.nvec, known)
        proposals = [Proposal({a: tuple(c[i].tolist()) for a, c in codes.items()}) for i in range(known)]
        made.tell(game.play(proposals, trial_seeds(0, 0, known).tolist()))
    spent = []
    for first in range(known, known + BATCH * (repeat + 2), BATCH):
        start = time.perf_counter()
        proposals = made.ask(BATCH)
        asked = time.perf_counter() - start
        trials = game.play(proposals, trial_seeds(0, first, BATCH).tolist(), first_number=first)
        start = time.perf_counter()
        made.tell(trials)
        spent.append(asked + time.perf_counter() - start)
    return statistics.median(spent[2:])


def learners(repeat: int) -> dict[str, float]:
    return {
        "ask_and_tell_s": learner("cifar10-v0", 0, repeat),
        f"ask_and_tell_after_{TRIALS}_s": learner("cifar10-v0", TRIALS, repeat),
        f"ask_and_tell_imagenet_after_{TRIALS}_s": learner("imagenet200-600m-v0", TRIALS, repeat),
    }


def importing(repeat: int) -> dict[str, float]:
    program = "import time; s = time.perf_counter(); import ma2ml_env; print(time.perf_counter() - s)"
    runs = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
        for _ in range(repeat)
    ]
    return {"import_s": statistics.median(runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7, help="repetitions of each measurement (7)")
    repeat = parser.parse_args().repeat
    tell({**environment(repeat), **learners(repeat), **importing(repeat)})


if __name__ == "__main__":
    main()
