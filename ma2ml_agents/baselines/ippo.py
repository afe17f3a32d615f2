"""IPPO: independent proximal policy optimisation, every agent for itself (de Witt et al. 2020).

The agents share nothing but the reward: agent i has its controller, its clipped ratio and its value V_i(S_i).
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from ma2ml_agents.joint import Joint
from ma2ml_agents.learner import States
from ma2ml_agents.policies.controllers import Controller, act, chosen, controller, entropy
from ma2ml_agents.returns import MovingAverage
from ma2ml_agents.saving import load_optimizer, optimizer_state, seeded
from ma2ml_env.io.settings import check_ranges
from ma2ml_env.trial import GameSpec, Proposal, Trial

FURTHEST = 0.5
"""largest |log ratio| at the start of an update. A foreign trial's could be hundreds, and its exponential no number; a limit
beyond the clip bounds its weight, and changes nothing for trials of the policies as they are"""


@dataclass(frozen=True)
class IPPOConfig:
    """Settings of `IPPO`, tuned on synthetic landscapes of 100 decisions.

    Raises:
        ValueError: if a setting is out of range.
    """

    hidden: int = 100
    """LSTM units of a controller (NASNet, AutoAugment)"""
    embedding: int = 32
    """length of the vector that stands for a choice in a controller"""
    policy_lr: float = 7e-3
    """Adam's step size of the policies"""
    epochs: int = 5
    """passes over each batch of trials; a pass is one step on the whole batch (Yu et al. 2022: no minibatches)"""
    clip: float = 0.3
    """the ratio pi_i / pi_i,old earns nothing outside 1 ± clip"""
    entropy_weight: float = 0.0
    """of a policy's entropy, in nats, added to what it maximises"""
    normalise: bool = True
    """whether the advantages of a batch get zero mean and unit variance"""
    grad_clip: float = 10.0
    """largest norm of a policy's gradient, and of a critic's"""
    critic_hidden: tuple[int, ...] = (64,)
    """widths of a critic's hidden layers"""
    critic_lr: float = 1e-3
    """Adam's step size of the critics"""
    decay: float = 0.95
    """of the moving averages of R and R^2, the scale that the critics learn on"""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=("epochs",),
            positive=("policy_lr", "clip", "grad_clip", "critic_lr"),
            not_negative=("entropy_weight",),
            units=("hidden", "embedding"),
            layers=("critic_hidden",),
        )
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), not {self.decay}")


