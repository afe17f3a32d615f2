"""The behaviour policy: which pipelines of a batch are trained. Not of the paper, which trains what its policies draw.

MA2ML learns off-policy, so any joint actions will do. A batch has four origins, and each has a share of it:

- `response`: best responses to draws of the additive critic (`additive.py`), as long as they are new;
- `mutant`: descendants of the best pipelines and of policies' draws, judged by draws of a Gaussian process (`gaussian.py`);
- `screened`: what the policies draw and the central critic likes best (`screening.py`);
- `policy`: the policies' own draws.
"""

from collections.abc import Callable, Mapping, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ma2ml_agents.joint import Joint
from ma2ml_agents.ma2ml import screening
from ma2ml_agents.ma2ml.additive import Additive
from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.gaussian import Gaussian
from ma2ml_agents.replay import Replay, repeated
from ma2ml_agents.returns import TARGETS

_SPREADS = (0.2, 1.0)
"""how far a batch's draws of the Gaussian process lie from its mean, as a share of the posterior's deviation: first and last"""


class Behaviour:
    """Proposes a batch by all trials so far.

    Args:
        config: the shares.
        joint: the layout of joint actions.
        generator: draws everything.
    """

    def __init__(self, config: MA2MLConfig, joint: Joint, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator
        self.nvec = torch.tensor(joint.nvec)
        self.additive = Additive(joint.nvec)
        self.gaussian = Gaussian(joint.nvec)

    def learn(self, replay: Replay) -> None:
        """Fit the settings of the exact critics that are used to all trials."""
        c, (codes, targets) = self.config, self._trials(replay)
        if c.response_share:
            self.additive.learn(codes, targets)
        if c.mutant_share and c.candidates > 1:
            self.gaussian.learn(codes, targets, self.generator)

    def propose(
        self, codes: Tensor, replay: Replay, draw: Callable[[], Tensor], opinions: Callable[[Tensor], Tensor]
    ) -> list[str]:
        """Put proposals into the first rows of a batch, in place; the other rows stay what the policies drew.

        Args:
            codes: the batch, (n, L).
            replay: all trials.
            draw: more of what the policies draw, (k, L).
            opinions: each critic's value of candidates, (k, L) -> (M, k).

        Returns:
            origins of the rows that were put.
        """
        c, (known, targets) = self.config, self._trials(replay)
        origins: list[str] = []

        def put(origin: str, rows: Tensor) -> None:
            codes[len(origins) : len(origins) + len(rows)] = rows
            origins.extend([origin] * len(rows))

        put("response", self._responses(known, targets, int(len(codes) * c.response_share)))
        if c.candidates > 1:
            n = int((len(codes) - len(origins)) * (1 - c.policy_share))
            taken = {row.tobytes() for row in replay.codes} | {row.tobytes() for row in codes[: len(origins)].numpy()}
            drawn = draw()
            mutants = self._mutants(replay, drawn, round(n * c.mutant_share), len(codes), taken)
            put("mutant", mutants)
            taken |= {row.tobytes() for row in mutants.numpy()}
            put("screened", drawn[screening.best_by_member(drawn, opinions(drawn), n - len(mutants), taken)])
        return origins

    def _responses(self, known: Tensor, targets: Tensor, n: int) -> Tensor:
        """The new ones among the best of n draws of the additive critic.

        A known response is left out: once its main effects are settled, a game is left to the other origins.
        """
        if not n:
            return known[:0]
        best = self.additive.responses(known, targets, n, self.config.response_spread, self.generator)
        again = set(repeated(best.numpy(), known.numpy()))
        return best[[row for row in range(n) if row not in again]]

    def _mutants(self, replay: Replay, drawn: Tensor, n: int, draws: int, taken: Set[bytes]) -> Tensor:
        """The favourites of n of `draws` draws of the Gaussian process among descendants of the best and of policies' draws.

        Half of the best are those of the highest rewards, half those of the highest expectations: where rewards are noisy, the
        first were also the luckiest.
        """
        c, (known, targets) = self.config, self._trials(replay)
        if not n:
            return known[:0]
        posterior = self.gaussian.posterior(known, targets)
        spreads = torch.linspace(*_SPREADS, draws, dtype=torch.float64)[torch.randperm(draws, generator=self.generator)]

        def opinions(pool: Tensor) -> Tensor:
            return posterior.draws(pool, spreads, self.generator)

        half = (c.parents + 1) // 2
        best = [screening.elite(replay.codes, by, half) for by in (replay.rewards, posterior.mean(known).numpy())]
        pool = screening.descendants(
            known[np.concatenate(best)],
            drawn,
            len(drawn),
            self.nvec,
            opinions,
            rounds=c.rounds,
            generator=self.generator,
        )
        return pool[screening.best_by_member(pool, opinions(pool), n, taken)]

    def _trials(self, replay: Replay) -> tuple[Tensor, Tensor]:
        """Codes (N, L) and targets (N,) in double precision."""
        return torch.from_numpy(replay.codes), torch.from_numpy(TARGETS[self.config.targets](replay.rewards))

    def state_dict(self) -> dict[str, Any]:
        """Exact state but for the generator, which is the learner's."""
        return {"additive": self.additive.log_ratio, "gaussian": self.gaussian.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.additive.log_ratio = float(state["additive"])
        self.gaussian.load_state_dict(state["gaussian"])
