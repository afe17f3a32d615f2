"""The search: ask, play, tell, batch after batch, and resume.

What is stored when makes it safe to kill: proposals before they are played, each outcome as it arrives, rewards and the
learner's state together when the batch closes. A resumed search loads the state of the last closed batch, asks again, and must
get what is stored; then it plays what has no outcome. It ends with the same bytes as if nothing had happened.
"""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ma2ml_agents.learner import Learner, Saves
from ma2ml_agents.registry import EARLIER, registry_name
from ma2ml_agents.run.guard import tell
from ma2ml_agents.run.informed import Informed, check_informed, due
from ma2ml_agents.run.known import START, Scored, check_known, codes_to_json
from ma2ml_env.evaluators.deadline import Deadline, NoTime
from ma2ml_env.playable import OnOutcome, Playable
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Code, GameSpec, Outcome, Proposal, Trial, trial_seed

_log = logging.getLogger(__name__)


class SomebodysGame(Playable):
    """A game of which `spec` and `play` are all that is known."""

    def __init__(self, game: Any) -> None:
        self.spec: GameSpec = game.spec
        self._play = game.play

    def play(
        self,
        proposals: Sequence[Proposal],
        seeds: Sequence[int],
        *,
        first_number: int = 0,
        known: Mapping[int, Outcome] = {},
        on_outcome: OnOutcome | None = None,
    ) -> list[Trial]:
        """As that game does."""
        trials: list[Trial] = self._play(
            proposals, seeds, first_number=first_number, known=known, on_outcome=on_outcome
        )
        return trials


class Callback:
    """Hears how a search goes; override what is of interest. An exception ends the search, and nothing stored is lost."""

    def on_start(self, budget: int, trials: Sequence[Trial]) -> None:
        """Before the first batch: the budget, and the trials of closed batches that are stored already."""

    def on_outcome(self, number: int, outcome: Outcome) -> None:
        """An outcome is there and stored; those of an interrupted batch are told again first."""

    def on_batch(self, batch: int, trials: Sequence[Trial], metrics: Mapping[str, float]) -> None:
        """A batch is closed: its index, its trials, and what `tell` measured with the batch's `seconds`."""


def search(
    game: Playable | Any,
    learner: Learner,
    *,
    budget: int,
    batch: int = 24,
    seed: int = 0,
    start: Sequence[Mapping[str, Code]] = (),
    learned: Sequence[Scored] = (),
    store: TrialStore | None = None,
    callbacks: Sequence[Callback] = (),
    seconds: float | Deadline | None = None,
) -> Trial:
    """Play `budget` trials and return the best one: highest reward, ties to the lower number.

    Args:
        game: what is played: a `Playable`, or somebody's own object with its `spec` and `play`.
        learner: proposes and learns.
        budget: trials in all, those that are stored already included.
        batch: trials that are proposed at a time; the last batch is smaller if it does not divide the budget. Where a run
            goes on to a larger one, the next batch is what that one lacked, and later ones are where they would have been.
        seed: of the trials, see `trial_seed`; the learner has its own.
        start: joint codes of known pipelines, agent -> code: the first trials, in this order, which count like any other.
        learned: pipelines of other runs with their scores there, which do not count; see `informed`.
        store: remembers the run; if it holds one already, the search goes on from there. None keeps nothing.
        callbacks: told in order.
        seconds: from now on, or a `Deadline` that counts already: no pipeline starts that is predicted to end later. The search
            ends before its budget then, and with a store it can go on later. The trials that it holds are those that it would
            hold without the limit, number by number. None is no limit.

    Raises:
        NoTime: a RuntimeError; if the time was over before the reward of any pipeline was known.
        ValueError: if the budget or the batch is below 1, or `seconds` not above 0; if a learner without `state_dict` and
            `load_state_dict` is to be stored; if the stored run has another game, learner class, batch or seed;
            if the learner does not propose again what is stored; if the budget ends within a batch that is proposed already;
            if a code of `start` does not fit, stands there twice, or the budget is too small for all.
        OSError: if the store cannot be written. What was acknowledged is stored, and the search can be resumed.
    """
    if budget < 1 or batch < 1:
        raise ValueError(f"budget and batch are at least 1, not {budget} and {batch}")
    if store is not None and not isinstance(learner, Saves):
        raise ValueError(
            f"a search that is stored needs a learner with state_dict and load_state_dict, not {learner!r}"
        )
    game = game if isinstance(game, Playable) else SomebodysGame(game)
    check_known(game, start, learned, budget)
    if learned:
        check_informed(learner, batch)
    protocol: dict[str, Any] = {"budget": budget, "batch": batch, "seed": seed}
    if start:
        protocol["start"] = [codes_to_json(codes) for codes in start]
    if learned:
        protocol["learned"] = [each.to_json() for each in learned]
    trials, index = _resume(game, learner, protocol, store)
    for callback in callbacks:
        callback.on_start(budget, tuple(trials))
    best = _Best(game, store)
    best.settle(trials)
    deadline = seconds if seconds is None or isinstance(seconds, Deadline) else Deadline(seconds)
    asks, missing = False, 0
    if deadline is not None:
        for trial in trials:
            deadline.learn(trial.outcome)

    def arrived(number: int, outcome: Outcome) -> None:
        nonlocal missing
        if store is not None:
            store.add_outcome(number, outcome)
        best.hear(number, seeds[number - first], proposals[number - first], outcome)
        for callback in callbacks:
            callback.on_outcome(number, outcome)
        missing -= 1
        if deadline is not None:
            deadline.learn(outcome)
            if not asks and missing and not deadline.may_start():
                raise NoTime(f"{missing} pipelines may not start any more")

    while len(trials) < budget and (deadline is None or deadline.may_start()):
        began = time.monotonic()
        first = len(trials)
        n = min(batch - first % batch, budget - first)
        known: dict[int, Outcome] = {}
        if store is not None and (stored := store.size(index)):
            if first + stored > budget:
                raise ValueError(
                    f"trials {first} to {first + stored - 1} are proposed already: a budget of {budget} is too small"
                )
            n, known = stored, store.outcomes(index)
        given = [Proposal(codes, origin=START) for codes in start[first : first + n]]
        informed = Informed(learner, learned) if due(learned, trials, n - len(given)) else None
        ask = learner.ask if informed is None else informed.ask
        proposals = [*given, *ask(n - len(given))] if len(given) < n else given
        seeds = [trial_seed(seed, number) for number in range(first, first + n)]
        if store is not None:
            store.propose(index, first, proposals, seeds)
        missing = n - len(known)
        for number, outcome in known.items():
            if deadline is not None:
                deadline.learn(outcome)
            best.hear(number, seeds[number - first], proposals[number - first], outcome)
            for callback in callbacks:
                callback.on_outcome(number, outcome)
        asks = game.limit(None if deadline is None else deadline.may_start)
        try:
            played = game.play(proposals, seeds, first_number=first, known=known, on_outcome=arrived)
        except NoTime:
            break
        finally:
            game.limit(None)
        known_metrics = {} if informed is None else informed.settle(played[len(given) :])
        metrics = {**known_metrics, **tell(learner, played)}
        if store is not None:
            store.close_batch(index, played, learner.state_dict())
            played = store.as_it_stands(played)
        trials += played
        best.settle(trials)
        for callback in callbacks:
            callback.on_batch(index, played, {**metrics, "seconds": time.monotonic() - began})
        index += 1
    if best.trial is None:
        raise NoTime("the time was over before a pipeline had a reward")
    return best.trial


