"""What a search wrote for TensorBoard: credit and entropy of each agent, and the seconds of each batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ma2ml_env.io.reading import is_number

Points = list[tuple[int, float]]
"""(trials so far, value) after each batch"""
_GROUPS = ("credit", "entropy")


@dataclass(frozen=True)
class Curves:
    """Scalars by batch."""

    seconds: Points = field(default_factory=list)
    """wall-clock time of each batch"""
    agents: Mapping[str, Mapping[str, Points]] = field(default_factory=dict)
    """`credit` or `entropy` -> agent -> points"""
    problem: str = ""
    """why there is none, for people; "" if there is"""


def read_curves(run: Path) -> Curves:
    """Read the event files of a run's folder; what cannot be read is said, for a report can do without."""
    folder = run / "tensorboard"
    if not folder.is_dir():
        return Curves(problem="the run has no folder tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    try:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        found = {
            tag: [(int(each.step), float(each.value)) for each in events.Scalars(tag) if is_number(each.value)]
            for tag in events.Tags()["scalars"]
        }
    except Exception as error:  # event files are TensorBoard's; whatever is wrong with one is no reason for no report
        return Curves(problem=f"the files in {folder.name} cannot be read ({type(error).__name__}: {str(error)[:200]})")
    agents: dict[str, dict[str, Points]] = {}
    for tag, points in found.items():
        group, _, agent = tag.partition("/")
        if group in _GROUPS and agent and points:
            agents.setdefault(group, {})[agent] = points
    return Curves(found.get("seconds", []), agents)
