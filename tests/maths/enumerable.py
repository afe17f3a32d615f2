"""A game small enough to sum over every joint action: three agents, up to two decisions each, 72 joint actions."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ma2ml_agents.policies.controllers import Controller, chosen

NVEC: dict[str, tuple[int, ...]] = {"aug": (2, 3), "nas": (3, 2), "hpo": (2,)}
STATE_DIM = 4
COLUMNS = {"aug": slice(0, 2), "nas": slice(2, 4), "hpo": slice(4, 5)}


def all_codes(nvec: tuple[int, ...]) -> Tensor:
    """Every code, (codes, T)."""
    return torch.tensor(list(itertools.product(*(range(n) for n in nvec))))


JOINT = all_codes(tuple(n for nvec in NVEC.values() for n in nvec))  # (72, 5)


def controllers(seed: int) -> dict[str, Controller]:
    """Far from uniform, in double precision."""
    g = torch.Generator().manual_seed(seed)
    made = {a: Controller(v, STATE_DIM, hidden=6, embedding=5, generator=g).double() for a, v in NVEC.items()}
    with torch.no_grad():
        for controller in made.values():
            for parameter in controller.parameters():
                parameter.copy_(0.8 * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return made


@dataclass
class Enumerated:
    """Policies pi and target policies rho at one state S, and any Q over the joint actions."""

    pi: Mapping[str, Controller]
    rho: Mapping[str, Controller]
    states: Mapping[str, Tensor]
    values: Tensor

    @classmethod
    def make(cls, seed: int) -> "Enumerated":
        g = torch.Generator().manual_seed(100 + seed)
        states = {agent: torch.randn(1, STATE_DIM, generator=g, dtype=torch.float64) for agent in NVEC}
        values = torch.randn(len(JOINT), generator=g, dtype=torch.float64)
        return cls(controllers(seed), controllers(seed + 50), states, values)

    def table(self, policies: Mapping[str, Controller], agent: str, codes: Tensor) -> Tensor:
        return policies[agent].log_probs(self.states[agent].expand(len(codes), -1), codes)

    def log_prob(self, policies: Mapping[str, Controller], agent: str, codes: Tensor) -> Tensor:
        return chosen(self.table(policies, agent, codes), codes)

    def joint_log_prob(self, policies: Mapping[str, Controller], joint: Tensor = JOINT) -> Tensor:
        return torch.stack([self.log_prob(policies, a, joint[:, c]) for a, c in COLUMNS.items()]).sum(0)

    def q(self, joint: Tensor) -> Tensor:
        """Q of any joint actions, (..., 5) -> (...)."""
        strides = torch.tensor([36, 12, 4, 2, 1])  # of the order in which JOINT counts
        return self.values[(joint * strides).sum(-1)]

    def exact_baseline(self, agent: str, joint: Tensor, weight: float = 0.0) -> Tensor:
        """E_{A_i ~ pi_i}[Q - weight log(pi / rho)] with A_-i from `joint` (n, 5): eq. 3, or eq. 12 with a weight."""
        total = torch.zeros(len(joint), dtype=torch.float64)
        for own in all_codes(NVEC[agent]):
            replaced = joint.clone()
            replaced[:, COLUMNS[agent]] = own
            value = self.q(replaced)
            if weight:
                ratio = self.joint_log_prob(self.pi, replaced) - self.joint_log_prob(self.rho, replaced)
                value = value - weight * ratio
            total = total + self.log_prob(self.pi, agent, own[None]).exp() * value
        return total.detach()


def gradient(loss: Tensor, controller: Controller) -> Tensor:
    """Flat gradient with respect to one agent's parameters."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(controller.parameters()), retain_graph=True)])


def differ(a: Tensor, b: Tensor) -> float:
    """Relative distance."""
    return float((a - b).norm() / b.norm())
