"""Our learners on anybody's objective, as a sampler of Optuna. Optuna is the extra `optuna`.

    from ma2ml_agents.optuna_sampler import MA2MLSampler

    study = optuna.create_study(sampler=MA2MLSampler(seed=0))

A parameter is a decision of an agent. A categorical parameter is one among names, an integer or a float with a step one among
choices in order, up to `MOST_CHOICES` of them; a float, or an integer with more, is an interval. Trials that run are pending: a
learner proposes some at a time, and hears of those that have ended when it is asked again.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from ma2ml_agents.learner import Learner
from ma2ml_agents.registry import make_learner
from ma2ml_env.trial import Code, GameSpec, Outcome, Proposal, Trial, code_of

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise ImportError("this sampler is Optuna's: pip install 'ma2ml[optuna]'") from error

MOST_CHOICES = 32
"""values of a numeric parameter that are choices in order; with more it is an interval"""
_ENDED = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)
_ALL = "all"
"""the agent of parameters that name none"""


class MA2MLSampler(optuna.samplers.BaseSampler):
    """A learner of this project as a sampler.

    Failed trials count as the worst so far; pruned ones by the last value that they reported, or else the same. An infinite
    value counts as the best so far where it is good, as a failure where it is bad. Trials whose parameters lie outside the
    space are left out. A study that is loaded again is gone on with: the learner is told all of its trials first. A second
    study that the same sampler is given has a new learner.

    Parameters that only some trials have, or whose range changes, are refused, because all agents decide in one step. Until a
    first trial has ended, parameters are random, unless `search_space` is given. Threads share one learner (`n_jobs`); a
    forked process has its own, with another seed. The sampler can be pickled.

    Args:
        learner: its name; `ma2ml list` shows them. Without parameters that are intervals any will do.
        agents: parameter -> agent; or the text that ends the agent's part of a name, as "." in `hpo.lr`. What names no agent
            belongs to one that is called `all`.
        batch: trials that the learner proposes at a time.
        search_space: parameter -> distribution, if all are known before.
        seed: of everything random; None is another one every time.
        **settings: those of the learner that differ from its defaults.

    Raises:
        ValueError: if there is no such learner or setting, or it takes no intervals; when it first proposes.
    """

    def __init__(
        self,
        learner: str = "ma2ml_exact",
        *,
        agents: Mapping[str, str] | str = ".",
        batch: int = 8,
        search_space: Mapping[str, BaseDistribution] | None = None,
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        if batch < 1:
            raise ValueError(f"batch is at least 1, not {batch}")
        self._name, self._settings, self._agents, self._batch = learner, settings, agents, batch
        self._given = None if search_space is None else _many_valued(search_space)
        self._random = optuna.samplers.RandomSampler(seed)
        self._seed = _fresh() if seed is None else seed
        self._process = os.getpid()
        self._lock = Lock()  # trials of one study may be asked for by several threads
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._lock = Lock()

    def _forget(self) -> None:
        self._space: dict[str, BaseDistribution] = {}
        self._study: tuple[str, Any] | None = None
        """name and direction of the study that the learner knows"""
        self._waiting = list[Proposal]()
        """proposals that no trial has taken"""
        self._taken = dict[int, Proposal]()
        """number of a trial -> its proposal, until it has ended and was told"""
        self._told = set[int]()

    def reseed_rng(self) -> None:
        """Go on with other random numbers. Optuna calls it before each trial of a thread, so the learner stays.

        In another process than the sampler's there is a new learner, with another seed, which is told everything anew.
        """
        with self._lock:
            self._random.reseed_rng()
            if self._process != os.getpid():
                self._process, self._seed = os.getpid(), _fresh()
                self._forget()

    def infer_relative_search_space(self, study: "optuna.Study", trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters of the trials so far, or those that were given.

        Raises:
            ValueError: if a parameter is not in all of them, or has several ranges; it is named.
        """
        if self._given is not None:
            return self._given
        first: FrozenTrial | None = None
        for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            first = first or other
            for name in sorted(first.distributions.keys() | other.distributions.keys()):
                one, two = first.distributions.get(name), other.distributions.get(name)
                if one != two:
                    raise ValueError(
                        f"parameter {name!r} is {_said(one)} in trial {first.number} and {_said(two)} in trial {other.number}: "
                        "MA2ML's agents decide in one step, so suggest all parameters in every trial, from the same range; "
                        "ignore one where it has no meaning"
                    )
        return {} if first is None else _many_valued(first.distributions)

    def sample_relative(
        self, study: "optuna.Study", trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the learner proposes, as values of parameters.

        Raises:
            ValueError: if the study has several objectives.
        """
        _one_objective(study)
        if not search_space:
            return {}
        with self._lock:
            known = (study.study_name, study.direction)
            if search_space != self._space or known != self._study:
                self._begin(search_space)
                self._study = known
            if not self._waiting:
                self._tell(study)
                self._waiting = self._learner.ask(self._batch)
            proposal = self._waiting.pop(0)
            self._taken[trial.number] = proposal
        return self._values(proposal)

    def sample_independent(
        self, study: "optuna.Study", trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value: of a parameter that the learner does not know yet.

        Raises:
            ValueError: if the study has several objectives.
        """
        _one_objective(study)
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _begin(self, space: dict[str, BaseDistribution]) -> None:
        """A new learner for these parameters."""
        self._forget()
        self._space = dict(space)
        owners: dict[str, list[_Parameter]] = {}
        for name, distribution in space.items():
            owners.setdefault(self._agent(name), []).append(_Parameter(name, distribution))
        # Of an agent the decisions come first, its intervals after them.
        self._owned = {agent: sorted(own, key=lambda each: not each.choices) for agent, own in owners.items()}
        decisions = {agent: [each for each in own if each.choices] for agent, own in self._owned.items()}
        spec = GameSpec(
            {agent: tuple(each.choices for each in own) for agent, own in decisions.items()},
            intervals={
                a: len(own) - len(decisions[a]) for a, own in self._owned.items() if len(own) > len(decisions[a])
            },
            ordered={a: tuple(e.ordered for e in own) for a, own in decisions.items() if any(e.ordered for e in own)},
        )
        self._learner: Learner = make_learner(self._name, spec, seed=self._seed % 2**63, **self._settings)

    def _agent(self, name: str) -> str:
        if not isinstance(self._agents, str):
            return self._agents.get(name, _ALL)
        agent, separator, _ = name.partition(self._agents) if self._agents else ("", "", "")
        return agent if separator and agent else _ALL

    def _tell(self, study: "optuna.Study") -> None:
        """Tell the learner of trials that have ended since, in their order, some at a time."""
        ended = [trial for trial in study.get_trials(deepcopy=False, states=_ENDED) if self._holds(trial)]
        sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
        rewards = {trial.number: sign * value for trial in ended if (value := _value(trial)) is not None}
        finite = [reward for reward in rewards.values() if math.isfinite(reward)]
        worst, best = min(finite, default=None), max(finite, default=None)
        new = [trial for trial in ended if trial.number not in self._told]
        told = list[Trial]()
        for trial in new:
            if worst is None or best is None:  # nothing is known yet that it could be as bad as
                continue
            proposal = self._taken.pop(trial.number, None)
            codes = self._codes(trial.params)
            if proposal is None or self._values(proposal) != {name: trial.params[name] for name in self._space}:
                proposal = Proposal(codes, origin="user")
            reward = rewards.get(trial.number, -math.inf)
            outcome = Outcome() if reward > -math.inf else Outcome(status="failed", error="CRASH")
            told.append(Trial(trial.number, trial.number, proposal, outcome, min(max(reward, worst), best)))
            self._told.add(trial.number)
        for start in range(0, len(told), self._batch):
            self._learner.tell(told[start : start + self._batch])

    def _holds(self, trial: FrozenTrial) -> bool:
        """Whether it has all parameters, each inside the space."""
        return all(name in trial.params and _inside(d, trial.params[name]) for name, d in self._space.items())

    def _values(self, proposal: Proposal) -> dict[str, Any]:
        return {
            each.name: each.value(place)
            for agent, own in self._owned.items()
            for each, place in zip(own, proposal.codes[agent], strict=True)
        }

    def _codes(self, values: Mapping[str, Any]) -> dict[str, Code]:
        return {
            agent: code_of([each.place(values[each.name]) for each in own], sum(each.choices > 0 for each in own))
            for agent, own in self._owned.items()
        }


@dataclass(frozen=True)
class _Parameter:
    """A parameter as a decision or an interval."""

    name: str
    distribution: Any
    """Optuna's, of one of its three kinds"""

    @property
    def choices(self) -> int:
        """Number of choices; 0 of an interval."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return len(d.choices)
        count = 0 if d.step is None or d.log else round((d.high - d.low) / d.step) + 1
        return count if count <= MOST_CHOICES else 0

    @property
    def ordered(self) -> bool:
        return not isinstance(self.distribution, CategoricalDistribution)

    def value(self, place: float) -> Any:
        """Of an index, or of a position in [0, 1]."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return d.choices[int(place)]
        if self.choices:
            value = d.low + int(place) * d.step
        else:
            low, high = self._ends
            value = low + place * (high - low)
            value = math.exp(value) if d.log else value
            if d.step is not None:
                value = d.low + round((value - d.low) / d.step) * d.step
        value = min(max(value, d.low), d.high)  # sums of steps are rounded, as .1 + .2 is
        return int(value) if isinstance(d, IntDistribution) else float(value)

    def place(self, value: Any) -> float:
        """Inverse of `value`."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return int(d.to_internal_repr(value))
        if self.choices:
            return int(min(max(round((value - d.low) / d.step), 0), self.choices - 1))
        low, high = self._ends
        return float(min(max(((math.log(value) if d.log else value) - low) / (high - low), 0.0), 1.0))

    @property
    def _ends(self) -> tuple[float, float]:
        """Of the interval; each whole number has its share of it."""
        d = self.distribution
        room = d.step / 2 if isinstance(d, IntDistribution) else 0.0
        low, high = d.low - room, d.high + room
        return (math.log(low), math.log(high)) if d.log else (low, high)


def _one_objective(study: "optuna.Study") -> None:
    if len(study.directions) != 1:
        raise ValueError(f"MA2MLSampler takes studies of one objective, and this one has {len(study.directions)}")


def _value(trial: FrozenTrial) -> float | None:
    """What came of it, or what it reported last; None of neither, and of NaN."""
    value = trial.value if trial.state == TrialState.COMPLETE else None
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    return None if value is None or math.isnan(value) else value


def _inside(distribution: Any, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return any(value == choice for choice in distribution.choices)
    return isinstance(value, (int, float)) and bool(distribution.low <= value <= distribution.high)


def _many_valued(space: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    """Those with more than one value, by name."""
    return {name: space[name] for name in sorted(space) if not space[name].single()}


def _said(distribution: BaseDistribution | None) -> str:
    return "not there" if distribution is None else str(distribution)


def _fresh() -> int:
    return int(np.random.SeedSequence().generate_state(1)[0])
