"""The commands, which are frozen dataclasses, and how arguments become one of them."""

import contextlib
import inspect
import io
import re
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro

from ma2ml_agents.cli.after import Export, Retrain
from ma2ml_agents.cli.bench import Bench
from ma2ml_agents.cli.collect import Collect, Table
from ma2ml_agents.cli.data import Data
from ma2ml_agents.cli.fidelity import Fidelity
from ma2ml_agents.cli.keep import Backup, Salvage
from ma2ml_agents.cli.look import Check, List, Pareto, Show, Trials
from ma2ml_agents.cli.paper import Paper
from ma2ml_agents.cli.report import Report, Study
from ma2ml_agents.cli.start import Resume, Search
from ma2ml_agents.cli.verify import Verify
from ma2ml_env.plugins import load
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
    "study": Study,
    "check": Check,
    "backup": Backup,
    "salvage": Salvage,
    "bench": Bench,
    "collect": Collect,
    "table": Table,
    "verify": Verify,
    "paper": Paper,
}
EXAMPLES: dict[str, str] = {
    "data": "ma2ml data photos",
    "search": "ma2ml search own-small-v1 --images photos --run runs/mine --hours 2",
    "resume": "ma2ml resume runs/mine --hours 2",
    "retrain": "ma2ml retrain runs/mine --top-k 5",
    "export": "ma2ml export runs/mine --onnx",
    "fidelity": "ma2ml fidelity runs/mine --epochs 2 8 30",
    "list": "ma2ml list --set digits-v0",
    "trials": "ma2ml trials runs/mine --csv > trials.csv",
    "show": "ma2ml show runs/mine 17",
    "pareto": "ma2ml pareto runs/mine",
    "report": "ma2ml report runs/mine --out mine.html",
    "study": "ma2ml study runs/mine --out study.db",
    "check": "ma2ml check runs/mine",
    "backup": "ma2ml backup runs/mine --out copies/mine",
    "salvage": "ma2ml salvage runs/mine --out runs/saved",
    "bench": "ma2ml bench smoke --out results",
    "collect": "ma2ml collect grid.toml --part 1/4",
    "table": "ma2ml table runs/one runs/two --out both.npz",
    "verify": "ma2ml verify runs/mine --top 5",
    "paper": "ma2ml paper figure5 runs/mine",
}
"""of each command; its help ends with it"""
_PLUGIN = "--plugin FILE, which may stand anywhere, is a Python file that registers parts of your own."
_Command: Any = Union[tuple(Annotated[command, tyro.conf.subcommand(name)] for name, command in COMMANDS.items())]  # noqa: UP007


def parse(argv: Sequence[str]) -> Any:
    """The command that the arguments name, with its options. `--plugin FILE` may stand anywhere, as often as needed.

    Raises:
        ValueError: if they name none; the message is one line.
        SystemExit: with 0, after printing a help text that was asked for.
    """
    argv = _without_plugins(argv)
    if not argv:
        raise ValueError(f"which command? One of {', '.join(COMMANDS)}; `ma2ml --help` explains them")
    if argv[0] not in COMMANDS and not argv[0].startswith("-"):
        raise ValueError(f"unknown command {argv[0]!r}{closest(argv[0], COMMANDS)}")
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            config = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
            if argv[0] in COMMANDS:  # the options of all the others need not be made
                command, words = COMMANDS[argv[0]], list(argv[1:])
                about = f"{inspect.getdoc(command)}\n\nExample: {EXAMPLES[argv[0]]}\n\n{_PLUGIN}"
                return tyro.cli(command, prog=f"ma2ml {argv[0]}", description=about, args=words, config=config)
            title = f"Search training pipelines for image classification with cooperating agents (MA2ML).\n\n{_PLUGIN}"
            return tyro.cli(_Command, prog="ma2ml", description=title, args=list(argv), config=config)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_one_line(told.getvalue(), f"ma2ml {argv[0]}" if argv[0] in COMMANDS else "ma2ml")) from None


def _without_plugins(argv: Sequence[str]) -> list[str]:
    """The other arguments; plugins are imported.

    Raises:
        ValueError: if no file follows, or it cannot be used.
    """
    words = iter(argv)
    left = list[str]()
    for word in words:
        flag, equals, place = word.partition("=")
        if flag != "--plugin":
            left.append(word)
            continue
        place = place if equals else next(words, "")
        if not place:
            raise ValueError("--plugin takes a Python file, as in --plugin my_parts.py")
        load(place)
    return left


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
    message = re.sub(r"'None', |, 'None'", "", message.replace("told.", "").replace("{None}|", ""))
    return f"{message.rstrip('.')}{hint} (see {command} --help)"
