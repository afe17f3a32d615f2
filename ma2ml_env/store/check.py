"""Whether the files of a run are whole and belong together. Reads only."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ma2ml_env.store.database import Database, salvage_of
from ma2ml_env.store.mirror import About, Line, best_is_whole, read_lines
from ma2ml_env.store.rows import CLOSED, learner_of, trial_of


class Files:
    """Names of the files of a run that belong together. Beside `database` SQLite keeps its log, `run.sqlite-wal`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "run.sqlite"
        self.mirror = folder / "trials.jsonl"
        self.about = folder / "run.json"
        self.best = folder / "best.json"
        self.lock = folder / "run.lock"

    def noted(self) -> str:
        """What the last driver has noted in its lock: the number of outcomes it has acknowledged."""
        lines = self.lock.read_bytes().decode(errors="replace").split("\n") if self.lock.exists() else []
        return lines[1] if len(lines) > 1 else ""


@dataclass
class Found:
    """What is wrong with a run, in lines for people."""

    fatal: list[str] = field(default_factory=list)
    """nobody goes on with it: the truth is not whole"""
    lost: str = ""
    """outcomes that were acknowledged and are nowhere; their pipelines are trained again"""
    mended: list[str] = field(default_factory=list)
    """is written anew by who goes on"""

    @property
    def lines(self) -> list[str]:
        """All of it."""
        return [*self.fatal, *([self.lost] if self.lost else []), *self.mended]

    def refuse(self, folder: Path) -> None:
        """Make sure that nothing is fatal.

        Raises:
            ValueError: if something is.
        """
        if self.fatal:
            more = f" (and {len(self.fatal) - 1} more: see `ma2ml check`)" if len(self.fatal) > 1 else ""
            raise ValueError(f"{folder}: {self.fatal[0]}{more}. Nothing was done; {salvage_of(folder)}")


def check(folder: Path) -> list[str]:
    """Everything that is wrong with a run's folder, one line each; [] if nothing is. Works while a search is going on."""
    try:
        return examine(Files(folder)).lines
    except OSError as error:
        return [str(error)]


def examine(files: Files, noted: str | None = None) -> Found:
    """What is wrong with a run's files; nothing is written, and a search may be going on.

    Args:
        files: of the run.
        noted: see `Files.noted`, which is asked unless told.

    Raises:
        OSError: if the system refuses to read them.
    """
    found = Found()
    if not files.database.exists():
        return Found(["run.sqlite is not there"])
    noted = files.noted() if noted is None else noted
    lines, damaged = read_lines(files.mirror)  # before the database, which is ahead of it
    about = About.read(files.about)
    try:
        with closing(Database(files.database)) as database:
            if database.is_run():
                found.fatal += [f"run.sqlite is damaged: {line}" for line in database.problems()]
                found.fatal += _of_others(database, lines, about)
                if not found.fatal:
                    _compare(files, database, lines, damaged, about, found)
                    if noted.isdecimal() and len(noted) < 10:
                        count = int(noted) - len(database.rows("SELECT * FROM outcomes"))
                        found.lost = _lost(count) if count > 0 else ""
            elif lines or damaged or files.about.exists():
                found.fatal.append("run.sqlite is damaged: there is nothing in it")
    except ValueError as error:
        found.fatal.append(str(error).removeprefix(f"{files.folder}: ").removesuffix(f"; {salvage_of(files.folder)}"))
    found.mended += [f"trials.jsonl: line {line} is damaged; going on with the run writes it anew" for line in damaged]
    if files.best.exists() and not best_is_whole(files.best):
        found.mended.append("best.json is damaged; going on with the run writes it anew")
    return found


def _of_others(database: Database, lines: Sequence[Line], about: About | None) -> list[str]:
    """What says that it is another run's."""
    told = {line.run for line in lines} - {database.run}
    found = [
        f"trials.jsonl holds trials of another run ({_id(run)}; run.sqlite is of {_id(database.run)})" for run in told
    ]
    if about is not None and about.run != database.run:
        found.append(f"run.json is of another run ({_id(about.run)}; run.sqlite is of {_id(database.run)})")
    return [f"{line}; bring back the file that belongs here" for line in sorted(found)]


def _compare(
    files: Files,
    database: Database,
    lines: Sequence[Line],
    damaged: Sequence[int],
    about: About | None,
    found: Found,
) -> None:
    """What one file holds and the other lacks."""
    names = {row[0] for row in database.rows("SELECT * FROM meta WHERE key != 'id'")}
    learner = learner_of(database.rows("SELECT * FROM learner"), files.folder)
    trials = {row[0]: trial_of(row, row[7], files.folder) for row in database.rows(CLOSED)}
    count = learner[1] if learner else 0
    if sorted(trials) != list(range(len(trials))) or count > len(trials):
        missing = f"of {max([count, *(n + 1 for n in trials)])} finished trials some are missing"
        found.fatal.append(f"run.sqlite: {missing}")
    lost = [line.trial.number for line in lines if line.trial.number not in trials]
    if lost:
        found.fatal.append(f"run.sqlite does not hold trials that trials.jsonl holds: {_short(lost)}")
    if about is not None and (gone := sorted(about.sections.keys() - names)):
        found.fatal.append(f"run.sqlite has lost its configuration ({', '.join(gone)}), which run.json holds")
    other = [line.trial.number for line in lines if trials.get(line.trial.number, line.trial) != line.trial]
    if other:
        found.mended.append(f"trials.jsonl holds trials not like run.sqlite: {_short(other)}; going on writes it anew")
    if len(lines) + len(damaged) < len(trials):
        time.sleep(0.1)  # a search may be about to add them
        there, damage = read_lines(files.mirror)
        if (lacks := len(trials) - len(there) - len(damage)) > 0:
            found.mended.append(
                f"trials.jsonl lacks {lacks} of {len(trials)} trials; going on with the run writes it anew"
            )
    if about is None and names and (files.about.exists() or database.run):
        state = "damaged" if files.about.exists() else "not there"
        found.mended.append(f"run.json is {state}; going on with the run writes it anew")


def _lost(count: int) -> str:
    return (
        f"{count} outcomes that were acknowledged are not there: run.sqlite-wal, the database's log, was cut or taken away. "
        "Going on trains their pipelines again, under the same seeds"
    )


def _id(run: str) -> str:
    return run[:8] or "a run without an id"


def _short(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:5]))
    return shown if len(numbers) <= 5 else f"{shown} and {len(numbers) - 5} more"
