"""A run's memory: one folder with `run.sqlite` (the truth), `trials.jsonl` and `run.json` (a readable mirror) and `best.json`.

Proposals are stored before they are evaluated, each outcome the moment it arrives, rewards and the learner's state when a batch
closes; each in one transaction that is on the disk when the call returns. So a run may be killed at any moment: what was
acknowledged is there, once, and the rest is asked and evaluated again.

Every row and every line carries a digest of its content and the run's id. What does not match is never handed out. The
database's log is closed with the configuration, with each batch, and with an outcome that comes a second after the last time.
"""

import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ma2ml_env.io.files import FolderLock
from ma2ml_env.io.reading import is_number, read_json
from ma2ml_env.io.state import pack
from ma2ml_env.store.check import examine
from ma2ml_env.store.database import OPEN_LOG, Database, salvage_of
from ma2ml_env.store.earlier import SECTION, read_earlier, replace_row, told
from ma2ml_env.store.mirror import About, Line, Mirror, canonical, write_best
from ma2ml_env.store.reader import SALVAGED, Reader, differences, finite
from ma2ml_env.store.rows import CLOSED, trial_of
from ma2ml_env.trial import Outcome, Proposal, Trial

_log = logging.getLogger(__name__)


class TrialStore(Reader):
    """The folder of one run.

    Reading needs no lock and works while a search is going on. The first call that writes makes the folder if need be and
    locks it for this process until `close()`; the system frees the lock if the process dies.

    Args:
        folder: of a run, empty, or not there yet.
        create: whether a folder that holds no run is fine, and becomes one when it is written to.

    Raises:
        ValueError: if the folder holds something else than a run, or nothing and `create` is False. From any method: if the
            database is damaged.
        OSError: from any method: if the folder cannot be read or written. BlockingIOError if another process drives the run.
    """

    def __init__(self, folder: str | Path, create: bool = True) -> None:
        super().__init__(Path(folder))
        self._outcomes = 0  # in the database, while this process writes
        self._lock: FolderLock | None = None
        self._mirror: Mirror | None = None
        if not self._path.exists():
            if self._files.mirror.exists() or self._files.about.exists():
                raise ValueError(f"{self.folder} has lost its run.sqlite; {salvage_of(self.folder)}")
            if not create:
                raise ValueError(f"{self.folder} is not a run: it has no run.sqlite")
            if self.folder.is_dir() and any(not path.name.startswith("run.") for path in self.folder.iterdir()):
                raise ValueError(f"{self.folder} is not a run and not empty; name a new or an empty folder")

    def configure(
        self,
        config: Mapping[str, Any],
        section: str = "run",
        *,
        safe: Collection[str] = (),
        usual: Mapping[str, Any] = {},
    ) -> None:
        """Store what the run is, or make sure that it is still the same; the safe keys are updated.

        Args:
            config: a JSON object.
            section: name under which it is kept; different callers check different things.
            safe: keys that may have another value when the run goes on.
            usual: key -> value of a config that was stored without the key.

        Raises:
            ValueError: if it differs from what is stored in anything but the safe keys; each difference is named.
        """
        self._drive()  # who sets a run up is going to drive it
        config = json.loads(canonical(config))
        before = self.section(section)
        before = before and {**json.loads(canonical(usual)), **before}
        changes = [line for key, line in differences(before, config) if key not in safe] if before else []
        if changes:
            raise ValueError(f"{self.folder} is a run of another game: {'; '.join(changes)}")
        if config != before:
            text = canonical(config)
            with self._transaction() as db:
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (section, text, self._mark(section, text)))
            self._drive().fold()
            self._tell_about()

    def propose(self, batch: int, first_number: int, proposals: Sequence[Proposal], seeds: Sequence[int]) -> None:
        """Store a batch's proposals before they are evaluated, those that are not there already.

        Raises:
            ValueError: if the batch is there already and not the same byte for byte; the first difference is named.
        """
        rows = []
        for number, (proposal, seed) in enumerate(zip(proposals, seeds, strict=True), first_number):
            fields = (number, batch, seed, canonical(proposal.to_json()))
            rows.append((*fields, self._mark(*fields)))
        stored = self._rows("SELECT * FROM proposals WHERE batch = ? ORDER BY number", (batch,))
        if stored == rows:
            return
        asked = {row[0]: row for row in rows}
        whole = not stored or self.size(batch) == len(rows)  # a salvaged batch may lack some
        different = [row[0] for row in stored if asked.get(row[0]) != row]
        if different or not whole:
            number = min(different, default=first_number + min(len(stored), len(rows)))
            raise ValueError(
                f"{self.folder}: the learner does not propose what it proposed before (first difference: trial {number} of "
                f"batch {batch}). The learner, its settings or its libraries have changed; start a new run"
            )
        with self._transaction() as db:
            there = {row[0] for row in stored}
            db.executemany("INSERT INTO proposals VALUES (?, ?, ?, ?, ?)", [row for row in rows if row[0] not in there])

    def add_outcome(self, number: int, outcome: Outcome) -> None:
        """Store what came of a trial. It is on the disk when this returns; a second outcome of the number is ignored.

        Raises:
            ValueError: if the number was not proposed.
        """
        with self._transaction() as db:
            self._insert(db, number, outcome)
        self._drive().fold(after=OPEN_LOG)

    def replace_outcome(self, number: int, outcome: Outcome | None, reward: float | None) -> None:
        """Put what came of a trial when it was played again in the place of its outcome, which is kept as an earlier one.

        Args:
            number: of a trial that has an outcome.
            outcome: the new one; None where its batch is open: the search plays it again then.
            reward: of the new one; None with no outcome.

        Raises:
            ValueError: if the trial has none, the reward is not finite, or the batch is open or closed and should not be.
        """
        section = self.section(SECTION)
        read_earlier(section)  # nothing is added to what is not ours
        if outcome is None:  # noted before: a count that is too low is harmless, one too high looks like a loss
            self._drive()
            self._note(self._outcomes - 1)
        with self._transaction() as db:
            reward = None if reward is None else finite(number, reward)
            replace_row(db, self._mark, section, number, outcome, reward)
            self._outcomes -= outcome is None
        self._drive().fold()
        self._tell_about()
        if outcome is not None and self._mirror is not None:
            self._mirror.rewrite(self._lines())

    def close_batch(self, batch: int, trials: Sequence[Trial], learner_state: Mapping[str, Any]) -> None:
        """Store the rewards of a whole batch and the learner's state after it, together; then add to the mirror.

        Args:
            batch: its index; -1 with no trials is the learner's state before the first.
            trials: all of the batch.
            learner_state: see `ma2ml_env.io.state`.

        Raises:
            ValueError: if a trial is not the one that was stored, a reward is not finite, or the state cannot be stored.
        """
        text, blob = pack(learner_state)
        trials = [replace(trial, reward=finite(trial.number, trial.reward)) for trial in trials]
        # A learner that is built anew is told what it was told then, while the trial keeps what came of it later.
        replaced = {number for number, rows in self.earlier().items() if told(rows)}
        rewards = self.section(SALVAGED).get("rewards", {}) if replaced else {}
        with self._transaction() as db:
            closed = {number for (number,) in db.execute("SELECT number FROM outcomes WHERE reward IS NOT NULL")}
            for trial in trials:
                if trial.number in replaced:
                    if trial.number not in closed:  # a salvage has opened its batch again
                        self._close_again(db, trial.number, rewards)
                    continue
                stored = self._insert(db, trial.number, trial.outcome)
                if Outcome.from_json(read_json(stored)) != trial.outcome:
                    raise ValueError(f"{self.folder}: trial {trial.number} has another outcome already")
                mark = self._mark(trial.number, stored, trial.reward)
                db.execute(
                    "UPDATE outcomes SET reward = ?, digest = ? WHERE number = ?", (trial.reward, mark, trial.number)
                )
            ((count,),) = db.execute("SELECT COUNT(*) FROM proposals WHERE batch <= ?", (batch,)).fetchall()
            fields = (batch, count, text, blob)
            db.execute("DELETE FROM learner")  # a state is large, and one is enough to go on from
            db.execute("INSERT INTO learner VALUES (?, ?, ?, ?, ?)", (*fields, self._mark(*fields)))
        database = self._drive()
        database.fold()
        new = [Line(trial, database.run, batch, len(trials)) for trial in trials if trial.number not in closed]
        if replaced & {line.trial.number for line in new}:  # the mirror holds what came of them last
            new = [line for line in self._lines() if line.batch == batch and line.trial.number not in closed]
        if new and self._mirror is not None:
            self._mirror.append(new)

    def _close_again(self, db: sqlite3.Connection, number: int, rewards: Any) -> None:
        """Give a trial that was played again its reward, which a salvage has kept: the learner is told of another outcome."""
        reward = rewards.get(str(number)) if isinstance(rewards, dict) else None
        if not isinstance(reward, (int, float)) or not is_number(reward):
            raise ValueError(f"{self.folder}: trial {number} was played again, and its reward is not known")
        ((stored,),) = db.execute("SELECT json FROM outcomes WHERE number = ?", (number,)).fetchall()
        mark = self._mark(number, stored, float(reward))
        db.execute("UPDATE outcomes SET reward = ?, digest = ? WHERE number = ?", (float(reward), mark, number))

    def forget_learner(self) -> None:
        """Drop the learner's state: the next search rebuilds it from the stored trials."""
        with self._transaction() as db:
            db.execute("DELETE FROM learner")

    def write_best(self, trial: Trial, recipe: Any = None, values: Any = None) -> None:
        """Write `best.json`: the trial with its recipe and values (agent -> decision -> choice), for people."""
        self._drive().check_place()
        write_best(self._files.best, trial, recipe, values)

    def restore(self) -> int:
        """Make the readable files what the database says; return the number of outcomes that it holds."""
        self._drive()
        return self._outcomes

    def close(self) -> None:
        """Close the database and free the lock. A later call opens it again."""
        if self._database is not None:
            self._database.close()
        if self._lock is not None:
            self._lock.release()
        self._database = self._lock = self._mirror = None

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _insert(self, db: sqlite3.Connection, number: int, outcome: Outcome) -> str:
        """The JSON of the number's outcome, which is this one unless there was one."""
        text = canonical(outcome.to_json())
        try:
            done = db.execute(
                "INSERT OR IGNORE INTO outcomes VALUES (?, ?, NULL, ?)", (number, text, self._mark(number, text, None))
            )
        except sqlite3.IntegrityError:
            raise ValueError(f"{self.folder}: trial {number} was not proposed") from None
        self._outcomes += max(0, done.rowcount)
        ((stored,),) = db.execute("SELECT json FROM outcomes WHERE number = ?", (number,)).fetchall()
        return str(stored)

    def _mark(self, *fields: Any) -> str:
        return self._drive().mark(*fields)

    def _lines(self) -> list[Line]:
        """What should stand in the mirror."""
        rows, run = self._rows(CLOSED), self._drive().run
        sizes = Counter(row[1] for row in rows)
        return [Line(trial_of(row, row[7], self.folder), run, row[1], sizes[row[1]]) for row in rows]

    def _before(self, trials: Sequence[Trial]) -> dict[int, list[Trial]]:
        """Trial number -> the trial with each outcome that the mirror held before it was played again."""
        earlier = self.earlier()
        return {
            trial.number: [
                replace(trial, outcome=row.outcome, reward=row.reward)
                for row in earlier.get(trial.number, ())
                if row.reward is not None
            ]
            for trial in trials
            if trial.number in earlier
        }

    def _tell_about(self) -> None:
        """Bring `run.json` to what the database says."""
        database = self._drive()
        database.check_place()
        names = [row[0] for row in self._rows("SELECT * FROM meta WHERE key != 'id' ORDER BY key")]
        if names:
            About(database.run, {name: self.section(name) for name in names}).write(self._files.about)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database, before = self._drive(), self._outcomes
        try:
            with database.transaction() as db:
                yield db
        except BaseException:
            self._outcomes = before
            raise
        if self._outcomes != before:
            self._note(self._outcomes)  # so that one that is lost with the log is missed

    def _note(self, outcomes: int) -> None:
        """Note beside the lock how many outcomes there are."""
        if self._lock is not None:
            self._lock.note = str(outcomes)

    def _drive(self) -> Database:
        """The connection of the one process that may write; nothing is written to a folder that is not whole."""
        if self._lock is not None and self._database is not None:
            return self._database
        self.close()
        try:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock = FolderLock(self._files.lock)
            except BlockingIOError:
                raise
            except OSError as error:
                raise OSError(f"cannot write to the run's folder {self.folder}: {error.strerror or error}") from None
            # the mirror is made after the database: where it is, there was one
            made = self._files.mirror.exists() or self._files.about.exists()
            if self._path.exists():
                found = examine(self._files, self._lock.note)
                found.refuse(self.folder)
                if found.lost:
                    _log.warning("%s: %s", self.folder, found.lost)
            self._database = Database(self._path, write=True, create=not made)
            lines = self._lines()
            self._mirror = Mirror(self._files.mirror, lines, made, self._before([line.trial for line in lines]))
            self._tell_about()
            self._outcomes = len(self._rows("SELECT * FROM outcomes"))
            self._lock.note = str(self._outcomes)
        except BaseException:
            self.close()
            raise
        return self._database
