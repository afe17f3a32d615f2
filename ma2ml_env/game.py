"""The game: a joint action in, a reward for everybody out. The heart of the project.

    codes -> recipe -> job -> evaluator -> outcome -> reward -> trial

A one-step cooperative game (paper, section 3.2): every agent chooses its share of a training pipeline, the pipeline is
trained, and what it is worth is everybody's reward. The batch is the unit, because that is what can be trained in parallel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.actions import Action, Row, row_of
from ma2ml_env.evaluators.base import Evaluates, Evaluator, Job, MayStart, VectorEvaluator, as_evaluator, closing
from ma2ml_env.io.settings import MOST
from ma2ml_env.modules.base import Describes, Module, code_like
from ma2ml_env.playable import OnOutcome, Playable
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import closest
from ma2ml_env.reward import Accuracy, Reward
from ma2ml_env.trial import Code, Features, GameSpec, Outcome, Proposal, Trial, code_of


@dataclass(frozen=True)
class Protocol:
    """How a named game is searched and what follows. The defaults are the paper's on CIFAR-10 (section 4.2)."""

    budget: int = 5016
    """pipelines of a search"""
    batch: int = 24
    """pipelines proposed at a time"""
    top_k: int = 30
    """pipelines that are trained to the end after the search"""
    proxy_epochs: int = 12
    """epochs of training in the search"""
    final_epochs: int = 600
    """epochs of the final training"""
    repeats: int = 5
    """trainings of the winner, for a mean and deviation (Table 3)"""

    def __post_init__(self) -> None:
        for name, value in self.__dict__.items():
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST:
                raise ValueError(f"{name} is at least 1 and at most {MOST:,}, a whole number, not {str(value)[:50]}")
        if self.proxy_epochs > self.final_epochs:
            raise ValueError(
                f"the proxy has {self.proxy_epochs} epochs, more than the final training's {self.final_epochs}"
            )

    @property
    def fidelity(self) -> float:
        """The proxy's share of the full training."""
        return self.proxy_epochs / self.final_epochs


