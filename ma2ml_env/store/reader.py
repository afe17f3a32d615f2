"""A run's folder as it is read: no lock is needed, and a search may be going on."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ma2ml_env.io.reading import read_json
from ma2ml_env.io.state import unpack
from ma2ml_env.store.check import Files, Found, check, examine
from ma2ml_env.store.database import Database
from ma2ml_env.store.earlier import SECTION, Earlier, read_earlier, told
from ma2ml_env.store.rows import CLOSED, TRIALS, learner_of, trial_of
from ma2ml_env.trial import Outcome, Proposal, Trial

SALVAGED = "salvaged"
"""section of a run that was made of another's remains"""


class LearnerState(NamedTuple):
    """A learner between two batches."""

    batch: int
    """the last one that it was told of; -1 is before the first"""
    trials: int
    """number of trials that it was told of"""
    state: dict[str, Any]


class Reader:
    """What a run's folder holds. `TrialStore` writes it as well.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = Files(folder)
        self._path = self._files.database
        self._database: Database | None = None

    @property
    def config(self) -> dict[str, Any]:
        """What the run was configured with; {} if it was not."""
        return self.section("run")

    def section(self, section: str) -> dict[str, Any]:
        """What stands under a name of `configure`; {} if nothing does."""
        rows = self._rows("SELECT * FROM meta WHERE key = ?", (section,))
        config = read_json(rows[0][1]) if rows else {}
        if not isinstance(config, dict):
            raise ValueError(f"{self.folder}: its config {section!r} is not a JSON object")
        return config

    def size(self, batch: int) -> int:
        """How many trials were proposed in a batch; 0 if none were. A salvaged run may have lost some of them."""
        sizes, there = self.section(SALVAGED).get("sizes", {}), len(self.stored_proposals(batch))
        size = sizes.get(str(batch), there) if isinstance(sizes, dict) else None
        if not isinstance(size, int) or size < there:
            raise ValueError(f"{self.folder}: the size of batch {batch} was not written by ma2ml: {size!r}")
        return size

    def stored_proposals(self, batch: int) -> list[Proposal]:
        """A batch's proposals in the order of their numbers; [] if there are none."""
        rows = self._rows("SELECT * FROM proposals WHERE batch = ? ORDER BY number", (batch,))
        return [Proposal.from_json(read_json(row[3])) for row in rows]

    def proposed(self) -> int:
        """How many trials are proposed, of all batches."""
        return len(self._rows("SELECT * FROM proposals"))

    def outcomes(self, batch: int) -> dict[int, Outcome]:
        """Trial number -> outcome of a batch, as far as they have arrived; as the learner was told, if it was."""
        rows = self._rows(
            "SELECT o.* FROM outcomes o JOIN proposals USING (number) WHERE batch = ? ORDER BY number", (batch,)
        )
        earlier = self.earlier()
        return {row[0]: told(earlier.get(row[0], ())) or Outcome.from_json(read_json(row[1])) for row in rows}

    def earlier(self) -> dict[int, tuple[Earlier, ...]]:
        """Trial number -> what had come of it before it was played again, oldest first; others are left out."""
        return read_earlier(self.section(SECTION))

    def numbers(self) -> set[int]:
        """Numbers of all trials that have an outcome."""
        return {row[0] for row in self._rows("SELECT * FROM outcomes")}

    def unclosed(self) -> dict[int, Outcome]:
        """Trial number -> outcome of all batches that are not closed; of a salvaged run there may be several."""
        rows = self._rows("SELECT * FROM outcomes WHERE reward IS NULL ORDER BY number")
        return {row[0]: Outcome.from_json(read_json(row[1])) for row in rows}

    def learner_state(self) -> LearnerState | None:
        """The learner as it was when the last batch closed, or None if nothing of it is stored."""
        row = learner_of(self._rows("SELECT * FROM learner"), self.folder)
        return LearnerState(row[0], row[1], unpack(row[2], row[3])) if row else None

    def trials(self) -> Iterator[Trial]:
        """All trials of closed batches, in order: those that a learner was told of."""
        for row in self._rows(CLOSED):
            yield trial_of(row, row[7], self.folder)

    def as_it_stands(self, trials: Sequence[Trial]) -> list[Trial]:
        """Trials of closed batches, those that were played again since with what came of them then."""
        if self.earlier().keys().isdisjoint(trial.number for trial in trials):
            return list(trials)
        new = {trial.number: trial for trial in self.trials()}
        return [new.get(trial.number, trial) for trial in trials]

    def known_trials(self, reward: Callable[[Outcome], float]) -> tuple[list[Trial], list[Trial]]:
        """(trials of closed batches, those of the open batch that have an outcome), both in order, as of one moment.

        Args:
            reward: of an outcome of the open batch; only a batch that closes stores rewards.

        Raises:
            ValueError: if a reward is not finite.
        """
        closed, unclosed = [], []
        for row in self._rows(TRIALS.format(where="")):
            if row[7] is not None:
                closed.append(trial_of(row, row[7], self.folder))
            else:
                trial = trial_of(row, 0.0, self.folder)
                unclosed.append(replace(trial, reward=finite(trial.number, reward(trial.outcome))))
        return closed, unclosed

    def check(self) -> list[str]:
        """Everything that is wrong with the folder, one line each; [] if nothing is. Works while a search is going on."""
        return check(self.folder)

    def examine(self) -> Found:
        """What `check` finds, by whether a search goes on all the same.

        Raises:
            OSError: if the system refuses to read the files.
        """
        return examine(self._files)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        database = self._reader()
        return [] if database is None else database.rows(query, values)

    def _reader(self) -> Database | None:
        """The connection, or None where there is no run yet."""
        if self._database is None and self._path.exists():
            self._database = Database(self._path)
        return self._database if self._database is not None and self._database.is_run() else None


def finite(number: int, reward: float) -> float:
    """The reward as it is stored: SQLite knows no -0.0."""
    if not math.isfinite(reward):
        raise ValueError(f"the reward of trial {number} is {reward!r}; rewards are finite")
    return float(reward) + 0.0


def differences(old: Any, new: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """(top-level key, line for people) of everything that differs between two JSON objects."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key), new.get(key), (*place, key))
    elif old != new:
        yield place[0], f"{'.'.join(place)} is {json.dumps(old)} there and {json.dumps(new)} here"
