"""All trials: those on the Pareto front, and a table in which each opens what was decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ma2ml_agents.reports.page.charts import Chart, front
from ma2ml_agents.reports.page.choices import label
from ma2ml_agents.reports.page.facts import Facts
from ma2ml_agents.reports.tables import amount
from ma2ml_agents.run.standing import pareto
from ma2ml_env.metrics import metric
from ma2ml_env.metrics import score as score_of
from ma2ml_env.reward import FlopsReward


@dataclass(frozen=True)
class Listing:
    """The section's content."""

    charts: Sequence[Chart]
    missing: Sequence[str]
    sentence: str
    """of the front"""
    decisions: Sequence[dict[str, Any]]
    """agent, name, and choices as texts; no choices of an interval"""
    codes: Sequence[Sequence[float]]
    """of each trial, in order: an index a decision, or the value of an interval"""


def listing(facts: Facts, rows: Sequence[dict[str, Any]]) -> Listing:
    """The section of a run.

    Args:
        facts: of the run.
        rows: of `trial_rows`, in the order of the trials.
    """
    charts, missing, sentence = _front(facts, rows)
    modules = facts.game.modules
    decisions: list[dict[str, Any]] = []
    for agent, module in modules.items():
        decisions += [
            {"agent": agent, "name": d.name, "choices": [label(c) for c in d.choices]} for d in module.space.decisions
        ]
        decisions += [{"agent": agent, "name": i.name, "choices": None} for i in module.space.intervals]
    codes = []
    for trial in facts.trials:
        code: list[float] = []
        for agent, module in modules.items():
            own, count = trial.proposal.codes[agent], len(module.space.decisions)
            code += own[:count]
            code += [interval.value(u) for interval, u in zip(module.space.intervals, own[count:], strict=True)]
        codes.append(code)
    return Listing(charts, missing, sentence, decisions, codes)


def _front(facts: Facts, rows: Sequence[dict[str, Any]]) -> tuple[list[Chart], list[str], str]:
    chosen = facts.config.metric
    best = {trial.number for trial in pareto(facts.trials, chosen)}
    if not best:
        why = "no trial has succeeded" if not facts.ok else "the evaluator tells no MACs"
        return [], [f"No MACs are known, so there is no front: {why}."], ""
    title = "accuracy" if chosen == "accuracy" else f"score by {metric(chosen).title}"
    points = [
        {
            "trial": row["trial"],
            "macs": row["macs"],
            "score": round(score_of(chosen, trial.outcome), 6),
            "front": row["trial"] in best,
            "winner": facts.winner is not None and row["trial"] == facts.winner.number,
        }
        for row, trial in zip(rows, facts.trials, strict=True)
        if row["status"] == "ok" and row["macs"]
    ]
    made = facts.retraining
    limits = sorted({each for each in (facts.limit, *(limit for limit, _ in (made.levels if made else ()))) if each})
    few = "1 of" if len(best) == 1 else f"{len(best)} of"
    told = f"On the front are {few} {len(points)} trials: none is better at as few MACs."
    if limits:
        told += f" Broken lines are limits on MACs: {', '.join(amount(limit) for limit in limits)}."
        soft = isinstance(facts.game.reward, FlopsReward) and not facts.game.reward.hard
        told += " The reward's is soft: it costs, and nothing is refused." if soft else ""
    else:
        told += " The run has no limit on MACs."
    chart = Chart(
        "front", f"{title[0].upper()}{title[1:]} against MACs, with the Pareto front", points, front(title, limits)
    )
    return [chart], [], told
