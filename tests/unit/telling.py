"""What the tests of rivals share: two games, and trials that are made up."""

from collections.abc import Sequence

import numpy as np

from ma2ml_agents.learner import Learner
from ma2ml_env.trial import Code, GameSpec, Outcome, Proposal, Trial

WIDE = GameSpec({"a": (6,) * 8, "b": (5,) * 4})
SMALL = GameSpec({"a": (3,), "b": (4, 1)})


def row(proposal: Proposal) -> Code:
    return tuple(c for code in proposal.codes.values() for c in code)


def made(spec: GameSpec, code: Sequence[int], reward: float) -> Trial:
    values, codes = iter(code), {}
    for agent, nvec in spec.nvec.items():
        codes[agent] = tuple(next(values) for _ in nvec)
    return Trial(0, 0, Proposal(codes), Outcome(), reward)


def zeros(proposals: Sequence[Proposal], reward: float = 0.0) -> list[Trial]:
    return [Trial(k, k, p, Outcome(), reward) for k, p in enumerate(proposals)]


def distance(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def told(learner: Learner, proposals: Sequence[Proposal]) -> list[Code]:
    """Tell the share of ones as reward; the codes told."""
    trials = [Trial(k, k, p, Outcome(), row(p).count(1) / len(row(p))) for k, p in enumerate(proposals)]
    learner.tell(trials)
    return [row(p) for p in proposals]


def ones(proposals: Sequence[Proposal]) -> float:
    return float(np.mean([row(p).count(1) / len(row(p)) for p in proposals]))
