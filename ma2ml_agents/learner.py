"""The learner's interface: ask for proposals, be told what came of them.

    proposals = learner.ask(24)
    metrics = learner.tell(game.play(proposals, ...))

A learner knows a `GameSpec` and trials, and nothing else of the game.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ma2ml_env.trial import Proposal, Trial

States = Sequence[Mapping[str, Any]]
"""one mapping per proposal: agent -> S_i, an array of length `state_dim`"""


@runtime_checkable
class Saves(Protocol):
    """Has a state that can be stored and gone back to."""

    def state_dict(self) -> dict[str, Any]:
        """Exact state, replay and random state included: nested dicts and lists of numbers, strings, arrays and tensors.

        Tensors may share memory with the learner; copy or write them before it goes on.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`, for a learner of the same spec and config."""
        ...


@runtime_checkable
class Learner(Saves, Protocol):
    """Proposes joint actions and learns from their rewards.

    A learner's class takes `(spec, config=None, *, seed=0, device="cpu")`; its attribute `Config` is the frozen dataclass of
    its settings. Equal seeds give equal proposals. Learners on the CPU are meant for one torch thread; the run sets it.
    """

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Draw n proposals; only the random state changes.

        Args:
            n: number of proposals.
            states: S_i of every agent for each proposal, as an environment observed them; drawn from N(0, I) if None.

        Raises:
            ValueError: if the states do not fit n or the game.
        """
        ...

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Learn from trials, usually those of the last `ask`, and return finite metrics.

        Trials that it did not propose, failed ones (their reward is 0) and repeated ones are learned from like any other. A
        trial without states gets states drawn from N(0, I). Of no trials nothing is learned, and nothing changes.

        Raises:
            ValueError: if a code does not fit the game or a reward is not finite.
        """
        ...
