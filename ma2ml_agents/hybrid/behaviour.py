"""The behaviour policy: which pipelines of a batch are trained. Not of the paper, which trains what its policies draw.

MA2ML learns off-policy, so any joint actions will do. Each of these origins has a share of a batch:

- `response`: best responses to draws of the additive critic (`additive.py`), as long as they are new;
- `mutant`: descendants of the best pipelines and of policies' draws, judged by draws of a Gaussian process (`gaussian.py`);
- `screened`: what the policies draw and the central critic likes best (`screening.py`);
- `policy`: the policies' own draws, the rest.
"""

from collections.abc import Callable, Mapping, Set
from typing import Any

import torch
from torch import Tensor

from ma2ml_agents.gaussian import GaussianProcess, Posterior
from ma2ml_agents.hybrid import screening
from ma2ml_agents.hybrid.additive import Additive
from ma2ml_agents.hybrid.config import HybridConfig
from ma2ml_agents.joint import Joint
from ma2ml_agents.ma2ml.distinct import repeated

_BATCH = 24
"""trials that the critics' steps are meant for; of more that are told at once, each so many have their steps"""
_DRAWS, _MOST_DRAWS = 24, 64
"""draws of the Gaussian process: as many as proposals, within these"""
_SPREADS = (0.2, 1.0)
"""how far they lie from its mean, as a share of the posterior's deviation: between these, uniformly"""
_OTHERS = 1024
"""policies' draws among the process's candidates, at most: a matrix of all pairs is factorised"""


class Behaviour:
    """Proposes a batch by all trials so far.

    Args:
        config: the shares.
        joint: the layout of joint actions.
        generator: draws everything.
    """

    def __init__(self, config: HybridConfig, joint: Joint, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator
        self.nvec = torch.tensor(joint.nvec)
        self.additive = Additive(joint.nvec)
        self.process = GaussianProcess(joint.nvec)

    def learn(self, codes: Tensor, targets: Tensor, new: int = _BATCH) -> None:
        """Fit the exact critics that are used to all trials, of which so many are new: codes (N, L), targets (N,)."""
        c, batches = self.config, max(1, new // _BATCH)
        if c.response_share:
            self.additive.learn(codes, targets, batches)
        if c.candidates > 1 and c.mutant_share and c.policy_share < 1:
            self.process.learn(codes, targets, self.generator, batches)

    def propose(
        self,
        batch: Tensor,
        known: Tensor,
        targets: Tensor,
        draw: Callable[[int], Tensor],
        opinions: Callable[[Tensor], Tensor],
    ) -> list[str]:
        """Put proposals into the first rows of a batch, in place; the other rows stay what the policies drew.

        Args:
            batch: what the policies drew, (n, L).
            known: codes of all trials, (N, L).
            targets: what they were worth, (N,).
            draw: more of what the policies draw, for so many rows: m -> (k m, L).
            opinions: each central critic's value of candidates, (k, L) -> (M, k).

        Returns:
            origins of the rows that were put.
        """
        c, origins = self.config, list[str]()

        def put(origin: str, rows: Tensor) -> None:
            batch[len(origins) : len(origins) + len(rows)] = rows
            origins.extend([origin] * len(rows))

        put("response", self._responses(known, targets, self._part(len(batch), c.response_share)))
        chosen = self._part(len(batch) - len(origins), 1 - c.policy_share) if c.candidates > 1 else 0
        if chosen:
            drawn = draw(chosen)
            taken = {row.tobytes() for rows in (known, batch[: len(origins)]) for row in rows.numpy()}
            mutants = self._mutants(known, targets, drawn, self._part(chosen, c.mutant_share), len(batch), taken)
            put("mutant", mutants)
            if len(mutants) < chosen:
                values = opinions(drawn)
                order = torch.randperm(len(values), generator=self.generator)  # or the first critic would be heard most
                taken |= {row.tobytes() for row in mutants.numpy()}
                put("screened", drawn[screening.best_by_member(drawn, values[order], chosen - len(mutants), taken)])
        return origins

    def _part(self, n: int, share: float) -> int:
        """The share of n, rounded up or down at random, so that small batches have every origin, too."""
        return int(n * share + torch.rand(1, generator=self.generator, dtype=torch.float64).item())

    def _responses(self, known: Tensor, targets: Tensor, n: int) -> Tensor:
        """The new ones among the best of n draws of the additive critic.

        A known response is left out: once its main effects are settled, a game is left to the other origins.
        """
        if not n:
            return known[:0]
        return _new(self.additive.responses(known, targets, n, self.config.response_spread, self.generator), known)

    def _mutants(self, known: Tensor, targets: Tensor, drawn: Tensor, n: int, batch: int, taken: Set[bytes]) -> Tensor:
        """The favourites of n draws of the Gaussian process among descendants of the best and of policies' draws."""
        c = self.config
        if not n:
            return known[:0]
        posterior = self.process.posterior(known, targets)
        draws = min(max(batch, _DRAWS), _MOST_DRAWS)
        low, high = _SPREADS
        spreads = low + (high - low) * torch.rand(draws, generator=self.generator, dtype=torch.float64)
        pool = screening.descendants(
            self._parents(known, targets, posterior),
            drawn[:_OTHERS],
            draws * c.candidates,
            self.nvec,
            lambda candidates: posterior.draws(candidates, spreads, self.generator),
            rounds=c.rounds,
            generator=self.generator,
        )
        return pool[screening.best_by_member(pool, posterior.draws(pool, spreads, self.generator), n, taken)]

    def _parents(self, known: Tensor, targets: Tensor, posterior: Posterior) -> Tensor:
        """The best pipelines, (m, L): half by expectation, the others by reward, which where it is noisy finds the luckiest."""
        size, tried = self.config.parents, posterior.codes
        expected = tried[screening.elite(tried.numpy(), posterior.mean(tried).numpy(), (size + 1) // 2)]
        rewarded = _new(known[screening.elite(known.numpy(), targets.numpy(), size)], expected)
        return torch.cat([expected, rewarded[: size - len(expected)]])

    def state_dict(self) -> dict[str, Any]:
        """Exact state but for the generator, which is the learner's."""
        return {"additive": self.additive.log_ratio, "process": self.process.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.additive.log_ratio = float(state["additive"])
        self.process.load_state_dict(state["process"])


def _new(codes: Tensor, known: Tensor) -> Tensor:
    """Those of codes (n, L) that do not stand in `known` (N, L), each once."""
    again = set(repeated(codes.numpy(), known.numpy()))
    return codes[[row for row in range(len(codes)) if row not in again]]
