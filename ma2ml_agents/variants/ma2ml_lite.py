"""MA2ML-Lite: one controller per agent, each learning from the common reward alone (paper, section 3.3; eq. 2)."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from ma2ml_agents.joint import Joint
from ma2ml_agents.learner import States
from ma2ml_agents.policies.controllers import act, chosen, controller, entropy
from ma2ml_agents.returns import MovingAverage
from ma2ml_agents.saving import load_optimizer, optimizer_state, seeded
from ma2ml_env.io.settings import check_ranges
from ma2ml_env.trial import GameSpec, Proposal, Trial


@dataclass(frozen=True)
class MA2MLLiteConfig:
    """Settings of `MA2MLLite`. The paper publishes none of them.

    Raises:
        ValueError: if a setting is out of its range.
    """

    hidden: int = 100
    """LSTM units of a controller (NASNet, AutoAugment)"""
    embedding: int = 32
    """length of the vector that stands for a choice in a controller"""
    policy_lr: float = 7e-3
    """Adam's step size of the policies"""
    decay: float = 0.95
    """of the moving average of rewards that is the baseline b (NASNet, AutoAugment, TuNAS)"""
    grad_clip: float = 10.0
    """largest norm of a policy's gradient"""

    def __post_init__(self) -> None:
        check_ranges(self, positive=("policy_lr", "grad_clip"), units=("hidden", "embedding"))
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay lies in [0, 1), not {self.decay}")


class MA2MLLite:
    """MA2ML-Lite (eq. 2): REINFORCE with a moving average for each agent; no critic, no replay."""

    Config = MA2MLLiteConfig

    def __init__(
        self, spec: GameSpec, config: MA2MLLiteConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = c = config or self.Config()
        self.device = torch.device(device)
        self.generator = seeded(seed)
        self.joint = Joint(spec)
        self.policies = {
            agent: controller(spec, agent, hidden=c.hidden, embedding=c.embedding, generator=self.generator).to(
                self.device
            )
            for agent in self.joint.agents
        }
        self.optimizers = {a: torch.optim.Adam(p.parameters(), lr=c.policy_lr) for a, p in self.policies.items()}
        self.average = MovingAverage(c.decay)

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Draw S_i ~ N(0, I) and A_i ~ pi_i(.|S_i); see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        codes, log_probs = act(self.policies.values(), s.to(self.device), self.generator)
        return self.joint.proposals(codes, s, log_probs, ["policy"] * n)

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """One step of eq. 2 on these trials; see `Learner.tell`. Foreign trials count as if the policies had drawn them."""
        if not trials:
            return {}
        codes, states, rewards = self.joint.read(trials, self.generator)
        gains = []
        for reward in rewards:  # in trial order: b holds the previous rewards only
            gains.append(reward - self.average.value(default=reward))  # R - b
            self.average.update(reward)
        gain = torch.tensor(gains, dtype=torch.float32, device=self.device)
        all_codes, all_states = torch.from_numpy(codes).to(self.device), torch.from_numpy(states).to(self.device)
        metrics = {"reward": sum(rewards) / len(rewards), "baseline": self.average.value(0.0), "updates": 1.0}
        for i, (agent, policy) in enumerate(self.policies.items()):
            code = all_codes[:, self.joint.slices[agent]]
            table = policy.log_probs(all_states[:, i], code)
            loss = reinforce_loss(chosen(table, code), gain)
            self.optimizers[agent].zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            clip_grad_norm_(policy.parameters(), self.config.grad_clip)
            self.optimizers[agent].step()
            metrics[f"entropy/{agent}"] = entropy(table.detach()).mean().item()
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Exact state; see `Learner.state_dict`."""
        return {
            "policies": {agent: dict(policy.state_dict()) for agent, policy in self.policies.items()},
            "optimizers": {agent: optimizer_state(optimizer) for agent, optimizer in self.optimizers.items()},
            "average": self.average.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        for agent, policy in self.policies.items():
            policy.load_state_dict(state["policies"][agent])
            load_optimizer(self.optimizers[agent], state["optimizers"][agent])
        self.average.load_state_dict(state["average"])
        self.generator.set_state(copy.deepcopy(state["generator"]))


def reinforce_loss(log_prob: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """The scalar whose descent is eq. 2's ascent: log pi_i(A_i|S_i) (n,) with gradient, R - b (n,) without."""
    return -(log_prob * gain).mean()
