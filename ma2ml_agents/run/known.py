"""What a search may know before its first batch: pipelines to start from, and what another run's pipelines were worth.

Pipelines to start from are its first trials: they are trained, count, and the learner is told of them like of any other.
`informed.py` says how it is told of another run's, which are not trained again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ma2ml_env.io.reading import is_number
from ma2ml_env.playable import Playable
from ma2ml_env.trial import Code, GameSpec, Proposal

START = "start"
"""origin of trials that the search started from"""


@dataclass(frozen=True)
class Scored:
    """A pipeline of another run, said in this game, and what it was worth there."""

    codes: Mapping[str, Code]
    """agent -> code"""
    score: float
    """its reward, from the mean of its run's beginning, in deviations of it"""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back."""
        return {"codes": codes_to_json(self.codes), "score": self.score}

    @classmethod
    def from_json(cls, data: Any) -> "Scored":
        """Inverse of `to_json`.

        Raises:
            ValueError: if it is something else.
        """
        if not isinstance(data, Mapping) or not is_number(data.get("score")):
            raise ValueError(f"not a pipeline with its score: {str(data)[:50]!r}")
        return cls(codes_from_json(data.get("codes")), float(data["score"]))


def codes_to_json(codes: Mapping[str, Code]) -> dict[str, Any]:
    """A joint code as JSON has it."""
    return {agent: list(code) for agent, code in codes.items()}


def codes_from_json(data: Any) -> Mapping[str, Code]:
    """Inverse of `codes_to_json`.

    Raises:
        ValueError: if it is something else.
    """
    return Proposal.from_json({"codes": data, "states": {}, "log_probs": None, "origin": START}).codes


def check_known(game: Playable, start: Sequence[Mapping[str, Code]], learned: Sequence[Scored], budget: int) -> None:
    """Refuse what a search of this game cannot start from.

    Raises:
        ValueError: if a code does not fit the game, two of `start` are the same pipeline, or there are more than the budget.
    """
    for name, rows in ((START, start), ("learned", [each.codes for each in learned])):
        for number, codes in enumerate(rows):
            if wrong := _wrong(codes, game.spec):
                raise ValueError(f"{name}: pipeline {number} does not fit the game: {wrong}")
    if len(start) > budget:
        raise ValueError(f"there are {len(start)} pipelines to start from, more than the budget of {budget}")
    first: dict[str, int] = {}
    for number, codes in enumerate(start):
        if (same := first.setdefault(pipeline_key(game, codes), number)) != number:
            raise ValueError(f"start: pipelines {same} and {number} are the same one")


def pipeline_key(game: Playable, codes: Mapping[str, Code]) -> str:
    """Equal for codes of the same pipeline."""
    recipe = game.recipe(codes)
    return str(sorted(codes.items())) if recipe is None else recipe.key


def _wrong(codes: Mapping[str, Code], spec: GameSpec) -> str:
    """What keeps a joint code from being one of this game; nothing if it is."""
    if codes.keys() != spec.nvec.keys():
        return f"it has the agents {', '.join(codes)}, not {', '.join(spec.nvec)}"
    for agent, sizes in spec.nvec.items():
        code, length = codes[agent], len(sizes) + spec.intervals.get(agent, 0)
        if len(code) != length:
            return f"the code of agent {agent!r} has {len(code)} numbers, not {length}"
        for place, (choice, size) in enumerate(zip(code, sizes, strict=False)):
            if not isinstance(choice, int) or not 0 <= choice < size:
                return f"number {place} of agent {agent!r} is an int from 0 to {size - 1}, not {choice!r}"
        for position in code[len(sizes) :]:
            if not 0.0 <= position <= 1.0:
                return f"a position of agent {agent!r} lies in [0, 1], and {position!r} does not"
    return ""
