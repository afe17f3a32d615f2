"""The SQLite file of a run: schema, transactions, and errors in the user's words. `store.py` says what stands in it."""

import hashlib
import json
import os
import secrets
import shlex
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ma2ml_env.io.files import inode
from ma2ml_env.io.reading import read_json

_APPLICATION = 0x4D41324D  # "MA2M" in the file's header: this SQLite file is a run
_FORMAT = 2  # since 2 a run has an id, which is in the digest of every row
_ID = "id"
OPEN_LOG = 1.0
"""seconds after which the log is closed with the next outcome, and not only with the batch"""
_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, json TEXT, digest TEXT)",
    "CREATE TABLE proposals (number INTEGER PRIMARY KEY, batch INTEGER, seed INTEGER, json TEXT, digest TEXT)",
    "CREATE TABLE outcomes (number INTEGER PRIMARY KEY REFERENCES proposals, json TEXT, reward REAL, digest TEXT)",
    "CREATE TABLE learner (batch INTEGER PRIMARY KEY, trials INTEGER, json TEXT, blob BLOB, digest TEXT)",
)
_SCHEMA: tuple[str, ...] = (
    *_TABLES,
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)
TABLES = ("meta", "proposals", "outcomes", "learner")


def salvage_of(folder: Path) -> str:
    """What to do with a run that is not whole, for the end of a message."""
    return f"`ma2ml salvage {shlex.quote(str(folder))} --out NEW` makes a run of what is whole"


