"""Finished trainings as lines of a file, each on the disk before the next one starts."""

import json
import os
from pathlib import Path

from ma2ml_env.evaluators.base import Job
from ma2ml_env.reading import read_json
from ma2ml_env.recipe import content_key
from ma2ml_env.trial import Outcome

MAY_PASS = ("CRASH", "TIMEOUT", "OOM")
"""errors that may lie in the machine: such a training is tried again"""


class Results:
    """`results.jsonl`: stage, trial, seed, recipe key, outcome, and a digest of them. A torn line does not count.

    Raises:
        OSError: if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._outcomes: dict[tuple[str, str, int], Outcome] = {}
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                data = read_json(line)
                if data.pop("digest") == content_key(data):
                    self._outcomes[data["stage"], data["recipe_key"], data["seed"]] = Outcome.from_json(data["outcome"])
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
            "outcome": outcome.to_json(),
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
