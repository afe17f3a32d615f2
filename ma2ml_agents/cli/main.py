"""The entry of the command line: signals are heard before anything heavy is imported, and errors become one line.

Exit codes: 0 done; 1 `check` or `data` found something, or `verify` a winner that does not agree with its table; 2 bad input,
nothing was lost; 75 stopped by SIGTERM, SIGUSR1 or SIGHUP, 130 by Ctrl-C (`bench` ends with its programs' codes: 128 and the
signal's number). All that takes long to import (tyro, rich, numpy, torch) is imported below, inside of functions.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from ma2ml_agents.run.signals import Loading, Signals, Stopped, stopped_by


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Bad input is one line on stderr and exit code 2. Errors of the program itself keep their traceback, and so do all with
    `MA2ML_TRACEBACK=1` in the environment.

    Args:
        argv: the words after `ma2ml`; None takes those of this process, which is then the command's alone.
    """
    with Signals(own=argv is None) as signals:
        try:
            code = signals.done(_run(sys.argv[1:] if argv is None else argv, signals, own=argv is None))
        except SystemExit:  # a help text was asked for
            signals.done(0)
            raise
        except Stopped as stopped:
            _say(f"ma2ml: stopped by {stopped.name}")
            code = signals.done(stopped.exit_code)
        except KeyboardInterrupt:
            _say("ma2ml: stopped")
            code = signals.done(130)
        if argv is None and code in (75, 130):
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(code)  # all is stored and closed; taking torch apart takes seconds that a scheduler may not give
    return code


def _run(argv: Sequence[str], signals: Signals, own: bool) -> int:
    """The exit code of a command.

    Raises:
        SystemExit: with 0, after printing a help text that was asked for.
        Stopped: by a signal.
    """
    with Loading():
        from rich.console import Console

        from ma2ml_agents.cli.commands import parse
        from ma2ml_env.evaluators.base import NoWorker
        from ma2ml_env.io.output import outlive_readers
    if own:
        outlive_readers()
    try:
        command = parse(argv)
        signals.begun = True
        code: int = command.execute(Console(highlight=False, markup=False))
        sys.stdout.flush()
        return code
    except (ValueError, OSError, ImportError, NoWorker) as error:
        if stopped := stopped_by(error):  # a signal came first, as when the terminal was closed, and nobody reads this
            raise stopped from None
        if os.environ.get("MA2ML_TRACEBACK"):
            raise
        line = " ".join(str(error).split())  # of a file's own text there may be what no encoding has, as half a pair
        _say(f"ma2ml: error: {line.encode(errors='backslashreplace').decode()}")
        if own and isinstance(error, NoWorker):
            sys.stdout.flush()
            os._exit(2)  # what was to run jobs may be dead, and hold up or kill who takes leave of it
        return 2
    except (MemoryError, RuntimeError) as error:
        if not _full(error) or os.environ.get("MA2ML_TRACEBACK"):
            raise
        _say(f"ma2ml: error: the memory is not enough for what was asked for: {' '.join(str(error).split())[:200]}")
        return 2


def _full(error: Exception) -> bool:
    """Whether memory ran out: torch, which says so in its own way, has been imported then."""
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from ma2ml_env.evaluators.faults import out_of_memory

    return out_of_memory(error)


def _say(line: str) -> None:
    """Where there is still somebody to hear it."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
