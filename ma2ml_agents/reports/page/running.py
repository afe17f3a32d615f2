"""How the trainings ran: what failed and why, how long a pipeline took, how long workers had nothing to do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ma2ml_agents.reports.page.charts import Chart, histogram
from ma2ml_agents.reports.page.facts import Facts
from ma2ml_agents.run.forecast import spoken

NOTES = 5
"""different notes of a class of failures that are shown"""
MEANING = {
    "OOM": "memory ran out",
    "NAN": "the loss was no number",
    "TIMEOUT": "took longer than its limit",
    "CRASH": "the training's process died",
    "INVALID": "no such pipeline can be built",
    "infeasible": "refused before training, as by a hard limit on MACs",
}


@dataclass(frozen=True)
class Failure:
    """Failures of one class."""

    kind: str
    meaning: str
    trials: Sequence[int]
    notes: Sequence[tuple[str, int]]
    """(note, how many trials have it), the most frequent first"""
    others: int
    """notes that are not shown"""


@dataclass(frozen=True)
class Running:
    """The section's content."""

    failures: Sequence[Failure]
    charts: Sequence[Chart]
    sentences: Sequence[str]


def running(facts: Facts) -> Running:
    """The section of a run."""
    seconds = [t.outcome.seconds for t in facts.trials if t.outcome.seconds > 0 and not t.outcome.cached]
    sentences, charts = [], []
    if seconds:
        low, middle, high = np.quantile(seconds, (0.05, 0.5, 0.95))
        what = "A pipeline took" if facts.trained else "When it was trained for the table, a pipeline took"
        sentences.append(
            f"{what} {_spoken(middle)} (median; nine of ten between {_spoken(low)} and {_spoken(high)}), all together "
            f"{_spoken(sum(seconds))} of training."
        )
        rows = [{"seconds": round(each, 3)} for each in seconds]
        charts.append(
            Chart("seconds", "Seconds of training a pipeline", rows, histogram("seconds", "seconds"), height=180)
        )
    else:
        sentences.append("No times of training: nothing was trained, or it took none.")
    cached = sum(trial.outcome.cached for trial in facts.trials)
    if cached:
        sentences.append(f"{cached} trials were pipelines that had been trained before, and took no time.")
    sentences.append(_idle(facts, sum(seconds)))
    return Running(_failures(facts), charts, sentences)


def _spoken(seconds: float) -> str:
    """A duration; of short ones two digits."""
    return f"{seconds:.2g} s" if seconds < 10 else spoken(float(seconds))


def _failures(facts: Facts) -> list[Failure]:
    kinds: dict[str, list[tuple[int, str]]] = {}
    for trial in facts.trials:
        if trial.outcome.status != "ok":
            kind = str(trial.outcome.error or trial.outcome.status)
            kinds.setdefault(kind, []).append((trial.number, trial.outcome.note))
    found = []
    for name, each in sorted(kinds.items(), key=lambda item: -len(item[1])):
        counts: dict[str, int] = {}
        for _, note in each:
            counts[note or "no note"] = counts.get(note or "no note", 0) + 1
        notes = sorted(counts.items(), key=lambda item: -item[1])
        numbers = [number for number, _ in each]
        found.append(Failure(name, MEANING.get(name, ""), numbers, notes[:NOTES], max(0, len(notes) - NOTES)))
    return found


def _idle(facts: Facts, busy: float) -> str:
    """How long workers had nothing to do, in a sentence."""
    clock = sum(seconds for _, seconds in facts.curves.seconds)
    if not facts.trained:
        return "The search itself trained nothing and had no workers."
    workers = facts.config.workers
    if workers is None:
        return "How long workers were idle is not known: the run does not say how many there were (--workers)."
    if clock <= 0:
        return f"How long workers were idle is not known: {facts.curves.problem or 'no batch has been closed'}."
    closed = sum(t.outcome.seconds for t in facts.trials if t.number not in facts.open and not t.outcome.cached)
    idle = max(0.0, 1.0 - closed / (workers * clock))
    plural = "one worker was" if workers == 1 else f"{workers} workers were"
    return (
        f"The {plural} idle for {idle:.0%} of the {spoken(clock)} that finished batches took: at the end of each batch, while "
        "the learner learned, and while processes started."
    )
