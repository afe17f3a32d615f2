"""Trials as a table for spreadsheets and data frames: comma-separated, one row a trial, one column a decision."""

import csv
import json
from collections.abc import Collection, Iterable
from typing import Any, TextIO

from ma2ml_env.game import Game
from ma2ml_env.trial import Trial

COLUMNS = ("number", "open", "seed", "origin", "status", "error", "reward", "accuracy", "macs", "params", "seconds")
"""of every trial; `open` is 1 in those of an open batch, `macs` and `params` are 0 where they are unknown, `seconds` are of the
training"""


def write_sheet(trials: Iterable[Trial], game: Game, file: TextIO, unclosed: Collection[int] = ()) -> None:
    """Write a header and one row a trial: `COLUMNS`, then `agent.decision` with the value that was chosen.

    Numbers are written so that reading them gives the same bits, other values as texts, and what is neither as JSON.
    """
    decisions = [
        (agent, part.name)
        for agent, module in game.modules.items()
        for parts in (module.space.decisions, module.space.intervals)
        for part in parts
    ]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"{agent}.{name}" for agent, name in decisions)])
    for trial in trials:
        outcome, values = trial.outcome, game.values(trial.proposal.codes)
        writer.writerow(
            [
                trial.number,
                int(trial.number in unclosed),
                trial.seed,
                trial.proposal.origin,
                outcome.status,
                outcome.error,
                trial.reward,
                outcome.accuracy,
                outcome.flops,
                outcome.params,
                outcome.seconds,
                *(_cell(values[agent][name]) for agent, name in decisions),
            ]
        )


def _cell(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) else json.dumps(value)
