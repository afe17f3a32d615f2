"""What a search may know before its first batch: pipelines to start from, and what another run's pipelines were worth.

Pipelines to start from are its first trials: they are trained, count, and the learner is told of them like of any other.

Trials of another run are not trained again. Another data set has another level of accuracy, and told as they are they would
teach the learner that everything of here is good, or bad. So they are told as *scores*: a reward less the mean of its run's
beginning, in deviations of it. Every learner begins without knowledge, so the beginning of this search is the same thing on
this data set. Once it has `LEVEL` trials the scores are brought to their mean and deviation, and told just before them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.io.reading import is_number
from ma2ml_env.playable import Playable
from ma2ml_env.trial import Code, GameSpec, Outcome, Proposal, Trial

START, LEARNED = "start", "learned"
"""origins of trials that no learner proposed"""
LEVEL = 12
"""trials that a run's beginning has at least, in whole batches: with fewer the deviation is a matter of luck"""


@dataclass(frozen=True)
class Scored:
    """A pipeline of another run, said in this game, and what it was worth there."""

    codes: Mapping[str, Code]
    """agent -> code"""
    score: float
    """its reward, from the mean of its run's beginning, in deviations of it"""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back."""
        return {"codes": codes_to_json(self.codes), "score": self.score}

    @classmethod
    def from_json(cls, data: Any) -> "Scored":
        """Inverse of `to_json`.

        Raises:
            ValueError: if it is something else.
        """
        if not isinstance(data, Mapping) or not is_number(data.get("score")):
            raise ValueError(f"not a pipeline with its score: {str(data)[:50]!r}")
        return cls(codes_from_json(data.get("codes")), float(data["score"]))


def codes_to_json(codes: Mapping[str, Code]) -> dict[str, Any]:
    """A joint code as JSON has it."""
    return {agent: list(code) for agent, code in codes.items()}


def codes_from_json(data: Any) -> Mapping[str, Code]:
    """Inverse of `codes_to_json`.

    Raises:
        ValueError: if it is something else.
    """
    return Proposal.from_json({"codes": data, "states": {}, "log_probs": None, "origin": START}).codes


def check_known(game: Playable, start: Sequence[Mapping[str, Code]], learned: Sequence[Scored], budget: int) -> None:
    """Refuse what a search of this game cannot start from.

    Raises:
        ValueError: if a code does not fit the game, two of `start` are the same pipeline, or there are more than the budget.
    """
    for name, rows in ((START, start), (LEARNED, [each.codes for each in learned])):
        for number, codes in enumerate(rows):
            if not _fits(codes, game.spec):
                raise ValueError(f"{name}: pipeline {number} does not fit the game: {dict(codes)}")
    if len(start) > budget:
        raise ValueError(f"there are {len(start)} pipelines to start from, more than the budget of {budget}")
    first: dict[str, int] = {}
    for number, codes in enumerate(start):
        if (same := first.setdefault(pipeline_key(game, codes), number)) != number:
            raise ValueError(f"start: pipelines {same} and {number} are the same one")


def pipeline_key(game: Playable, codes: Mapping[str, Code]) -> str:
    """Equal for codes of the same pipeline."""
    recipe = game.recipe(codes)
    return str(sorted(codes.items())) if recipe is None else recipe.key


def beginning(trials: Sequence[Trial], batch: int) -> list[Trial]:
    """The first `LEVEL` trials or more that a learner proposed and that are ok, in whole batches; all, if there are fewer."""
    found: list[Trial] = []
    for first in range(0, len(trials), batch):
        found += [trial for trial in trials[first : first + batch] if _comparable(trial)]
        if len(found) >= LEVEL:
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


def due(learned: Sequence[Scored], before: Sequence[Trial], played: Sequence[Trial]) -> list[Trial]:
    """What a learner is to be told of other runs before it is told of this batch; nothing but at the end of the beginning.

    Args:
        learned: pipelines of other runs.
        before: trials of earlier batches.
        played: the batch.
    """
    earlier = [trial.reward for trial in before if _comparable(trial)]
    rewards = np.array(earlier + [trial.reward for trial in played if _comparable(trial)])
    if not learned or len(earlier) >= LEVEL or len(rewards) < LEVEL:
        return []
    mean, deviation = float(rewards.mean()), float(rewards.std())
    return [
        Trial(number, 0, Proposal(each.codes, origin=LEARNED), Outcome(), mean + deviation * each.score)
        for number, each in enumerate(learned)
    ]


def _comparable(trial: Trial) -> bool:
    return trial.outcome.status == "ok" and trial.proposal.origin != START


def _fits(codes: Mapping[str, Code], spec: GameSpec) -> bool:
    return codes.keys() == spec.nvec.keys() and all(
        len(codes[agent]) == len(sizes) + spec.intervals.get(agent, 0)
        and all(isinstance(c, int) and 0 <= c < size for c, size in zip(codes[agent], sizes, strict=False))
        and all(0.0 <= u <= 1.0 and math.isfinite(u) for u in codes[agent][len(sizes) :])
        for agent, sizes in spec.nvec.items()
    )
