"""Games with a known optimum, and the loop that plays them: a few lines, without `Game`."""

from collections.abc import Callable

import numpy as np

from ma2ml_agents.learner import Learner
from ma2ml_env.trial import Code, GameSpec, Outcome, Proposal, Trial

RewardOf = Callable[[dict[str, Code]], float]


def hidden_target(codes: dict[str, Code]) -> float:
    """Share of decisions that hit a target, 12 decisions of 2 to 6 choices: no agent needs another."""
    target = {"aug": (1, 4, 2, 0), "nas": (3, 0, 5, 1), "hpo": (2, 2, 0, 1)}
    hits = [c == t for agent, code in target.items() for c, t in zip(codes[agent], code, strict=True)]
    return sum(hits) / len(hits)


TARGET = GameSpec({"aug": (2, 6, 4, 3), "nas": (5, 3, 6, 2), "hpo": (4, 4, 2, 3)})


def xor(codes: dict[str, Code]) -> float:
    """Two agents must differ in each of three bits; averaged over the other, no choice is better than another."""
    return sum(a != b for a, b in zip(codes["a"], codes["b"], strict=True)) / 3


XOR = GameSpec({"a": (2, 2, 2), "b": (2, 2, 2)})

# Claus & Boutilier 1998, scaled to [0, 1]: the optimum (0, 0) is surrounded by the worst outcomes, and a partner that still
# explores makes the mediocre third choice look best.
_CLIMBING = (np.array([[11.0, -30.0, 0.0], [-30.0, 7.0, 6.0], [0.0, 0.0, 5.0]]) + 30) / 41


def climbing(codes: dict[str, Code]) -> float:
    return float(_CLIMBING[codes["a"][0], codes["b"][0]])


CLIMBING = GameSpec({"a": (3,), "b": (3,)})


def play(learner: Learner, reward_of: RewardOf, batches: int, batch: int = 24, noise: float = 0.02) -> list[float]:
    """Mean noise-free reward of each batch; the learner is told rewards with noise (sd `noise`)."""
    rng = np.random.default_rng(0)
    means = []
    for start in range(0, batches * batch, batch):
        proposals = learner.ask(batch)
        rewards = [reward_of(dict(p.codes)) for p in proposals]
        learner.tell(
            [
                trial(start + k, p, r + noise * rng.normal())
                for k, (p, r) in enumerate(zip(proposals, rewards, strict=True))
            ]
        )
        means.append(sum(rewards) / batch)
    return means


def trial(number: int, proposal: Proposal, reward: float) -> Trial:
    return Trial(number, number, proposal, Outcome(accuracy=min(1.0, max(0.0, reward))), reward)
