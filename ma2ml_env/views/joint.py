"""The spaces of all agents as one: a pipeline is a row of indices, or is said by its values; ConfigSpace both ways."""

import difflib
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from numbers import Rational, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.registry import closest
from ma2ml_env.space import Decision, SearchSpace

Ints = NDArray[np.int64]
Asked = NDArray[np.integer[Any]] | Sequence[int] | Mapping[str, Any]
"""A pipeline: its indices in the order of the decisions; agent -> indices; agent -> decision -> value; or with dots:
{"hpo.learning_rate": 0.1, ...}, as a configuration of ConfigSpace is. Of many pipelines, arrays in the first two ways."""


class JointSpace:
    """Decisions of all agents in order.

    Args:
        spaces: agent -> space, without intervals.
    """

    def __init__(self, spaces: Mapping[str, SearchSpace]) -> None:
        self.spaces = dict(spaces)
        self.decisions: dict[str, tuple[str, Decision]] = {
            f"{agent}.{decision.name}": (agent, decision) for agent in spaces for decision in spaces[agent].decisions
        }
        """name with a dot -> (agent, decision)"""
        self.nvec: Ints = np.array([len(decision.choices) for _, decision in self.decisions.values()], dtype=np.int64)
        """(decisions,) number of choices"""

    def sample(self, n: int, seed: int) -> Ints:
        """Codes (n, decisions), drawn uniformly."""
        return np.asarray(np.random.default_rng(seed).integers(self.nvec, size=(n, len(self.nvec))))

    def code(self, asked: Asked) -> Ints:
        """Indices (decisions,) of a pipeline, however it is said.

        Raises:
            ValueError: if it is not of the space; agent, decision, value and the closest one are named.
        """
        if not isinstance(asked, Mapping):
            return np.asarray(self.rows(np.asarray(asked)[None])[0])
        if asked.keys() == self.spaces.keys() and not any(isinstance(each, Mapping) for each in asked.values()):
            return np.asarray(self.rows({agent: np.asarray(code)[None] for agent, code in asked.items()})[0])
        told: dict[str, Any] = {}
        for name, value in asked.items():
            more = {f"{name}.{own}": v for own, v in value.items()} if isinstance(value, Mapping) else {name: value}
            if twice := sorted(map(str, told.keys() & more.keys())):
                raise ValueError(f"{twice[0]} is said twice: by its agent, and by its name with a dot")
            told |= more
        for name in told:
            if name not in self.decisions:
                raise ValueError(f"this space has no decision {name!r}{closest(str(name), self.decisions)}")
        if missing := [name for name in self.decisions if name not in told]:
            raise ValueError(f"a pipeline has a value of every decision: {', '.join(missing)} is not told")
        return np.array([_index(*own, told[name]) for name, own in self.decisions.items()], dtype=np.int64)

    def values(self, asked: Asked) -> dict[str, dict[str, Any]]:
        """Agent -> decision -> value of a pipeline."""
        found: dict[str, dict[str, Any]] = {agent: {} for agent in self.spaces}
        for (agent, decision), index in zip(self.decisions.values(), self.code(asked).tolist(), strict=True):
            found[agent][decision.name] = decision.choices[index]
        return found

    def rows(self, codes: Asked) -> Ints:
        """Codes (n, decisions) that are in the space, of an array, or of agent -> (n, its decisions).

        Raises:
            ValueError: if one is not; row, agent, decision, index and the closest one are named.
        """
        rows = self._joined(codes) if isinstance(codes, Mapping) else np.asarray(codes)
        if rows.ndim != 2 or rows.shape[1] != len(self.nvec) or not np.issubdtype(rows.dtype, np.integer):
            names = ", ".join(self.decisions)
            raise ValueError(f"a code is {len(self.nvec)} whole numbers ({names}), not {rows.dtype} {rows.shape[1:]}")
        if len(rows) and ((rows.min(0) < 0) | (rows.max(0) >= self.nvec)).any():
            row, column = np.argwhere((rows < 0) | (rows >= self.nvec))[0].tolist()
            agent, decision = list(self.decisions.values())[column]
            index, last = int(rows[row, column]), len(decision.choices) - 1
            where = f"row {row}: " if len(rows) > 1 else ""
            raise ValueError(
                f"{where}agent {agent!r}, decision {decision.name!r} takes an index in 0..{last}, not {index}; the closest "
                f"is {min(max(index, 0), last)}"
            )
        return rows.astype(np.int64, copy=False)

    def to_configspace(self, seed: int | None = None) -> Any:
        """As a `ConfigurationSpace`: rising numbers are ordinal, all else categorical. `code` reads its configurations.

        Raises:
            ImportError: if ConfigSpace is not installed; the extra is named.
        """
        try:
            from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, OrdinalHyperparameter
        except ImportError:
            raise ImportError("this needs ConfigSpace: pip install 'ma2ml[configspace]'") from None
        space = ConfigurationSpace(seed=seed)
        for name, (_, decision) in self.decisions.items():
            kind = OrdinalHyperparameter if _rising(decision.choices) else CategoricalHyperparameter
            space.add(kind(name, decision.choices))
        return space

    def _joined(self, codes: Mapping[str, Any]) -> NDArray[Any]:
        """Agent -> (n, its decisions) as (n, decisions)."""
        if codes.keys() != self.spaces.keys():
            raise ValueError(f"the agents are {', '.join(self.spaces)}, not {', '.join(map(str, codes))}")
        parts = {agent: np.asarray(codes[agent]) for agent in self.spaces}
        for agent, part in parts.items():
            size = len(self.spaces[agent].nvec)
            if not np.issubdtype(part.dtype, np.integer):
                raise ValueError(f"agent {agent!r}: codes are whole numbers, not {part.dtype}")
            if part.ndim != 2 or part.shape[1] != size or len(part) != len(next(iter(parts.values()))):
                raise ValueError(
                    f"agent {agent!r}: codes are {size} indices a row, as many rows as others have, not {part.shape}"
                )
        return np.concatenate(list(parts.values()), axis=1)


def _index(agent: str, decision: Decision, value: Any) -> int:
    """Of a value among the choices."""
    for index, choice in enumerate(decision.choices):
        if isinstance(value, bool) == isinstance(choice, bool) and np.array_equal(value, choice):
            return index
    if _is_number(value) and all(map(_is_number, decision.choices)):
        inside = max(min(decision.choices), min(value, max(decision.choices)))  # no float holds 10^400
        near = min(decision.choices, key=lambda choice: abs(choice - inside))
    else:
        said = {str(choice): choice for choice in decision.choices}
        near = said[
            difflib.get_close_matches(_said(value) if isinstance(value, int) else str(value), said, n=1, cutoff=0.0)[0]
        ]
    raise ValueError(
        f"agent {agent!r}, decision {decision.name!r}: {_said(value)} is not one of {decision.choices}; the closest is {near!r}"
    )


def _is_number(value: Any) -> bool:
    """Also one that no float holds."""
    if isinstance(value, bool):
        return False
    return isinstance(value, Rational) or (isinstance(value, Real) and math.isfinite(value))


def _said(value: Any) -> str:
    """A value as a message shows it: Python refuses to write out whole numbers of some thousand digits."""
    huge = isinstance(value, int) and abs(value) > 10**50
    return "a number of more than 50 digits" if huge else repr(value)


def _rising(choices: Sequence[Any]) -> bool:
    return all(map(_is_number, choices)) and all(a < b for a, b in pairwise(choices))
