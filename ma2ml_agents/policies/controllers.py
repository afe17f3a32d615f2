"""Controllers: an agent's policy over its code, decision after decision.

A controller is a one-layer LSTM (Zoph et al. 2018; Cubuk et al. 2019: 100 units, weights uniform in ±0.1). It takes the random
state S_i as its initial input, then every choice that it made as the next input, and has one softmax per decision.

Intervals come after the decisions (`MixedController`): each has a squashed Gaussian in place of the softmax.

There are two ways through it. `sample` steps by hand, without gradients, over all sequences at once; `log_probs` scores given
codes in one fused LSTM pass (teacher forcing). Both give the same numbers up to rounding; the second is what gradients use.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ma2ml_agents.policies.intervals import RESOLUTION, Gaussians, MixedTable, Table
from ma2ml_env.trial import GameSpec

INIT_BOUND = 0.1
"""weights start uniform in ±0.1 (Zoph et al. 2018)"""
IMPOSSIBLE = -1e9
"""log-probability of a choice that a decision does not have; finite, so that 0 x it is 0"""


class Sample(NamedTuple):
    """Sampled codes with the log-probabilities of all choices along them."""

    codes: Tensor
    """(n, T) int64; with intervals (n, T + their number) float64"""
    table: Table
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
        steps, choices = len(self.nvec), max(self.nvec, default=1)
        self.state_input = nn.Parameter(torch.empty(state_dim, embedding))
        self.embedding = nn.Parameter(torch.empty(sum(self.nvec), embedding))  # a row per choice of each decision
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, device="meta").to_empty(device="cpu")
        self.head = nn.Parameter(torch.empty(steps, hidden, choices))
        self.head_bias = nn.Parameter(torch.zeros(steps, choices))  # zero: uniform but for the small weights
        for name, parameter in self.named_parameters():
            if name != "head_bias":
                nn.init.uniform_(parameter, -INIT_BOUND, INIT_BOUND, generator=generator)
        sizes = torch.tensor(self.nvec, dtype=torch.int64)
        self.register_buffer(
            "mask", torch.arange(choices) >= sizes[:, None], persistent=False
        )  # (T, C) True: no choice
        self.register_buffer("offsets", torch.cumsum(sizes, 0) - sizes, persistent=False)  # (T,) rows of the embedding

    @torch.no_grad()
    def sample(self, states: Tensor, generator: torch.Generator, temperature: float = 1.0) -> Sample:
        """Draw one code per row of `states` (n, state_dim); a temperature above 1 flattens every softmax.

        The random numbers are drawn on the CPU in one go, so a seed gives the same codes on every device.
        """
        return self._decide(states, generator, temperature)[0]

    def _decide(
        self, states: Tensor, generator: torch.Generator, temperature: float
    ) -> tuple[Sample, Tensor, Tensor | None]:
        """A sample of the decisions; the gates' inputs of the step that would follow, and the cell state there."""
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
        return Sample(codes, table), gates, cell

    def log_probs(self, states: Tensor, codes: Tensor) -> Table:
        """Log-probabilities of every choice along given codes, in one fused pass.

        Args:
            states: (n, state_dim).
            codes: (n, T) int64.

        Returns:
            As in `Sample.table`, with gradients.
        """
        first = (states @ self.state_input)[:, None]
        rest = self.embedding[codes[:, :-1].long() + self.offsets[:-1]]
        hidden, _ = self.lstm(torch.cat([first, rest], dim=1))
        return self._choices(hidden)

    def _choices(self, hidden: Tensor) -> Tensor:
        """Log-probabilities (n, T, C) of the decisions from the hidden states (n, T, hidden) before them."""
        logits = torch.einsum("nth,thc->ntc", hidden, self.head) + self.head_bias
        return torch.log_softmax(logits.masked_fill(self.mask, IMPOSSIBLE), dim=2)