class IPPO:
    """Independent PPO (de Witt et al. 2020, arXiv 2011.09533; the clipped objective: Schulman et al. 2017, eq. 7).

    An episode is one step, so the return is the reward and A_i = R - V_i(S_i). The ratio is the agent's own, over all of its
    decisions: one agent's step neither clips nor scales another's. Old log-probabilities are the proposal's where it has finite
    ones of all agents; a trial without counts as drawn by the policies as they are. Chosen where the paper leaves it open:
    whole batches and values learned on a moving scale of the rewards, as Yu et al. 2022 do; the value's error is not clipped.
    """

    Config: type[IPPOConfig] = IPPOConfig

    def __init__(self, spec: GameSpec, config: IPPOConfig | None = None, *, seed: int = 0, device: str = "cpu") -> None:
        self.config = c = config or self.Config()
        self.device = torch.device(device)
        self.generator = g = seeded(seed)
        self.joint = Joint(spec)
        self.policies: dict[str, Controller] = {}
        for agent in self.joint.agents:
            policy = controller(spec, agent, hidden=c.hidden, embedding=c.embedding, generator=g)
            self.policies[agent] = policy.to(self.device)
        self.critics = {n: value_network(w, c.critic_hidden, g).to(self.device) for n, w in self._inputs().items()}
        self.policy_steps = {a: torch.optim.Adam(p.parameters(), lr=c.policy_lr) for a, p in self.policies.items()}
        self.critic_steps = {n: torch.optim.Adam(v.parameters(), lr=c.critic_lr) for n, v in self.critics.items()}
        self.mean, self.square = MovingAverage(c.decay), MovingAverage(c.decay)

    def _inputs(self) -> dict[str, int]:
        """Length of what each critic sees, by name."""
        return {agent: self.joint.spec.state_dim for agent in self.joint.agents}

    def _seen(self, states: Tensor) -> Tensor:
        """What each critic sees: all states (n, agents, state_dim) -> (n, critics, input)."""
        return states

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Draw S_i ~ N(0, I) and A_i ~ pi_i(.|S_i); see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        codes, log_probs = act(self.policies.values(), s.to(self.device), self.generator)
        return self.joint.proposals(codes, s, log_probs, ["policy"] * n)

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """`epochs` steps of every policy and critic on these trials; see `Learner.tell`."""
        if not trials:
            return {}
        codes, states, rewards = self.joint.read(trials, self.generator)
        all_codes, all_states = torch.from_numpy(codes).to(self.device), torch.from_numpy(states).to(self.device)
        for reward in rewards:
            self.mean.update(reward)
            self.square.update(reward**2)
        mean = self.mean.value(0.0)
        scale = max(math.sqrt(max(self.square.value(0.0) - mean**2, 0.0)), 1e-3)  # equal rewards have no scale
        returns = torch.tensor([(reward - mean) / scale for reward in rewards], dtype=torch.float32).to(self.device)
        metrics = {"reward": sum(rewards) / len(rewards), "updates": float(self.config.epochs)}
        seen = self._seen(all_states)
        with torch.no_grad():  # before the critics learn these returns
            values = torch.stack([v(seen[:, k])[:, 0] for k, v in enumerate(self.critics.values())], dim=1)
        gains = (returns[:, None] - values).expand(-1, len(self.policies))  # a single critic is everybody's
        for k, name in enumerate(self.critics):
            metrics[f"value_loss/{name}"] = self._learn_value(name, seen[:, k], returns)
        parts = [all_codes[:, columns] for columns in self.joint.slices.values()]
        with torch.no_grad():
            tables = [p.log_probs(all_states[:, i], parts[i]) for i, p in enumerate(self.policies.values())]
            current = torch.stack([chosen(table, part) for table, part in zip(tables, parts, strict=True)], dim=1)
        old = near(behaviour(trials, self.joint.agents, current), current)
        for i, agent in enumerate(self.policies):
            gain = standardise(gains[:, i]) if self.config.normalise else gains[:, i]
            metrics |= self._learn_policy(agent, all_states[:, i], parts[i], old[:, i], gain)
        return metrics

    def _learn_value(self, name: str, seen: Tensor, returns: Tensor) -> float:
        """Steps of a critic: inputs (n, width), returns (n,); the loss before the last of them."""
        for _ in range(self.config.epochs):
            loss = ((self.critics[name](seen)[:, 0] - returns) ** 2).mean()
            self._step(self.critics[name], self.critic_steps[name], loss)
        return float(loss.item())

    def _learn_policy(self, agent: str, states: Tensor, codes: Tensor, old: Tensor, gain: Tensor) -> dict[str, float]:
        """Steps of one policy: states (n, state_dim), codes (n, L_i), old log-probabilities (n,), advantages (n,)."""
        policy = self.policies[agent]
        for _ in range(self.config.epochs):
            table = policy.log_probs(states, codes)
            log_prob, spread = chosen(table, codes), entropy(table).mean()
            loss = clipped_loss(log_prob, old, gain, self.config.clip) - self.config.entropy_weight * spread
            self._step(policy, self.policy_steps[agent], loss)
        outside = ((log_prob.detach() - old).exp() - 1).abs() > self.config.clip
        return {f"entropy/{agent}": spread.item(), f"clipped/{agent}": outside.float().mean().item()}

    def _step(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(network.parameters(), self.config.grad_clip)
        optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Exact state; see `Learner.state_dict`."""
        return {
            "policies": {agent: dict(policy.state_dict()) for agent, policy in self.policies.items()},
            "critics": {name: dict(critic.state_dict()) for name, critic in self.critics.items()},
            "policy_steps": {agent: optimizer_state(optimizer) for agent, optimizer in self.policy_steps.items()},
            "critic_steps": {name: optimizer_state(optimizer) for name, optimizer in self.critic_steps.items()},
            "mean": self.mean.state_dict(),
            "square": self.square.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        for agent, policy in self.policies.items():
            policy.load_state_dict(state["policies"][agent])
            load_optimizer(self.policy_steps[agent], state["policy_steps"][agent])
        for name, critic in self.critics.items():
            critic.load_state_dict(state["critics"][name])
            load_optimizer(self.critic_steps[name], state["critic_steps"][name])
        self.mean.load_state_dict(state["mean"])
        self.square.load_state_dict(state["square"])
        self.generator.set_state(copy.deepcopy(state["generator"]))


def clipped_loss(log_prob: Tensor, old: Tensor, gain: Tensor, clip: float) -> Tensor:
    """PPO's loss, -E[min(r A, clip(r, 1 ± clip) A)]; log-probabilities new with gradient and old (n,), advantages A (n,)."""
    ratio = (log_prob - old).exp()
    return -torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain).mean()


def behaviour(trials: Sequence[Trial], agents: Sequence[str], current: Tensor) -> Tensor:
    """Log-probabilities of the policies that drew each trial, (n, agents), given those of the current ones (n, agents).

    They are the proposal's where it has finite ones of all agents, else the current policies' own.
    """
    told = current.clone()
    for row, trial in zip(told, trials, strict=True):
        known = trial.proposal.log_probs or {}
        values = [known.get(agent, math.nan) for agent in agents]
        if all(map(math.isfinite, values)):
            row.copy_(torch.tensor(values))
    return told


def near(old: Tensor, current: Tensor) -> Tensor:
    """Old log-probabilities moved to within `FURTHEST` of the current ones; shapes are equal."""
    return torch.clamp(old, current - FURTHEST, current + FURTHEST)


def standardise(gains: Tensor) -> Tensor:
    """Zero mean and unit variance, (n,) -> (n,); zeros where all are equal. A single one stays as it is."""
    if len(gains) < 2:
        return gains
    return (gains - gains.mean()) / (gains.std(correction=0) + 1e-8)


def value_network(width: int, hidden: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """V: (n, width) -> (n, 1); tanh between orthogonal layers, and 0 before it has learned anything."""
    widths = [width, *hidden, 1]
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        linear = nn.Linear(a, b, device="meta").to_empty(device="cpu")  # no draw from the global random state
        nn.init.orthogonal_(linear.weight, generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh()]
    nn.init.zeros_(linear.weight)
    return nn.Sequential(*layers[:-1])
