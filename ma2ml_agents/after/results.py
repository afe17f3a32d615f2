"""Trainings after a search: each finished one is a line of a file, on the disk before the next one is waited for."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ma2ml_agents.after.watch import Watch
from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.io.reading import read_json
from ma2ml_env.recipe import content_key
from ma2ml_env.trial import Outcome

MAY_PASS = ("CRASH", "TIMEOUT", "OOM")
"""errors that may lie in the machine: such a training is tried again"""


class Results:
    """`results.jsonl`: stage, trial, seed, recipe key, digests of the data and of the line, outcome, and perhaps what made it.

    A torn line does not count. Of a training that was done on several data the last one counts, for its weights are there.

    Args:
        path: of the file.
        data: digest of the data; what was trained on others does not count.
        trusted: whether lines without one, of an earlier version, are taken to be of these data.
        made: what makes them now, where that matters: what something else made does not count. None takes all.

    Raises:
        OSError: if the file cannot be read.
    """

    def __init__(self, path: Path, data: str, trusted: bool = False, made: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._data = data
        self._made = {} if made is None else {"made": dict(made)}
        self._outcomes: dict[tuple[str, str, int], Outcome | None] = {}
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                row = read_json(line)
                if row.pop("digest") == content_key(row):
                    same = row.get("data", data if trusted else None) == data
                    if made is not None and row.get("made") != made:
                        continue
                    outcome = Outcome.from_json(row["outcome"]) if same else None
                    self._outcomes[row["stage"], row["recipe_key"], row["seed"]] = outcome
            except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
                continue

    def get(self, stage: str, job: Job, weights: Path | None = None) -> Outcome | None:
        """The outcome of a training; None if it is to be done (again): its weights are gone, or its failure may pass."""
        outcome = self._outcomes.get((stage, job.recipe.key, job.seed))
        if outcome is None or outcome.error in MAY_PASS:
            return None
        gone = outcome.status == "ok" and weights is not None and not weights.exists()
        return None if gone else outcome

    def add(self, stage: str, job: Job, trial: int, outcome: Outcome) -> None:
        """Append a training; it is on the disk when this returns."""
        data = {
            "stage": stage,
            "trial": trial,
            "seed": job.seed,
            "recipe_key": job.recipe.key,
            "data": self._data,
            "outcome": outcome.to_json(),
            **self._made,
        }
        data["digest"] = content_key(data)
        with open(self.path, "ab+") as file:
            torn = file.tell() > 0 and not self._ends_line(file.fileno())
            file.write(b"\n" * torn + json.dumps(data).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._outcomes[stage, job.recipe.key, job.seed] = outcome

    def _ends_line(self, file: int) -> bool:
        return os.pread(file, 1, os.fstat(file).st_size - 1) == b"\n"


def tested(outcome: Outcome) -> float:
    """The test accuracy of a training to the end.

    Raises:
        LookupError: if it was not measured.
    """
    if outcome.test_accuracy is None:
        raise LookupError("test_accuracy was not measured")
    return outcome.test_accuracy


@dataclass(frozen=True)
class Wanted:
    """A training that is wanted."""

    stage: str
    """what it is for; a pipeline is trained once for each, under a seed"""
    trial: int
    """number of the search's trial"""
    job: Job
    weights: Path | None = None
    """where the evaluator leaves them; None if it does not"""


def train(
    name: str,
    wanted: Sequence[Wanted],
    evaluator: Evaluator,
    results: Results,
    console: Console | None,
    on_outcome: Callable[[Job, Outcome], None],
    progress: Path | None = None,
) -> list[Outcome]:
    """The outcome of each, in order: from the file, or trained now.

    Args:
        name: of the progress bar.
        wanted: the trainings.
        evaluator: trains them.
        results: holds those that are done, and gets each new one the moment it is there.
        console: for the bar, where it is a terminal, or for a line a training; None shows none.
        on_outcome: told of each new one when it is stored; an exception ends the training of the others.
        progress: where the evaluator leaves the epochs of trainings under way, for the bar.
    """
    done = {i: o for i, one in enumerate(wanted) if (o := results.get(one.stage, one.job, one.weights)) is not None}
    waiting = [i for i in range(len(wanted)) if i not in done]
    jobs = [wanted[i].job for i in waiting]
    with Watch(name, [one.job for one in wanted], jobs, console or Console(quiet=True), progress) as watch:
        for position, outcome in evaluator.evaluate(jobs):
            one = wanted[waiting[position]]
            results.add(one.stage, one.job, one.trial, outcome)
            done[waiting[position]] = outcome
            told = f"accuracy {outcome.accuracy:.4f}" if outcome.status == "ok" else f"failed, {outcome.error}"
            watch.ended(one.job, one.stage, f"trial {one.trial}, {told}, {outcome.seconds:.0f} s")
            on_outcome(one.job, outcome)
    return [done[i] for i in range(len(wanted))]
