"""The readable files of a run: `trials.jsonl`, one finished trial on each line, `run.json` and `best.json`.

All carry digests.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ma2ml_env.io.files import inode, write_atomic
from ma2ml_env.io.reading import read_json
from ma2ml_env.recipe import content_key
from ma2ml_env.trial import Trial

_log = logging.getLogger(__name__)


class Line(NamedTuple):
    """A finished trial as the mirror holds it."""

    trial: Trial
    run: str = ""
    """id of the run; "" in lines of before there was one, which do not tell their batch either"""
    batch: int = -1
    batch_size: int = 0
    """trials of the batch"""

    def to_json(self) -> dict[str, Any]:
        """What is written, but for the digest."""
        about = {"run": self.run, "batch": self.batch, "batch_size": self.batch_size} if self.run else {}
        told: dict[str, Any] = json.loads(canonical(self.trial.to_json() | about))
        return told

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Line":
        """Inverse of `to_json`.

        Raises:
            ValueError: if a field is missing or of another kind.
        """
        run, batch, size = data.get("run", ""), data.get("batch", -1), data.get("batch_size", 0)
        if not isinstance(run, str) or not isinstance(batch, int) or not isinstance(size, int):
            raise ValueError(f"not a run and a batch: {run!r}, {batch!r}, {size!r}")
        return cls(Trial.from_json(data), run, batch, size)


class Mirror:
    """Append trials to `trials.jsonl`; only the process that holds the run's lock may do so.

    Args:
        path: of the file.
        lines: what should stand in it. What was torn off is written anew, and so is what an earlier version wrote; a file that
            holds something else is kept under another name.
        made: whether it has been there.
        earlier: trial number -> the trial with each outcome that it had before it was played again: who replaces one may be
            killed before the file is written anew.
    """

    def __init__(
        self,
        path: Path,
        lines: Sequence[Line],
        made: bool = False,
        earlier: Mapping[int, Sequence[Trial]] = {},
    ) -> None:
        self._path = path
        wanted = _bytes(lines)
        found = path.read_bytes() if path.exists() else None
        if found != wanted:
            if found is None and lines and made:
                _log.warning("%s was not there; it is whole again", path)
            elif found and not wanted.startswith(found) and not _same_trials(path, lines, earlier):
                kept = path.with_name(f"trials.kept-{hashlib.sha256(found).hexdigest()[:8]}.jsonl")
                _log.warning("%s is not what the database holds; it is kept as %s", path, kept.name)
                write_atomic(kept, found)
            elif found is not None and wanted.startswith(found):
                _log.warning("%s was cut off; it is whole again", path)
            write_atomic(path, wanted)
        self._size = len(wanted)
        self._inode = inode(path)

    def append(self, lines: Sequence[Line]) -> None:
        """Add trials; they are on the disk when this returns.

        Raises:
            OSError: if they cannot be written, or the file of this name is another one by now.
        """
        with open(self._path, "r+b") as file:
            now = os.fstat(file.fileno())
            if (now.st_dev, now.st_ino) != self._inode:
                raise OSError(f"{self._path} is not the file that this search has opened; nothing was written to it")
            file.truncate(self._size)  # what a full disk left of an earlier attempt
            file.seek(self._size)
            file.write(_bytes(lines))
            file.flush()
            os.fsync(file.fileno())
            self._size = file.tell()

    def rewrite(self, lines: Sequence[Line]) -> None:
        """Write all of it anew, because trials have other outcomes."""
        wanted = _bytes(lines)
        write_atomic(self._path, wanted)
        self._size, self._inode = len(wanted), inode(self._path)


def read_lines(path: Path) -> tuple[list[Line], list[int]]:
    """(intact lines, numbers of damaged lines from 1) of a `trials.jsonl`; nothing of a file that is not there.

    Raises:
        OSError: if the file cannot be read.
    """
    lines: list[Line] = []
    damaged: list[int] = []
    for number, text in enumerate(path.read_bytes().split(b"\n") if path.exists() else [], 1):
        if not text:
            continue
        try:
            lines.append(Line.from_json(_digested(text)))
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            damaged.append(number)
    return lines, damaged


def read_mirror(path: str | Path) -> tuple[list[Trial], list[int]]:
    """(intact trials, numbers of damaged lines from 1) of a `trials.jsonl`.

    Raises:
        OSError: if the file cannot be read, or is not there.
    """
    with open(path, "rb"):
        lines, damaged = read_lines(Path(path))
    return [line.trial for line in lines], damaged


def _same_trials(path: Path, lines: Sequence[Line], earlier: Mapping[int, Sequence[Trial]]) -> bool:
    """Whether a file holds the first of these trials, as an earlier version wrote them, or of before they were played again."""
    found, damaged = read_mirror(path)
    return (
        not damaged
        and len(found) <= len(lines)
        and all(
            there == line.trial or there in earlier.get(line.trial.number, ())
            for there, line in zip(found, lines, strict=False)
        )
    )


class About(NamedTuple):
    """What `run.json` says: the run's id and its configuration, for people, and for a run that has lost its database."""

    run: str = ""
    sections: Mapping[str, Any] = {}
    """name -> config, see `TrialStore.configure`"""

    def write(self, path: Path) -> None:
        """Write the file, unless that is what it says already."""
        _write(path, {"run": self.run, "sections": dict(self.sections)})

    @classmethod
    def read(cls, path: Path) -> "About | None":
        """What the file says; None if it is not there, or not as it was written.

        Raises:
            OSError: if it cannot be read.
        """
        if not path.exists():
            return None
        try:
            told = _digested(path.read_bytes())
            if isinstance(told["run"], str) and all(isinstance(each, dict) for each in told["sections"].values()):
                return cls(told["run"], told["sections"])
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            pass
        return None


def write_best(path: Path, trial: Trial, recipe: Any, values: Any) -> None:
    """Write `best.json`, unless that is what it says already."""
    best = {
        "number": trial.number,
        "reward": trial.reward,
        "accuracy": trial.outcome.accuracy,
        "flops": trial.outcome.flops,
        "params": trial.outcome.params,
        "seed": trial.seed,
        "codes": {agent: list(code) for agent, code in trial.proposal.codes.items()},
        "values": values,
        "recipe": recipe,
    }
    _write(path, best)


def best_is_whole(path: Path) -> bool:
    """Whether a `best.json` is as it was written."""
    try:
        _digested(path.read_bytes())
        return True
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return False


def canonical(data: Any) -> str:
    """Return canonical JSON: equal content gives equal text. NumPy's numbers are written as Python's."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, default=lambda value: value.item())


def _digested(text: bytes) -> dict[str, Any]:
    """A JSON object without its digest, which is right.

    Raises:
        ValueError: if it is not; or another error of what has no digest.
    """
    data: dict[str, Any] = read_json(text)
    if data.pop("digest") != content_key(data):
        raise ValueError("the digest is another")
    return data


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON object with its digest, for people, unless that is what the file says already."""
    plain = json.loads(json.dumps(data, allow_nan=False, default=lambda value: value.item()))
    text = (json.dumps({**plain, "digest": content_key(plain)}, indent=2) + "\n").encode()
    if not path.exists() or path.read_bytes() != text:
        write_atomic(path, text)


def _bytes(lines: Sequence[Line]) -> bytes:
    objects = (line.to_json() for line in lines)
    return "".join(f"{canonical({**data, 'digest': content_key(data)})}\n" for data in objects).encode()
