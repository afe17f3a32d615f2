"""Search spaces: what one agent decides.

A *decision* is one categorical choice; a *space* is an agent's ordered decisions; a *code* is its integer vector, one index
per decision. Spaces are declared once and never depend on what was chosen (all published spaces are products of
categorical choices), so a code can be drawn, stored and learned from without knowing what it means.

An *interval* is a continuous decision, which REINFORCE handles as well (paper, section 3.3). A code holds its *position* u in
[0, 1] between the ends; positions follow the indices, so what reads the decisions of a code need not know of intervals.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any, SupportsIndex

from ma2ml_env.trial import Code


@dataclass(frozen=True)
class Decision:
    """One categorical choice.

    Raises:
        ValueError: if there is no choice, or the same one twice (`encode` could not tell them apart).
    """

    name: str
    choices: tuple[Any, ...]
    kind: str = field(default="", compare=False)
    """decisions of one kind have the same choices, and these may mean the same, as the operations of a cell do; "": none of its
    kind"""
    ordered: bool = field(default=False, compare=False)
    """whether the choices stand in an order, as rates and depths do"""

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError(f"decision {self.name!r} has no choices; give it at least one")
        if any(choice in self.choices[:i] for i, choice in enumerate(self.choices)):
            raise ValueError(f"decision {self.name!r} holds the same choice twice: {self.choices}")


@dataclass(frozen=True)
class Interval:
    """A continuous decision: any number from `low` to `high`.

    Raises:
        ValueError: if the ends are not finite, not in order, or not above 0 on a logarithmic scale.
    """

    name: str
    low: float
    high: float
    log: bool = False
    """whether equal steps of the position multiply the value, as suits learning rates, instead of adding to it"""

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:  # false for NaN too
            raise ValueError(f"interval {self.name!r} needs finite ends low < high, not {self.low!r} and {self.high!r}")
        if self.log and self.low <= 0:
            raise ValueError(f"interval {self.name!r} is logarithmic; its low end must be above 0, not {self.low!r}")

    def value(self, position: float) -> float:
        """The number at a position in [0, 1]: 0 is `low`, 1 is `high`.

        Twelve digits of it, as the last bits of a power differ between machines and a recipe's key must not.

        Raises:
            ValueError: if the position is no number or out of range.
        """
        if not isinstance(position, Real) or not 0.0 <= position <= 1.0:  # false for NaN too
            raise ValueError(f"interval {self.name!r} takes a position in [0, 1], not {position!r}")
        if position in (0, 1):
            return self.high if position else self.low
        if self.log:
            value = self.low * (self.high / self.low) ** float(position)
        else:
            value = self.low * (1.0 - position) + self.high * position
        return min(max(float(f"{value:.12g}"), self.low), self.high)

    def position(self, value: float) -> float:
        """Inverse of `value` but for its rounding.

        Raises:
            ValueError: if the value is no number or outside the ends.
        """
        if not isinstance(value, Real) or not self.low <= value <= self.high:
            raise ValueError(f"{value!r} is not in {self.name!r}, which goes from {self.low!r} to {self.high!r}")
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)


class SearchSpace:
    """An agent's ordered decisions.

    Args:
        decisions: in the order in which a controller samples them, intervals after the decisions; names are unique.

    Raises:
        ValueError: if there are no decisions, two of one name, or two of one kind with other choices.
    """

    def __init__(self, decisions: Sequence[Decision | Interval]) -> None:
        self.decisions = tuple(part for part in decisions if isinstance(part, Decision))
        self.intervals = tuple(part for part in decisions if isinstance(part, Interval))
        names = [decision.name for decision in self.decisions] + [interval.name for interval in self.intervals]
        if not names:
            raise ValueError("a search space needs at least one decision")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"decision names must be unique; these stand twice: {', '.join(twice)}")
        first = {decision.kind: decision for decision in reversed(self.decisions)}
        for decision in self.decisions:
            if decision.kind and decision.choices != (same := first[decision.kind]).choices:
                raise ValueError(
                    f"decisions {same.name!r} and {decision.name!r} are of the kind {decision.kind!r}, so their choices are "
                    f"the same; not {same.choices} and {decision.choices}"
                )
        self._names = tuple(decision.name for decision in self.decisions)
        self._choices = tuple(decision.choices for decision in self.decisions)

    @cached_property
    def nvec(self) -> tuple[int, ...]:
        """Number of choices of every decision, shape (decisions,)."""
        return tuple(len(choices) for choices in self._choices)

    @cached_property
    def log10_size(self) -> float:
        """Decimal logarithm of the number of codes; of the decisions alone, as intervals hold numbers without end."""
        return math.fsum(math.log10(n) for n in self.nvec)

    @property
    def parts(self) -> tuple[Decision | Interval, ...]:
        """All that a code has an entry for, in its order: decisions, then intervals."""
        return (*self.decisions, *self.intervals)

    def decode(self, code: Sequence[float]) -> dict[str, Any]:
        """Decision name -> chosen value.

        Raises:
            ValueError: if the code has the wrong length, or an index or position out of range; the decision is named.
        """
        if self.intervals:
            return self._decode_mixed(code)
        return self._decode(code)

    def _decode_mixed(self, code: Sequence[float]) -> dict[str, Any]:
        split = len(self.decisions)
        if len(code) != split + len(self.intervals):
            raise ValueError(
                f"a code of this space has {split} indices and {len(self.intervals)} positions, not {len(code)} entries"
            )
        values = self._decode(code[:split])
        return values | {i.name: i.value(u) for i, u in zip(self.intervals, code[split:], strict=True)}

    def _decode(self, code: Sequence[Any]) -> dict[str, Any]:
        """Of indices, as anybody may give them."""
        if len(code) != len(self._choices):
            raise ValueError(f"a code of this space has {len(self._choices)} entries, not {len(code)}")
        try:
            values = {n: c[i] for n, c, i in zip(self._names, self._choices, code, strict=True)}
        except (IndexError, TypeError):
            values = None
        if values is None or min(code, default=0) < 0:  # a negative index would wrap around silently
            for name, size, index in zip(self._names, self.nvec, code, strict=True):
                if not isinstance(index, SupportsIndex) or not 0 <= index.__index__() < size:
                    raise ValueError(f"decision {name!r} takes an index in 0..{size - 1}, not {index!r}")
        assert values is not None
        return values

    def encode(self, values: Mapping[str, Any]) -> Code:
        """Inverse of `decode`; positions come back but for the twelve digits of their values.

        Raises:
            ValueError: if a decision is missing, unknown, or its value is not one of its choices.
        """
        names = [*self._names, *(interval.name for interval in self.intervals)]
        unknown = sorted(set(values) - set(names))
        missing = [name for name in names if name not in values]
        if unknown or missing:
            raise ValueError(f"values do not fit the space: missing {missing}, unknown {unknown}")
        code: list[int | float] = []
        for decision in self.decisions:
            try:
                code.append(decision.choices.index(values[decision.name]))
            except ValueError:
                raise ValueError(
                    f"{values[decision.name]!r} is not a choice of {decision.name!r}; it has {decision.choices}"
                ) from None
        code += [interval.position(values[interval.name]) for interval in self.intervals]
        return tuple(code)

    def __repr__(self) -> str:
        more = f", {len(self.intervals)} intervals" if self.intervals else ""
        return f"SearchSpace({len(self.decisions)} decisions, 10^{self.log10_size:.2f} codes{more})"
