"""Search spaces: what one agent decides.

A *decision* is one categorical choice; a *space* is an agent's ordered decisions; a *code* is its integer vector, one index
per decision. Spaces are declared once and never depend on what was chosen (FACTS of the paper: all published spaces are
products of categorical choices), so a code can be drawn, stored and learned from without knowing what it means.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ma2ml_env.trial import Code


@dataclass(frozen=True)
class Decision:
    """One categorical choice.

    Raises:
        ValueError: if there is no choice, or the same one twice (`encode` could not tell them apart).
    """

    name: str
    choices: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError(f"decision {self.name!r} has no choices; give it at least one")
        if any(choice in self.choices[:i] for i, choice in enumerate(self.choices)):
            raise ValueError(f"decision {self.name!r} holds the same choice twice: {self.choices}")


class SearchSpace:
    """An agent's ordered decisions.

    Args:
        decisions: in the order in which a controller samples them; names are unique.

    Raises:
        ValueError: if there are no decisions, or two of one name.
    """

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.decisions = tuple(decisions)
        names = [decision.name for decision in self.decisions]
        if not names:
            raise ValueError("a search space needs at least one decision")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"decision names must be unique; these stand twice: {', '.join(twice)}")
        self._names = tuple(names)
        self._choices = tuple(decision.choices for decision in self.decisions)

    @cached_property
    def nvec(self) -> tuple[int, ...]:
        """Number of choices of every decision, shape (decisions,)."""
        return tuple(len(choices) for choices in self._choices)

    @cached_property
    def log10_size(self) -> float:
        """Decimal logarithm of the number of codes."""
        return math.fsum(math.log10(n) for n in self.nvec)

    def decode(self, code: Sequence[int]) -> dict[str, Any]:
        """Decision name -> chosen value.

        Raises:
            ValueError: if the code has the wrong length or an index out of range; the decision is named.
        """
        if len(code) != len(self._choices):
            raise ValueError(f"a code of this space has {len(self._choices)} entries, not {len(code)}")
        try:
            values = {n: c[i] for n, c, i in zip(self._names, self._choices, code, strict=True)}
        except (IndexError, TypeError):
            values = None
        if values is None or min(code) < 0:  # a negative index would wrap around silently
            for name, size, index in zip(self._names, self.nvec, code, strict=True):
                if not (isinstance(index, int) or hasattr(index, "__index__")) or not 0 <= index < size:
                    raise ValueError(f"decision {name!r} takes an index in 0..{size - 1}, not {index!r}")
        assert values is not None
        return values

    def encode(self, values: Mapping[str, Any]) -> Code:
        """Inverse of `decode`.

        Raises:
            ValueError: if a decision is missing, unknown, or its value is not one of its choices.
        """
        unknown = sorted(set(values) - set(self._names))
        missing = [name for name in self._names if name not in values]
        if unknown or missing:
            raise ValueError(f"values do not fit the space: missing {missing}, unknown {unknown}")
        code = []
        for decision in self.decisions:
            try:
                code.append(decision.choices.index(values[decision.name]))
            except ValueError:
                raise ValueError(
                    f"{values[decision.name]!r} is not a choice of {decision.name!r}; it has {decision.choices}"
                ) from None
        return tuple(code)

    def __repr__(self) -> str:
        return f"SearchSpace({len(self.decisions)} decisions, 10^{self.log10_size:.2f} codes)"
