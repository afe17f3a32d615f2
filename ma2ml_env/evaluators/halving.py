"""Successive halving of a batch: the worst are dropped after a share of their training, and the time goes to the others.

Jamieson and Talwalkar 2016. It is the one wrapper whose outcomes depend on their batch: `fidelity` tells how far a pipeline
came, and the accuracy of one that was dropped is that of its shorter training, taken before the learning rate has fallen.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from ma2ml_env.evaluators.base import Evaluates, Evaluator, Job, Wrapper, epoch_at
from ma2ml_env.evaluators.wrap import evaluate_some
from ma2ml_env.metrics import score
from ma2ml_env.trial import Outcome


class Halving(Wrapper):
    """Drops the worst of a batch at each rung; the others go on from where they stand.

    A job is asked with `until` set to the rung's share, then again with the next one. A trainer with a folder for checkpoints
    goes on from them, bit-equal to a training that never paused; one that does not find its checkpoint starts anew, to the same
    end. What fails is the first to go. Ties go to the lower number.

    Every outcome carries its accuracy at each rung, `rungs`, and `batch_end`: a batch that was cut short is ranked again with
    what is known of it, so a resumed search drops the same pipelines. (Two equal pipelines in a batch, one of which fell to the
    machine, may be ranked differently after a resume: a crash does not repeat itself.)

    Put it inside `Cached` and `Feasible`: what they answer is not ranked.

    Args:
        inner: trains, or looks trainings up; it reads `Job.until`.
        rungs: shares of a job's training, rising, each in (0, 1).
        keep: share of the batch that passes a rung, in (0, 1), rounded up.
        folder: of the trainer's checkpoints, each of which is deleted when its job has an outcome. None: there is none.
        metric: by whose score a batch is ranked, a name of `metrics.py`; `rungs` are these scores.

    Raises:
        ValueError: if a share is out of its range.
    """

    def __init__(
        self,
        inner: Evaluator | Evaluates,
        rungs: Sequence[float],
        keep: float = 0.5,
        folder: Path | None = None,
        metric: str = "accuracy",
    ) -> None:
        super().__init__(inner)
        _check_shares(rungs)
        if not 0.0 < keep < 1.0:
            raise ValueError(f"the share that passes a rung lies in (0, 1), not {keep!r}")
        self.rungs = tuple(rungs)
        self.keep = keep
        self.folder = folder
        self.metric = metric
        self._known: dict[int, Outcome] = {}  # of the last batch of an earlier session, by number

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index into `jobs`, outcome): what is dropped at a rung as soon as all have reached it."""
        if not jobs:
            return
        known = self._known_of_batch(min(job.number for job in jobs))
        end = max([outcome.batch_end for outcome in known.values()] or [1 + max(j.number for j in jobs)])
        index = {job.number: i for i, job in enumerate(jobs)}
        reached = {number: list(outcome.rungs) for number, outcome in known.items()} | {number: [] for number in index}
        spent = dict.fromkeys(index, 0.0)

        def told(number: int, outcome: Outcome) -> Outcome:
            self._forget(jobs[index[number]])
            return replace(outcome, seconds=spent[number], rungs=tuple(reached[number]), batch_end=end)

        alive = sorted(reached)
        for rung, (before, share) in enumerate(pairwise((0.0, *self.rungs, 1.0))):
            asked = [replace(jobs[index[number]], since=before, until=share) for number in alive if number in index]
            paused: dict[int, Outcome] = {}
            for position, outcome in evaluate_some(self.inner, asked, range(len(asked))):
                number = asked[position].number
                spent[number] += outcome.seconds
                if share == 1.0 or outcome.status != "ok":
                    yield index[number], told(number, outcome)
                else:
                    reached[number].append(score(self.metric, outcome))
                    paused[number] = outcome
            if share == 1.0:
                break
            ranked = sorted(
                (number for number in alive if len(reached[number]) > rung),
                key=lambda number: (-reached[number][rung], number),
            )
            passed = set(ranked[: math.ceil(self.keep * len(alive))])
            for number, outcome in paused.items():
                if number not in passed:
                    yield index[number], told(number, outcome)
            alive = sorted(passed)
        if self.folder is not None:
            with suppress(OSError):  # what else lies in it is not ours
                self.folder.rmdir()

    def _forget(self, job: Job) -> None:
        """It will not go on."""
        if self.folder is not None:
            (self.folder / job.checkpoint_name).unlink(missing_ok=True)

    def remember(self, job: Job, outcome: Outcome) -> None:
        """Keep what was ranked in the last batch; a hit of a cache was not ranked."""
        end = outcome.batch_end
        if end and not outcome.cached:
            latest = max((other.batch_end for other in self._known.values()), default=end)
            if end > latest:
                self._known.clear()
            if end >= latest:
                self._known[job.number] = outcome
        super().remember(job, outcome)

    def _known_of_batch(self, number: int) -> dict[int, Outcome]:
        """What an earlier session has of the batch that this number belongs to."""
        return {known: outcome for known, outcome in self._known.items() if outcome.batch_end > number}


def check_rungs(rungs: Sequence[float], epochs: int, known: Sequence[int] | None = None) -> None:
    """Refuse rungs that a training of so many epochs does not have: it pauses between two, before the last.

    Args:
        rungs: shares of a training.
        epochs: of it.
        known: epochs after which accuracies were measured, where trainings are looked up; None is all.

    Raises:
        ValueError: if two rungs fall on one epoch, or one on the last, a share is out of its range, or there is no accuracy.
    """
    _check_shares(rungs)
    ends = [epoch_at(rung, epochs) for rung in rungs]
    if any(later <= earlier for earlier, later in pairwise([*ends, epochs])):
        raise ValueError(
            f"halving at {' '.join(map(str, rungs))} of {epochs} epochs would come after epoch {', '.join(map(str, ends))}: "
            "each needs an epoch of its own before the last; give other shares, or more proxy_epochs"
        )
    if known is not None and not set(ends) <= {*known}:
        raise ValueError(
            f"halving at {' '.join(map(str, rungs))} of {epochs} epochs would look at epoch {', '.join(map(str, ends))}, and "
            f"accuracies were measured after {', '.join(map(str, known))}"
        )


def _check_shares(rungs: Sequence[float]) -> None:
    if not rungs or list(rungs) != sorted(set(rungs)) or not all(0.0 < rung < 1.0 for rung in rungs):
        raise ValueError(f"rungs are rising shares of a training, each in (0, 1), not {list(rungs)}")
