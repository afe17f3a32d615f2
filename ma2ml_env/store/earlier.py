"""Outcomes that are not a trial's any more, because it was played again: they are kept, in the order in which they came.

They stand in the table `meta`, so a run that holds some can be read by versions that know of none.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ma2ml_env.io.reading import is_number, read_json
from ma2ml_env.store.mirror import canonical
from ma2ml_env.trial import Outcome

SECTION = "earlier"
"""key of the table `meta`"""


@dataclass(frozen=True)
class Earlier:
    """What had come of a trial before it was played again."""

    outcome: Outcome
    reward: float | None
    """that the learner was told with it; None if its batch was open"""

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"outcome": self.outcome.to_json(), "reward": self.reward}


def read_earlier(section: Mapping[str, Any]) -> dict[int, tuple[Earlier, ...]]:
    """Trial number -> its earlier outcomes, oldest first.

    Raises:
        ValueError: if it was not written by ma2ml.
    """
    try:
        return {int(number): tuple(map(_read, rows)) for number, rows in section.items()}
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"the run's earlier outcomes were not written by ma2ml: {error}") from None


def _read(row: Any) -> Earlier:
    reward = row["reward"]
    if reward is not None and not is_number(reward):
        raise ValueError(f"rewards are finite numbers, not {reward!r}")
    return Earlier(Outcome.from_json(row["outcome"]), reward)


def told(rows: tuple[Earlier, ...]) -> Outcome | None:
    """The outcome that the learner was told of when the batch closed; None if it is the trial's own."""
    return next((row.outcome for row in rows if row.reward is not None), None)


def replace_row(
    db: sqlite3.Connection,
    mark: Callable[..., str],
    section: Mapping[str, Any],
    number: int,
    outcome: Outcome | None,
    reward: float | None,
) -> None:
    """Move a trial's outcome to the earlier ones, in an open transaction; see `TrialStore.replace_outcome`.

    `mark` is the digest of a row of this run.
    """
    rows = db.execute("SELECT json, reward FROM outcomes WHERE number = ?", (number,)).fetchall()
    if not rows or len({outcome is None, reward is None, rows[0][1] is None}) > 1:
        raise ValueError(f"trial {number} has no outcome that can be replaced like that")
    replaced = Earlier(Outcome.from_json(read_json(rows[0][0])), rows[0][1]).to_json()
    text = canonical({**section, str(number): [*section.get(str(number), []), replaced]})
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (SECTION, text, mark(SECTION, text)))
    db.execute("DELETE FROM outcomes WHERE number = ?", (number,))
    if outcome is not None:
        fields = (number, canonical(outcome.to_json()), reward)
        db.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?)", (*fields, mark(*fields)))
