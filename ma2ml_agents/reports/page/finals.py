"""What `retrain/summary.json` says, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ma2ml_agents.after.per_class import PerClass
from ma2ml_env.io.reading import expected, is_number, read_json
from ma2ml_env.metrics import metric, value
from ma2ml_env.trial import Outcome


@dataclass(frozen=True)
class Final:
    """A pipeline of the search that was trained to its end."""

    trial: int
    outcome: Outcome
    validation: float | None
    """the metric's value on validation images; None if it failed"""
    test: float | None
    """accuracy on test images"""


@dataclass(frozen=True)
class FloorTold:
    """A pipeline that needs no search, trained as often as the winner."""

    name: str
    mean: float
    """test accuracy"""
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Retraining:
    """What a retraining came to."""

    winner: int
    select: str
    """images that the winner was chosen by: validation or test"""
    metric: str
    mean: float
    """test accuracy of the winner's repeats, or of the winner where there are none"""
    deviation: float | None
    times: int
    """repeats; 0 where the winner was trained once, on training images"""
    top: tuple[Final, ...]
    levels: tuple[tuple[float, int | None], ...]
    """(limit on MACs, number of the best trial under it)"""
    floors: tuple[FloorTold, ...]
    verdict: Mapping[str, Any] | None
    """against the best floor: `against`, `difference`, `interval`, `better`, `sentence`"""
    classes: PerClass | None
    weights: tuple[Path, ...]
    """of the trainings that gave the mean"""

    @property
    def trained(self) -> str:
        """How often, for people."""
        if not self.times:
            return "once, on training images"
        often = "once" if self.times == 1 else f"{self.times} times"
        return f"{often} on training and validation images"


def read_retraining(run: Path) -> Retraining | None:
    """What stands in a run's folder; None if it was not retrained.

    Raises:
        ValueError: if the summary is damaged, or names files elsewhere.
    """
    path = run / "retrain" / "summary.json"
    if not path.exists():
        return None
    with expected(path, f"run `ma2ml retrain {run}` again"):
        return _read(read_json(path.read_bytes()), path.parent)


def _read(told: Mapping[str, Any], folder: Path) -> Retraining:
    chosen = str(told.get("metric", "accuracy"))
    metric(chosen)
    repeats = told["repeats"]
    if not isinstance(told["winner"], int):
        raise TypeError(f"winner {told['winner']!r:.50}")
    trained = repeats or [row for row in told["top"] if row["trial"] == told["winner"]]
    verdict = told.get("verdict")
    classes = told.get("classes")
    return Retraining(
        winner=told["winner"],
        select=str(told["select"]),
        metric=chosen,
        mean=_number(told["mean"]),
        deviation=_number(told["deviation"]) if len(repeats) > 1 else None,  # an earlier version wrote 0.0 of one
        times=len(repeats),
        top=tuple(_final(row, chosen) for row in told["top"]),
        levels=tuple((_number(each["limit"]), each["trial"]) for each in told.get("levels", ())),
        floors=tuple(_floor(each) for each in told.get("floors", ())),
        verdict=None if verdict is None else _verdict(verdict),
        classes=None if classes is None else PerClass.from_json(classes),
        weights=tuple(_inside(folder, str(row["weights"])) for row in trained),
    )


def _final(row: Mapping[str, Any], chosen: str) -> Final:
    outcome, number = Outcome.from_json(row["outcome"]), row["trial"]
    if not isinstance(number, int):
        raise TypeError(f"trial {number!r:.50}")
    if outcome.status != "ok":
        return Final(number, outcome, None, None)
    return Final(number, outcome, value(chosen, outcome), outcome.test_accuracy)


def _floor(told: Mapping[str, Any]) -> FloorTold:
    deviation = told["deviation"]
    spread = None if deviation is None else _number(deviation)
    return FloorTold(str(told["name"]), _number(told["mean"]), spread, int(told["count"]))


def _verdict(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "against": str(told["against"]),
        "difference": _number(told["difference"]),
        "interval": _number(told["interval"]),
        "better": bool(told["better"]),
        "sentence": str(told["sentence"]),
    }


def _number(told: Any) -> float:
    if not is_number(told):
        raise TypeError(f"no number: {told!r:.50}")
    return float(told)


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder.

    Raises:
        ValueError: if it would lie elsewhere: then ma2ml did not write the summary.
    """
    path = folder / name
    if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path} is not in {folder}: its summary.json was not written by ma2ml")
    return path
