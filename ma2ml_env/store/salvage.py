"""A new run of what is whole of a damaged one: of its database, with its log and without, and of its mirror.

The new run has an id of its own. Trials that are closed without a gap stay closed; what lies behind a gap keeps its outcome,
which a search finds again when it gets there. The learner's state is kept if no trial that it was told of is missing. Else a
search asks it for all batches again, in order, and tells it what came of them; it refuses if they are not the same proposals.
"""

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ma2ml_env.io.files import FolderLock
from ma2ml_env.io.reading import read_json
from ma2ml_env.store.backup import copy_beside, finish, new_folder
from ma2ml_env.store.check import Files
from ma2ml_env.store.database import Database, intact
from ma2ml_env.store.earlier import SECTION as EARLIER
from ma2ml_env.store.earlier import Earlier, read_earlier, told
from ma2ml_env.store.mirror import About, Line, best_is_whole, canonical, read_lines
from ma2ml_env.store.reader import SALVAGED
from ma2ml_env.store.store import TrialStore

CONFIG = "run"
"""section of what the run was told"""
_MOST = 1_000_000
_MISSES = 10_000
"""rows are asked for one by one, up to the first of these, and until so many in a row are not there"""


@dataclass(frozen=True)
class Salvaged:
    """What came of it."""

    database: int
    """trials with an outcome that come from the database"""
    mirror: int
    """those that come from the mirror"""
    lost: int
    """those that are known to have been there, and are nowhere"""
    config: str
    """where the configuration comes from; "" if it is nowhere"""
    learner: bool
    """whether the learner's state is whole"""


@dataclass
class _Part:
    """The whole rows of a file."""

    run: str = ""
    sections: dict[str, str] = field(default_factory=dict)
    """name -> JSON"""
    proposals: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    """number -> batch (-1 if not told), seed, JSON"""
    outcomes: dict[int, tuple[str, float | None]] = field(default_factory=dict)
    """number -> JSON, reward or None"""
    learner: tuple[int, int, str, bytes] | None = None
    """batch, trials, state"""
    sizes: dict[int, int] = field(default_factory=dict)
    """batch -> its trials, as far as they are told"""
    whole: bool = False
    """whether nothing of it is damaged"""


