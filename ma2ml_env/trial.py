"""The words that cross boundaries, as frozen data with JSON both ways.

    Learner.ask -> Proposal -> Game -> Recipe -> Job -> Evaluator -> Outcome -> Reward -> Trial -> TrialStore -> Learner.tell

This file is all that a learner may import of the environment.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.io.reading import check_fields, is_number

Code = tuple[int | float, ...]
"""An agent's choice: one index (int) per decision of its space and, where it has intervals, a position in [0, 1] (float) of
each after them."""

Features = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""joint codes (n, L) -> what they mean (n, F)"""

Status = Literal["ok", "infeasible", "failed"]
Error = Literal["", "OOM", "NAN", "TIMEOUT", "CRASH", "INVALID"]
STATUSES: tuple[Status, ...] = ("ok", "infeasible", "failed")
ERRORS: tuple[Error, ...] = ("", "OOM", "NAN", "TIMEOUT", "CRASH", "INVALID")


@dataclass(frozen=True)
class GameSpec:
    """All that a learner may know of a game.

    Raises:
        ValueError: if a number is out of its range, or `intervals`, `kinds` or `ordered` do not fit `nvec`; the agent is named.
    """

    nvec: Mapping[str, tuple[int, ...]]
    """agent -> number of choices of each of its decisions, at least 1"""
    state_dim: int = 8
    """length of each agent's random state S_i (paper, section 3.2)"""
    intervals: Mapping[str, int] = field(default_factory=dict)
    """agent -> number of its intervals, at least 1; agents without any are left out"""
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """agent -> kind of each of its decisions; choices of decisions of one kind may mean the same. "" is of no kind; agents
    whose decisions have none are left out"""
    ordered: Mapping[str, tuple[bool, ...]] = field(default_factory=dict)
    """agent -> whether the choices of each of its decisions stand in an order; agents without such are left out"""
    features: Features | None = field(default=None, compare=False, repr=False)
    """(n, L) joint codes, agent after agent -> (n, F) float64: what they mean, as far as it is known without training; None
    where nothing is. Not stored"""

    def __post_init__(self) -> None:
        if self.state_dim < 0:
            raise ValueError(f"state_dim is at least 0, not {self.state_dim}")
        for agent, choices in self.nvec.items():
            if any(size < 1 for size in choices):
                raise ValueError(f"decisions of agent {agent!r} have at least 1 choice each, not {tuple(choices)}")
        for agent, count in self.intervals.items():
            if agent not in self.nvec or count < 1:
                raise ValueError(f"intervals of agent {agent!r}: at least 1, and of an agent of nvec, not {count}")
        for name, told in (("kinds", self.kinds), ("ordered", self.ordered)):
            for agent, each in told.items():
                if len(each) != len(self.nvec.get(agent, ())):
                    raise ValueError(f"{name} of agent {agent!r} are one for each of its decisions, not {each}")
        for agent, kinds in self.kinds.items():
            sizes: dict[str, int] = {}
            for kind, size in zip(kinds, self.nvec[agent], strict=True):
                if kind and sizes.setdefault(kind, size) != size:
                    raise ValueError(
                        f"agent {agent!r}: decisions of the kind {kind!r} have the same choices, not {sizes[kind]} and {size}"
                    )


