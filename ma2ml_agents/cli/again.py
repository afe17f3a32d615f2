"""`ma2ml resume --retry-failed`: stored failures are played again before the search goes on."""

from collections.abc import Callable

from rich.console import Console

from ma2ml_agents.run.again import failures, play_again, withdraw
from ma2ml_agents.run.stop import Stop
from ma2ml_agents.run.ticker import working
from ma2ml_env.evaluators.deadline import Deadline
from ma2ml_env.game import Game
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome


def play_failures(
    game: Game,
    store: TrialStore,
    wanted: Callable[[Outcome], bool],
    stop: Stop,
    console: Console,
    limit: tuple[float, float] | None,
) -> None:
    """Play stored failures again, and say what came of them; those of the open batch are left to the search.

    Args:
        game: of the run.
        store: of the run.
        wanted: which outcomes.
        stop: by signals.
        console: where to.
        limit: (hours of the command, when they began); None is none.
    """
    stop.on_start(0, ())  # from here on outcomes are stored
    opened, closed = withdraw(store, wanted), failures(store, wanted)
    console.print(
        f"played again: {len(opened)} failures of the open batch, {len(closed)} of closed ones", soft_wrap=True
    )
    if not closed:
        return
    deadline = None if limit is None else Deadline(3600 * limit[0], began=limit[1])
    with working(console, f"playing {len(closed)} trials again"):
        done = play_again(game, store, closed, [stop], deadline)
    left = len(failures(store, wanted))
    console.print(
        f"of {len(closed)} trials {done} were played, and {len(closed) - left} have another outcome now; the results go by it, "
        "the learner keeps what it was told",
        soft_wrap=True,
    )
