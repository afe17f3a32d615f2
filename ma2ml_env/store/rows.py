"""How trials and the learner stand in the database's rows."""

from pathlib import Path
from typing import Any

from ma2ml_env.io.reading import read_json
from ma2ml_env.trial import Trial

TRIALS = """SELECT number, batch, seed, p.json, p.digest, number, o.json, reward, o.digest
    FROM proposals p JOIN outcomes o USING (number) {where} ORDER BY number"""
CLOSED = TRIALS.format(where="WHERE reward IS NOT NULL")


def trial_of(row: tuple[Any, ...], reward: Any, folder: Path) -> Trial:
    """A row of `TRIALS`, with a reward.

    Raises:
        ValueError: if it was not written by ma2ml.
    """
    try:
        if not isinstance(row[1], int):  # SQLite's columns take anything
            raise ValueError(f"its batch is {row[1]!r}")
        told = {"proposal": read_json(row[3]), "outcome": read_json(row[6])}
        return Trial.from_json({"number": row[0], "seed": row[2], **told, "reward": reward})
    except ValueError as error:
        raise ValueError(f"{folder}: trial {row[0]} was not written by ma2ml: {error}") from None


def learner_of(rows: list[tuple[Any, ...]], folder: Path) -> tuple[int, int, Any, Any] | None:
    """Batch, number of trials, JSON and blob of the stored learner; None if there is none.

    Raises:
        ValueError: if it was not written by ma2ml.
    """
    if not rows:
        return None
    batch, trials, text, blob, _ = rows[0]
    if not isinstance(batch, int) or not isinstance(trials, int):
        raise ValueError(f"{folder}: the learner was not written by ma2ml: batch {batch!r}, {trials!r} trials")
    return batch, trials, text, blob