class Database:
    """A connection. Each row's last column is the digest of the run's id and the other columns.

    A run's `run` is its id; "" in runs of before there was one, and while the file is empty.

    Args:
        path: of the file.
        write: whether this is the one process that may write.
        create: whether to make the file if it is not there or empty.

    Raises:
        ValueError: from any method: if the file is damaged, or not a run.
        OSError: from any method: if the system refuses to read or write it.
    """

    def __init__(self, path: Path, write: bool = False, create: bool = False) -> None:
        self.path = path
        self.run = ""
        self._folded = time.monotonic()
        with self.errors():
            mode = "rwc" if write else "ro"
            if not write and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
                mode += "&immutable=1"  # else SQLite wants to put a file beside it
            uri = f"{path.resolve().as_uri()}?mode={mode}"
            self.connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
        try:
            with self.errors():
                if write:
                    self.connection.execute("PRAGMA synchronous = FULL")  # a commit returns when it is on the disk
                    self.connection.execute("PRAGMA foreign_keys = ON")
                    if not self.is_run():
                        if not create:
                            raise ValueError(
                                f"{path.parent}: {path.name} is damaged (there is nothing in it); {salvage_of(path.parent)}"
                            )
                        self._create()
                        self.is_run()
                    self.connection.execute("PRAGMA journal_mode = WAL")
                    self._inode = inode(path)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close it; the write-ahead log is folded into the file. SQLite leaves that out where the file was moved."""
        self.connection.close()

    def fold(self, after: float = 0.0) -> None:
        """Close the write-ahead log: bring it into the file and empty it, so that a plain copy of the file is whole.

        Somebody who reads just now is not waited for; then the next call does it.

        Args:
            after: seconds that must have passed since the last time.
        """
        if time.monotonic() - self._folded < after:
            return
        with self.errors():
            self.connection.execute("PRAGMA busy_timeout = 0")
            try:
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self.connection.execute("PRAGMA busy_timeout = 30000")
        self._folded = time.monotonic()

    def is_run(self) -> bool:
        """False if the file is still empty.

        Raises:
            ValueError: if it belongs to another program or a later version.
        """
        with self.errors():
            self.connection.execute("BEGIN")  # one view: another process may be creating it
            try:
                ((application,),) = self.connection.execute("PRAGMA application_id").fetchall()
                ((version,),) = self.connection.execute("PRAGMA user_version").fetchall()
                found = self.connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
                # A schema of another's making may hold views and triggers: code that runs when a table is read.
                ours = application == _APPLICATION and 1 <= version <= _FORMAT
                ours = ours and sorted(found) == sorted((sql,) for sql in _TABLES)
                of_id = f"SELECT * FROM meta WHERE key = '{_ID}'"
                ids = self.connection.execute(of_id).fetchall() if ours and version > 1 else []
            finally:
                self.connection.execute("ROLLBACK")
        folder = self.path.parent
        if application == _APPLICATION and version > _FORMAT:
            raise ValueError(
                f"{folder} was written by a later version (format {version}; this one reads up to {_FORMAT})"
            )
        if found and not ours:
            raise ValueError(
                f"{folder}: {self.path.name} is not a run's, or its header is damaged; {salvage_of(folder)}"
            )
        if ours and version > 1:
            if not ids or not intact(ids[0], ""):
                raise ValueError(f"{folder}: {self.path.name} is damaged (the run's id); {salvage_of(folder)}")
            self.run = str(read_json(ids[0][1]))
        return bool(ours)

    def mark(self, *fields: Any) -> str:
        """The digest of a row of this run."""
        return digest(*fields) if not self.run else digest(self.run, *fields)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query for whole rows, of one table or of several side by side, all as they were written.

        Raises:
            ValueError: if a row does not match its digest.
        """
        with self.errors():
            rows = self.connection.execute(query, values).fetchall()
        for row in rows:
            if not intact(row, self.run):
                raise ValueError(
                    f"{self.path.parent}: {self.path.name} is damaged (row {row[0]} is not as it was written, or is another "
                    f"run's); {salvage_of(self.path.parent)}"
                )
        return rows

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on the disk at the end."""
        self.check_place()
        with self.errors():
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise

    def check_place(self) -> None:
        """Make sure that the file of this name is still the one that was opened: a folder may be renamed at any moment.

        Raises:
            OSError: if it is not, or there is none. SQLite would go on, and write to a file without a name.
        """
        found = inode(self.path)
        if found is None:
            raise FileNotFoundError(f"{self.path} has vanished; what is not there cannot be written to")
        if found != self._inode:
            raise OSError(
                f"{self.path} is not the file that this search has opened: its folder was moved or replaced. Nothing was "
                "written to the one that is there now; `ma2ml resume` goes on with the run where it lies"
            )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """SQLite's errors: ValueError if the file is damaged, OSError if the system refuses."""
        try:
            yield
        except sqlite3.Error as error:
            # text that cannot be decoded comes without a code; ERROR and MISMATCH are what a flipped schema gives
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH):
                raise ValueError(
                    f"{self.path.parent}: {self.path.name} is damaged ({error}); {salvage_of(self.path.parent)}"
                ) from None
            raise OSError(f"{self.path}: {error}") from None

    def problems(self) -> list[str]:
        """What SQLite's own check and the digests find."""
        with self.errors():
            report = [str(row[0]) for row in self.connection.execute("PRAGMA integrity_check")]
            found = [line for line in report if line != "ok"]
            for table in TABLES:
                rows = self.connection.execute(f"SELECT * FROM {table}").fetchall()
                found += [
                    f"table {table}, row {row[0]} is not as it was written, or another run's"
                    for row in rows
                    if not intact(row, "" if (table, row[0]) == ("meta", _ID) else self.run)
                ]
        return found

    def _create(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            self.connection.execute(statement)
        name = json.dumps(secrets.token_hex(8))
        self.connection.execute("INSERT INTO meta VALUES (?, ?, ?)", (_ID, name, digest(_ID, name)))
        self.connection.execute("COMMIT")


def digest(*fields: Any) -> str:
    """SHA-256 of a row's fields, first 32 hex digits."""
    total = hashlib.sha256()
    for field in fields:
        data = field if isinstance(field, bytes) else repr(field).encode(errors="backslashreplace")
        total.update(b"%d:" % len(data) + data)
    return total.hexdigest()[:32]


def intact(row: tuple[Any, ...], run: str) -> bool:
    """Whether a row matches its digest and the run's id.

    A joined row is one of `proposals` (five columns) and one of `outcomes`.
    """
    if len(row) == 9:
        return intact(row[:5], run) and intact(row[5:], run)
    return bool(row[-1] == (digest(run, *row[:-1]) if run else digest(*row[:-1])))
