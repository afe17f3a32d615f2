"""Playing trials again whose outcomes are not the pipelines' doing: a disk was full, a GPU was gone.

Each is trained under its own seed, so what comes of it is what an undisturbed search would have had. Its earlier outcome stays
in the store. (With halving the others of its batch keep what they were: which of them were dropped was decided beside the
failure.) A learner cannot unlearn: of a closed batch it keeps what it was told; trials, best pipeline, reports and
retraining go by the new outcomes. In the open batch it has been told of nothing yet, so there it hears of the new ones alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ma2ml_agents.run.loop import Callback
from ma2ml_env.evaluators.deadline import Deadline, NoTime
from ma2ml_env.game import Game
from ma2ml_env.registry import closest
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import ERRORS, Outcome, Trial

FAILED = "failed"


def chosen(name: str) -> Callable[[Outcome], bool]:
    """Which failures a word names: `failed` are all, otherwise one kind of error, as `crash`.

    Raises:
        ValueError: if there is no such kind.
    """
    kinds = [FAILED, *(error.lower() for error in ERRORS if error)]
    word = name.lower()
    if word not in kinds:
        raise ValueError(f"--retry-failed takes one of {', '.join(kinds)}, not {name!r}{closest(word, kinds)}")
    return lambda outcome: outcome.status == "failed" and word in (FAILED, outcome.error.lower())


def withdraw(store: TrialStore, wanted: Callable[[Outcome], bool]) -> list[int]:
    """Take back the open batch's failures, for the search to play them; their numbers.

    What was played again already stays: of a salvaged run it may be open, while the learner was told of it.
    """
    again = store.earlier()
    numbers = [number for number, outcome in store.unclosed().items() if wanted(outcome) and number not in again]
    for number in numbers:
        store.replace_outcome(number, None, None)
    return numbers


def failures(store: TrialStore, wanted: Callable[[Outcome], bool]) -> list[int]:
    """Numbers of closed batches' failures."""
    return [trial.number for trial in store.trials() if wanted(trial.outcome)]


def play_again(
    game: Game,
    store: TrialStore,
    numbers: Sequence[int],
    hear: Sequence[Callback] = (),
    deadline: Deadline | None = None,
) -> int:
    """Play trials of closed batches again, each in its batch and under its seed; how many were.

    Args:
        game: of the run, before it has been told of any trial.
        store: gets each new outcome when it arrives.
        numbers: of the trials.
        hear: told of each new outcome.
        deadline: no pipeline starts that is predicted to end later; the others keep their outcomes.
    """
    trials, done, first, asks = list(store.trials()), 0, 0, False
    batches: list[list[Trial]] = []
    while first < len(trials):
        size = len(store.stored_proposals(len(batches)))
        if size < 1:
            raise ValueError(
                f"{store.folder}: batch {len(batches)} has no proposals; `ma2ml salvage` makes a run of what is whole"
            )
        batches.append(trials[first : first + size])
        first += size

    def arrived(number: int, outcome: Outcome) -> None:
        nonlocal done
        store.replace_outcome(number, outcome, game.reward(outcome))
        done += 1
        for callback in hear:
            callback.on_outcome(number, outcome)
        if deadline is not None:
            deadline.learn(outcome)
            if not asks and done < len(numbers) and not deadline.may_start():
                raise NoTime(f"{len(numbers) - done} pipelines may not start any more")

    for batch in batches:  # in order, all of them: what an evaluator remembers is then what it would have been
        known = {trial.number: trial.outcome for trial in batch if trial.number not in numbers}
        if len(known) == len(batch):
            game.remember(batch)
            continue
        if deadline is not None and not deadline.may_start():
            break
        options: dict[str, Any] = {"first_number": batch[0].number, "known": known, "on_outcome": arrived}
        asks = game.limit(None if deadline is None else deadline.may_start)
        try:
            game.play([trial.proposal for trial in batch], [trial.seed for trial in batch], **options)
        except NoTime:
            break
        finally:
            game.limit(None)
    return done
