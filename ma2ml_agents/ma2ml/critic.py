"""The central critic Q_phi(S, A) (paper, sections 3.4 and 3.6; eq. 11)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """An ensemble of M networks over the one-hot decisions of all agents; M = 1 is the paper's single critic.

    Each member is a multi-layer perceptron, plus a linear term of its own if wanted: main effects of single decisions are found
    from the first hundred pipelines on, and the perceptron is left with the interactions. All members are evaluated at once.

    Args:
        nvec: number of choices of every decision of the joint action, L entries.
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
        linear: bool,
        state_size: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        sizes = torch.tensor(nvec)
        self.members, self.inputs = members, sum(nvec)
        self.register_buffer("offsets", torch.cumsum(sizes, 0) - sizes, persistent=False)
        widths = [self.inputs + state_size, *hidden, 1]
        active = [len(nvec) + state_size, *hidden]  # inputs of a layer that are not zero
        self.weights = nn.ParameterList(torch.empty(members, a, b) for a, b in pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(members, 1, b) for b in widths[1:])
        for weight, fan_in in zip(self.weights, active, strict=True):
            nn.init.normal_(weight, std=math.sqrt(2 / fan_in), generator=generator)
        nn.init.zeros_(self.weights[-1])  # Q starts at 0: what it says later was learned
        self.linear = nn.Parameter(torch.zeros(members, self.inputs + state_size, 1)) if linear else None

    def forward(self, codes: Tensor, states: Tensor | None = None) -> Tensor:
        """Q of every member: codes (n, L) int64, states (n, state_size) -> (M, n)."""
        x = torch.zeros(len(codes), self.inputs, device=codes.device).scatter_(1, codes + self.offsets, 1.0)
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
