"""The contract of a module: one agent's share of the pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.modules.nasnet_cost import ImageShape
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.registry import closest
from ma2ml_env.space import Decision, Interval, SearchSpace
from ma2ml_env.trial import Code


@runtime_checkable
class Module(Protocol):
    """An agent's name, its space, and what its decisions mean.

    `apply` is pure and canonical: it returns a new recipe in which what does not matter does not show, so that two codes of
    the same pipeline give recipes with the same key.
    """

    name: str
    """agent id: lower case, no trailing `_<int>`"""
    space: SearchSpace

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with this module's slots set; `values` is `space.decode(code)`. Change no argument."""
        ...


@runtime_checkable
class Expresses(Protocol):
    """A module that finds a recipe in its space. A module need not; then no search starts from the game's base recipe."""

    def base_values(self, base: Recipe) -> Mapping[str, Any]:
        """Return decision -> value by which `apply` leaves this recipe as it is, or comes closest.

        All of the space, for any recipe. What comes of them is expressed exactly: applied and asked for again, it is the same.
        """
        ...


@runtime_checkable
class Describes(Protocol):
    """A module that tells in numbers what its codes mean, as far as it is known without training. A module need not."""

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, F) of codes (n, L_i), positions after indices; a row's numbers depend on that row alone.

        Numbers on which accuracy may depend smoothly: a learning rate as its logarithm, how often an operation is there.
        """
        ...


@runtime_checkable
class NamesFeatures(Describes, Protocol):
    """A module that says what each of its features is."""

    feature_names: tuple[str, ...]
    """(F,) of `features`, in order"""


@runtime_checkable
class Canonical(Protocol):
    """A module that finds the codes of one pipeline without a recipe. A module need not."""

    def canonical(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return for each code of (n, L_i) one of the same pipeline: the same one for all of them."""
        ...


@runtime_checkable
class Costs(Protocol):
    """A module that knows what its networks cost without building them. A module need not."""

    def cost(
        self, codes: NDArray[np.int64], network: Spec, image: ImageShape
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """MACs (n,) for one image and parameters (n,), as they are counted, of codes (n, L_i) on a base recipe's network."""
        ...


def code_like(module: Module, told: Mapping[str, Any], like: Recipe) -> Code:
    """The code of these decisions; those that are left out come closest to a recipe.

    Raises:
        ValueError: if there is no such decision, a value is not among its choices, or the module does not say what is closest.
    """
    parts: list[Decision | Interval] = [*module.space.decisions, *module.space.intervals]
    for name in told:
        if name not in (known := [part.name for part in parts]):
            raise ValueError(f"agent {module.name!r} has no decision {name!r}{closest(name, known)}")
    values = {**told}
    if left_out := [part.name for part in parts if part.name not in told]:
        if not isinstance(module, Expresses):
            raise ValueError(
                f"agent {module.name!r} does not say what comes closest to a recipe (`base_values`): {', '.join(left_out)} of "
                "its decisions have to be given"
            )
        usual = module.base_values(like)
        values |= {name: usual[name] for name in left_out}
    try:
        return module.space.encode(values)
    except ValueError as error:
        raise ValueError(f"agent {module.name!r}: {error}") from None


def nearest(choices: Sequence[float], value: float) -> Any:
    """The choice that is closest to a value, the first of two."""
    return min(choices, key=lambda choice: abs(choice - value))


def told_or(told: Mapping[str, Any], plain: Mapping[str, Any], space: SearchSpace) -> dict[str, Any]:
    """Of each decision the value that is told, where that is one of its choices, else the plain one."""
    return {
        decision.name: told[decision.name] if told.get(decision.name) in decision.choices else plain[decision.name]
        for decision in space.decisions
    }
