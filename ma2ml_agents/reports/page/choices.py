"""What each choice brought, and what the proposals have settled on."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ma2ml_agents.reports.page.charts import Chart, marginal
from ma2ml_agents.reports.page.facts import Facts
from ma2ml_env.trial import Trial

SHOWN = 6
"""decisions whose choices are drawn"""
MOST_CHOICES = 12
"""of one decision: those that were played most"""
BINS = 5
"""equal parts that an interval is told by"""
LONG = 28
"""letters of a choice"""
Z = 1.96
"""standard errors of a 95 % interval"""
OWN = "▸ "
"""before the winner's choice"""
POLICIES = ("policy", "redraw")
"""origins of what policies proposed"""


@dataclass(frozen=True)
class Settled:
    """A decision in the first and in the last quarter of the proposals."""

    agent: str
    decision: str
    choice: str
    """the most frequent one at the end"""
    early: float
    """its share in the first quarter"""
    late: float
    """in the last"""
    even: float
    """what chance would give"""


@dataclass(frozen=True)
class Choices:
    """The section's content."""

    charts: Sequence[Chart]
    settled: Sequence[Settled]
    sentence: str
    """of what the proposals have settled on"""
    missing: Sequence[str]


def label(choice: Any) -> str:
    """A choice as a short text."""
    text = (
        choice
        if isinstance(choice, str)
        else f"{choice:g}"
        if isinstance(choice, float)
        else json.dumps(choice, default=str)
    )
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"


def labels_of(facts: Facts, agent: str, name: str) -> list[str]:
    """Choices of a decision, or the bins of an interval, as different texts."""
    space = facts.game.modules[agent].space
    for decision in space.decisions:
        if decision.name == name:
            texts = [label(choice) for choice in decision.choices]
            return [text if texts.count(text) == 1 else f"{text} ({i})" for i, text in enumerate(texts)]
    interval = next(each for each in space.intervals if each.name == name)
    ends = [f"{interval.value(i / BINS):.3g}" for i in range(BINS + 1)]
    return [f"{ends[i]} to {ends[i + 1]}" for i in range(BINS)]


def chosen(facts: Facts, agent: str, name: str, trials: Sequence[Trial]) -> list[int]:
    """Index of each trial's choice among `labels_of`."""
    space = facts.game.modules[agent].space
    place = [part.name for part in space.parts].index(name)
    entries = [trial.proposal.codes[agent][place] for trial in trials]
    if place < len(space.decisions):
        return [int(entry) for entry in entries]
    return [min(BINS - 1, int(BINS * entry)) for entry in entries]


def choices(facts: Facts, order: Sequence[tuple[str, str]], ranked: bool) -> Choices:
    """The section of a run.

    Args:
        facts: of the run.
        order: (agent, decision), the most important first.
        ranked: whether that order says anything.
    """
    missing = []
    charts = [chart for part in order[:SHOWN] if (chart := _chart(facts, *part)) is not None] if facts.ok else []
    if not facts.ok:
        missing.append("No choice can be judged: no trial has succeeded.")
    elif len(order) > SHOWN:
        which = "of highest importance" if ranked else "that come first"
        missing.append(f"Drawn are the {len(charts)} decisions {which}, of {len(order)}.")
    settled, sentence = _settled(facts)
    return Choices(charts, settled, sentence, missing)


def _chart(facts: Facts, agent: str, name: str) -> Chart | None:
    """Mean reward of each choice with its 95 % interval."""
    texts, indices = labels_of(facts, agent, name), chosen(facts, agent, name, facts.ok)
    rewards = np.array([trial.reward for trial in facts.ok])
    counts = Counter(indices)
    winner = [] if facts.winner is None else chosen(facts, agent, name, [facts.winner])
    rows = []
    for index in sorted({*(index for index, _ in counts.most_common(MOST_CHOICES)), *(counts.keys() & winner)}):
        some = rewards[np.array(indices) == index]
        half = Z * float(some.std(ddof=1)) / len(some) ** 0.5 if len(some) > 1 else 0.0
        mean = float(some.mean())
        rows.append(
            {
                "choice": f"{OWN if index in winner else ''}{texts[index]} ({len(some)})",
                "mean": round(mean, 5),
                "low": round(mean - half, 5),
                "high": round(mean + half, 5),
                "count": len(some),
            }
        )
    title = f"{agent}: {name}" + (f", the {MOST_CHOICES} most played" if len(counts) > MOST_CHOICES else "")
    file = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"choices-{agent}-{name}".lower())
    spec = marginal("mean reward")
    return Chart(file, title, rows, spec, height=max(60, 26 * len(rows)))


def _settled(facts: Facts) -> tuple[list[Settled], str]:
    """Of what policies proposed, or of all proposals where there are none."""
    proposed = [trial for trial in facts.trials if trial.proposal.origin in POLICIES]
    who = "the policies"
    if not proposed:
        proposed, who = list(facts.trials), "all proposers together (no policy has proposed any)"
    quarter = len(proposed) // 4
    if quarter < 3:
        return [], f"Whether {who} have settled cannot be told of {len(proposed)} trials."
    found = []
    for agent, module in facts.game.modules.items():
        for part in module.space.parts:
            texts = labels_of(facts, agent, part.name)
            early, late = (
                Counter(chosen(facts, agent, part.name, some)) for some in (proposed[:quarter], proposed[-quarter:])
            )
            index, count = late.most_common(1)[0]
            shares = early[index] / quarter, count / quarter
            found.append(Settled(agent, part.name, texts[index], *shares, 1 / len(texts)))
    found.sort(key=lambda each: each.late - each.even, reverse=True)
    firm = [each for each in found if each.late >= 0.8 and each.even < 0.8]
    free = [each for each in found if each.even < 1.0]
    said = (
        f"Of the last {quarter} proposals of {who}, at least 80 % made the same choice in {len(firm)} of {len(free)} "
        "decisions."
    )
    return found, said
