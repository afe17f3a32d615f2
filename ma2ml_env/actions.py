"""What an agent sends: a vector of integers, or with intervals a mapping of two arrays, which inside is one row of numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, MultiDiscrete, Space
from numpy.typing import NDArray

from ma2ml_env.trial import GameSpec

Row = NDArray[Any]
"""(..., L): int64 indices, or float64 where positions follow them"""
Action = NDArray[Any] | Mapping[str, NDArray[Any]]
"""indices (..., T); with intervals `{"decisions": (..., T), "intervals": (..., C)}`, or both in one float array (..., T + C)"""


def action_space(nvec: tuple[int, ...], intervals: int) -> Space[Any]:
    """`MultiDiscrete(nvec)`; with intervals a `Dict` of it, where there are decisions, and of `Box(0, 1, (intervals,))`."""
    if not intervals:
        return MultiDiscrete(np.array(nvec))
    box = Box(0.0, 1.0, (intervals,), np.float32)
    return Dict({"decisions": MultiDiscrete(np.array(nvec)), "intervals": box} if nvec else {"intervals": box})


def row_of(agent: str, action: Action, decisions: int, intervals: int) -> Row:
    """An action, or a batch of them, as one array.

    Raises:
        ValueError: if it has another form; the agent is named.
    """
    if not isinstance(action, Mapping):
        return np.asarray(action)
    keys = {"decisions", "intervals"} if decisions else {"intervals"}
    if not intervals or action.keys() - {"decisions"} != keys - {"decisions"} or not keys <= action.keys():
        wanted = f"a mapping of {' and '.join(sorted(keys))}" if intervals else "a vector of integers"
        raise ValueError(f"agent {agent!r}: an action is {wanted}, not a mapping of {sorted(action)}")
    positions = np.asarray(action["intervals"], dtype=np.float64) + 0.0  # without a zero that has a sign
    batch = positions.shape[:-1]
    indices = np.asarray(action["decisions"]) if decisions else np.zeros((*batch, 0), dtype=np.int64)
    if not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"agent {agent!r}: decisions are integers, not {indices.dtype}")
    if positions.shape[-1:] != (intervals,) or indices.shape != (*batch, decisions):
        raise ValueError(
            f"agent {agent!r}: an action has {decisions} decisions and {intervals} intervals, "
            f"not the shapes {indices.shape} and {positions.shape}"
        )
    return np.concatenate([indices, positions], axis=-1)


def kinds_of(spec: GameSpec) -> dict[str, tuple[str, ...]]:
    """Agent -> kind of each of its decisions, "" where it has none; of all agents."""
    return {agent: spec.kinds.get(agent, ("",) * len(nvec)) for agent, nvec in spec.nvec.items()}


def ordered_of(spec: GameSpec) -> dict[str, tuple[bool, ...]]:
    """Agent -> whether the choices of each of its decisions stand in an order; of all agents."""
    return {agent: spec.ordered.get(agent, (False,) * len(nvec)) for agent, nvec in spec.nvec.items()}


def meaning(spec: GameSpec) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Kinds (`agent.kind`, or "") and orders of all decisions in a row, agent after agent, for views of one agent."""
    kinds = [f"{agent}.{kind}" if kind else "" for agent, own in kinds_of(spec).items() for kind in own]
    return tuple(kinds), tuple(each for own in ordered_of(spec).values() for each in own)


def refuse_intervals(spec: GameSpec, view: str) -> None:
    """For views that carry decisions alone.

    Raises:
        ValueError: if an agent has intervals; it is named.
    """
    for agent, count in spec.intervals.items():
        raise ValueError(
            f"the {view} view carries decisions alone, and agent {agent!r} has {count} intervals: "
            "use parallel_env, flat_env or aec_env, or a module without intervals"
        )
