"""What the learner measured of its agents: credit and entropy, over the trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ma2ml_agents.reports.page.charts import Chart, lines
from ma2ml_agents.reports.page.curves import Points
from ma2ml_agents.reports.page.facts import Facts

MOST_POINTS = 400
"""of a line"""
TITLES = {
    "credit": "Credit of each agent: by how much its choices moved the forecast of the reward, on average (eq. 3)",
    "entropy": "Entropy of each agent's policy, in nats: it falls as the agent settles; more decisions have more of it",
}


@dataclass(frozen=True)
class Learning:
    """The section's content."""

    charts: Sequence[Chart]
    missing: Sequence[str]


def learning(facts: Facts) -> Learning:
    """The section of a run: from TensorBoard's files; entropy also from the log-probabilities that the store keeps."""
    charts, missing = [], []
    for group, title in TITLES.items():
        found: Mapping[str, Points] = facts.curves.agents.get(group, {})
        if group == "entropy" and not found:
            found = entropies(facts)
            title += "; estimated by the log-probabilities of each batch" if found else ""
        rows = [
            {"agent": agent, "trial": step, group: round(value, 6)}
            for agent, points in found.items()
            for step, value in thinned(points)
        ]
        if len({row["trial"] for row in rows}) > 1:
            charts.append(Chart(f"{group}-of-agents", title, rows, lines("trial", group, "agent", "trial", group)))
        else:
            why = facts.curves.problem or f"the learner {facts.config.learner} has measured none in more than one batch"
            missing.append(f"There is no {group} over time: {why}.")
    return Learning(charts, missing)


def entropies(facts: Facts) -> Mapping[str, Points]:
    """Agent -> mean of -log p of what its policy proposed in each batch, which estimates its entropy."""
    found: dict[str, Points] = {}
    size = facts.config.batch
    for start in range(0, len(facts.trials), size):
        told = [t.proposal.log_probs for t in facts.trials[start : start + size] if t.proposal.log_probs]
        for agent in told[0] if told else ():
            values = [-each[agent] for each in told if agent in each]
            found.setdefault(agent, []).append((start + size, sum(values) / len(values)))
    return found


def thinned(points: Points) -> Points:
    """Each of a few, so many of many that a line looks the same."""
    step = max(1, len(points) // MOST_POINTS)
    return [*points[:-1:step], points[-1]]
