"""The bar of trainings to their ends, which moves by epochs: trainers leave the number of theirs in small files."""

import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from ma2ml_agents.run.forecast import spoken
from ma2ml_agents.run.ticker import SILENCE, Ticker
from ma2ml_agents.run.tracking import progress_bar
from ma2ml_env.evaluators.base import Job, epoch_at


class Watch:
    """A bar on a terminal; elsewhere a line a training, and one every ten seconds where it takes longer.

    Args:
        name: of the bar.
        jobs: all trainings.
        waiting: those of them that are trained now; the others are done, and take no time.
        console: where to.
        folder: in which trainers leave their epochs, see `Train`; emptied before and after. Where nothing is seen, as on a
            machine with another file system, the bar moves by trainings.
    """

    def __init__(
        self, name: str, jobs: Sequence[Job], waiting: Sequence[Job], console: Console, folder: Path | None
    ) -> None:
        self._name, self._console, self._folder = name, console, folder
        self._count, self._total = len(jobs), sum(map(_epochs, jobs))
        self._before = self._total - sum(map(_epochs, waiting))
        self._finished = self._count - len(waiting)
        self._ended = self._before  # epochs of what is done
        self._running = {id(job): (job, 0) for job in waiting}
        self._last = time.monotonic()
        self._pace_from: tuple[float, int] | None = (
            None  # when the first epochs were seen: before, workers and data got ready
        )
        self._bar = progress_bar(console, left=True)
        self._bar.disable = not console.is_terminal
        self._task = self._bar.add_task(name, total=self._total, left="-")
        self._lock = threading.RLock()  # the ticker looks from a thread of its own
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._clear()
        self._open.callback(self._clear)
        self._open.enter_context(self._bar)
        self._show()
        if self._bar.disable and self._running:
            self._say(self._name, f"{self._epochs_done()} of {self._total} epochs")
        self._open.enter_context(Ticker(SILENCE / 10, self._tick))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def ended(self, job: Job, stage: str, told: str) -> None:
        """A training is done.

        Args:
            job: of those that were waiting.
            stage: what it was for.
            told: what to say of it where there is no terminal.
        """
        with self._lock:
            del self._running[id(job)]
            self._ended += _epochs(job)
            self._finished += 1
            self._show()
            if self._bar.disable:
                self._say(stage, told)

    def _tick(self) -> None:
        with self._lock:
            self._running = {key: (job, self._look(job, seen)) for key, (job, seen) in self._running.items()}
            self._show()
            if self._bar.disable and time.monotonic() - self._last >= SILENCE:
                left = self._left()
                told = "" if left is None else f", about {spoken(left)} left"
                self._say(self._name, f"{self._epochs_done()} of {self._total} epochs{told}")

    def _look(self, job: Job, seen: int) -> int:
        """Epochs of a training under way."""
        if self._folder is not None:
            with suppress(OSError, ValueError):  # not begun, or just being written
                return min(_epochs(job), int((self._folder / job.checkpoint_name).read_text()))
        return seen

    def _epochs_done(self) -> int:
        return self._ended + sum(seen for _, seen in self._running.values())

    def _left(self) -> float | None:
        """Seconds, by the epochs of this session; what was done before took none of its time. None if there were none."""
        done, now = self._epochs_done(), time.monotonic()
        if done > self._before and self._pace_from is None:
            self._pace_from = now, done
        began, first = self._pace_from or (now, done)
        return (now - began) / (done - first) * (self._total - done) if done > first else None

    def _show(self) -> None:
        name, left = f"{self._name} {self._finished}/{self._count}, epochs", self._left()
        told = "-" if left is None else spoken(left)
        self._bar.update(self._task, completed=self._epochs_done(), left=told, description=name, refresh=True)

    def _say(self, name: str, told: str) -> None:
        self._console.print(f"{name}: {self._finished}/{self._count}, {told}", soft_wrap=True)
        self._last = time.monotonic()

    def _clear(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _epochs(job: Job) -> int:
    return epoch_at(job.fidelity, job.recipe.epochs)
