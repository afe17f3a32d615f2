"""Search by an ensemble of neural predictors, in the manner of BANANAS (White et al. 2021)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ma2ml_agents.baselines.moves import Memory, Moves, moved_on
from ma2ml_agents.joint import Codes, Joint, only_decisions
from ma2ml_agents.learner import States
from ma2ml_agents.ma2ml.critic import Critic, critic_loss
from ma2ml_agents.returns import TARGETS
from ma2ml_agents.saving import load_optimizer, optimizer_state, seeded
from ma2ml_env.io.settings import check_ranges
from ma2ml_env.trial import GameSpec, Proposal, Trial

ACQUISITIONS = ("member", "independent", "mean")


@dataclass(frozen=True)
class PredictorConfig:
    """Settings of `Predictor`.

    Raises:
        ValueError: if a setting is out of its range.
    """

    start: int = 24
    """random trials before the predictors are asked"""
    members: int = 5
    """predictors in the ensemble (BANANAS)"""
    hidden: tuple[int, ...] = (64, 64)
    """widths of a predictor's hidden layers"""
    linear: bool = True
    """a linear term beside a predictor's network"""
    lr: float = 3e-3
    """AdamW's step size"""
    weight_decay: float = 1.0
    """of AdamW"""
    steps: int = 100
    """of training after each batch of trials, from where the last ones ended"""
    minibatch: int = 64
    """trials in a step of training, drawn from all of them"""
    targets: str = "ranks"
    """what is predicted: ranks, standardised or raw rewards (`returns.py`)"""
    parents: int = 24
    """best trials that candidates descend from, and candidates that go on to the next round"""
    candidates: int = 500
    """children in a round of mutations"""
    rounds: int = 5
    """of mutations before the candidates are judged; 1: candidates are neighbours of the best trials, as in BANANAS"""
    random: int = 100
    """random candidates beside them; 0 is none"""
    acquisition: str = "member"
    """member: proposals follow the predictors in turn; independent: a draw from N(mean, variance) of the predictions for each
    candidate, as in BANANAS; mean: the ensemble's mean"""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=("start", "members", "steps", "minibatch", "parents", "candidates", "rounds"),
            not_negative=("lr", "weight_decay", "random"),
            layers=("hidden",),
            choices={"acquisition": ACQUISITIONS, "targets": TARGETS},
        )


class Predictor:
    """Proposes, of many candidates near the best trials, those that the predictors expect most of; never a known one.

    Kept from BANANAS: an ensemble of five networks trained on all trials, candidates by mutation of the best, Thompson
    sampling. Chosen otherwise: one-hot codes for path encodings, which games other than cells do not have; targets are
    Gaussian ranks; the networks go on learning where BANANAS trains new ones; candidates are several mutations away, each
    round of them from the best of the predictions; a proposal follows one member of the ensemble, a sample of a whole
    landscape, where BANANAS samples every candidate by itself (`acquisition="independent"`). The network is that of MA2ML's
    critic.
    """

    Config = PredictorConfig

    def __init__(
        self, spec: GameSpec, config: PredictorConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = c = config or self.Config()
        self.device = torch.device(device)
        self.joint = Joint(only_decisions(spec, "predictor"))
        self.generator = g = seeded(seed)
        self.moves = Moves(self.joint.nvec, g)
        self.memory = Memory(len(self.joint.nvec))
        self.ensemble = Critic(
            self.joint.nvec, hidden=c.hidden, members=c.members, linear=c.linear, state_size=0, generator=g
        ).to(self.device)
        self.optimizer = torch.optim.AdamW(self.ensemble.parameters(), lr=c.lr, weight_decay=c.weight_decay)

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Random codes at the start, then the best candidates; see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        random = min(n, max(0, self.config.start - len(self.memory))) if len(self.memory) else n
        picked = self._pick(n - random) if n > random else self.memory.codes[:0]
        filler = self.moves.uniform(n - len(picked))  # candidates run out on small games
        codes = moved_on(np.concatenate([picked, filler]), self.memory, self.moves)
        origins = ["predictor"] * len(picked) + ["random"] * len(filler)
        return self.joint.proposals(torch.from_numpy(codes), s, None, origins)

    def _pick(self, n: int) -> Codes:
        """Up to n new codes, best first: evolution among the predictions, then each row of scores picks in turn."""
        c = self.config
        parents = self.memory.codes[np.argsort(-self.memory.rewards, kind="stable")[: c.parents]]
        pool = np.concatenate([parents, self.moves.uniform(c.random)])
        for _ in range(c.rounds):
            rows = self.moves.below(len(parents), c.candidates).numpy()
            pool = np.unique(np.concatenate([pool, self.moves.mutated(parents[rows])]), axis=0)
            scores = self._scores(pool)
            best = np.argsort(-scores, axis=1, kind="stable")[:, : max(1, c.parents // len(scores))]
            parents = pool[np.unique(best)]
        new = np.array([row.tobytes() not in self.memory.known for row in pool])
        first = int(self.moves.below(c.members, 1))  # or the last members would be heard less, batch after batch
        picked: Codes = pool[new][in_turn(np.roll(scores[:, new], first, axis=0), n)]
        return picked

    @torch.no_grad()
    def _scores(self, codes: Codes) -> NDArray[np.float32]:
        """What candidates (n, L) are chosen by: (members, n), or (1, n) if all members have one opinion."""
        q = self.ensemble(torch.from_numpy(codes).to(self.device)).cpu()
        if self.config.acquisition == "member":
            scores = q
        elif self.config.acquisition == "mean":
            scores = q.mean(0, keepdim=True)
        else:
            spread = q.std(0, correction=0) * torch.randn(q.shape[1], generator=self.generator)
            scores = (q.mean(0) + spread)[None]
        return np.asarray(scores.numpy(), dtype=np.float32)

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Train the ensemble on all trials; see `Learner.tell`."""
        if not trials:
            return {}
        codes, _, rewards = self.joint.read(trials, self.generator)
        self.memory.add(codes, rewards)
        return {"reward": sum(rewards) / len(rewards), "loss": self._fit(), "updates": float(self.config.steps)}

    def _fit(self) -> float:
        c, total = self.config, 0.0
        codes = torch.from_numpy(self.memory.codes).to(self.device)
        targets = torch.from_numpy(TARGETS[c.targets](self.memory.rewards)).float().to(self.device)
        for _ in range(c.steps):
            rows = self.moves.below(len(codes), c.minibatch).to(self.device)
            loss = critic_loss(self.ensemble(codes[rows]), targets[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += loss.item()
        return total / c.steps / c.members

    def state_dict(self) -> dict[str, Any]:
        """All trials, the ensemble and the random state; see `Learner.state_dict`."""
        return {
            "memory": self.memory.state_dict(),
            "ensemble": dict(self.ensemble.state_dict()),
            "optimizer": optimizer_state(self.optimizer),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.memory.load_state_dict(state["memory"])
        self.ensemble.load_state_dict(state["ensemble"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.generator.set_state(state["generator"])


def in_turn(scores: NDArray[np.float32], n: int) -> list[int]:
    """Up to n columns of scores (m, k): row after row takes the column that it scores best of those left."""
    left, taken = scores.copy(), list[int]()
    for pick in range(min(n, scores.shape[1])):
        column = int(left[pick % len(left)].argmax())
        left[:, column] = -np.inf
        taken.append(column)
    return taken
