"""Which decisions mattered: a random forest predicts the rewards, and is told less.

The forest (Breiman 2001) is fitted on two thirds of the pipelines and asked for the rewards of the others, in turn. Then one
decision, or all of an agent, is shuffled among these: how much of the explained variance is lost is its importance
(permutation importance). What no forest can predict has no importance here, and nobody claims any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_agents.reports.page.charts import Chart, bars
from ma2ml_agents.reports.page.facts import Facts

FEWEST = 24
"""successful trials below which no forest is fitted"""
MOST = 1500
"""trials that it is fitted on: the last ones"""
FOLDS, TREES, SHUFFLES = 3, 40, 3
SHOWN = 20
LONGEST = 30
"""characters of a decision's name beside its bar"""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """What a forest says."""

    explained: float
    """R^2 on trials that it has not seen; below 0 it is worse than their mean"""
    trials: int
    decisions: Mapping[tuple[str, str], tuple[float, float]]
    """(agent, decision) -> importance as a share of the variance, and its standard deviation over folds and shuffles"""
    agents: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Weights:
    """The section's content."""

    sentence: str
    charts: Sequence[Chart]
    order: Sequence[tuple[str, str]]
    """decisions, the most important first; as they come where nothing is known"""


def parts_of(facts: Facts) -> list[tuple[str, str]]:
    """(agent, name) of each entry of a joint code, in order."""
    return [(agent, part.name) for agent, module in facts.game.modules.items() for part in module.space.parts]


def importance(codes: Floats, rewards: Floats, groups: Sequence[str], parts: Sequence[tuple[str, str]]) -> Importance:
    """Fit and shuffle.

    Args:
        codes: (n, L) joint codes.
        rewards: (n,).
        groups: what makes two trials the same pipeline: none is in both the fit and the test.
        parts: (agent, name) of each column.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import GroupKFold

    agents = list(dict.fromkeys(agent for agent, _ in parts))
    columns = [[i] for i in range(len(parts))] + [[i for i, p in enumerate(parts) if p[0] == a] for a in agents]
    rng = np.random.default_rng(0)
    losses: list[Floats] = []
    explained = []
    for fitted, left in GroupKFold(FOLDS).split(codes, rewards, groups):
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.33, random_state=0)
        forest.fit(codes[fitted], rewards[fitted])
        test, truth = codes[left], rewards[left]
        variance = float(((truth - rewards[fitted].mean()) ** 2).mean()) or 1.0
        error = float(((forest.predict(test) - truth) ** 2).mean())
        explained.append(1.0 - error / variance)
        for _ in range(SHUFFLES):
            order = rng.permutation(len(test))
            shuffled = np.repeat(test[None], len(columns), axis=0)
            for place, some in enumerate(columns):
                shuffled[place][:, some] = test[order][:, some]
            told = forest.predict(shuffled.reshape(-1, codes.shape[1])).reshape(len(columns), -1)
            losses.append((((told - truth) ** 2).mean(1) - error) / variance)
    mean, spread = np.mean(losses, axis=0), np.std(losses, axis=0)
    pairs = [(max(0.0, float(m)), float(s)) for m, s in zip(mean, spread, strict=True)]
    found = dict(zip(parts, pairs[: len(parts)], strict=True))
    by_agent = dict(zip(agents, pairs[len(parts) :], strict=True))
    return Importance(float(np.mean(explained)), len(codes), found, by_agent)


def weights(facts: Facts) -> Weights:
    """The section of a run."""
    parts = parts_of(facts)
    if len(facts.ok) < FEWEST or len(set(facts.keys.values())) < FOLDS:
        few = f"Importance is not told: of {len(facts.ok)} successful trials it would be chance, {FEWEST} are needed."
        return Weights(few, (), parts)
    some = facts.ok[-MOST:]
    codes = np.array([[e for code in t.proposal.codes.values() for e in code] for t in some], dtype=np.float64)
    rewards = np.array([trial.reward for trial in some])
    if float(rewards.std()) == 0.0:
        return Weights("Importance is not told: all trials have the same reward.", (), parts)
    found = importance(codes, rewards, [facts.keys[trial.number] for trial in some], parts)
    order = sorted(parts, key=lambda part: -found.decisions[part][0])
    if found.explained <= 0.0:
        none = (
            f"Nobody can say what mattered: a forest of {found.trials} trials predicts the others no better than their mean "
            "does. With more trials it may."
        )
        return Weights(none, (), parts)
    agents = sorted(found.agents.items(), key=lambda each: -each[1][0])
    (agent, name), first = order[0], agents[0][0]
    whole, doubt = agents[0][1]
    (share, spread) = found.decisions[order[0]]
    each = f"{name} of {agent} ({share:.0%} ± {spread:.0%} of the rewards' variance)"
    if len(agents) > 1:
        which = f"Of the agents {first} seems to matter most ({whole:.0%} ± {doubt:.0%} of the rewards' variance"
        near = [name for name, (m, s) in agents[1:] if m + s >= whole - doubt]
        which += f"; {' and '.join(near)} may matter as much" if near else ""
        which += f"), of the decisions {each}"
    else:
        which = f"Of the decisions {each} seems to matter most"
    sentence = (
        f"{which}: so much less a random forest explains when it is not told what was chosen there. A search plays more often "
        "what it came to prefer, so this describes the search and proves no cause"
    )
    noise = (
        " That is little: most of the differences are noise, or are not understood." if found.explained < 0.2 else ""
    )
    sentence += f". The forest explains {found.explained:.0%} of the variance of rewards that it has not seen.{noise}"
    charts = (
        [_chart("importance-of-agents", "Importance of each agent", [(a, p) for a, p in agents])]
        if len(agents) > 1
        else []
    )
    shown = [(_label(agent, name), found.decisions[agent, name]) for agent, name in order[:SHOWN]]
    more = f", the first {SHOWN} of {len(order)}" if len(order) > SHOWN else ""
    return Weights(
        sentence, [*charts, _chart("importance-of-decisions", f"Importance of each decision{more}", shown)], order
    )


def _label(agent: str, name: str) -> str:
    """Agent and decision; of a long name the end, which tells it from its neighbours."""
    return f"{agent}: {name}" if len(name) <= LONGEST else f"{agent}: …{name[-LONGEST:]}"


def _chart(name: str, title: str, rows: Sequence[tuple[str, tuple[float, float]]]) -> Chart:
    data: list[dict[str, Any]] = [
        {"what": label, "importance": round(m, 5), "low": round(max(0.0, m - s), 5), "high": round(m + s, 5)}
        for label, (m, s) in rows
    ]
    spec = bars("what", "importance", "share of the variance that is lost")
    return Chart(name, title, data, spec, height=max(60, 22 * len(data)))
