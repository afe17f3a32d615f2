"""The readable files of a run: `trials.jsonl`, one finished trial on each line, and `best.json`. Both carry digests."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.reading import read_json
from ma2ml_env.recipe import content_key
from ma2ml_env.trial import Trial

_log = logging.getLogger(__name__)


class Mirror:
    """Append trials to `trials.jsonl`; only the process that holds the run's lock may do so.

    Args:
        path: of the file.
        trials: what should stand in it. What was torn off is written anew, and so is what an earlier version wrote; a file that
            holds more than this is kept under another name, for it may be all that is left of a database that lost its end.
    """

    def __init__(self, path: Path, trials: Iterable[Trial]) -> None:
        self._path = path
        trials = list(trials)
        wanted = _lines(trials)
        found = path.read_bytes() if path.exists() else None
        if found != wanted:
            if found and not wanted.startswith(found) and not _same_trials(path, trials):
                kept = path.with_name(f"trials.kept-{hashlib.sha256(found).hexdigest()[:8]}.jsonl")
                _log.warning("%s is not what the database holds; it is kept as %s", path, kept.name)
                write_atomic(kept, found)
            elif found is not None and wanted.startswith(found):
                _log.warning("%s was cut off; it is whole again", path)
            write_atomic(path, wanted)
        self._size = len(wanted)

    def append(self, trials: Iterable[Trial]) -> None:
        """Add trials; they are on the disk when this returns."""
        with open(self._path, "r+b") as file:
            file.truncate(self._size)  # what a full disk left of an earlier attempt
            file.seek(self._size)
            file.write(_lines(trials))
            file.flush()
            os.fsync(file.fileno())
            self._size = file.tell()

    def rewrite(self, trials: Iterable[Trial]) -> None:
        """Write all of it anew, because trials have other outcomes."""
        wanted = _lines(trials)
        write_atomic(self._path, wanted)
        self._size = len(wanted)


def read_mirror(path: str | Path) -> tuple[list[Trial], list[int]]:
    """(intact trials, numbers of damaged lines from 1) of a `trials.jsonl`, to salvage a run whose database is damaged.

    Raises:
        OSError: if the file cannot be read.
    """
    trials, damaged = [], []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), 1):
        if not line:
            continue
        try:
            data = read_json(line)
            if data.pop("digest") != content_key(data):
                raise ValueError("the digest is another")
            trials.append(Trial.from_json(data))
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            damaged.append(number)
    return trials, damaged


def _same_trials(path: Path, trials: Sequence[Trial]) -> bool:
    """Whether a file holds the first of these trials, say with the fields that an earlier version gave an outcome."""
    found, damaged = read_mirror(path)
    return not damaged and found == trials[: len(found)]


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
    best = json.loads(json.dumps(best, allow_nan=False, default=lambda value: value.item()))
    data = (json.dumps({**best, "digest": content_key(best)}, indent=2) + "\n").encode()
    if not path.exists() or path.read_bytes() != data:
        write_atomic(path, data)


def best_is_whole(path: Path) -> bool:
    """Whether a `best.json` is as it was written."""
    try:
        best = read_json(path.read_bytes())
        return bool(best.pop("digest") == content_key(best))
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return False


def canonical(data: Any) -> str:
    """Return canonical JSON: equal content gives equal text. NumPy's numbers are written as Python's."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, default=lambda value: value.item())


def _lines(trials: Iterable[Trial]) -> bytes:
    objects = (json.loads(canonical(trial.to_json())) for trial in trials)
    return "".join(f"{canonical({**data, 'digest': content_key(data)})}\n" for data in objects).encode()