def _resume(
    game: Playable, learner: Learner, protocol: Mapping[str, Any], store: TrialStore | None
) -> tuple[list[Trial], int]:
    """(trials of closed batches, index of the first open one); the learner is brought to where it was."""
    if store is None:
        return [], 0
    nvec = {agent: list(sizes) for agent, sizes in game.spec.nvec.items()}
    refuse_earlier_learner(store)
    stored, name = store.section("search").get("learner"), registry_name(type(learner))
    kind = stored if EARLIER.get(str(stored)) == name else name
    intervals = {"intervals": dict(game.spec.intervals)} if game.spec.intervals else {}
    run = {**protocol, "nvec": nvec, **intervals, "state_dim": game.spec.state_dim, "learner": kind}
    store.configure(run, section="search", safe=("budget",))
    closed = store.learner_state()
    if closed is None:  # a new run; or its learner is gone, then all batches are asked and told again
        if count := store.proposed():
            _log.warning(
                "%s: the learner's state is not there; it is asked for its %d proposals again, and told what came of them. "
                "What is stored is not trained again",
                store.folder,
                count,
            )
        store.close_batch(-1, [], learner.state_dict())
        return [], 0
    try:
        learner.load_state_dict(closed.state)
    except (LookupError, RuntimeError, TypeError, AttributeError, OverflowError) as error:  # something is not as it was
        raise ValueError(
            f"{store.folder}: the learner was stored by another version or with other settings ({error}); nothing was changed. "
            "Go on with the version that wrote it, or start a new run"
        ) from error
    trials = list(store.trials())[: closed.trials]
    game.remember(trials)
    return trials, closed.batch + 1


def refuse_earlier_learner(store: TrialStore) -> None:
    """Make sure that a run's learner is one of this version.

    Raises:
        ValueError: if an earlier version wrote the run, and its learner has changed since.
    """
    stored = str(store.section("search").get("learner", ""))
    if stored.startswith("ma2ml_agents.") and stored not in EARLIER:
        raise ValueError(
            f"{store.folder} was searched by an earlier version's {stored.rpartition('.')[2]}, which has changed. Nothing was "
            "done; `ma2ml retrain`, `export` and `report` take this run. To search on, use that version, or start a new run"
        )


class _Best:
    """The best trial of what is known, also in the store."""

    def __init__(self, game: Playable, store: TrialStore | None) -> None:
        self.trial: Trial | None = None
        self._game, self._store = game, store

    def settle(self, trials: Sequence[Trial]) -> None:
        """It is the best of these, all of closed batches."""
        if trials:
            self._take(max(trials, key=_rank))

    def hear(self, number: int, seed: int, proposal: Proposal, outcome: Outcome) -> None:
        """An outcome of the open batch is there: it may be the best so far, if the game says what it is worth."""
        reward = self._game.worth(outcome)
        if reward is not None and math.isfinite(reward):  # one that is not is refused when the batch closes
            trial = Trial(number, seed, proposal, outcome, reward + 0.0)  # as it is stored: no -0.0
            if self.trial is None or _rank(trial) > _rank(self.trial):
                self._take(trial)

    def _take(self, trial: Trial) -> None:
        self.trial = trial
        if self._store is not None:
            # A stored trial has its agents in the order of the alphabet, one that was just played in the game's.
            codes = {agent: trial.proposal.codes[agent] for agent in self._game.spec.nvec}
            trial = replace(trial, proposal=replace(trial.proposal, codes=codes))
            recipe = self._game.recipe(codes)
            self._store.write_best(trial, None if recipe is None else recipe.to_json(), self._game.values(codes))


def _rank(trial: Trial) -> tuple[float, int]:
    """Highest reward, ties to the lower number."""
    return trial.reward, -trial.number
