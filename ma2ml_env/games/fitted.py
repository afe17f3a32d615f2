"""A surrogate of a large game as the table that it is looked up in: only where it is of this game and of nothing else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.games.measured import check_about
from ma2ml_env.games.named import NamedGame
from ma2ml_env.modules.base import Canonical, Costs, Describes, Module, NamesFeatures
from ma2ml_env.modules.features import log10
from ma2ml_env.modules.nasnet_cost import ImageShape
from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Decision
from ma2ml_env.tables.fit import Fit
from ma2ml_env.tables.fitted import Fitted
from ma2ml_env.tables.trainings import Trainings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Columns:
    """What a surrogate is told of joint codes: what they mean, what they are, what the network costs.

    Codes of one pipeline are told alike, where the modules know them (`Canonical`).

    Args:
        agents: of the game.
        base: its base recipe.
        image: that its networks take.

    Raises:
        ValueError: if there is not one agent that knows what networks cost, or an agent has intervals.
    """

    def __init__(self, agents: Sequence[Module], base: Recipe, image: ImageShape) -> None:
        costs = [agent for agent in agents if isinstance(agent, Costs)]
        if len(costs) != 1 or any(agent.space.intervals for agent in agents):
            raise ValueError(
                "a surrogate is of a game without intervals, in which one agent knows the MACs of its networks; "
                f"here {len(costs)} do"
            )
        self.names = (*(name for agent in agents for name in _names(agent)), "log10_macs", "log10_params")
        self._agents = agents
        self._costs, self._network, self._image = costs[0], base.network, image
        self._ends = np.cumsum([len(agent.space.nvec) for agent in agents])[:-1]

    def canonical(self, codes: Ints) -> Ints:
        """Of all codes (n, decisions) of a pipeline the same one, as far as the modules know them."""
        each = zip(self._agents, np.split(codes, self._ends, axis=1), strict=True)
        return np.concatenate(
            [agent.canonical(own) if isinstance(agent, Canonical) else own for agent, own in each], axis=1
        )

    def __call__(self, codes: Ints) -> tuple[Floats, Ints, Ints]:
        """Features (n, F), MACs (n,) and parameters (n,) of joint codes (n, decisions)."""
        found: list[NDArray[np.float64]] = []
        for agent, same in zip(self._agents, np.split(self.canonical(codes), self._ends, axis=1), strict=True):
            if isinstance(agent, Describes):
                found.append(agent.features(same.astype(np.float64)))
            for decision, index in zip(agent.space.decisions, same.T, strict=True):
                column = index[:, None]
                found.append(
                    (column if _is_one(decision) else column == np.arange(len(decision.choices))).astype(float)
                )
            if agent is self._costs:
                macs, params = self._costs.cost(same, self._network, self._image)
        return np.concatenate([*found, log10(macs)[:, None], log10(params)[:, None]], axis=1), macs, params


def _is_one(decision: Decision) -> bool:
    """Whether a decision is told as one number, not as one for each choice."""
    return decision.ordered or len(decision.choices) <= 2


def _names(agent: Module) -> list[str]:
    told = agent.feature_names if isinstance(agent, NamesFeatures) else ()
    names = [*told]
    for each in agent.space.decisions:
        names += [each.name] if _is_one(each) else [f"{each.name}={choice}" for choice in each.choices]
    return [f"{agent.name}.{name}" for name in names]


def fitted(
    path: Path, named: NamedGame, agents: Sequence[Module], base: Recipe, fidelity: float, seed: int = 0
) -> Fitted:
    """The surrogate of a file as the table of a game; arguments as of `measured.measured`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no surrogate, or one of another game.
    """
    fit = Fit.load(path)
    try:
        check_about(fit.about, named, agents, base, fidelity, seed)
        columns = Columns(agents, base, ImageShape(*fit.about["image"]))
        if list(columns.names) != fit.about["features"]:
            raise ValueError(
                "this surrogate was fitted to other features than this version computes: fit it again, or take the version "
                "that fitted it"
            )
        return Fitted(fit, {agent.name: agent.space for agent in agents}, columns, fidelity)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def table_digest(path: Path) -> str:
    """Of what a game is looked up in: a surrogate, or trainings.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is neither.
    """
    return Fit.load(path).digest if Fit.is_in(path) else Trainings.load(path).digest
