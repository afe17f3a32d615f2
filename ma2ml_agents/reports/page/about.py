"""What a run was made of and with: data, machine, versions, settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ma2ml_agents.reports.page.charts import Chart, bars
from ma2ml_agents.reports.page.facts import Facts
from ma2ml_env.training.data.raw import PARTS

DRAWN = 40
"""most classes whose counts are drawn"""


@dataclass(frozen=True)
class About:
    """The section's content."""

    data: Sequence[tuple[str, str]]
    counts: Sequence[tuple[str, int, int, int]]
    """(part, images, of the smallest class, of the largest)"""
    charts: Sequence[Chart]
    sessions: Sequence[Mapping[str, Any]]
    settings: str
    """JSON"""
    base: str
    """the base recipe, JSON"""
    missing: Sequence[str]


def about(facts: Facts) -> About:
    """The section of a run."""
    data: list[tuple[str, str]] = []
    counts, charts, missing = [], [], []
    if facts.data is None:
        missing.append(
            "The run has no data of its own: "
            + ("an earlier version began it." if facts.trained else "nothing was trained.")
        )
    else:
        told = facts.data.identity
        data = [("name", told.name), ("digest", told.digest)]
        data += [("classes", str(len(told.class_names)))] if told.class_names else []
        data += [(key, str(each)) for key, each in told.pixels.items()]
        data += [("changed", line) for line in facts.data.changed]
        if not facts.data.verified:
            data.append(("unverified", "an earlier version began this run, and did not look at its data"))
        for part in PARTS:
            if numbers := told.counts.get(part):
                counts.append((part, sum(numbers), min(numbers), max(numbers)))
        numbers = told.counts.get("train", ())
        if 0 < len(numbers) <= DRAWN:
            names = [
                f"{name} ({i})" if told.class_names.count(name) > 1 else name for i, name in enumerate(told.class_names)
            ]
            rows = [{"class": name, "images": n} for name, n in zip(names, numbers, strict=False)]
            spec = bars("class", "images", "images")["layer"][0]
            charts.append(
                Chart("training-images", "Training images of each class", rows, spec, max(60, 20 * len(rows)))
            )
        elif numbers:
            missing.append(f"Counts of {len(numbers)} classes are too many to draw.")
    sessions = [
        {k: v for k, v in each.items() if k not in ("from", "has")} | {"from trial": each.get("from", 0)}
        for each in facts.sessions
    ]
    if not sessions:
        missing.append("Versions and machine are not known: an earlier version made the run.")
    settings = {name: value for name, value in facts.config.to_json().items() if value is not None}
    return About(
        data, counts, charts, sessions, json.dumps(settings, indent=1, ensure_ascii=False),
        json.dumps(facts.game.base.to_json(), indent=1), missing,
    )  # fmt: skip
