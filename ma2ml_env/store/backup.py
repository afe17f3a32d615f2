"""A copy of a run in another folder, also while a search is going on, and how a new folder comes to be whole or not at all."""

import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ma2ml_env.store.check import Files, examine
from ma2ml_env.store.database import Database
from ma2ml_env.store.store import TrialStore

HIDDEN = shutil.ignore_patterns(".*")
LEFT = ("checkpoints",)
"""what a backup leaves out: it may be deleted at any time"""


def backup(folder: Path, out: Path) -> int:
    """Copy a run to a new or empty folder: its database as of one moment, and all that lies beside it.

    The copy is looked at before it gets its name. Returns the number of outcomes that it holds.

    Raises:
        ValueError: if it is no run, the run is damaged, or `out` is not empty.
        OSError: if something cannot be read or written. BlockingIOError if somebody keeps the database locked.
    """
    run = Files(folder)
    TrialStore(folder, create=False).close()  # says what is wrong with a folder that is none
    with new_folder(out, folder) as stage:
        copy_beside(folder, stage)  # first, so that best.json is a trial that the database has
        with closing(Database(run.database)) as source, closing(sqlite3.connect(stage / run.database.name)) as target:
            if not source.is_run():
                raise ValueError(f"{folder} is not a run yet: there is nothing in its {run.database.name}")
            with source.errors():
                source.connection.backup(target)
        with TrialStore(stage) as store:
            examine(Files(stage), "").refuse(folder)
            count = store.restore()
        finish(stage)
    return count


def copy_beside(folder: Path, stage: Path) -> None:
    """Copy what lies in a run's folder but for the database and what is made of it."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "run.", "trials.jsonl")) or path.name in LEFT:
            continue
        if path.is_dir() and not path.is_symlink():
            try:
                shutil.copytree(path, stage / path.name, symlinks=True, ignore=HIDDEN, copy_function=_copy)
            except (
                shutil.Error
            ) as error:  # a list of all that failed; a folder that is gone by now is no part of the run
                if failed := [why for source, _, why in error.args[0] if Path(source).exists()]:
                    raise OSError(f"{path} cannot be copied: {failed[0]}") from None
        elif path.is_file():
            _copy(path, stage / path.name)


def _copy(source: str | Path, target: str | Path) -> None:
    with suppress(FileNotFoundError):  # what somebody else takes away meanwhile is not part of the run
        shutil.copy(source, target)


def finish(stage: Path) -> None:
    """Make sure that a new run is on the disk and whole.

    Raises:
        ValueError: if it is not.
    """
    (stage / "run.lock").unlink(missing_ok=True)
    if problems := examine(Files(stage)).lines:
        raise ValueError(f"the copy is not whole: {problems[0]}")
    for path in (*stage.rglob("*"), stage):
        if not path.is_symlink():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


@contextmanager
def new_folder(out: Path, source: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when all has gone well, and is gone else.

    Raises:
        ValueError: if `out` is there and not an empty folder, or lies in `source`.
        OSError: if it cannot be made.
    """
    out = out.expanduser().absolute()
    if source.resolve() in out.resolve().parents:
        raise ValueError(f"{out} lies in {source} itself; name a folder elsewhere with --out")
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise ValueError(f"{out} is there and not an empty folder; name a new one with --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    stage.mkdir()
    try:
        yield stage
        os.replace(stage, out)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
