"""The callback that shows a search: a progress bar with a live line."""

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from ma2ml_agents.run.forecast import Forecast, spoken
from ma2ml_agents.run.loop import Callback
from ma2ml_agents.run.standing import Key, Standing, mean_reward
from ma2ml_agents.run.ticker import SILENCE, Ticker
from ma2ml_env.game import Protocol
from ma2ml_env.reward import Reward
from ma2ml_env.trial import Outcome, Trial

WORTH_TELLING = 10.0
"""seconds: of less no forecast is printed"""


def progress_bar(console: Console, left: bool = False) -> Progress:
    """The bar that all long commands show.

    Args:
        console: where to.
        left: whether a task's field `left` says what time is left; else it goes by the bar.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TextColumn("{task.fields[left]}") if left else TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
    )


class SearchProgress(Callback):
    """A bar and a live line on a terminal; elsewhere a line per batch, and one every ten seconds where a batch takes longer.

    After the first pipelines a line says how long the search and the retraining will take, if that is ten seconds or more.

    Args:
        console: where to.
        top_k: of the live line.
        key: what makes two trials the same pipeline.
        reward: of the running batch's outcomes.
        workers: trainings at a time, as far as it is known.
        retraining: the protocol of the retraining that may follow; None if none does, or on other data.
        told_again: numbers of the open batch whose outcomes an earlier session has stored: they took none of this one's time.
    """

    def __init__(
        self,
        console: Console,
        top_k: int,
        key: Key,
        reward: Reward,
        *,
        workers: int = 1,
        retraining: Protocol | None = None,
        told_again: Collection[int] = (),
    ) -> None:
        self.console = console
        self.standing = Standing(top_k, key)
        self.forecast = Forecast()
        self._reward = reward
        self._workers, self._retraining = workers, retraining
        self._told_again = told_again
        self._told = False  # the forecast
        self._bar = progress_bar(console, left=True)
        self._live: Live | None = None
        self._ticker: Ticker | None = None
        self._lock = threading.RLock()  # the live line and the ticker read in threads of their own
        self._budget = 0
        self._rewards: list[float] = []  # of the running batch
        self._failed = 0  # of the running batch
        self._batch_mean: float | None = None
        self._began = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._ticker is not None:
            self._ticker.__exit__(kind, error, trace)
            self._ticker = None

    def on_start(self, budget: int, trials: Sequence[Trial]) -> None:
        """Start the bar where the run stands."""
        self._budget = budget
        self.standing.add(trials)
        self.forecast.before(trial.outcome for trial in trials)
        self._bar.add_task("trials", total=budget, completed=len(trials), left="-:--:--")
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, get_renderable=self._picture)
            self._live.start()
            return
        if trials:
            self.console.print(f"going on after {len(trials)} of {budget} trials")
        self._began = self._last_line = time.monotonic()
        self._ticker = Ticker(SILENCE / 10, self._break_silence)
        self._ticker.__enter__()

    def on_outcome(self, number: int, outcome: Outcome) -> None:
        """Move the bar."""
        with self._lock:
            if number in self._told_again:
                self.forecast.before([outcome])
            else:
                self.forecast.hear(outcome)
            self._rewards.append(self._reward(outcome))
            self._batch_mean = sum(self._rewards) / len(self._rewards)
            self._failed += outcome.status == "failed"
            self._move()
        if not self._told and self.forecast.new >= max(2, self._workers):
            self._told = True
            self._print_forecast()

    def on_batch(self, batch: int, trials: Sequence[Trial], metrics: Mapping[str, float]) -> None:
        """Count the batch."""
        with self._lock:
            self.standing.add(trials)
            self._rewards, self._failed, self._batch_mean = [], 0, mean_reward(trials)
            self._move()
        if self._live is None:
            self._print_line(f"batch {batch + 1}, {metrics['seconds']:.1f} s")

    def retraining(self) -> float | None:
        """Seconds that retraining will take; None if that is not known."""
        return None if self._retraining is None else self.forecast.retraining(self._retraining, self._workers)

    def room(self) -> float:
        """Seconds to leave for retraining: what it takes, and a quarter more, as it is a guess; 0.0 while nothing is known."""
        return 1.25 * (self.retraining() or 0.0)

    def line(self) -> str:
        """Best, mean of the running batch, mean of the top k, failures."""
        best = self.standing.best
        parts = []
        if best is not None:
            parts.append(f"best {best.reward:.4f} (trial {best.number})")
        if self._batch_mean is not None:
            parts.append(f"mean of batch {self._batch_mean:.4f}")
        if best is not None:
            parts.append(f"mean of top {self.standing.top_k} {self.standing.top_mean:.4f}")
        return "  ".join([*parts, f"failed {self.standing.counts['failed'] + self._failed}"])

    def _done(self) -> int:
        return len(self.standing.trials) + len(self._rewards)

    def _move(self) -> None:
        self._bar.update(self._bar.task_ids[0], completed=self._done())

    def _left(self) -> float | None:
        """Seconds of the search from now on; None if that is not known yet."""
        return self.forecast.search(self._budget - self._done())

    def _picture(self) -> Group:
        with self._lock:
            left = self._left()
            self._bar.update(self._bar.task_ids[0], left="-:--:--" if left is None else spoken(left))
            return Group(self._bar.get_renderable(), Text(self.line(), no_wrap=True, overflow="ellipsis"))

    def _print_forecast(self) -> None:
        search, retraining = self._left() or 0.0, self.retraining()
        if search + (retraining or 0.0) >= WORTH_TELLING:
            after = "" if retraining is None else f", {spoken(retraining)} for ma2ml retrain after it"
            self.console.print(f"about {spoken(search)} for the search{after}", soft_wrap=True)

    def _break_silence(self) -> None:
        if time.monotonic() - self._last_line >= SILENCE:
            with self._lock:
                left = self._left()
                so_far = f"{spoken(time.monotonic() - self._began)} so far"
                self._print_line(so_far if left is None else f"{so_far}, about {spoken(left)} left")

    def _print_line(self, lead: str = "") -> None:
        parts = (f"{self._done()}/{self._budget} trials", lead, self.line())
        self.console.print("  ".join(part for part in parts if part), soft_wrap=True)
        self._last_line = time.monotonic()


def grouped(metrics: Mapping[str, float]) -> dict[str, float]:
    """What a learner measures, by the names of its curves: those without a group stand under `learner/`."""
    own = {name: value for name, value in metrics.items() if name not in ("seconds", "reward")}
    return {name if "/" in name else f"learner/{name}": value for name, value in own.items()}