def salvage(folder: Path, out: Path) -> Salvaged:
    """Make a run of what is whole of another, which stays as it is.

    Args:
        folder: of the damaged run.
        out: a new or empty folder.

    Raises:
        ValueError: if there is nothing to salvage, files of different runs are mixed and neither is the greater part, or `out`
            is not empty.
        OSError: if something cannot be read or written. BlockingIOError if somebody drives the run.
    """
    files = Files(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    with _undriven(files), new_folder(out, folder) as stage:
        about, (lines, _) = About.read(files.about), read_lines(files.mirror)
        parts = _databases(files)
        run = _whose(folder, parts, about, lines)
        parts = [part for part in parts if part.run == run]
        parts = parts if run else parts[:1]  # without an id nobody knows whether the log is this run's
        mirror = _of_mirror([line for line in lines if line.run == run])
        if about is not None and about.run == run:
            mirror.sections = {name: canonical(each) for name, each in about.sections.items()}
        made = _merge([*parts, mirror])
        if not made.outcomes and not made.sections:
            raise ValueError(f"{folder}: there is nothing to salvage; none of its rows and lines is whole")
        known = {number for part in parts for number in part.outcomes}
        noted = files.noted()
        there = [len(made.outcomes), int(noted) if noted.isdecimal() and len(noted) < 10 else 0]
        there += [part.learner[1] for part in parts if part.learner]
        there += [number + 1 for number, (_, reward) in made.outcomes.items() if reward is not None]
        made.outcomes = {number: row for number, row in made.outcomes.items() if number in made.proposals}
        copy_beside(folder, stage)
        _write(stage, made, {"run": run, "folder": str(folder)})
        finish(stage)
    has = [CONFIG in part.sections for part in parts]
    return Salvaged(
        database=len(known & made.outcomes.keys()),
        mirror=len(made.outcomes.keys() - known),
        lost=max(there) - len(made.outcomes),
        config=files.database.name if any(has) else files.about.name if CONFIG in made.sections else "",
        learner=made.learner is not None,
    )


@contextmanager
def _undriven(files: Files) -> Iterator[None]:
    """Keep drivers away, if the folder can be written.

    Raises:
        BlockingIOError: if somebody drives the run.
    """
    lock = None
    if files.lock.exists():
        try:
            lock = FolderLock(files.lock)
        except BlockingIOError:
            raise
        except OSError:
            pass  # a folder that nobody can write to has no driver
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _databases(files: Files) -> list[_Part]:
    """What is whole of the database, with its log and without; copies are read, so that the run stays as it is."""
    log = files.database.with_name(f"{files.database.name}-wal")
    found: list[_Part] = []
    for names in ([files.database, log] if log.exists() else [], [files.database]):
        if not names or not files.database.exists():
            continue
        with tempfile.TemporaryDirectory() as place:
            for path in names:
                shutil.copy(path, place)
            with suppress(ValueError, OSError), closing(Database(Path(place) / files.database.name)) as database:
                if database.is_run():
                    found.append(_of_database(database))
    return found


def _whose(folder: Path, parts: Sequence[_Part], about: About | None, lines: Sequence[Line]) -> str:
    """The id of the run that most of the files are of.

    Raises:
        ValueError: if that is none.
    """
    told = [{part.run for part in parts}, set() if about is None else {about.run}, {line.run for line in lines}]
    votes = Counter(run for each in told for run in each).most_common(2)
    if len(votes) == 2 and votes[0][1] == votes[1][1]:
        raise ValueError(
            f"{folder}: its files are of different runs ({', '.join(run[:8] or 'one without an id' for run, _ in votes)}); "
            "take away what does not belong here: run.sqlite with run.sqlite-wal, trials.jsonl, or run.json"
        )
    return votes[0][0] if votes else ""


def _of_database(database: Database) -> _Part:
    """The whole rows of a database."""
    part = _Part(database.run)
    with suppress(ValueError):
        part.whole = not database.problems()
    for name, text, _ in _rows(database, "meta", "key", (CONFIG, "search", EARLIER, SALVAGED, "made")):
        part.sections[name] = text
    proposals = _rows(database, "proposals", "number", range(_MOST))
    part.proposals = {number: (batch, seed, text) for number, batch, seed, text, _ in proposals}
    outcomes = _rows(database, "outcomes", "number", range(_MOST))
    part.outcomes = {number: (text, reward) for number, text, reward, _ in outcomes}
    learners = _rows(database, "learner", "batch", ())
    part.learner = learners[0][:4] if len(learners) == 1 else None
    if part.whole:
        part.sizes = dict(Counter(batch for batch, _, _ in part.proposals.values()))
    with suppress(ValueError, AttributeError, TypeError):
        before = read_json(part.sections.pop(SALVAGED, "{}"))
        part.sizes |= {int(batch): int(size) for batch, size in before.get("sizes", {}).items()}
        for number, reward in before.get("rewards", {}).items():  # of one that was salvaged and has not come so far yet
            if part.outcomes.get(int(number), ("", 0.0))[1] is None:
                part.outcomes[int(number)] = (part.outcomes[int(number)][0], float(reward))
    return part


def _rows(database: Database, table: str, key: str, keys: Iterable[Any]) -> list[tuple[Any, ...]]:
    """The whole rows of a table; where it cannot be read to its end, they are asked for one by one."""
    found: dict[Any, tuple[Any, ...]] = {}

    def take(query: str, *values: Any) -> bool:
        try:
            for row in database.connection.execute(query, values):
                if intact(row, database.run):
                    found[row[0]] = row
        except sqlite3.Error:
            return False
        return True

    if not take(f"SELECT * FROM {table}") and not take(f"SELECT * FROM {table} ORDER BY {key} DESC"):
        misses = 0
        for each in keys:
            if each not in found:
                take(f"SELECT * FROM {table} WHERE {key} = ?", each)
            misses = 0 if each in found else misses + 1
            if misses > _MISSES:
                break
    return list(found.values())


def _of_mirror(lines: Sequence[Line]) -> _Part:
    """What the mirror holds."""
    part = _Part()
    for line in lines:
        trial = line.trial
        part.proposals[trial.number] = (line.batch, trial.seed, canonical(trial.proposal.to_json()))
        part.outcomes[trial.number] = (canonical(trial.outcome.to_json()), trial.reward)
        if line.batch_size > 0:
            part.sizes[line.batch] = line.batch_size
    return part


def _merge(parts: Sequence[_Part]) -> _Part:
    """All of it; of what stands in several, what the first has, but an outcome with its reward."""
    made = _Part()
    for part in parts:
        made.sections = part.sections | made.sections
        made.proposals = part.proposals | made.proposals
        made.sizes = part.sizes | made.sizes
        for number, row in part.outcomes.items():
            if number not in made.outcomes or made.outcomes[number][1] is None:
                made.outcomes[number] = row
        if part.learner and (made.learner is None or part.learner[0] > made.learner[0]):
            made.learner = part.learner
    for number, rows in _earlier(made).items():  # a database that has lost its log may hold what was before
        before = {canonical(each.outcome.to_json()) for each in rows}
        for part in parts:
            if number in made.outcomes and made.outcomes[number][0] in before and number in part.outcomes:
                made.outcomes[number] = part.outcomes[number]
    return made


def _earlier(made: _Part) -> dict[int, tuple[Earlier, ...]]:
    """What had come of trials before they were played again, as far as it can be read."""
    with suppress(ValueError, AttributeError):
        return read_earlier(read_json(made.sections.get(EARLIER, "{}")))
    return {}


def _batches(made: _Part) -> Iterator[tuple[int, range]]:
    """Batch -> numbers of its trials, as far as they are known or the configuration tells."""
    config = read_json(made.sections.get("search", made.sections.get(CONFIG, "{}")))
    batch, budget = (config.get(name) for name in ("batch", "budget"))
    members: dict[int, list[int]] = {}
    for number, (index, _, _) in made.proposals.items():
        members.setdefault(index, []).append(number)
    index, first, end = 0, 0, max(made.proposals, default=-1) + 1
    while first < end:
        size = made.sizes.get(index, 0)
        if size < 1 and index + 1 in members:
            size = min(members[index + 1]) - first
        if size < 1 and isinstance(batch, int) and isinstance(budget, int) and batch > 0:
            size = min(batch - first % batch, budget - first)
        size = max(size, max(members.get(index, [first])) + 1 - first)
        yield index, range(first, first + size)
        index, first = index + 1, first + size


def _write(stage: Path, made: _Part, origin: Mapping[str, Any]) -> None:
    """Write a run of this, and its readable files."""
    sizes: dict[int, int] = {}
    closed, whole = 0, True
    for index, numbers in _batches(made):
        there = [number for number in numbers if number in made.proposals]
        for number in there:
            made.proposals[number] = (index, *made.proposals[number][1:])
        whole = whole and all(made.outcomes.get(number, ("", None))[1] is not None for number in numbers)
        closed = numbers.stop if whole else closed
        if len(there) < len(numbers):
            sizes[index] = len(numbers)
    if made.learner is not None and made.learner[1] > closed:
        made.learner = None
    rewards = {  # its batch is closed again by what the learner was told
        str(number): made.outcomes[number][1]
        for number, rows in _earlier(made).items()
        if number >= closed and number in made.outcomes and told(rows) is not None
    }
    again = {"sizes": {str(index): size for index, size in sizes.items()}} | ({"rewards": rewards} if rewards else {})
    made.sections[SALVAGED] = canonical({**origin, **again})
    with closing(Database(Files(stage).database, write=True, create=True)) as database, database.transaction() as db:
        for table, rows in (
            ("meta", made.sections.items()),
            ("proposals", ((number, *row) for number, row in sorted(made.proposals.items()))),
            ("outcomes", ((n, text, reward if n < closed else None) for n, (text, reward) in made.outcomes.items())),
            ("learner", [] if made.learner is None else [made.learner]),
        ):
            for row in rows:
                places = ", ".join("?" * (len(row) + 1))
                db.execute(f"INSERT INTO {table} VALUES ({places})", (*row, database.mark(*row)))
    with TrialStore(stage) as store:
        store.restore()
    best = Files(stage).best
    if best.exists() and not best_is_whole(best):
        best.unlink()
