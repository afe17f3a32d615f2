"""AUG: an augmentation policy, after AutoAugment (Cubuk et al. 2019, arXiv 1805.09501).

A policy has 5 sub-policies (CIFAR) or 25 (ImageNet) of two operations; each operation is a type, a probability and a
magnitude: (15 x 11 x 10)^(2 x 5) = 10^32.17 policies, or 10^160.87 (paper, sections 4.1 and 4.2, where exponents are floored).
The fifteen operations are AutoAugment's sixteen without SamplePairing, which needs a second image.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import cycle, islice, product
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.recipe import Operation, Recipe, SubPolicy
from ma2ml_env.space import Decision, SearchSpace

OPERATIONS = (
    "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "auto_contrast", "invert", "equalize", "solarize",
    "posterize", "contrast", "color", "brightness", "sharpness", "cutout",
)  # fmt: skip
PROBABILITIES = tuple(tenths / 10 for tenths in range(11))
LEVELS = tuple(range(10))

_COMBINATIONS = len(OPERATIONS) * len(PROBABILITIES) * len(LEVELS)
_WITHOUT_LEVEL = {"auto_contrast", "invert", "equalize"}
# Level 0 of these leaves every image as it is: no shear, no shift, factor 1, eight bits, a hole of no pixels.
_NOTHING_AT_ZERO = set(OPERATIONS) - _WITHOUT_LEVEL - {"solarize"}
_NOTHING = Operation(OPERATIONS[0], 0.0, 0)


class Aug:
    """The augmentation agent.

    Args:
        sub_policies: how many; 5 in the paper's CIFAR space, 25 in its ImageNet space.
        name: agent id.
    """

    def __init__(self, sub_policies: int = 5, name: str = "aug") -> None:
        if sub_policies < 1:
            raise ValueError(f"a policy needs at least one sub-policy, not {sub_policies}")
        self.name = name
        self.sub_policies = sub_policies
        self.feature_names = (*dose_names(OPERATIONS), "operations", "untouched", "sub_policies")
        self.space = SearchSpace(
            [
                decision
                for sub in range(sub_policies)
                for op in range(2)
                for decision in (
                    Decision(f"sub{sub}.op{op}.type", OPERATIONS, kind="type"),
                    Decision(f"sub{sub}.op{op}.probability", PROBABILITIES, kind="probability", ordered=True),
                    Decision(f"sub{sub}.op{op}.level", LEVELS, kind="level", ordered=True),
                )
            ]
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `recipe.augment`, canonically: see `canonical_policy`."""
        flat = list(values.values())
        operations = [canonical_operation(*flat[i : i + 3]) for i in range(0, len(flat), 3)]
        policy = [tuple(op for op in operations[i : i + 2] if op is not None) for i in range(0, len(operations), 2)]
        return recipe.with_slots(augment=canonical_policy(policy))

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The recipe's sub-policies in turn, the first again where there are too few; where it has none, probability 0."""
        policy = [tuple(op for op in (Operation(*told) for told in sub) if _known(op)) for sub in base.augment] or [()]
        subs = [(*sub, _NOTHING, _NOTHING)[:2] for sub in islice(cycle(policy), self.sub_policies)]
        told = [value for sub in subs for op in sub for value in (op.name, op.probability, op.level or 0)]
        return dict(zip((decision.name for decision in self.space.decisions), told, strict=True))

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """How often an image sees each operation, and that times its level; three numbers of the policy.

        How many operations a sub-policy has that do something; which share of the images stays as it is; how many different
        sub-policies there are.
        """
        operations = self._operations(codes)
        live, doses = operations > 0, _of_operations()[0]
        seen = np.zeros((len(codes), doses.shape[1]))
        for operation in operations.reshape(len(codes), 2 * self.sub_policies).T:
            seen += doses[operation]
        untouched = (10 - operations // len(LEVELS) % len(PROBABILITIES)).prod(axis=2).sum(axis=1)
        other = (np.diff(operations, axis=1) > 0).any(axis=2)  # than the sub-policy before it
        found = np.column_stack([seen / 10, live.sum(axis=(1, 2)), untouched / 100]) / self.sub_policies
        return np.column_stack([found, other.sum(axis=1) + live.any(axis=(1, 2))])

    def canonical(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """What does nothing is the first operation that does nothing, and comes last; sub-policies are in one order."""
        operations = self._operations(codes)
        shape = (len(OPERATIONS), len(PROBABILITIES), len(LEVELS))
        return np.stack(np.unravel_index(operations, shape), axis=-1).reshape(codes.shape)

    def _operations(self, codes: NDArray[Any]) -> NDArray[np.int64]:
        """Numbers (n, sub-policies, 2) of the operations, equal where they do the same, in the canonical order."""
        name, probability, level = (
            codes.astype(np.int64).reshape(len(codes), self.sub_policies, 2, 3).transpose(3, 0, 1, 2)
        )
        number = _of_operations()[1][(name * len(PROBABILITIES) + probability) * len(LEVELS) + level]
        number = np.where(number[..., :1] > 0, number, number[..., ::-1])
        order = np.argsort(number[..., 0] * _COMBINATIONS + number[..., 1], axis=1)
        return np.asarray(np.take_along_axis(number, order[..., None], axis=1))


def _known(op: Operation) -> bool:
    return op.name in OPERATIONS and op.probability in PROBABILITIES and (op.level is None or op.level in LEVELS)


@cache  # few arguments are possible, and every pipeline asks ten times
def canonical_operation(name: str, probability: float, level: int) -> Operation | None:
    """The operation without what has no effect; None if nothing is left of it."""
    if probability == 0.0 or (level == 0 and name in _NOTHING_AT_ZERO):
        return None
    if name in _WITHOUT_LEVEL:
        return Operation(name, probability, None)
    if name == "posterize":  # 8, 8, 7, 7, 6, 6, 5, 5, 4, 4 bits: two levels each
        return Operation(name, probability, level - level % 2) if level > 1 else None
    return Operation(name, probability, level)


def canonical_policy(policy: list[SubPolicy]) -> tuple[SubPolicy, ...]:
    """Sub-policies in one order and smallest number.

    An image draws one of them uniformly, so their order means nothing, and twice the same three are the same three.
    """
    if not any(policy):
        return ()
    counts = Counter(policy)
    divisor = gcd(*counts.values())
    return tuple(sub for sub in sorted(counts, key=_order) for _ in range(counts[sub] // divisor))


def rates_and_doses(policy: Sequence[SubPolicy], operations: Sequence[str]) -> list[float]:
    """How often an image sees each of these operations, and that times the level of those that have levels."""
    uses = [(op.name, op.probability, op.level or 0) for sub in policy for op in sub]
    rates = [sum(p for name, p, _ in uses if name == each) for each in operations]
    doses = [sum(p * level for name, p, level in uses if name == each) for each in operations if _has_level(each)]
    return [value / max(len(policy), 1) for value in (*rates, *doses)]


def dose_names(operations: Sequence[str]) -> tuple[str, ...]:
    """Of what `rates_and_doses` tells."""
    return (*(f"rate.{each}" for each in operations), *(f"dose.{each}" for each in operations if _has_level(each)))


def _has_level(name: str) -> bool:
    return name not in _WITHOUT_LEVEL


@cache
def _of_operations() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of each operation of the space what `rates_and_doses` tells of it alone, in tenths; and the first that does the same.

    Operations are numbered in the order of the choices, the level fastest; 0 does nothing.
    """
    told, first = [], dict[Operation | None, int]()
    for number, each in enumerate(product(OPERATIONS, PROBABILITIES, LEVELS)):
        op = canonical_operation(*each)
        told.append(rates_and_doses([] if op is None else [(op,)], OPERATIONS))
        first.setdefault(op, number)
    same = [first[canonical_operation(*each)] for each in product(OPERATIONS, PROBABILITIES, LEVELS)]
    return np.round(np.array(told) * 10), np.array(same)  # whole numbers, so that their order cannot show in a sum


def _order(sub: SubPolicy) -> list[tuple[str, float, int]]:
    return [(op.name, op.probability, -1 if op.level is None else op.level) for op in sub]
