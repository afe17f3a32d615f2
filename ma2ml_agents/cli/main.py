"""The command line. Commands are frozen dataclasses; this file reads the arguments and turns errors into one line.

Exit codes: 0 done; 1 `check` found something; 2 bad input, nothing was lost; 75 stopped by SIGTERM or SIGUSR1, 130 by Ctrl-C.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro
from rich.console import Console

from ma2ml_agents.cli.after import Export, Retrain
from ma2ml_agents.cli.bench import Bench
from ma2ml_agents.cli.data import Data
from ma2ml_agents.cli.fidelity import Fidelity
from ma2ml_agents.cli.look import Check, List, Pareto, Report, Show, Trials
from ma2ml_agents.cli.paper import Paper
from ma2ml_agents.cli.start import Resume, Search
from ma2ml_env.evaluators.base import NoWorker
from ma2ml_env.registry import closest

COMMANDS: dict[str, type[Any]] = {
    "data": Data,
    "search": Search,
    "resume": Resume,
    "retrain": Retrain,
    "export": Export,
    "fidelity": Fidelity,
    "list": List,
    "trials": Trials,
    "show": Show,
    "pareto": Pareto,
    "report": Report,
    "check": Check,
    "bench": Bench,
    "paper": Paper,
}
_Command: Any = Union[tuple(Annotated[command, tyro.conf.subcommand(name)] for name, command in COMMANDS.items())]  # noqa: UP007


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Bad input is one line on stderr and exit code 2. Errors of the program itself keep their traceback, and so do all with
    `MA2ML_TRACEBACK=1` in the environment.
    """
    try:
        command = parse(sys.argv[1:] if argv is None else list(argv))
        code: int = command.execute(Console(highlight=False, markup=False))
        sys.stdout.flush()
        if argv is None and code in (75, 130):
            os._exit(code)  # all is stored and closed; taking torch apart takes seconds that a scheduler may not give
        return code
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("ma2ml: stopped", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, NoWorker) as error:
        if os.environ.get("MA2ML_TRACEBACK"):
            raise
        line = " ".join(str(error).split())  # of a file's own text there may be what no encoding has, as half a pair
        print(f"ma2ml: error: {line.encode(errors='backslashreplace').decode()}", file=sys.stderr, flush=True)
        if argv is None and isinstance(error, NoWorker):
            sys.stdout.flush()
            os._exit(2)  # what was to run jobs may be dead, and hold up or kill who takes leave of it
        return 2


def parse(argv: Sequence[str]) -> Any:
    """The command that the arguments name, with its options.

    Raises:
        ValueError: if they name none; the message is one line.
        SystemExit: with 0, after printing a help text that was asked for.
    """
    if not argv:
        raise ValueError(f"which command? One of {', '.join(COMMANDS)}; `ma2ml --help` explains them")
    if argv[0] not in COMMANDS and not argv[0].startswith("-"):
        raise ValueError(f"unknown command {argv[0]!r}{closest(argv[0], COMMANDS)}")
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                _Command,
                prog="ma2ml",
                description="Search training pipelines for image classification with cooperating agents (MA2ML).",
                args=list(argv),
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_one_line(told.getvalue(), argv[0])) from None


def _one_line(box: str, command: str) -> str:
    """What tyro says in a box of several paragraphs: the first one, and what it offers instead."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    if (
        len(lines) > 1 and lines[1] and set(lines[1]) <= {"-"}
    ):  # without characters for a box its title is a line, and ruled
        lines = lines[2:]
    first: list[str] = []
    for line in lines:
        if not line or set(line) <= set("─-"):
            break
        first.append(line)
    offered = re.search(r"Perhaps you meant:\s*(--[\w-]+)", " ".join(lines))
    hint = f"; did you mean {offered[1]}?" if offered else ""
    message = re.sub(r"^Error parsing __\S+: ", "", " ".join(first)) or "the arguments cannot be read"
    return f"{message.rstrip('.')}{hint} (see ma2ml {command} --help)"


if __name__ == "__main__":
    sys.exit(main())
