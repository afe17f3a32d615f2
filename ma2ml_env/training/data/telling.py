"""What is said while data are read: a bar that moves, and what is not as usual. On stderr, by the main process alone."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

EVERY = 10.0
"""seconds between two lines where there is no terminal for a bar"""


@cache
def tell(line: str) -> None:
    """Say it, once in a process; workers say nothing."""
    if multiprocessing.parent_process() is None:
        _console().print(line, soft_wrap=True, highlight=False, markup=False)


@contextmanager
def bar(doing: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how far it is: what comes out is called for each thing that is done."""
    if multiprocessing.parent_process() is not None:
        yield lambda: None
    elif (console := _console()).is_terminal:
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(doing, total=total)
            yield lambda: progress.advance(task)
    else:
        yield _lines(console, doing, total)


def _lines(console: Console, doing: str, total: int) -> Callable[[], None]:
    began = said = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, said
        done, now = done + 1, time.monotonic()
        if now - said >= EVERY and done < total:
            said = now
            left = (now - began) / done * (total - done)
            console.print(f"{doing}: {done:,} of {total:,}, {left:,.0f} s to go", soft_wrap=True, highlight=False)

    return advance


def _console() -> Console:
    return Console(stderr=True)
