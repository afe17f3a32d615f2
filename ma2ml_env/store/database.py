"""The SQLite file of a run: schema, transactions, and errors in the user's words. `store.py` says what stands in it."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SALVAGE = "the finished trials can be salvaged from trials.jsonl, one on each line"
_APPLICATION = 0x4D41324D  # "MA2M" in the file's header: this SQLite file is a run
_FORMAT = 1
_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, json TEXT, digest TEXT)",
    "CREATE TABLE proposals (number INTEGER PRIMARY KEY, batch INTEGER, seed INTEGER, json TEXT, digest TEXT)",
    "CREATE TABLE outcomes (number INTEGER PRIMARY KEY REFERENCES proposals, json TEXT, reward REAL, digest TEXT)",
    "CREATE TABLE learner (batch INTEGER PRIMARY KEY, trials INTEGER, json TEXT, blob BLOB, digest TEXT)",
)
_SCHEMA = (
    *_TABLES,
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)
TABLES = ("meta", "proposals", "outcomes", "learner")


class Database:
    """A connection. Each row's last column is the digest of the others.

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
                                f"{path.parent}: {path.name} is damaged (there is nothing in it); {SALVAGE}"
                            )
                        self._create()
                    self.connection.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close it; the write-ahead log is folded into the file."""
        self.connection.close()

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
            finally:
                self.connection.execute("ROLLBACK")
        folder = self.path.parent
        if application == _APPLICATION and version > _FORMAT:
            raise ValueError(
                f"{folder} was written by a later version (format {version}; this one reads up to {_FORMAT})"
            )
        # A schema of another's making may hold views and triggers: code that runs when a table is read.
        ours = (application, version, sorted(found)) == (_APPLICATION, _FORMAT, sorted((sql,) for sql in _TABLES))
        if found and not ours:
            raise ValueError(f"{folder}: {self.path.name} is not a run's, or its header is damaged; {SALVAGE}")
        return ours

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query for whole rows, of one table or of several side by side, all as they were written.

        Raises:
            ValueError: if a row does not match its digest.
        """
        with self.errors():
            rows = self.connection.execute(query, values).fetchall()
        for row in rows:
            if not intact(row):
                raise ValueError(f"{self.path.parent}: {self.path.name} is damaged (row {row[0]}); {SALVAGE}")
        return rows

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on the disk at the end."""
        if not self.path.exists():  # SQLite would go on and write to a file without a name
            raise FileNotFoundError(f"{self.path} has vanished; what is not there cannot be written to")
        with self.errors():
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """SQLite's errors: ValueError if the file is damaged, OSError if the system refuses."""
        try:
            yield
        except sqlite3.Error as error:
            # text that cannot be decoded comes without a code; ERROR and MISMATCH are what a flipped schema gives
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH):
                raise ValueError(f"{self.path.parent}: {self.path.name} is damaged ({error}); {SALVAGE}") from None
            raise OSError(f"{self.path}: {error}") from None

    def problems(self) -> list[str]:
        """What SQLite's own check and the digests find."""
        with self.errors():
            report = [str(row[0]) for row in self.connection.execute("PRAGMA integrity_check")]
            found = [line for line in report if line != "ok"]
            for table in TABLES:
                rows = self.connection.execute(f"SELECT * FROM {table}").fetchall()
                found += [f"table {table}, row {row[0]} is damaged" for row in rows if not intact(row)]
        return found

    def _create(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            self.connection.execute(statement)
        self.connection.execute("COMMIT")


def digest(*fields: Any) -> str:
    """SHA-256 of a row's fields, first 32 hex digits."""
    total = hashlib.sha256()
    for field in fields:
        data = field if isinstance(field, bytes) else repr(field).encode(errors="backslashreplace")
        total.update(b"%d:" % len(data) + data)
    return total.hexdigest()[:32]


def intact(row: tuple[Any, ...]) -> bool:
    """Whether a row matches its digest; a joined row is one of `proposals` (five columns) and one of `outcomes`."""
    if len(row) == 9:
        return intact(row[:5]) and intact(row[5:])
    return bool(row[-1] == digest(*row[:-1]))
