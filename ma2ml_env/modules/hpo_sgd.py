"""HPO on CIFAR: learning rate and weight decay of SGD.

"We discretize the search space of them into 4 concrete values and use 10 steps to determine them on average" (paper, section
4.2): ten four-way picks for each, 4^20 = 10^12.04 codes. The four values are not published; these bracket the usual recipes on
CIFAR (DARTS 0.025 and 3e-4, NASNet 0.025 and 5e-4, ENAS 0.05 and 2e-4, wide ResNets 0.1 and 5e-4).

What the ten picks come to has two readings. Their mean, the default, is what the sentence says, and gathers in the middle: the
codes have 66 x 79 = 5,214 pairs of rate and decay, and 90 % of uniform codes have a rate within [0.030, 0.065]. As digits of a
number they reach the ends: each code is a recipe of its own, and 90 % of uniform codes have a rate within [0.014, 0.090].
"""

from collections.abc import Callable, Mapping, Sequence
from math import fsum, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.modules.features import log10
from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Decision, SearchSpace

LEARNING_RATES = (0.0125, 0.025, 0.05, 0.1)
WEIGHT_DECAYS = (1e-4, 3e-4, 5e-4, 1e-3)


def mean(choices: Sequence[float], picked: Sequence[float]) -> float:
    """The mean of the choices that were picked."""
    return fsum(picked) / len(picked)  # rounded once, so the order of the picks cannot show in the last bit


def digits(choices: Sequence[float], picked: Sequence[int]) -> float:
    """The value at a place between the lowest and the highest choice; the picks are the place's digits, the first the largest.

    The scale is logarithmic between two neighbouring choices. Twelve digits of it, as the last bits of a power differ between
    machines and a recipe's key must not.
    """
    place = 0
    for digit in picked:
        place = place * len(choices) + digit
    last: int = len(choices) ** len(picked) - 1
    below, rest = divmod(place * (len(choices) - 1), last)
    if not rest:
        return choices[below]
    return float(f"{choices[below] * (choices[below + 1] / choices[below]) ** (rest / last):.12g}")


DECODINGS: dict[str, Callable[[Sequence[float], Sequence[Any]], float]] = {"mean": mean, "digits": digits}
"""name -> (choices of a hyper-parameter, what its decisions picked) -> its value"""


def mean_picks(choices: Sequence[float], picks: int, value: float) -> list[float]:
    """The picks of two neighbouring choices whose mean comes closest to a value."""
    rising = sorted(choices)
    value = min(max(value, rising[0]), rising[-1])
    low = max(choice for choice in rising if choice <= value)
    high = min(choice for choice in rising if choice >= value)
    above = round((value - low) / (high - low) * picks) if high > low else 0
    return [low] * (picks - above) + [high] * above


def digit_picks(choices: Sequence[float], picks: int, value: float) -> list[int]:
    """The digits of the place whose value comes closest, on the logarithmic scale."""
    value = min(max(value, choices[0]), choices[-1])
    below = max(i for i, choice in enumerate(choices) if choice <= value)
    share = log(value / choices[below]) / log(choices[below + 1] / choices[below]) if value < choices[-1] else 0.0
    last = len(choices) ** picks - 1
    place = round((below + share) * last / (len(choices) - 1)) if len(choices) > 1 else 0
    return [place // len(choices) ** i % len(choices) for i in reversed(range(picks))]


PICKS: dict[str, Callable[[Sequence[float], int, float], Sequence[Any]]] = {"mean": mean_picks, "digits": digit_picks}
"""name of a decoding -> (choices of a hyper-parameter, number of picks, value) -> the picks that come closest to it"""


def log_means(choices: Sequence[float], picked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decimal logarithms (n,) of what picks (n, picks), as indices, come to by `mean`."""
    summed = np.zeros(len(picked))
    for number, choice in enumerate(choices):
        summed += (picked == number).sum(axis=1) * choice
    return log10(summed / picked.shape[1])


def log_digits(choices: Sequence[float], picked: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same by `digits`: the logarithm is linear between two neighbouring choices."""
    place, last = np.zeros(len(picked)), float(len(choices) ** picked.shape[1] - 1)
    for digit in picked.T:
        place = place * len(choices) + digit
    steps = place * ((len(choices) - 1) / max(last, 1.0))
    return np.round(np.interp(steps, np.arange(len(choices)), log10(choices)), 9)


LOGARITHMS = {"mean": log_means, "digits": log_digits}
"""name of a decoding -> (choices of a hyper-parameter, picks) -> logarithms of its values"""


class HpoSgd:
    """The hyper-parameter agent of the paper's CIFAR games.

    Args:
        picks: four-way picks for each hyper-parameter; 10 in the paper.
        learning_rates: the values to pick from: peak rate after the warm-up.
        weight_decays: the values to pick from.
        decoding: what the picks come to: `mean`, that of the named games, or `digits`, which reaches the ends of the range.
        name: agent id.

    Raises:
        ValueError: if there is no pick, the decoding is unknown, or `digits` has values that are not positive and rising.
    """

    def __init__(
        self,
        picks: int = 10,
        learning_rates: tuple[float, ...] = LEARNING_RATES,
        weight_decays: tuple[float, ...] = WEIGHT_DECAYS,
        decoding: str = "mean",
        name: str = "hpo",
    ) -> None:
        if picks < 1:
            raise ValueError(f"a hyper-parameter needs at least one pick, not {picks}")
        if decoding not in DECODINGS:
            raise ValueError(f"unknown decoding {decoding!r}; known are {', '.join(DECODINGS)}")
        self.name = name
        self.picks = picks
        self.feature_names = ("log10_learning_rate", "log10_weight_decay")
        self.decoding = decoding
        self._choices = {"learning_rate": tuple(learning_rates), "weight_decay": tuple(weight_decays)}
        for slot, choices in self._choices.items():
            if decoding == "digits" and not (choices[0] > 0.0 and list(choices) == sorted(set(choices))):
                raise ValueError(
                    f"digits go from the lowest to the highest {slot}: {choices} are not positive and rising"
                )
        self.space = SearchSpace(
            [
                # A digit alone is no value of the hyper-parameter, so it is shown as a digit.
                Decision(f"{slot}.{i}", tuple(range(len(choices))), ordered=True)
                if decoding == "digits"
                else Decision(f"{slot}.{i}", choices, kind=slot, ordered=list(choices) == sorted(choices))
                for slot, choices in self._choices.items()
                for i in range(picks)
            ]
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `learning_rate` and `weight_decay`."""
        flat, decode = list(values.values()), DECODINGS[self.decoding]
        return recipe.with_slots(
            learning_rate=decode(self._choices["learning_rate"], flat[: self.picks]),
            weight_decay=decode(self._choices["weight_decay"], flat[self.picks :]),
        )

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The picks that come closest to the recipe's rate and decay; both of the named games' are met exactly."""
        wanted = {"learning_rate": base.learning_rate, "weight_decay": base.weight_decay}
        told = [
            picked
            for slot, choices in self._choices.items()
            for picked in PICKS[self.decoding](choices, self.picks, wanted[slot])
        ]
        return dict(zip((decision.name for decision in self.space.decisions), told, strict=True))

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logarithms of the rate and the decay that the picks come to."""
        slots = zip(np.split(codes, 2, axis=1), self._choices.values(), strict=True)
        logs = LOGARITHMS[self.decoding]
        return np.column_stack([logs(choices, picked) for picked, choices in slots])
