"""A run in somebody's experiment tracker: how it is opened, told and closed. MLflow and Weights & Biases, each by its extra."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

Points = Mapping[int, Mapping[str, float]]
"""trial's number -> values by name"""


class Tracker(Protocol):
    """A run in somebody's tracker, open from the moment that it is made."""

    id: str
    """by which a resumed search finds it"""

    def told(self) -> int | None:
        """How many trials it has; None if it cannot say."""

    def log(self, points: Points) -> None:
        """Log values, each with its trial's number as the step."""

    def close(self, best: Path | None) -> None:
        """End the session; `best` is the `best.json` of a search that is complete, None of one that goes on later."""


class MlflowRun:
    """A run of MLflow, at `MLFLOW_TRACKING_URI`; unless told, in a database in the run's folder.

    Args:
        folder: of the search.
        config: its parameters, as a new run gets them.
        id: of the run to go on with; None begins one, in the experiment `MLFLOW_EXPERIMENT_NAME`, or `ma2ml`.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], id: str | None) -> None:
        # Unless told, MLflow asks a server that is away for minutes, and the search would wait.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            home = folder.absolute() / "mlflow"
            home.mkdir(exist_ok=True)
            uri, artifacts = f"sqlite:///{home / 'mlflow.db'}", (home / "artifacts").as_uri()
        self._client = MlflowClient(uri)
        if id is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "ma2ml"
            found = self._client.get_experiment_by_name(name)
            where = found.experiment_id if found else self._client.create_experiment(name, artifacts)
            self.id: str = self._client.create_run(where, run_name=folder.name).info.run_id
            params = [Param(name, str(value)[:6000]) for name, value in config.items()]
            self._client.log_batch(self.id, params=params)
        else:
            self.id = id
            self._client.update_run(id, status="RUNNING")

    def told(self) -> int | None:
        """As MLflow has them: it knows what came of a call that was cut off."""
        steps = [metric.step for metric in self._client.get_metric_history(self.id, "trial/reward")]
        return max(steps, default=-1) + 1

    def log(self, points: Points) -> None:
        """A hundred trials a call: it takes a thousand values."""
        from mlflow.entities import Metric

        now, numbers = int(1000 * time.time()), sorted(points)
        for start in range(0, len(numbers), 100):
            of = [(number, *item) for number in numbers[start : start + 100] for item in points[number].items()]
            self._client.log_batch(self.id, metrics=[Metric(name, value, now, number) for number, name, value in of])

    def close(self, best: Path | None) -> None:
        """The winner is the artifact `best.json`."""
        if best is not None:
            self._client.log_artifact(self.id, str(best))
        self._client.set_terminated(self.id, "KILLED" if best is None else "FINISHED")


class WandbRun:
    """A run of Weights & Biases, as `WANDB_PROJECT` (unless told `ma2ml`), `WANDB_MODE` and others say.

    Args:
        folder: of the search; W&B's own files lie there unless `WANDB_DIR` says otherwise.
        config: its parameters.
        id: of the run to go on with; None begins one.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], id: str | None) -> None:
        import wandb

        # What the search prints stays where it is, and nothing is waited for longer than half a minute.
        settings = wandb.Settings(console="off", login_timeout=30, init_timeout=30, finish_timeout=20)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "ma2ml",
            name=os.environ.get("WANDB_NAME") or folder.name,
            dir=os.environ.get("WANDB_DIR") or str(folder),
            config=dict(config),
            id=id,
            resume=None if id is None else "allow",
            settings=settings,
        )
        self.id: str = self._run.id

    def told(self) -> int | None:
        """Offline there is nobody to ask."""
        return None

    def log(self, points: Points) -> None:
        """One step a trial."""
        for number in sorted(points):
            self._run.log(dict(points[number]), step=number)

    def close(self, best: Path | None) -> None:
        """The winner is the summary's `winner`."""
        if best is not None:
            self._run.summary["winner"] = json.loads(best.read_bytes())
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any], str | None], Tracker]] = {
    "mlflow": MlflowRun,
    "wandb": WandbRun,
}
"""name, which is also that of its package and of the extra -> how a run there is opened"""
