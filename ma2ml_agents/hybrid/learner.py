"""The hybrid: a MARL learner's policies inside, a behaviour policy around them. Ours, not the paper's.

MA2ML learns off-policy, so it may learn from pipelines that others propose. Most of a batch comes from the behaviour policy
(`behaviour.py`), a tenth of the rest from the policies themselves, and both learn from all of it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ma2ml_agents.hybrid.behaviour import Behaviour
from ma2ml_agents.hybrid.config import POLICIES, HybridConfig
from ma2ml_agents.learner import States
from ma2ml_agents.ma2ml.distinct import redraw
from ma2ml_env.trial import GameSpec, Proposal, Trial


class Hybrid:
    """A MARL learner's policies inside, and around them exact critics and mutants that propose most of each batch."""

    Config = HybridConfig

    def __init__(
        self, spec: GameSpec, config: HybridConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = c = config or HybridConfig()
        kind = POLICIES[c.policies]
        self.inner = kind(spec, kind.Config(**c.policy_settings), seed=seed, device=device)
        self.behaviour = Behaviour(c, self.inner.joint, self.inner.generator)

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Draw a batch from the policies, then let the behaviour policy replace most of it; see `Learner.ask`."""
        inner = self.inner
        s = inner.joint.states(n, states, inner.generator)
        codes, log_probs = inner.act(s)
        origins: list[str] = []
        if len(inner.replay):
            known, targets = torch.from_numpy(inner.replay.codes), torch.from_numpy(inner.targets())
            more = partial(self._draw, s=s)
            origins = self.behaviour.propose(codes, known, targets, more, partial(self._opinions, s=s))
        origins += ["policy"] * (n - len(origins))
        redraw(codes, log_probs, inner.replay.codes, lambda rows, heat: inner.act(s[rows], heat), origins)
        return inner.proposals(codes, s, None, origins)

    def _draw(self, m: int, s: Tensor) -> Tensor:
        """What the policies draw at the first m states, several times: (candidates x m, L)."""
        return self.inner.act(s[:m].repeat(self.config.candidates, 1, 1))[0]

    @torch.no_grad()
    def _opinions(self, pool: Tensor, s: Tensor) -> Tensor:
        """Each central critic's value of candidates (n, L): (M, n). Where Q reads S, all are compared at one S."""
        device = self.inner.device
        return self.inner.q(pool.to(device), s[:1].expand(len(pool), -1, -1).to(device)).cpu()

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Let the behaviour policy and the policies learn from the same trials; see `Learner.tell`."""
        if not trials:
            return {}
        reward = self.inner.remember(trials)
        replay = self.inner.replay
        self.behaviour.learn(torch.from_numpy(replay.codes), torch.from_numpy(self.inner.targets()), len(trials))
        return {"reward": reward, **self.inner.learn(len(trials))}

    def state_dict(self) -> dict[str, Any]:
        """Exact state; see `Learner.state_dict`."""
        return {**self.inner.state_dict(), "behaviour": self.behaviour.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.inner.load_state_dict(state)
        self.behaviour.load_state_dict(state["behaviour"])
