"""Controllers: an agent's policy over its code, decision after decision.

A controller is a one-layer LSTM (Zoph et al. 2018; Cubuk et al. 2019: 100 units, weights uniform in ±0.1). It takes the random
state S_i as its initial input, then every choice that it made as the next input, and has one softmax per decision.

There are two ways through it. `sample` steps by hand, without gradients, over all sequences at once; `log_probs` scores given
codes in one fused LSTM pass (teacher forcing). Both give the same numbers up to rounding; the second is what gradients use.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

INIT_BOUND = 0.1
"""weights start uniform in ±0.1 (Zoph et al. 2018)"""
IMPOSSIBLE = -1e9
"""log-probability of a choice that a decision does not have; finite, so that 0 x it is 0"""


class Sample(NamedTuple):
    """Sampled codes with the log-probabilities of all choices along them."""

    codes: Tensor
    """(n, T) int64"""
    table: Tensor
    """(n, T, C): log pi(. | a_<t, S_i) of every choice; C = most choices of a decision, padding is hugely negative"""

    @property
    def log_prob(self) -> Tensor:
        """Log pi(A_i | S_i), shape (n,)."""
        return chosen(self.table, self.codes)


class Controller(nn.Module):
    """pi_i(A_i | S_i) of one agent with T decisions.

    Args:
        nvec: number of choices of every decision, T entries.
        state_dim: length of S_i.
        hidden: LSTM units.
        embedding: length of the vector that stands for a choice.
        generator: draws the initial weights; the global random state is not touched.
    """

    mask: Tensor
    offsets: Tensor

    def __init__(
        self, nvec: Sequence[int], state_dim: int, *, hidden: int, embedding: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.nvec = tuple(nvec)
        steps, choices = len(self.nvec), max(self.nvec)
        self.state_input = nn.Parameter(torch.empty(state_dim, embedding))
        self.embedding = nn.Parameter(torch.empty(sum(self.nvec), embedding))  # a row per choice of each decision
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, device="meta").to_empty(device="cpu")
        self.head = nn.Parameter(torch.empty(steps, hidden, choices))
        self.head_bias = nn.Parameter(torch.zeros(steps, choices))  # zero: uniform but for the small weights
        for name, parameter in self.named_parameters():
            if name != "head_bias":
                nn.init.uniform_(parameter, -INIT_BOUND, INIT_BOUND, generator=generator)
        sizes = torch.tensor(self.nvec)
        self.register_buffer(
            "mask", torch.arange(choices) >= sizes[:, None], persistent=False
        )  # (T, C) True: no choice
        self.register_buffer("offsets", torch.cumsum(sizes, 0) - sizes, persistent=False)  # (T,) rows of the embedding

    @torch.no_grad()
    def sample(self, states: Tensor, generator: torch.Generator, temperature: float = 1.0) -> Sample:
        """Draw one code per row of `states` (n, state_dim); a temperature above 1 flattens every softmax.

        The random numbers are drawn on the CPU in one go, so a seed gives the same codes on every device.
        """
        n, device = len(states), states.device
        uniform = torch.rand(len(self.nvec), n, generator=generator).to(device)
        codes = torch.empty(n, len(self.nvec), dtype=torch.int64, device=device)
        table = torch.full((n, *self.mask.shape), IMPOSSIBLE, device=device)
        # What an input adds to the gates is known beforehand for every choice.
        weight_ih, weight_hh, bias_ih, bias_hh = self.lstm.all_weights[0]
        weight_in, weight_hidden, bias = weight_ih.t(), weight_hh.t(), bias_ih + bias_hh
        gates_of_choice = torch.addmm(bias, self.embedding, weight_in)
        gates = torch.addmm(bias, states @ self.state_input, weight_in)
        cell: Tensor | None = None
        offset = 0
        for t, size in enumerate(self.nvec):
            i, f, g, o = gates.chunk(4, dim=1)
            new = i.sigmoid() * g.tanh()
            cell = new if cell is None else f.sigmoid() * cell + new
            hidden = o.sigmoid() * cell.tanh()
            logits = torch.addmm(self.head_bias[t, :size], hidden, self.head[t, :, :size])
            step = torch.log_softmax(logits / temperature, dim=1)
            code = (step.exp().cumsum(1) < uniform[t, :, None]).sum(1).clamp_(max=size - 1)  # inverse of the cdf
            codes[:, t] = code
            table[:, t, :size] = step
            gates = torch.addmm(gates_of_choice[code + offset], hidden, weight_hidden)
            offset += size
        return Sample(codes, table)

    def log_probs(self, states: Tensor, codes: Tensor) -> Tensor:
        """Log-probabilities of every choice along given codes, in one fused pass.

        Args:
            states: (n, state_dim).
            codes: (n, T) int64.

        Returns:
            (n, T, C) as in `Sample.table`, with gradients.
        """
        first = (states @ self.state_input)[:, None]
        rest = self.embedding[codes[:, :-1] + self.offsets[:-1]]
        hidden, _ = self.lstm(torch.cat([first, rest], dim=1))
        logits = torch.einsum("nth,thc->ntc", hidden, self.head) + self.head_bias
        return torch.log_softmax(logits.masked_fill(self.mask, IMPOSSIBLE), dim=2)


def chosen(table: Tensor, codes: Tensor) -> Tensor:
    """Log pi(A_i | S_i) = sum_t log pi(a_t | a_<t, S_i): table (n, T, C), codes (n, T) -> (n,)."""
    return table.gather(2, codes[:, :, None]).sum(dim=(1, 2))


def entropy(table: Tensor) -> Tensor:
    """Entropy of the steps along the sampled prefixes, (n, T, C) -> (n,); its mean estimates the policy's, in nats."""
    return -(table.exp() * table).sum(dim=(1, 2))