@dataclass(frozen=True)
class Proposal:
    """One joint action A with the states S that it was sampled from (paper, section 3.2)."""

    codes: Mapping[str, Code]
    """agent -> code, as sampled"""
    states: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """agent -> S_i: drawn by the learner in a search, by the environment in an episode"""
    log_probs: Mapping[str, float] | None = None
    """agent -> log-probability under the behaviour policy; None where there is none"""
    origin: str = "policy"
    """what made it: `policy`, `random`, `mutation`, ..."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back, floats bit for bit."""
        return {
            "codes": {agent: list(code) for agent, code in self.codes.items()},
            "states": {agent: list(state) for agent, state in self.states.items()},
            "log_probs": None if self.log_probs is None else dict(self.log_probs),
            "origin": self.origin,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Proposal":
        """Inverse of `to_json`.

        Raises:
            ValueError: if a field is missing or has the wrong type.
        """
        try:
            return cls(
                codes={agent: tuple(map(_number, code)) for agent, code in data["codes"].items()},
                states={agent: tuple(float(s) for s in state) for agent, state in data["states"].items()},
                log_probs=None
                if data["log_probs"] is None
                else {agent: float(value) for agent, value in data["log_probs"].items()},
                origin=str(data["origin"]),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a proposal: {error!r}") from None


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Raises:
        ValueError: if a value is out of its range; an outcome never carries a NaN to a learner.
    """

    status: Status = "ok"
    accuracy: float = 0.0
    """primary metric in [0, 1]; 0.0 unless ok. Of what is trained, the accuracy on validation images, whatever a reward goes
    by: other metrics of `metrics.py` stand below, by name"""
    flops: int = 0
    """multiply-adds (MACs) of one forward pass; 0 if unknown"""
    params: int = 0
    """number of parameters; 0 if unknown"""
    seconds: float = 0.0
    """wall-clock time of the evaluation"""
    fidelity: float = 1.0
    """share of the full training that was spent"""
    attempts: int = 1
    """how often the job was started"""
    error: Error = ""
    cached: bool = False
    """whether an equal job had it already: a hit of the cache, for which nothing was trained"""
    test_accuracy: float | None = None
    """in [0, 1], on images that no search has seen; None if it was not measured"""
    curve: Mapping[int, float] = field(default_factory=dict)
    """epochs of this training -> accuracy in [0, 1] on validation images after so many, where it was asked for"""
    rungs: tuple[float, ...] = ()
    """accuracies in [0, 1], or scores of the metric that it ranks by, at the rungs of a halving that it reached, in order"""
    batch_end: int = 0
    """one more than the highest number of the batch that a halving ranked it in; 0 if none did"""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """anything else that was measured, under names of one's own, finite floats"""
    note: str = ""
    """for people: what went wrong"""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status is one of {STATUSES}, not {self.status!r}")
        if self.error not in ERRORS:
            raise ValueError(f"error is one of {ERRORS}, not {self.error!r}")
        if not 0.0 <= self.accuracy <= 1.0:  # false for NaN too
            raise ValueError(f"accuracy lies in [0, 1], not {self.accuracy!r}")
        if self.accuracy and self.status != "ok":
            raise ValueError(f"accuracy is 0.0 unless the outcome is ok; it is {self.status!r}")
        if self.test_accuracy is not None and not 0.0 <= self.test_accuracy <= 1.0:
            raise ValueError(f"test_accuracy lies in [0, 1], not {self.test_accuracy!r}")
        if self.curve and not all(epoch >= 1 and 0.0 <= accuracy <= 1.0 for epoch, accuracy in self.curve.items()):
            raise ValueError(f"curve: an epoch is at least 1 and an accuracy lies in [0, 1], not {dict(self.curve)}")
        if self.rungs and not all(0.0 <= accuracy <= 1.0 for accuracy in self.rungs):
            raise ValueError(f"rungs: an accuracy lies in [0, 1], not {self.rungs}")
        if self.flops < 0 or self.params < 0 or self.attempts < 0 or self.batch_end < 0:
            raise ValueError("flops, params, attempts and batch_end are not negative")
        if not 0.0 <= self.seconds < math.inf or not 0.0 <= self.fidelity <= 1.0:
            raise ValueError(
                f"seconds are not negative, fidelity lies in [0, 1]; not {self.seconds!r}, {self.fidelity!r}"
            )
        if self.metrics and not all(math.isfinite(value) for value in self.metrics.values()):
            raise ValueError(f"metrics are finite: {dict(self.metrics)}")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back. A curve that nobody asked for is left out."""
        told = {**self.__dict__, "rungs": list(self.rungs), "metrics": dict(self.metrics)}
        del told["curve"]
        return told | (
            {"curve": {str(epoch): accuracy for epoch, accuracy in self.curve.items()}} if self.curve else {}
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Outcome":
        """Inverse of `to_json`; it also reads what was written before `cached` and others were fields.

        Raises:
            ValueError: if a field is unknown, of another kind or out of range.
        """
        check_fields(cls(test_accuracy=0.0), _without_none(data, "test_accuracy"), "an outcome")
        told = dict(data)
        numbers = {"rungs": told.get("rungs", ())}
        numbers |= {name: told.get(name, {}).values() for name in ("metrics", "curve")}
        for name, values in numbers.items():
            if not all(map(is_number, values)):
                raise ValueError(f"{name}: these are finite numbers: {told[name]}")
        if not all(epoch.isascii() and epoch.isdigit() and len(epoch) < 10 for epoch in told.get("curve", {})):
            raise ValueError(f"the curve's epochs are whole numbers: {told['curve']}")
        told["curve"] = {int(epoch): accuracy for epoch, accuracy in told.get("curve", {}).items()}
        if "cached" not in told:
            told |= _of_metrics(told.get("metrics", {}))
        return cls(**{**told, "rungs": tuple(told.get("rungs", ()))})


@dataclass(frozen=True)
class Trial:
    """A proposal that was played: with its outcome and reward."""

    number: int
    """position in the search, from 0"""
    seed: int
    """of the training, from `trial_seed`"""
    proposal: Proposal
    outcome: Outcome
    reward: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back."""
        return {
            "number": self.number,
            "seed": self.seed,
            "proposal": self.proposal.to_json(),
            "outcome": self.outcome.to_json(),
            "reward": self.reward,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Trial":
        """Inverse of `to_json`.

        Raises:
            ValueError: if a field is missing or out of range.
        """
        try:
            if not is_number(data["reward"]):
                raise ValueError(f"rewards are finite numbers, not {data['reward']!r}")
            if not all(type(data[name]) is int and data[name] >= 0 for name in ("number", "seed")):
                raise ValueError(
                    f"number and seed are whole, from 0; not {data['number']!r:.50} and {data['seed']!r:.50}"
                )
            return cls(
                number=data["number"],
                seed=data["seed"],
                proposal=Proposal.from_json(data["proposal"]),
                outcome=Outcome.from_json(data["outcome"]),
                reward=float(data["reward"]),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a trial: {error!r}") from None


def code_of(row: Sequence[float], decisions: int) -> Code:
    """A code of plain numbers from a row of which the first `decisions` entries are indices, in floats perhaps."""
    return (*map(int, row[:decisions]), *row[decisions:])


def split_row(row: Sequence[int], nvec: Mapping[str, Sequence[int]]) -> dict[str, Code]:
    """A row of all agents' indices, agent after agent, as a code for each."""
    codes, first = dict[str, Code](), 0
    for agent, sizes in nvec.items():
        codes[agent], first = tuple(row[first : first + len(sizes)]), first + len(sizes)
    return codes


def _without_none(data: Any, name: str) -> Any:
    """A JSON object without a field that may be null, where it is."""
    null = isinstance(data, Mapping) and data.get(name, data) is None
    return {key: value for key, value in data.items() if key != name} if null else data


def _of_metrics(metrics: Mapping[str, float]) -> dict[str, Any]:
    """The fields of an outcome that stood among its metrics while it had none for them, and the metrics that are left."""
    left = dict(metrics)
    rungs = [left.pop(name) for name in (f"rung_{k}" for k in range(1, len(left) + 1)) if name in left]
    return {
        "cached": bool(left.pop("cached", 0.0)),
        "test_accuracy": left.pop("test_accuracy", None),
        "rungs": rungs,
        "batch_end": int(left.pop("batch_end", 0)),
        "metrics": left,
    }


def _number(entry: Any) -> int | float:
    """An index or a position, as JSON tells them apart.

    Raises:
        TypeError: if it is neither, as a text or a switch.
    """
    if type(entry) is int or type(entry) is float:
        return entry
    raise TypeError(f"a code holds numbers, not {str(entry)[:50]!r}")


_MASK = (1 << 64) - 1


def trial_seed(seed: int, number: int) -> int:
    """The seed of trial `number` of a search with seed `seed`, in [0, 2^63).

    A trial's result thus depends neither on the batch size, nor on the worker, nor on the order of completion. The mixing is
    splitmix64's finaliser (Steele et al. 2014), twice, so neighbouring numbers and seeds give unrelated streams.
    """
    return _mix(_mix(seed & _MASK) + number) >> 1


def trial_seeds(seed: int, first_number: int, n: int) -> NDArray[np.int64]:
    """`trial_seed` of the n numbers from `first_number` on, shape (n,)."""
    numbers = np.arange(first_number, first_number + n, dtype=np.uint64)
    return (mix64(numbers + np.uint64(_mix(seed & _MASK))) >> np.uint64(1)).astype(np.int64)


def _mix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser over an array; arithmetic is modulo 2^64."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