class MixedController(Controller):
    """pi_i(A_i | S_i) of one agent with T decisions, possibly none, and then C intervals.

    The LSTM goes on after the decisions: a position u enters as 2u - 1 times a vector of the interval's own.

    Args:
        nvec: number of choices of every decision, T entries.
        intervals: C.
        state_dim: length of S_i.
        hidden: LSTM units.
        embedding: length of the vector that stands for a choice.
        generator: draws the initial weights; the global random state is not touched.
    """

    def __init__(
        self,
        nvec: Sequence[int],
        intervals: int,
        state_dim: int,
        *,
        hidden: int,
        embedding: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(nvec, state_dim, hidden=hidden, embedding=embedding, generator=generator)
        self.position_input = nn.Parameter(torch.empty(intervals, embedding))
        self.interval_head = nn.Parameter(torch.empty(intervals, hidden, 2))
        self.interval_bias = nn.Parameter(
            torch.zeros(intervals, 2)
        )  # zero: `intervals.START` but for the small weights
        for parameter in (self.position_input, self.interval_head):
            nn.init.uniform_(parameter, -INIT_BOUND, INIT_BOUND, generator=generator)

    @torch.no_grad()
    def sample(self, states: Tensor, generator: torch.Generator, temperature: float = 1.0) -> Sample:
        """Draw one code per row of `states` (n, state_dim); a temperature above 1 widens every Gaussian too."""
        decided, gates, cell = self._decide(states, generator, temperature)
        assert isinstance(decided.table, Tensor)
        normal = torch.randn(len(self.interval_head), len(states), generator=generator).to(states)
        weight_ih, weight_hh, bias_ih, bias_hh = self.lstm.all_weights[0]
        positions, gaussians = [], []
        for c, head in enumerate(self.interval_head):
            i, f, g, o = gates.chunk(4, dim=1)
            new = i.sigmoid() * g.tanh()
            cell = new if cell is None else f.sigmoid() * cell + new
            hidden = o.sigmoid() * cell.tanh()
            gaussian = Gaussians.of((hidden @ head + self.interval_bias[c])[:, None]).heated(temperature)
            position = gaussian.draw(normal[c, :, None])
            inputs = self._position_inputs(position, slice(c, c + 1))[:, 0]
            gates = inputs @ weight_ih.t() + hidden @ weight_hh.t() + bias_ih + bias_hh
            positions.append(position)
            gaussians.append(gaussian)
        drawn = Gaussians(*(torch.cat([getattr(g, f) for g in gaussians], dim=1) for f in ("mean", "log_std")))
        return Sample(torch.cat([decided.codes, *positions], dim=1), MixedTable(decided.table, drawn))

    def log_probs(self, states: Tensor, codes: Tensor) -> MixedTable:
        """As in `Controller`: states (n, state_dim), codes (n, T + C)."""
        steps = len(self.nvec)
        first = (states @ self.state_input)[:, None]
        choices = self.embedding[codes[:, :steps].long() + self.offsets]
        positions = self._position_inputs(codes[:, steps:], slice(None))
        hidden, _ = self.lstm(torch.cat([first, choices, positions], dim=1)[:, :-1])
        outputs = torch.einsum("nch,cho->nco", hidden[:, steps:], self.interval_head) + self.interval_bias
        return MixedTable(self._choices(hidden[:, :steps]), Gaussians.of(outputs))

    def _position_inputs(self, positions: Tensor, intervals: slice) -> Tensor:
        scaled = (2 * positions - 1).to(self.position_input.dtype)
        return scaled[:, :, None] * self.position_input[intervals]


def controller(spec: GameSpec, agent: str, *, hidden: int, embedding: int, generator: torch.Generator) -> Controller:
    """The controller of one agent of a game; see the classes above."""
    nvec, intervals = spec.nvec[agent], spec.intervals.get(agent, 0)
    if not intervals:
        return Controller(nvec, spec.state_dim, hidden=hidden, embedding=embedding, generator=generator)
    return MixedController(nvec, intervals, spec.state_dim, hidden=hidden, embedding=embedding, generator=generator)


def act(
    policies: Iterable[Controller], states: Tensor, generator: torch.Generator, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Joint actions A_i ~ pi_i(.|S_i), agent after agent, and each agent's log-probability of its part.

    States (n, agents, state_dim) on the policies' device -> codes (n, L), log-probabilities (n, agents).
    """
    samples = [policy.sample(states[:, i], generator, temperature) for i, policy in enumerate(policies)]
    codes, log_probs = [sample.codes for sample in samples], [sample.log_prob for sample in samples]
    return torch.cat(codes, dim=1), torch.stack(log_probs, dim=1)


def chosen(table: Table, codes: Tensor) -> Tensor:
    """Log pi(A_i | S_i) = sum_t log pi(a_t | a_<t, S_i): table (n, T, C), codes (n, T) -> (n,); of intervals the density."""
    if isinstance(table, MixedTable):
        steps = table.choices.shape[1]
        return chosen(table.choices, codes[:, :steps]) + table.gaussians.log_prob(codes[:, steps:]).sum(1)
    return table.gather(2, codes[:, :, None].long()).sum(dim=(1, 2))


def entropy(table: Table) -> Tensor:
    """Entropy of the steps along the sampled prefixes, (n, T, C) -> (n,); its mean estimates the policy's, in nats.

    An interval counts as a decision of `RESOLUTION` choices: the logarithm of that, plus its differential entropy.
    """
    if isinstance(table, MixedTable):
        return entropy(table.choices) + (table.gaussians.entropy() + math.log(RESOLUTION)).sum(1)
    return -(table.exp() * table).sum(dim=(1, 2))
