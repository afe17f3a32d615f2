"""What a pipeline costs in each framework's shape: `python benchmarks/wrapper_costs.py`.

Processor time of whole episodes with random actions on the surrogate of cifar10-v0, in microseconds a pipeline: the arms take
turns, the median over turns is reported, and its ratio to reset and step of the parallel environment. Prints one JSON object.
Needs the extra `torchrl` or `benchmarl`.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torchrl
from provenance import tell
from torchrl.envs.libs.pettingzoo import PettingZooWrapper

import ma2ml_env
from ma2ml_env.integrations.torchrl import View, torchrl_env
from ma2ml_env.testing import random_codes

GAME = "cifar10-v0"
BATCH = 24


def parallel() -> Callable[[int], int]:
    env = ma2ml_env.parallel_env(GAME, "surrogate")
    codes = random_codes(env.game.spec.nvec, BATCH, seed=0)

    def play(pipelines: int) -> int:
        for i in range(pipelines):
            env.reset()
            env.step({agent: code[i % BATCH] for agent, code in codes.items()})
        return pipelines

    return play


def batch() -> Callable[[int], int]:
    env = ma2ml_env.parallel_env(GAME, "surrogate")
    codes = random_codes(env.game.spec.nvec, BATCH, seed=0)

    def play(pipelines: int) -> int:
        for _ in range(pipelines // BATCH):
            env.evaluate_batch(codes)
        return pipelines // BATCH * BATCH

    return play


def batched(view: View) -> Callable[[int], int]:
    env = torchrl_env(GAME, "surrogate", view=view, num_envs=BATCH)
    steps = env.steps if view == "token" else 1

    def play(pipelines: int) -> int:
        for _ in range(pipelines // BATCH):
            env.rollout(steps)
        return pipelines // BATCH * BATCH

    return play


def wrapped(token: bool) -> Callable[[int], int]:
    """TorchRL's own wrapper; token episodes are many steps, so few are played."""
    make = ma2ml_env.token_parallel_env if token else ma2ml_env.parallel_env
    env = PettingZooWrapper(make(GAME, "surrogate"), use_mask=token)

    def play(pipelines: int) -> int:
        played = 2 if token else pipelines
        for _ in range(played):
            env.rollout(1000)  # until it is done
        return played

    return play


ARMS: dict[str, Callable[[], Callable[[int], int]]] = {
    "parallel_env": parallel,
    "evaluate_batch": batch,
    "torchrl native": lambda: batched("native"),
    "torchrl box": lambda: batched("box"),
    "torchrl token": lambda: batched("token"),
    "PettingZooWrapper native": lambda: wrapped(False),
    "PettingZooWrapper token": lambda: wrapped(True),
}


def measure(turns: int, pipelines: int) -> dict[str, object]:
    warnings.filterwarnings("ignore")  # TorchRL's, of its own changes
    torch.set_num_threads(1)
    players = {name: make() for name, make in ARMS.items()}
    seen: dict[str, list[float]] = {name: [] for name in ARMS}
    for play in players.values():
        play(BATCH)  # what is made at the first call
    for _ in range(turns):
        for name, play in players.items():
            began = time.process_time()
            played = play(pipelines)
            seen[name].append((time.process_time() - began) / played * 1e6)
    base = statistics.median(seen["parallel_env"])
    arms = {
        name: {
            "us_a_pipeline": round(statistics.median(values), 1),
            "lowest": round(min(values), 1),
            "highest": round(max(values), 1),
            "ratio": round(statistics.median(values) / base, 3),
        }
        for name, values in seen.items()
    }
    return {
        "torchrl": torchrl.__version__, "game": GAME, "batch": BATCH, "turns": turns, "pipelines": pipelines, "arms": arms,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7, help="turns of every arm (7)")
    parser.add_argument("--pipelines", type=int, default=240, help="pipelines a turn (240)")
    given = parser.parse_args()
    tell(measure(given.turns, given.pipelines))


if __name__ == "__main__":
    main()