class Game(Playable):
    """Modules, an evaluator and a reward.

    Args:
        modules: the agents, in order; names are unique.
        evaluator: trains, or looks up. An object that has `evaluate` alone will do.
        reward: outcome -> shared reward.
        base: what no module decides.
        protocol: budget, batch and epochs; `final_epochs` must equal `base.epochs`. None: search with full-length training.
        state_dim: length of each agent's random state.

    Raises:
        ValueError: if there are no modules, two of one name, protocol and base disagree, or the evaluator is
            none.
    """

    def __init__(
        self,
        modules: Sequence[Module],
        evaluator: Evaluator | Evaluates,
        reward: Reward = Accuracy(),  # noqa: B008 (frozen)
        base: Recipe = Recipe(),  # noqa: B008 (frozen)
        protocol: Protocol | None = None,
        state_dim: int = 8,
    ) -> None:
        names = [module.name for module in modules]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a game needs modules of different names, not {names}")
        self.protocol = protocol or Protocol(proxy_epochs=base.epochs, final_epochs=base.epochs)
        if self.protocol.final_epochs != base.epochs:
            raise ValueError(
                f"final_epochs is {self.protocol.final_epochs} but the base recipe has {base.epochs} epochs"
            )
        self.modules = {module.name: module for module in modules}
        self.evaluator = as_evaluator(evaluator)
        self.reward = reward
        self.base = base
        kinds, ordered = kinds_of(modules)
        self.spec = GameSpec(
            {module.name: module.space.nvec for module in modules},
            state_dim,
            {module.name: len(module.space.intervals) for module in modules if module.space.intervals},
            kinds,
            ordered,
            _features(modules),
        )
        self._nvec = {agent: np.array(sizes, dtype=np.int64) for agent, sizes in self.spec.nvec.items()}

    def recipe(self, codes: Mapping[str, Code]) -> Recipe:
        """The pipeline of a joint code.

        Raises:
            ValueError: if an agent is missing or unknown, or a code is not in its space; both are named.
        """
        if codes.keys() != self.modules.keys():
            raise ValueError(f"the agents are {list(self.modules)}, not {list(codes)}")
        recipe = self.base
        for name, module in self.modules.items():
            try:
                values = module.space.decode(codes[name])
            except ValueError as error:
                raise ValueError(f"agent {name!r}: {error}") from None
            recipe = module.apply(recipe, values)
        return recipe

    def values(self, codes: Mapping[str, Code]) -> dict[str, dict[str, Any]]:
        """Agent -> decision -> chosen value, for people."""
        return {name: module.space.decode(codes[name]) for name, module in self.modules.items()}

    def codes(self, values: Mapping[str, Mapping[str, Any]] = {}, like: Recipe | None = None) -> dict[str, Code]:
        """Inverse of `values`: the joint code of agent -> decision -> value.

        Args:
            values: decisions by name. Of those that are left out the values come closest to `like` (`Module.base_values`).
            like: a recipe; None is the game's base recipe.

        Raises:
            ValueError: if there is no such agent or decision, a value is not among its choices, or a decision is left out of a
                module that cannot say what comes closest to a recipe.
        """
        for agent in values:
            if agent not in self.modules:
                raise ValueError(f"there is no agent {agent!r}{closest(agent, self.modules)}")
        return {
            name: code_like(module, values.get(name, {}), like or self.base) for name, module in self.modules.items()
        }

    def job(self, number: int, codes: Mapping[str, Code], seed: int) -> Job:
        """The job of one trial of a search, at the proxy's fidelity."""
        return Job(number, self.recipe(codes), codes, seed, self.protocol.fidelity)

    def play(
        self,
        proposals: Sequence[Proposal],
        seeds: Sequence[int],
        *,
        first_number: int = 0,
        known: Mapping[int, Outcome] = {},
        on_outcome: OnOutcome | None = None,
    ) -> list[Trial]:
        """See `Playable.play`; jobs run in the order of the evaluator."""
        if len(proposals) != len(seeds):
            raise ValueError(f"{len(proposals)} proposals need as many seeds, not {len(seeds)}")
        jobs = [self.job(first_number + i, p.codes, s) for i, (p, s) in enumerate(zip(proposals, seeds, strict=True))]
        outcomes = {job.number: known[job.number] for job in jobs if job.number in known}
        for job in jobs:
            if job.number in outcomes:
                self.evaluator.remember(job, outcomes[job.number])
        waiting = [job for job in jobs if job.number not in outcomes]
        with closing(self.evaluator.evaluate(waiting)) as arriving:  # an error here cancels what is still at work
            for index, outcome in arriving:
                if not 0 <= index < len(waiting) or waiting[index].number in outcomes:
                    raise RuntimeError(
                        f"the evaluator gave an outcome of job {index}, which is none of the {len(waiting)} "
                        "or had one before"
                    )
                number = waiting[index].number
                outcomes[number] = outcome
                if on_outcome is not None:
                    on_outcome(number, outcome)
        if missing := [index for index, job in enumerate(waiting) if job.number not in outcomes]:
            raise RuntimeError(f"the evaluator gave no outcome of the jobs {missing}")
        return [
            Trial(job.number, job.seed, proposal, outcomes[job.number], float(self.reward(outcomes[job.number])))
            for job, proposal in zip(jobs, proposals, strict=True)
        ]

    def remember(self, trials: Sequence[Trial]) -> None:
        """Give finished trials of an earlier part of the run to the evaluator's cache, if it has one."""
        for trial in trials:
            self.evaluator.remember(self.job(trial.number, trial.proposal.codes, trial.seed), trial.outcome)

    def limit(self, may_start: MayStart | None) -> bool:
        """See `Evaluator.limit`."""
        return self.evaluator.limit(may_start)

    def worth(self, outcome: Outcome) -> float:
        """See `Playable.worth`."""
        return float(self.reward(outcome))

    def score(self, codes: Mapping[str, Action], seeds: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rewards (n,) of agent -> codes (n, L_i) under trial seeds (n,): those of `play`, bit for bit.

        An agent with intervals sends what `actions.py` says. What is cheap is looked up without building an object; anything
        else is played.

        Raises:
            ValueError: if the codes do not fit the game.
        """
        rows = self._checked(codes, len(seeds))
        if isinstance(self.evaluator, VectorEvaluator):
            return self.reward.vector(*self.evaluator.score(rows, seeds))
        played = [
            {agent: code_of(row[i].tolist(), len(self._nvec[agent])) for agent, row in rows.items()}
            for i in range(len(seeds))
        ]
        trials = self.play([Proposal(code) for code in played], seeds.tolist())
        return np.array([trial.reward for trial in trials], dtype=np.float64)

    def _checked(self, codes: Mapping[str, Action], n: int) -> dict[str, Row]:
        if codes.keys() != self.modules.keys():
            raise ValueError(f"the agents are {list(self.modules)}, not {list(codes)}")
        checked = {}
        for agent, sizes in self._nvec.items():
            positions = self.spec.intervals.get(agent, 0)
            array = row_of(agent, codes[agent], len(sizes), positions)
            shape, kind = (n, len(sizes) + positions), np.floating if positions else np.integer
            if array.shape != shape or not np.issubdtype(array.dtype, kind):
                what = "floats" if positions else "integers"
                raise ValueError(f"agent {agent!r}: codes are {what} of shape {shape}, not {array.dtype} {array.shape}")
            if positions:
                array = self._checked_positions(agent, array.astype(np.float64))
            indices = array[:, : len(sizes)]
            if ((indices < 0) | (indices >= sizes)).any():
                row, column = np.argwhere((indices < 0) | (indices >= sizes))[0]
                decision = self.modules[agent].space.decisions[column].name
                raise ValueError(
                    f"agent {agent!r}, row {row}: decision {decision!r} takes an index in 0..{sizes[column] - 1}, "
                    f"not {indices[row, column]}"
                )
            checked[agent] = array if positions else array.astype(np.int64, copy=False)
        return checked

    def _checked_positions(self, agent: str, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows (n, L_i) of an agent with intervals, without a zero that has a sign."""
        space = self.modules[agent].space
        decisions = len(space.decisions)
        indices, positions = rows[:, :decisions], rows[:, decisions:]
        if (indices != np.floor(indices)).any():
            row, column = np.argwhere(indices != np.floor(indices))[0]
            raise ValueError(
                f"agent {agent!r}, row {row}: decision {space.decisions[column].name!r} takes a whole number, "
                f"not {indices[row, column]}"
            )
        inside = (positions >= 0.0) & (positions <= 1.0)  # false for NaN too
        if not inside.all():
            row, column = np.argwhere(~inside)[0]
            raise ValueError(
                f"agent {agent!r}, row {row}: interval {space.intervals[column].name!r} takes a position in [0, 1], "
                f"not {positions[row, column]}"
            )
        return rows + 0.0


def kinds_of(modules: Sequence[Module]) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[bool, ...]]]:
    """Agent -> kind of each decision, and agent -> whether each is ordered, of agents that have any: as in `GameSpec`."""
    kinds = {module.name: tuple(d.kind for d in module.space.decisions) for module in modules}
    ordered = {module.name: tuple(d.ordered for d in module.space.decisions) for module in modules}
    return {a: each for a, each in kinds.items() if any(each)}, {a: each for a, each in ordered.items() if any(each)}


def _features(modules: Sequence[Module]) -> Features | None:
    """What the modules tell of their codes, one after another; None if none tells anything."""
    ends = np.cumsum([len(module.space.decisions) + len(module.space.intervals) for module in modules]).tolist()
    telling = [(m, slice(b, e)) for m, b, e in zip(modules, [0, *ends], ends, strict=False) if isinstance(m, Describes)]
    return partial(_told, telling) if telling else None


def _told(telling: Sequence[tuple[Describes, slice]], codes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([module.features(codes[:, columns]) for module, columns in telling], axis=1)
