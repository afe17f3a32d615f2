"""The agents' policies in closed form.

Eq. 12 lets agent i's policy maximise E[Q_i(a)] - lambda KL(pi_i || rho_i). The maximiser is proportional to rho_i exp(Q_i /
lambda). The target policy rho_i answers the critic's mean m, proportional to exp(m / mu), eq. 14 without a lag; Q is a draw of
the critic, m + d. So

    pi(a) proportional to exp((m[a] + s d[a]) / T),    1 / T = 1 / lambda + 1 / mu,    s = T / lambda.

Eq. 3's baseline is the mean of Q_i over pi_i, which moves no probability: credit is exact. Where the critic is a sum over
decisions, this holds for all of them at once (`sample`). Where it interacts, agents answer one after another, as Theorem 1
wants it, and within an agent its decisions: each by this formula while all others stand (`answer`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ma2ml_agents.gaussian_functions import GRID, Functions
from ma2ml_agents.ma2ml_exact.effects import Effects
from ma2ml_agents.ma2ml_exact.feature_worth import FeatureWorth

_ROUNDS = 4
"""of all agents' answers, where they interact"""
_WARM = 0.02
"""temperature of the first round above that of the last"""
_SAMPLES = 64
"""joint actions a step, where credit is not exact"""


class Policies:
    """Samples of all agents' policies, with log-probabilities.

    Args:
        effects: the choices.
        slices: columns of each agent; one slice of all is a single agent.
        generator: draws everything.
    """

    def __init__(self, effects: Effects, slices: Sequence[slice], generator: torch.Generator) -> None:
        self._effects, self._slices, self._generator = effects, slices, generator
        self._intervals = torch.from_numpy(effects.intervals)
        sizes, choice = torch.from_numpy(effects.sizes), torch.arange(int(effects.sizes.max()))
        self._rows = torch.where(choice < sizes[:, None], torch.from_numpy(effects.offsets)[:, None] + choice, -1)

    def sample(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """A joint action for each column of logits (size + 1, n): places (n, L), log-probabilities (n, agents)."""
        table = self._table(logits)
        places = self._drawn(table)
        return places, self._by_agent(table.gather(2, places[:, :, None])[:, :, 0])

    def answer(
        self, effects: Tensor, together: Sequence[Functions | FeatureWorth], temperature: float
    ) -> tuple[Tensor, Tensor]:
        """The same of effects and what goes across them, from where all of these stand; of everybody's last answers."""
        log_probs = torch.zeros(together[0].places.shape, dtype=torch.float64)
        for warm in torch.linspace(_WARM, 0.0, _ROUNDS).tolist():
            for agent in self._shuffled(len(self._slices)):
                columns = self._slices[agent]
                for d in (columns.start + place for place in self._shuffled(columns.stop - columns.start)):
                    first, size = int(self._effects.offsets[d]), int(self._effects.sizes[d])
                    values = effects[first : first + size].T + sum(each.values(d) for each in together)
                    table = (values / (temperature + warm)).log_softmax(1)
                    drawn = self._drawn(table)
                    for each in together:
                        each.move(d, drawn)
                    log_probs[:, d] = table.gather(1, drawn[:, None])[:, 0]
        return together[0].places, self._by_agent(log_probs)

    def learned(self, target: Tensor, draws: Tensor, lambda_: float, steps: int) -> Tensor:
        """Logits (size + 1, n) on their way to eq. 12's without exact credit, from target policies' logits and draws of Q.

        The control: each step has the joint values of a few samples, and an agent sees what they were with its choices.
        """
        logits = target
        for step in range(1, steps + 1):
            table = self._table(logits)
            places = self._drawn(table[:, None].expand(-1, _SAMPLES, -1, -1))  # (n, samples, L)
            rows = places + torch.from_numpy(self._effects.offsets)
            flat = rows.flatten(1).T  # (samples x L, n)
            q = draws.gather(0, flat).reshape(_SAMPLES, -1, draws.shape[1]).sum(1)
            gain = (q - q.mean(0)).repeat_interleave(rows.shape[2], 0)
            seen, total = torch.zeros_like(draws), torch.zeros_like(draws)
            seen.scatter_add_(0, flat, torch.ones_like(gain))
            total.scatter_add_(0, flat, gain)
            credit = total / seen.clamp(min=1.0)
            logits = logits + (target + credit / lambda_ - logits) / step
        return logits

    def credit(self, mean: Tensor, codes: Tensor, mu: float) -> list[float]:
        """How far each agent's choices move the critic's mean, (size + 1 or more,), from eq. 3's baseline.

        The baseline is the mean over its target policy; told is the mean of the absolute value over joint actions (n, L).
        """
        table = self._table(mean[:, None])[0]  # log-probabilities, and so values but for a constant of each decision
        value = torch.where(table.isfinite(), table, 0.0)
        baseline = ((value / mu).masked_fill(~table.isfinite(), -torch.inf).softmax(1) * value).sum(1)
        gain = value.gather(1, self.places(codes).T).T - baseline
        return [float(gain[:, columns].sum(1).abs().mean()) for columns in self._slices]

    def codes(self, places: Tensor, dtype: torch.dtype) -> Tensor:
        """Places (n, L) as codes: of an interval a position in the place's cell of the grid, uniformly."""
        if not self._intervals.any():
            return places.to(dtype)
        shift = torch.rand(places.shape, generator=self._generator, dtype=torch.float64) - 0.5
        inside = (places + shift).clamp(0, GRID - 1) / (GRID - 1)
        return torch.where(self._intervals, inside, places.double()).to(dtype)

    def places(self, codes: Tensor) -> Tensor:
        """Codes (n, L) as places: of an interval the nearest on the grid."""
        return torch.where(self._intervals, (codes * (GRID - 1.0)).round(), codes).long()

    def _table(self, logits: Tensor) -> Tensor:
        """Log-probabilities (n, L, C) of logits (size + 1 or more, n)."""
        beyond = logits.new_full((1, logits.shape[1]), -torch.inf)  # row -1, in place of the level
        return torch.cat([logits[: self._effects.size], beyond])[self._rows].permute(2, 0, 1).log_softmax(2)

    def _by_agent(self, log_probs: Tensor) -> Tensor:
        """Log-probabilities of decisions (n, L), of intervals as densities, summed over each agent's (n, agents)."""
        density = self._intervals * torch.tensor(GRID - 1.0, dtype=torch.float64).log()
        return torch.stack([(log_probs + density)[:, columns].sum(1) for columns in self._slices], dim=1)

    def _drawn(self, table: Tensor) -> Tensor:
        """A choice of each row of log-probabilities (..., C), by Gumbel's maximum."""
        uniform = torch.rand(table.shape, generator=self._generator, dtype=torch.float64)
        return (table - (-uniform.log()).log()).argmax(-1)

    def _shuffled(self, n: int) -> list[int]:
        order: list[int] = torch.randperm(n, generator=self._generator).tolist()
        return order
