"""How a search went: every trial, what was reached so far, over trials and over hours; and whether it was still rising."""

import heapq
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from ma2ml_agents.after.correlation import bootstrap, spearman
from ma2ml_agents.reports.page.charts import Chart, pairs, trials_over
from ma2ml_agents.reports.page.facts import Facts
from ma2ml_agents.reports.tables import amount
from ma2ml_agents.run.standing import by_reward
from ma2ml_env.metrics import metric, value
from ma2ml_env.reward import Accuracy, FlopsReward
from ma2ml_env.trial import Trial

STILL = 0.1
"""share of the whole rise of the top k that its last quarter must bring to be called rising; a straight line brings .25"""
FEWEST_PAIRS = 5
"""pipelines of which a rank correlation is told"""
FEWEST = 8
"""trials of which one may say how they went on"""
ORIGINS = {
    "start": "given at the start",
    "policy": "drawn by the agents' policies",
    "redraw": "drawn by the policies once more, as the first draw was known",
    "response": "what a critic of single decisions likes best",
    "screened": "of many draws of the policies, what a critic likes best",
    "mutant": "a good pipeline with some changes that a critic likes",
    "mutation": "a good pipeline with one change",
    "neighbour": "the best pipeline with one change",
    "predictor": "what a model of the rewards likes best",
    "random": "drawn by chance",
}
"""what is meant by the origin of a proposal"""
_DRAWN = ("trial", "reward", "origin", "open", "best", "top")


@dataclass(frozen=True)
class Reached:
    """After each trial: the best reward so far, None before there is one; the mean of the top k, None before there are k."""

    best: list[float | None]
    top: list[float | None]


@dataclass(frozen=True)
class Progress:
    """The section's content."""

    still: bool
    """whether the search was still rising at its end"""
    rising: str
    """that in a sentence"""
    reward: str
    """what a reward is here, in a sentence"""
    opened: str
    """of the open batch, in a sentence; "" where there is none"""
    origins: Sequence[tuple[str, int]]
    charts: Sequence[Chart]
    missing: Sequence[str]
    """what is not there, and why"""


def reached(trials: Sequence[Trial], keys: dict[int, str], top_k: int) -> Reached:
    """Best and top so far. A top k is of distinct pipelines, each with its best trial, as in `Standing`."""
    best_of: dict[str, float] = {}
    top: list[float] = []
    made = Reached([], [])
    for trial in trials:
        if trial.outcome.status == "ok":
            key = keys[trial.number]
            before = best_of.get(key)
            if before is None or trial.reward > before:
                best_of[key] = trial.reward
                if len(top) < top_k or trial.reward > top[-1]:
                    top = heapq.nlargest(top_k, best_of.values())
        made.best.append(top[0] if top else None)
        made.top.append(sum(top) / top_k if len(top) == top_k else None)
    return made


def hours(facts: Facts) -> tuple[list[float], str] | None:
    """(time at the end of each trial, what it is, with its unit); None where no time is known.

    The wall clock is told by batch; without it, seconds of training are added up, whoever trained.
    """
    closed = [trial for trial in facts.trials if trial.number not in facts.open]
    ends = [step for step, _ in facts.curves.seconds]
    if closed and ends and ends == sorted(set(ends)) and ends[-1] >= len(closed):
        clock = list(accumulate(seconds for _, seconds in facts.curves.seconds))
        made = []
        for index in range(len(facts.trials)):
            place = min(bisect_left(ends, index + 1), len(ends) - 1)
            first, last = (ends[place - 1], ends[place]) if place else (0, ends[0])
            begun = clock[place - 1] if place else 0.0
            share = min(1.0, (index + 1 - first) / max(1, last - first))
            made.append(begun + share * (clock[place] - begun))
        if made[-1] > 0:
            return _in_unit(made, "of the search")
    seconds = [0.0 if trial.outcome.cached else trial.outcome.seconds for trial in facts.trials]
    if sum(seconds) <= 0:
        return None
    return _in_unit(list(accumulate(seconds)), "of training, of all workers together")


