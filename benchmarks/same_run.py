"""Two run folders side by side: what differs beyond what time alone may change. For `kills.py`.

Compared are all files, byte for byte, and all rows of `run.sqlite`. Four things are let through, each because it tells the
time or the place and not a result:

- the seconds that a training took, and the digests over them: in `trials.jsonl`, in the outcomes of `run.sqlite`, and in
  `retrain/results.jsonl` and `retrain/summary.json`. The rest of these files is compared byte for byte;
- the run's id, which is drawn when it begins, and the digests over it: in `trials.jsonl`, `run.json` and `run.sqlite`. The
  run's own check says that they are right;
- `run.lock` and `retrain/retrain.lock`, which hold the number of the last process;
- TensorBoard's files: each session writes one of its own, with the times of day.
"""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

from ma2ml_env.store.database import TABLES
from ma2ml_env.store.store import TrialStore

TIMED = ("trials.jsonl", "run.json", "retrain/results.jsonl", "retrain/summary.json")
LEFT_OUT = ("run.lock", "retrain/retrain.lock", "run.sqlite", "run.sqlite-wal", "run.sqlite-shm", "tensorboard/")
_SECONDS = re.compile(rb'"seconds": ?[-+.\de]+')
_RUN = re.compile(rb'"run": ?"[0-9a-f]+"')
_DIGEST = re.compile(rb'"digest": ?"[0-9a-f]+"')


def timeless(text: bytes) -> bytes:
    """JSON without what is a run's alone: seconds, its id, and digests over them."""
    return _DIGEST.sub(b'"digest":""', _RUN.sub(b'"run":""', _SECONDS.sub(b'"seconds":0', text)))


def files(folder: Path) -> dict[str, bytes]:
    """Path within the folder -> content, of all that is compared byte for byte."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_dir() and not name.startswith(LEFT_OUT):
            found[name] = timeless(path.read_bytes()) if name in TIMED else path.read_bytes()
    return found


def rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Table -> rows of `run.sqlite`, in the order of their keys, without their digests."""
    found = {}
    with sqlite3.connect(f"file:{folder / 'run.sqlite'}?mode=ro", uri=True) as database:
        for table in TABLES:
            all_of_it = database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            if table == "outcomes":  # number, outcome, reward, digest
                all_of_it = [(row[0], timeless(row[1].encode()), row[2]) for row in all_of_it]
            else:
                all_of_it = [row[:-1] for row in all_of_it if row[0] != "id"]
            found[table] = all_of_it
    database.close()
    return found


def differences(folder: Path, calm: Path) -> list[str]:
    """What a run has otherwise than the calm one, a line each; [] if nothing."""
    with TrialStore(folder, create=False) as store:
        found = store.check()
    ours, theirs = files(folder), files(calm)
    found += [f"{name} is not there" for name in theirs if name not in ours]
    found += [f"{name} is too many" for name in ours if name not in theirs]
    for name in ours.keys() & theirs.keys():
        if ours[name] != theirs[name]:
            order = name.endswith(".json") and json.loads(ours[name]) == json.loads(theirs[name])
            found.append(f"{name} differs" + " in the order of its keys alone" * order)
    here, there = rows(folder), rows(calm)
    found += [f"run.sqlite: table {table} differs" for table in TABLES if here[table] != there[table]]
    return found


def lost_or_changed(folder: Path, acknowledged: list[dict[str, Any]]) -> tuple[list[str], list[str], list[str]]:
    """(lost, changed, done again) of what was acknowledged before the kills, to the last digit of its seconds.

    Args:
        folder: of the run at its end.
        acknowledged: in order, `what` (a trial's number, or stage, recipe and seed of a retraining) and `outcome` as stored.
    """
    with sqlite3.connect(f"file:{folder / 'run.sqlite'}?mode=ro", uri=True) as database:
        found: dict[Any, Any] = {row[0]: json.loads(row[1]) for row in database.execute("SELECT * FROM outcomes")}
    database.close()
    path = folder / "retrain" / "results.jsonl"
    for row in map(json.loads, path.read_bytes().splitlines() if path.exists() else ()):
        found[f"{row['stage']} {row['recipe_key']} {row['seed']}"] = row["outcome"]
    first: dict[Any, Any] = {}
    again = []
    for each in acknowledged:
        if each["what"] in first:
            again.append(f"{each['what']} is done again")
        first.setdefault(each["what"], each["outcome"])
    lost = [f"{what} is lost" for what in first if what not in found]
    changed = [f"{what} is another" for what, outcome in first.items() if what in found and found[what] != outcome]
    return lost, changed, again
