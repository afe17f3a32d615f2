"""Uniform random pipelines: what everything else is compared with."""

import numpy as np

from frameworks import Make

BATCH = 24


def train(make: Make, pipelines: int, seed: int) -> None:
    """Play batches of random codes."""
    env, rng = make(), np.random.default_rng(seed)
    spaces = {agent: env.action_space(agent).nvec for agent in env.possible_agents}
    for _ in range(-(-pipelines // BATCH)):
        env.evaluate_batch({agent: rng.integers(0, nvec, (BATCH, len(nvec))) for agent, nvec in spaces.items()})