def _in_unit(seconds: list[float], what: str) -> tuple[list[float], str]:
    """In hours; short searches in minutes or seconds."""
    size, unit = next(
        (size, unit)
        for size, unit in ((3600, "hours"), (60, "minutes"), (1, "seconds"))
        if seconds[-1] > 2 * size or size == 1
    )
    return [each / size for each in seconds], f"{unit} {what}"


def still_rising(top: Sequence[float | None], top_k: int, images: int = 0) -> tuple[bool, str]:
    """Whether the mean of the top k was still rising at the end, and a sentence that says so or why nobody knows.

    Args:
        top: the mean of the top k after each trial; None before there are k.
        top_k: its k.
        images: that rewards were measured on; 0 if they have no such chance in them.
    """
    known = [each for each in top if each is not None]
    if len(known) < FEWEST:
        few = f"{len(known)} trials after {top_k} different pipelines had succeeded are too few"
        return False, f"Nobody can say whether the search was still rising: {few}."
    first, late, last = known[0], known[-1 - len(known) // 4], known[-1]
    whole, quarter = last - first, last - late
    if whole <= 0:
        return False, f"The search did not rise: the mean of its top {top_k} is {last:.4f}, as after its first trials."
    told = (
        f"the last quarter of the trials raised the mean of the top {top_k} from {late:.4f} to {last:.4f}, "
        f"{quarter / whole:.0%} of its rise from {first:.4f}, where it began"
    )
    chance = 1.96 * math.sqrt(2.0 * max(last * (1.0 - last), 0.0) / (images * top_k)) if images else 0.0
    if quarter / whole >= STILL and quarter <= chance:
        return False, (
            f"Nobody can say whether the search was still rising: {told}, but with {images:,} validation images chance alone "
            f"moves such a mean by {chance:.4f}."
        )
    if quarter / whole >= STILL:
        return (
            True,
            f"The search was still rising when it ended: {told}. More trials would probably find better pipelines.",
        )
    return False, f"The search had levelled off: {told}. More trials of the same kind would bring little."


def trial_rows(facts: Facts) -> list[dict[str, Any]]:
    """A row for each trial: of the table, and of all charts of trials."""
    sofar = reached(facts.trials, facts.keys, facts.game.protocol.top_k)
    clock = hours(facts)
    chosen = facts.config.metric
    return [
        {
            "trial": trial.number,
            "reward": round(trial.reward, 6),
            "score": _rounded(value(chosen, trial.outcome)) if trial.outcome.status == "ok" else None,
            "accuracy": round(trial.outcome.accuracy, 6),
            "macs": trial.outcome.flops or None,
            "params": trial.outcome.params or None,
            "seconds": round(trial.outcome.seconds, 2),
            "hours": None if clock is None else round(clock[0][place], 5),
            "origin": trial.proposal.origin,
            "status": trial.outcome.error or trial.outcome.status,
            "open": trial.number in facts.open,
            "best": _rounded(sofar.best[place]),
            "top": _rounded(sofar.top[place]),
        }
        for place, trial in enumerate(facts.trials)
    ]


def progress(facts: Facts, rows: Sequence[dict[str, Any]]) -> Progress:
    """The section of a run.

    Args:
        facts: of the run.
        rows: of `trial_rows`.
    """
    top_k = facts.game.protocol.top_k
    counts: dict[str, int] = {}
    for trial in facts.trials:
        counts[trial.proposal.origin] = counts.get(trial.proposal.origin, 0) + 1
    origins = sorted(counts.items(), key=lambda each: -each[1])
    charts, missing = [], []
    good = [row for row in rows if row["status"] == "ok"]
    if good:
        winner = None if facts.winner is None else facts.winner.number
        low, below = lower_edge([row["reward"] for row in good])
        clock = hours(facts)
        ways = [("trial", "trial", "search-by-trial", "trials")]
        ways += [("hours", clock[1], "search-by-hour", clock[1])] if clock is not None else []
        for field, axis, name, over in ways:
            spec = trials_over(field, axis, "reward", low, f"mean of the top {top_k}", len(good), winner)
            points = [{key: row[key] for key in (field, *_DRAWN) if key in row} for row in good]
            charts.append(Chart(name, f"Reward over {over}", points, spec, height=300))
        if below:
            missing.append(
                f"{below} trials with a reward below {low:.3g} stand on the lower edge of the charts of rewards."
            )
        if clock is None:
            missing.append("There is no chart over hours: no time was measured.")
    else:
        missing.append("There is no curve: no trial has succeeded.")
    if len(good) < len(rows):
        missing.append(
            f"{len(rows) - len(good)} trials without a reward of their own are not drawn; section 4 says why."
        )
    finals, said = _finals(facts)
    opened = ""
    if facts.open:
        first, last = min(facts.open), max(facts.open)
        numbers = f"trial {first}" if first == last else f"trials {first} to {last}"
        opened = (
            f"A batch is open: of {len(facts.trials)} trials, {len(facts.open)} are in it ({numbers}), and the learner has not "
            "been told of these."
        )
    images = facts.images("validation") if facts.trained else 0
    still, rising = still_rising([row["top"] for row in rows], top_k, images)
    if good:
        best = min(facts.ok, key=by_reward)
        last = facts.trials[-1].number
        rising += f" The highest reward, {best.reward:.4f}, came with trial {best.number}; the last is {last}."
    return Progress(still, rising, _reward(facts), opened, origins, [*charts, *finals], [*missing, *said])


def _reward(facts: Facts) -> str:
    """What a reward is in this run."""
    given = facts.game.reward
    title = metric(facts.config.metric).title
    what = f"validation {title} after {facts.search_epochs}" if facts.trained else title
    if not isinstance(given, FlopsReward):
        return f"A reward is the {what}." if isinstance(given, Accuracy) else ""
    if given.hard:
        return f"A reward is the {what}, and 0 above {amount(given.limit)} MACs."
    return (
        f"A reward is the {what}, times (MACs / {amount(given.limit)}) to the power of {given.w:g}: more for a smaller "
        "network, less for a larger one. A larger network is not refused."
    )


def lower_edge(rewards: Sequence[float]) -> tuple[float, int]:
    """(where the axis begins, how many lie below): a few bad trials shall not press all others together."""
    values = np.array(rewards)
    low, middle, high = np.quantile(values, (0.05, 0.25, 1.0))
    edge = float(min(low, middle - 1.0 * (high - middle)))
    edge = max(edge, float(values.min()))
    return edge, int((values < edge).sum())


def _finals(facts: Facts) -> tuple[list[Chart], list[str]]:
    """Accuracies after the retraining beside those of the search."""
    made = facts.retraining
    if made is None:
        if not facts.trained:
            return [], []
        return [], [
            f"No pipeline was trained to its end yet, so nobody knows how well {facts.search_epochs} rank them."
        ]
    title = metric(made.metric).title
    searched = {trial.number: value(made.metric, trial.outcome) for trial in facts.trials}
    known = [each for each in made.top if each.validation is not None and searched.get(each.trial) is not None]
    rows = [
        {
            "trial": each.trial,
            "search": searched[each.trial],
            "end": each.validation,
            "what": "winner" if each.trial == made.winner else "others",
        }
        for each in known
    ]
    if not rows:
        return [], ["No retrained pipeline has a value in the search to compare with."]
    spec = pairs("search", "end", f"{title} in the search", f"{title} trained to the end", "what")
    chart = Chart("search-and-end", f"Validation {title}: in the search, and trained to the end", rows, spec)
    if len(rows) < FEWEST_PAIRS:
        return [chart], [f"{len(rows)} retrained pipelines are too few for a rank correlation."]
    x, y = (np.array([row[name] for row in rows], dtype=np.float64) for name in ("search", "end"))
    found = bootstrap(spearman, x, y)
    few = " With so few pipelines this says little." if found.high - found.low > 1.0 else ""
    return [chart], [
        f"Rank correlation (Spearman) between both: {found.value:.2f}, 95 % interval {found.low:.2f} to {found.high:.2f}, of "
        f"{len(rows)} pipelines, which are the best of the search.{few} ma2ml fidelity measures it over the whole range."
    ]


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 6)
