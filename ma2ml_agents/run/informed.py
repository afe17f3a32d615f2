"""How a learner hears of another run's pipelines, which are not trained again here.

Another data set has another level of accuracy, and what was good there need not be good here. So

- each is told as a *score*: its reward, less the mean of its run's beginning, in deviations of it;
- half of the first batch is proposed before the learner has heard of them, the other half after;
- when the batch has been trained, the learner is taken back to before it heard. If the informed half is better than the other
  by more than chance, it hears of them again, now at the level of this game: the half that knew nothing is this search's
  beginning, and the scores get its mean and deviation. If not, it never hears of them, and the search goes on without.

So a run that is of no use costs half a batch. What a learner was told of it does not propose again, if it proposes nothing
twice: `--start RUN:5` has the best of another run trained here.
"""

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ma2ml_agents.learner import Learner, Saves
from ma2ml_agents.run.guard import tell
from ma2ml_agents.run.known import START, Scored
from ma2ml_env.trial import Outcome, Proposal, Trial

INFORMED, LEARNED = "informed", "learned"
"""origins: of the half that was proposed after the learner had heard, and of what it heard"""
FEWEST = 8
"""proposals of a batch that is halved, at least: fewer would compare luck with luck"""
CHANCE = 1.75
"""the difference of two means in standard errors, which by chance is larger once in twenty times (one-sided)"""

_log = logging.getLogger(__name__)


def due(learned: Sequence[Scored], before: Sequence[Trial], free: int) -> bool:
    """Whether this batch is the one that is halved: the first with enough proposals that are the learner's."""
    return bool(learned) and free >= FEWEST and all(trial.proposal.origin != INFORMED for trial in before)


def check_informed(learner: Learner, batch: int) -> None:
    """Refuse what cannot hear of other runs.

    Raises:
        ValueError: if the learner has no state to go back to, or as `check_batch`.
    """
    if not isinstance(learner, Saves):
        raise ValueError("a learner that learns from other runs needs state_dict and load_state_dict")
    check_batch(batch)


def check_batch(batch: int) -> None:
    """Refuse batches that are too small to be halved.

    Raises:
        ValueError: if they are.
    """
    if batch < FEWEST:
        raise ValueError(
            f"a batch of {batch} is too small to learn from other runs: it needs {FEWEST}, a half of which shows whether they "
            "are of use"
        )


def check_room(budget: int, batch: int, starts: int) -> None:
    """Refuse a new search in which no batch is left to be halved.

    Args:
        budget: trials in all.
        batch: trials of a batch.
        starts: how many of the first trials are known pipelines.

    Raises:
        ValueError: if there is none, so that the learner would never hear of the other runs.
    """
    firsts = range(0, budget, batch)
    if all(min(first + batch, budget) - max(first, starts) < FEWEST for first in firsts):
        raise ValueError(
            f"{budget} trials in batches of {batch}, the first {starts} of them known, leave the learner no batch with "
            f"{FEWEST} proposals of its own, so it would never hear of other runs: give a larger budget or batch"
        )


class Informed:
    """The batch in which a learner hears of other runs.

    Args:
        learner: before its proposals of this batch. It needs a state that can be gone back to.
        learned: pipelines of other runs.
    """

    def __init__(self, learner: Learner, learned: Sequence[Scored]) -> None:
        self.learner, self.learned = learner, learned

    def ask(self, n: int) -> list[Proposal]:
        """Half of the proposals, then, after the learner has heard of the scores, the other half."""
        own = self.learner.ask(n - n // 2)
        self.before = copy.deepcopy(self.learner.state_dict())
        tell(self.learner, _trials(self.learned, 0.0, 1.0))
        return [*own, *(replace(proposal, origin=INFORMED) for proposal in self.learner.ask(n // 2))]

    def settle(self, played: Sequence[Trial]) -> dict[str, float]:
        """Take the learner back, and tell it again if that was of use; to be called before it is told of the batch."""
        self.learner.load_state_dict(self.before)
        informed = [trial.reward for trial in played if trial.proposal.origin == INFORMED]
        own = [trial for trial in played if trial.proposal.origin != INFORMED]
        level = np.array([trial.reward for trial in own if trial.outcome.status == "ok"])
        metrics = {"informed": float(np.mean(informed)), "uninformed": float(np.mean([trial.reward for trial in own]))}
        use = len(level) > 1 and above(informed, [trial.reward for trial in own])
        if use:
            tell(self.learner, _trials(self.learned, float(level.mean()), float(level.std())))
        _log.warning(
            "with what other runs taught, the mean reward is %.4f, without it %.4f: %s",
            metrics["informed"],
            metrics["uninformed"],
            "the learner keeps it" if use else "no better than chance, so the search goes on without it",
        )
        return {**metrics, "learned": float(len(self.learned) * use)}


def above(rewards: Sequence[float], others: Sequence[float]) -> bool:
    """Whether the mean of rewards is above that of others by more than chance (Welch 1947)."""
    difference = float(np.mean(rewards) - np.mean(others))
    error = math.sqrt(np.var(rewards, ddof=1) / len(rewards) + np.var(others, ddof=1) / len(others))
    return difference > CHANCE * error


def beginning(trials: Sequence[Trial], batch: int) -> list[Trial]:
    """What a run's learner proposed in its first batch, knowing nothing, and that is ok; of more batches if they are small."""
    found: list[Trial] = []
    for first in range(0, len(trials), batch):
        part = trials[first : first + batch]
        found += [t for t in part if t.outcome.status == "ok" and t.proposal.origin not in (START, INFORMED)]
        if len(found) >= FEWEST:
            break
    return found


def scores(trials: Sequence[Trial], rewards: NDArray[np.float64], start: Sequence[Trial]) -> NDArray[np.float64]:
    """Rewards (n,) of trials, from the mean of those of `start`, in deviations of them.

    Where these are all equal, of all; where all are equal, zeros.
    """
    numbers = {trial.number for trial in start}
    chosen = rewards[[trial.number in numbers for trial in trials]]
    reference = chosen if len(chosen) > 1 and np.ptp(chosen) > 0 else rewards
    if not np.ptp(reference) > 0:
        return np.zeros_like(rewards)
    scaled: NDArray[np.float64] = (rewards - reference.mean()) / reference.std()
    return scaled


def _trials(learned: Sequence[Scored], mean: float, deviation: float) -> list[Trial]:
    """Scores as trials of this game at a level."""
    return [
        Trial(number, 0, Proposal(each.codes, origin=LEARNED), Outcome(), mean + deviation * each.score)
        for number, each in enumerate(learned)
    ]
