"""Experiment trackers that hear of a search: MLflow and Weights & Biases, `--track mlflow wandb`.

A tracker is company, never a part of the search: if it fails, one line says so, and the search goes on without it. Which of its
trials a tracker has is kept in `trackers.json` of the run's folder, so a resumed search goes on with the same run there.
"""

import importlib.util
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.loop import Callback
from ma2ml_agents.run.standing import batches, mean_reward
from ma2ml_agents.run.tracker_runs import TRACKERS, Points, Tracker
from ma2ml_agents.run.tracking import grouped
from ma2ml_env.io.files import inode, write_atomic
from ma2ml_env.registry import closest
from ma2ml_env.trial import Trial

FILE = "trackers.json"
"""of a run's folder: tracker -> `id` of its run there, `trials` that it was told of"""
NONE = "none"
"""word of --track that switches the others off when a run goes on"""
_log = logging.getLogger(__name__)


class Tracked(Callback):
    """Tells one tracker of a search, until it fails.

    Values by the trial's number: `trial/reward`, `trial/accuracy`, `trial/macs`, `trial/seconds`, `reward/best`; with the last
    one of a batch `reward/batch`, `batch/seconds` and what the learner measures, named as in TensorBoard. Closed batches that
    the tracker has not been told of come first, without what the learner measured.

    Args:
        name: of `TRACKERS`.
        folder: of the run.
        config: what the search was told.
    """

    def __init__(self, name: str, folder: Path, config: RunConfig) -> None:
        self._name, self._folder, self._config = name, folder, config
        self._inode: tuple[int, int] | None = None
        self._tracker: Tracker | None = None
        self._told = 0  # trials that it has, or may have
        self._budget = self._heard = 0
        self._best = float("-inf")

    def on_start(self, budget: int, trials: Sequence[Trial]) -> None:
        """Open the tracker's run, and tell what it has not heard."""
        self._budget, self._inode = budget, inode(self._folder)
        try:
            known = self._notes().get(self._name, {})
            tracker = TRACKERS[self._name](self._folder, parameters(self._config), known.get("id"))
            told = tracker.told()
            self._told = int(known.get("trials", 0)) if told is None else told
            self._note(tracker)
            self._tracker = tracker
        except Exception as error:
            self._give_up(error)
        for batch in batches(trials, self._config.batch):
            self._hear(batch, {})

    def on_batch(self, batch: int, trials: Sequence[Trial], metrics: Mapping[str, float]) -> None:
        """Tell it of the batch."""
        self._hear(trials, {**grouped(metrics), "batch/seconds": metrics["seconds"]})

    def close(self) -> None:
        """Tell it the winner if the search is complete, and that this session ends."""
        best = self._folder / "best.json" if self._heard >= self._budget else None
        self._tell(lambda tracker: tracker.close(best))
        self._tracker = None

    def _hear(self, trials: Sequence[Trial], of_batch: Mapping[str, float]) -> None:
        points = {trial.number: self._values(trial) for trial in trials}
        points[trials[-1].number] |= {"reward/batch": mean_reward(trials), **of_batch}
        new = {number: values for number, values in points.items() if number >= self._told}
        self._heard += len(trials)
        if new:
            self._told = max(new) + 1
            self._tell(lambda tracker: self._log(tracker, new))

    def _values(self, trial: Trial) -> dict[str, float]:
        outcome, self._best = trial.outcome, max(self._best, trial.reward)
        own = {"accuracy": outcome.accuracy, "macs": outcome.flops, "seconds": outcome.seconds, "reward": trial.reward}
        return {"reward/best": self._best, **{f"trial/{name}": float(value) for name, value in own.items()}}

    def _tell(self, call: Callable[[Tracker], object]) -> None:
        if self._tracker is None:
            return
        try:
            if inode(self._folder) != self._inode:
                raise OSError(f"{self._folder} is not the folder that this search has opened")
            call(self._tracker)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._tracker = None
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        _log.warning(
            "--track %s failed (%s). The search goes on without it; the next session tries again", self._name, why
        )

    def _notes(self) -> dict[str, dict[str, Any]]:
        path = self._folder / FILE
        found: dict[str, dict[str, Any]] = json.loads(path.read_bytes()) if path.exists() else {}
        return found

    def _log(self, tracker: Tracker, points: Points) -> None:
        self._note(tracker)  # first: what is cut off now is not told twice
        tracker.log(points)

    def _note(self, tracker: Tracker) -> None:
        notes = {**self._notes(), self._name: {"id": tracker.id, "trials": self._told}}
        write_atomic(self._folder / FILE, json.dumps(notes, indent=1, sort_keys=True).encode() + b"\n")


def tracked(folder: Path, config: RunConfig) -> list[Tracked]:
    """What `--track` asks for.

    Raises:
        ValueError: an unknown tracker.
        ImportError: one that is not installed; its extra is named.
    """
    names = [name for name in dict.fromkeys(config.track) if name != NONE]
    if names and NONE in config.track:
        raise ValueError(f"--track {NONE} stands alone: it switches the others off")
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"--track: unknown tracker {name!r}{closest(name, [*TRACKERS, NONE])}")
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder of this name, as W&B makes one, is no package
            raise ImportError(f"--track {name} needs {name}: pip install 'ma2ml[{name}]'")
    return [Tracked(name, folder, config) for name in names]


def parameters(config: RunConfig) -> dict[str, Any]:
    """What was told, by name; `set.cells` is `cells` of `--set`. What was not is left out."""
    told: dict[str, Any] = {}
    for name, value in config.to_json().items():
        told |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, Mapping) else {name: value}
    return {name: value for name, value in told.items() if value is not None}
