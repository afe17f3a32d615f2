"""The central critic Q_phi(S, A) (paper, sections 3.4 and 3.6; eq. 11)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ma2ml_agents.policies.intervals import COSINES, cosines


class Critic(nn.Module):
    """An ensemble of M networks over the one-hot decisions of all agents; M = 1 is the paper's single critic.

    Each member is a multi-layer perceptron, plus a linear term of its own if wanted. All members are evaluated at once. An
    interval enters as a few cosines of its position (`intervals.py`).

    Args:
        nvec: number of choices of every decision of the joint action, L entries; 0 stands for an interval.
        hidden: widths of the hidden layers.
        members: M.
        linear: whether a linear term stands beside the perceptron.
        state_size: length of all agents' states S together; 0 where Q ignores S, which says nothing about the reward.
        generator: draws the initial weights.
    """

    offsets: Tensor

    def __init__(
        self,
        nvec: Sequence[int],
        *,
        hidden: Sequence[int],
        members: int,
        linear: bool = False,
        state_size: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.decisions = [column for column, size in enumerate(nvec) if size]
        self.intervals = [column for column, size in enumerate(nvec) if not size]
        sizes = torch.tensor([size for size in nvec if size], dtype=torch.int64)
        self.members, self.choices = members, sum(nvec)
        inputs = self.choices + COSINES * len(self.intervals) + state_size
        self.register_buffer("offsets", torch.cumsum(sizes, 0) - sizes, persistent=False)
        widths = [inputs, *hidden, 1]
        # Inputs of a layer that are not zero; the cosines of an interval have half the square of as many ones.
        active = [len(self.decisions) + COSINES * len(self.intervals) / 2 + state_size, *hidden]
        self.weights = nn.ParameterList(torch.empty(members, a, b) for a, b in pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(members, 1, b) for b in widths[1:])
        for weight, fan_in in zip(self.weights, active, strict=True):
            nn.init.normal_(weight, std=math.sqrt(2 / fan_in), generator=generator)
        nn.init.zeros_(self.weights[-1])  # Q starts at 0: what it says later was learned
        self.linear = nn.Parameter(torch.zeros(members, inputs, 1)) if linear else None

    def forward(self, codes: Tensor, states: Tensor | None = None) -> Tensor:
        """Q of every member: codes (n, L), states (n, state_size) -> (M, n)."""
        choices = codes[:, self.decisions].long() if self.intervals else codes
        x = torch.zeros(len(codes), self.choices, device=codes.device).scatter_(1, choices + self.offsets, 1.0)
        if self.intervals:
            x = torch.cat([x, cosines(codes[:, self.intervals])], dim=1)
        if states is not None:
            x = torch.cat([x, states], dim=1)
        inputs = x.expand(self.members, *x.shape)
        value = inputs
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            value = torch.baddbmm(bias, torch.relu(value) if depth else value, weight)
        if self.linear is not None:
            value = value + torch.bmm(inputs, self.linear)
        return value[:, :, 0]


def critic_loss(q: Tensor, targets: Tensor) -> Tensor:
    """L_Q = E[(Q_phi(S, A) - R)^2] (eq. 11), summed over the members, which share nothing: q (M, n), targets (n,)."""
    return ((q - targets) ** 2).mean(1).sum()
