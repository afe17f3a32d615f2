"""Several runs beside each other: curves with bands, and tests of what differs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import fmean, stdev
from typing import Any

from ma2ml_agents.reports.page.charts import Chart, lines
from ma2ml_agents.reports.page.facts import Facts
from ma2ml_agents.reports.page.progress import reached

POINTS = 200
"""of a curve, at most"""
FEWEST = 2
"""runs of an arm that tell a spread"""
_ARM = ("seed", "run", "budget", "workers", "device", "data", "cache", "track", "time_limit")
"""options that differ between runs of one arm"""


@dataclass(frozen=True)
class RunRow:
    """A run in the table."""

    name: str
    arm: str
    seed: int
    trials: str
    best: str
    top: str
    end: str
    """test accuracy after the retraining"""


@dataclass(frozen=True)
class PairRow:
    """Two arms, at the number of trials that all have."""

    first: str
    second: str
    difference: str
    """of the means of the top k, with its 95 % interval"""
    p: str
    """of Welch's test that both are equal"""
    ratio: str
    """trials that the first needs to reach what the second has at the end, over those of the second"""


@dataclass(frozen=True)
class Comparison:
    """The section's content."""

    runs: Sequence[RunRow]
    pairs: Sequence[PairRow]
    charts: Sequence[Chart]
    missing: Sequence[str]
    sentence: str


def compare(runs: Sequence[Facts]) -> Comparison:
    """The section of several runs."""
    names = _names(runs)
    arms = _arms(runs)
    tops = [[each for each in reached(f.trials, f.keys, f.game.protocol.top_k).top] for f in runs]
    missing = []
    games = sorted({(f.config.game, f.config.metric) for f in runs})
    if len(games) > 1:
        missing.append("The runs are of different games or metrics, so their rewards do not compare.")
    common = min((len(top) for top in tops), default=0)
    rows = [_row(name, arm, facts, top) for name, arm, facts, top in zip(names, arms, runs, tops, strict=True)]
    by_arm: dict[str, list[list[float | None]]] = {}
    for arm, top in zip(arms, tops, strict=True):
        by_arm.setdefault(arm, []).append(top)
    charts = _curves(by_arm)
    if not charts:
        missing.append("There are no curves: a run has no successful trial.")
    pairs, sentence = [], ""
    if len(games) == 1 and len(by_arm) > 1 and common:
        pairs = [_pair(a, b, by_arm, common) for a, b in permutations(by_arm, 2)]
        ends = {arm: fmean(top[common - 1] or 0.0 for top in each) for arm, each in by_arm.items()}
        best = max(ends, key=lambda arm: ends[arm])
        sentence = (
            f"After {common} trials, which all runs have, {best} has the highest mean of the top: {ends[best]:.4f}."
        )
        if min(map(len, by_arm.values())) < FEWEST:
            missing.append("Some arms have a single run: of one run nobody knows the spread, and no test is made.")
    elif len(by_arm) == 1 and len(runs) > 1:
        missing.append("All runs are of one arm (the same settings, other seeds): there is nothing to test.")
    return Comparison(rows, pairs, charts, missing, sentence)


def _names(runs: Sequence[Facts]) -> list[str]:
    short = [facts.folder.name for facts in runs]
    return [name if short.count(name) == 1 else str(facts.folder) for name, facts in zip(short, runs, strict=True)]


def _arms(runs: Sequence[Facts]) -> list[str]:
    """What each run is of: its learner, and the settings in which the runs differ."""
    told = [{k: v for k, v in facts.config.to_json().items() if k not in _ARM} for facts in runs]
    differ = [key for key in told[0] if any(each.get(key) != told[0].get(key) for each in told)] if told else []
    arms = []
    for each in told:
        more = [f"{key} {json.dumps(each.get(key))}" for key in differ if key not in ("learner", "start")]
        arms.append(", ".join([str(each["learner"]), *more]))
    return arms


def _row(name: str, arm: str, facts: Facts, top: Sequence[float | None]) -> RunRow:
    best = max((trial.reward for trial in facts.ok), default=None)
    end = facts.retraining
    return RunRow(
        name,
        arm,
        facts.config.seed,
        f"{len(facts.trials)} of {facts.config.budget}",
        "-" if best is None else f"{best:.4f}",
        f"{top[-1]:.4f}" if top and top[-1] is not None else "-",
        "not retrained" if end is None else f"{end.mean:.4f}",
    )


def _curves(by_arm: dict[str, list[list[float | None]]]) -> list[Chart]:
    rows: list[dict[str, Any]] = []
    banded = False
    for arm, each in by_arm.items():
        length = min(map(len, each))
        step = max(1, length // POINTS)
        for place in sorted({*range(0, length, step), length - 1} - {-1}):
            values = [top[place] for top in each]
            known = [value for value in values if value is not None]
            if len(known) < len(values):
                continue
            mean = fmean(known)
            half = _t(len(known)) * stdev(known) / len(known) ** 0.5 if len(known) > 1 else 0.0
            banded |= half > 0
            rows.append(
                {
                    "arm": arm,
                    "trial": place + 1,
                    "top": round(mean, 6),
                    "low": round(mean - half, 6),
                    "high": round(mean + half, 6),
                }
            )
    if not rows:
        return []
    title = "Mean of the top k so far" + (", with 95 % bands over the runs of an arm" if banded else "")
    return [
        Chart("runs", title, rows, lines("trial", "top", "arm", "trials", "reward", band=banded, long=True), height=300)
    ]


def _pair(a: str, b: str, by_arm: dict[str, list[list[float | None]]], common: int) -> PairRow:
    mine, its = ([top[common - 1] or 0.0 for top in by_arm[arm]] for arm in (a, b))
    difference, target = fmean(mine) - fmean(its), fmean(its)
    told, p = f"{difference:+.4f}", "-"
    if min(len(mine), len(its)) >= FEWEST:
        from scipy.stats import ttest_ind

        found = ttest_ind(mine, its, equal_var=False)
        if found.pvalue == found.pvalue:
            low, high = found.confidence_interval(0.95)
            told, p = f"{difference:+.4f} ({low:+.4f} to {high:+.4f})", f"{found.pvalue:.3f}"
    mean = [fmean(top[place] or 0.0 for top in by_arm[a]) for place in range(common)]
    needed = next((place + 1 for place, value in enumerate(mean) if value >= target), None)
    return PairRow(a, b, told, p, "> 1 (not reached)" if needed is None else f"{needed / common:.2f}")


def _t(count: int) -> float:
    """Half a 95 % interval in standard errors, of so few runs."""
    from scipy.stats import t

    return float(t.ppf(0.975, count - 1))
