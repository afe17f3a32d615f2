"""Regret in a measured game: what the pipelines that a learner would name lack to the best one of all."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from exact import FOUND
from suite import Suite
from summary import SHARES, Arm, above, interval

BY = {"found": "by validation images", "found_test": "by test images"}
"""curve -> what its optimum is by"""


def ps(values: Iterable[float | None]) -> str:
    """One p after the other; nothing where there was no test."""
    tested = (p for p in values if p is not None)
    return ", ".join("< 1e-4" if p < 1e-4 else f"{p:.1g}" if p < 0.1 else f"{p:.2f}" for p in tested)


def regrets(suite: Suite, arms: dict[str, dict[str, Arm]], summary: dict[str, Any]) -> None:
    """Add to each landscape whose optima are known: arm -> curve of `FOUND` -> regret, and p that the reference has less."""
    rng = np.random.default_rng(0)
    for landscape, present in arms.items():
        if optima := summary[landscape].get("optima"):
            mine = present.get(suite.reference)
            summary[landscape]["regrets"] = {
                name: {curve: _of_curve(arm, mine, curve, best, rng) for curve, best in optima.items()}
                for name, arm in present.items()
            }


def _of_curve(arm: Arm, mine: Arm | None, curve: str, best: float, rng: np.random.Generator) -> dict[str, Any]:
    at = {f"{share:.0%}": arm.paired(arm, curve, share)[0] for share in SHARES}
    # + 0.0, as there is no regret of -0.0
    row: dict[str, Any] = {share: round(best - float(levels.mean()), 5) + 0.0 for share, levels in at.items()}
    row["interval"] = [round(each, 5) + 0.0 for each in interval(best - arm.final(curve), np.mean, rng)]
    if mine is not None and mine is not arm:
        row["p_less"] = {f"{share:.0%}": above(np.subtract(*mine.paired(arm, curve, share))) for share in SHARES}
    return row


def regret_table(reference: str, part: dict[str, Any]) -> list[str]:
    """Regrets at 25, 50 and 100 % of the budget, the least at the end first."""
    optima = part["optima"]
    best = ", ".join(f"{optima[curve]:.4f} {told}" for curve, told in BY.items() if curve in optima)
    lines = [
        "",
        f"**Regret** to the best of all pipelines ({best}) at 25, 50 and 100 % of the budget, with an interval of the last, "
        f"and p that `{reference}` has less. What counts of a pipeline is the mean of all its trainings to the end, whatever "
        "was told of it. A top k of different pipelines always has some.",
        "",
        "| learner | " + " | ".join(label for curve, label in FOUND.items() if curve in optima) + " |",
        "|---" * (1 + len(optima)) + "|",
    ]
    for arm, row in sorted(part["regrets"].items(), key=lambda item: item[1]["found"]["100%"]):
        lines.append(f"| `{arm}` | " + " | ".join(_cell(row[curve]) for curve in FOUND if curve in row) + " |")
    return lines


def _cell(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    told = ", ".join(f"{row[f'{share:.0%}']:.4f}" for share in SHARES) + f" ({low:.4f} to {high:.4f})"
    tested = ps(row.get("p_less", {}).values())
    return f"{told}; p {tested}" if tested else told
