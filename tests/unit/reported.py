"""Runs that are made up, for tests of the report: written through the store, as a search writes them."""

import json
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.data import KEY, KnownData
from ma2ml_agents.run.stored import build_without_evaluator
from ma2ml_env.recipe import Recipe
from ma2ml_env.store.store import TrialStore
from ma2ml_env.training.data.identity import Identity
from ma2ml_env.trial import Outcome, Proposal, Trial

HOSTILE = "</script><script>alert(1)</script>\"'&<b>\u2028\u2029"


def good(number: int, rng: np.random.Generator) -> Outcome:
    return Outcome(accuracy=float(rng.uniform(0.5, 0.9)), flops=1000 * (1 + number), params=10 + number, seconds=1.5)


def failed(number: int, rng: np.random.Generator) -> Outcome:
    return Outcome(status="failed", error="OOM" if number % 2 else "CRASH", note=f"note {number % 3}")


def make_run(
    folder: Path,
    count: int,
    outcome: Callable[[int, np.random.Generator], Outcome] = good,
    *,
    identity: Identity | None = None,
    opened: int = 0,
    origin: str = "policy",
    **told: Any,
) -> Path:
    """A run of so many trials with an outcome, the last `opened` of them in the open batch."""
    options = {
        "game": "digits-v0",
        "learner": "random",
        "evaluator": "train",
        "budget": max(24, count),
        "batch": 8,
        **told,
    }
    config = RunConfig.told({**RunConfig.unsaid(), **options})
    game, rng = build_without_evaluator(config), np.random.default_rng(0)
    with TrialStore(folder) as store:
        data = {} if identity is None else {KEY: KnownData(identity).to_json()}
        store.configure(config.to_json() | data)
        for index, first in enumerate(range(0, count, config.batch)):
            numbers = range(first, min(first + config.batch, count))
            proposals = [_proposal(game, rng, origin) for _ in numbers]
            store.propose(index, first, proposals, list(numbers))
            played = []
            for number, proposal in zip(numbers, proposals, strict=True):
                made = outcome(number, rng)
                store.add_outcome(number, made)
                played.append(Trial(number, number, proposal, made, float(game.reward(made))))
            if numbers.stop <= count - opened:
                store.close_batch(index, played, {})
    return folder


def _proposal(game: Any, rng: np.random.Generator, origin: str) -> Proposal:
    codes = {
        agent: (
            *(int(rng.integers(n)) for n in sizes),
            *(float(rng.random()) for _ in range(game.spec.intervals.get(agent, 0))),
        )
        for agent, sizes in game.spec.nvec.items()
    }
    return Proposal(codes, log_probs={agent: -1.0 for agent in codes}, origin=origin)


def identity_of(names: Sequence[str]) -> Identity:
    counts = {"train": (5,) * len(names), "validation": (2,) * len(names), "test": (3,) * len(names)}
    return Identity("digits", "0" * 32, tuple(names), counts, {"size": 8})


def retrain(
    run: Path, names: Sequence[str], confusion: bool = True, top: Sequence[int] = (0, 1, 2), **more: Any
) -> None:
    """Write a summary as of a retraining with floors and classes."""
    rows = [
        {
            "trial": number, "seed": 1, "weights": f"top/{number}.safetensors", "recipe": Recipe().to_json(),
            "outcome": Outcome(accuracy=0.6 + 0.1 * i, test_accuracy=0.6 + 0.1 * i, flops=1000).to_json(),
        }
        for i, number in enumerate(top)
    ]  # fmt: skip
    each = {"images": 6, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    n = len(names)
    matrix = [[3 * (i == j) + (j == (i + 1) % n) for j in range(n)] for i in range(n)] if confusion else None
    told: Mapping[str, Any] = {
        "select": "validation", "metric": "accuracy", "winner": top[-1], "mean": 0.81, "deviation": 0.01, "metrics": {},
        "top": rows, "repeats": rows[:2], "levels": [{"limit": 5000.0, "trial": top[0]}],
        "baseline": {"mean": None, "deviation": None, "trainings": []},
        "classes": {"trainings": 2, "rows": [{"name": name, **each} for name in names], "confusion": matrix},
        "floors": [{"name": "the base recipe", "mean": 0.78, "deviation": None, "count": 2, "learning_rate": None, "flops": 9}],
        "verdict": {
            "against": "the base recipe", "difference": 0.03, "interval": 0.01, "better": True,
            "sentence": "the winner is better than its best floor, the base recipe: +0.0300 +- 0.0100",
        },
    }  # fmt: skip
    (run / "retrain").mkdir()
    (run / "retrain" / "summary.json").write_text(json.dumps({**told, **more}))


class Parsed(HTMLParser):
    """Tags of a page in order, whether all are closed, and what is said under each heading."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.places: list[str] = []
        """addresses that a browser would fetch"""
        self.said: dict[str, str] = {}
        """heading -> text and charts below it"""
        self._heading = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.places += [value for name, value in attrs if name in ("src", "href")]
        if tag in ("h2", "h3"):
            self._heading = ""
        if tag not in self.VOID:
            self.open.append(tag)
        if dict(attrs).get("data-chart") or dict(attrs).get("id") == "table":
            self._say("chart")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "h2" in self.open or "h3" in self.open:
            self._heading += data
            self.said.setdefault(self._heading, "")
        elif not {"script", "style"} & set(self.open):
            self._say(data)

    def _say(self, text):
        if self._heading:
            self.said[self._heading] = self.said.get(self._heading, "") + text.strip()
