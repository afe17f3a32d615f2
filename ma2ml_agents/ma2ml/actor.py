"""One agent's policy, the target policy that it is held to, and its optimizer."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ma2ml_agents.ma2ml import divergence
from ma2ml_agents.policies.controllers import Controller
from ma2ml_agents.policies.intervals import Table
from ma2ml_agents.saving import load_optimizer, optimizer_state


class Actor:
    """Policy pi_i and target policy rho_i, which starts as its copy.

    Args:
        policy: pi_i.
        lr: Adam's step size.
    """

    def __init__(self, policy: Controller, lr: float) -> None:
        self.policy = policy
        self.rho = copy.deepcopy(policy)
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=lr, fused=True)

    def target(self, states: Tensor, codes: Tensor) -> Table:
        """Log-probabilities of rho_i along codes: (n, state_dim), (n, T) -> (n, T, C)."""
        return self.rho.log_probs(states, codes)

    def step(self, loss: Tensor, grad_clip: float) -> None:
        """Move pi_i down the gradient of a loss, whose norm is clipped."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self.policy.parameters(), grad_clip)
        self.optimizer.step()

    def follow(self, tau: float) -> None:
        """Move rho_i towards pi_i (eq. 14)."""
        divergence.soft_update(self.rho.parameters(), self.policy.parameters(), tau)

    def state_dict(self) -> dict[str, Any]:
        """Exact state."""
        return {
            "policy": dict(self.policy.state_dict()),
            "rho": dict(self.rho.state_dict()),
            "optimizer": optimizer_state(self.optimizer),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.policy.load_state_dict(state["policy"])
        self.rho.load_state_dict(state["rho"])
        load_optimizer(self.optimizer, state["optimizer"])
