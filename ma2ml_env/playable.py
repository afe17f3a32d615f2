"""What a search plays: a `Game`, or another one-step cooperative game."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ma2ml_env.evaluators.base import MayStart
from ma2ml_env.recipe import Recipe
from ma2ml_env.trial import Code, GameSpec, Outcome, Proposal, Trial

OnOutcome = Callable[[int, Outcome], None]
"""Called with (trial number, outcome) the moment an outcome arrives."""


class Playable(ABC):
    """A game with `spec` and `play`. The rest is for games that know more of a trial, and has a default."""

    spec: GameSpec

    @abstractmethod
    def play(
        self,
        proposals: Sequence[Proposal],
        seeds: Sequence[int],
        *,
        first_number: int = 0,
        known: Mapping[int, Outcome] = {},
        on_outcome: OnOutcome | None = None,
    ) -> list[Trial]:
        """Play a batch.

        Args:
            proposals: n joint actions.
            seeds: n trial seeds.
            first_number: number of the first trial; the others follow.
            known: trial number -> outcome that is already there and is not evaluated again.
            on_outcome: told of each new outcome as it arrives.

        Returns:
            n trials in the order of the proposals.

        Raises:
            ValueError: if a proposal does not fit the game; nothing has been evaluated then.
        """

    def remember(self, trials: Sequence[Trial]) -> None:  # noqa: B027 (a default)
        """Take finished trials of an earlier part of the run. By default nothing is kept."""

    def limit(self, may_start: MayStart | None) -> bool:
        """See `Evaluator.limit`. By default nobody asks."""
        return False

    def worth(self, outcome: Outcome) -> float | None:
        """The reward of an outcome whose batch is not played yet. By default it is not known before."""
        return None

    def recipe(self, codes: Mapping[str, Code]) -> Recipe | None:
        """The pipeline of a joint code. By default there is none."""
        return None

    def values(self, codes: Mapping[str, Code]) -> dict[str, dict[str, Any]] | None:
        """Agent -> decision -> chosen value, for people. By default codes are all that is known."""
        return None
