"""Conformance checks for users' own parts. Plain asserts: they work in any test framework, or in none.

    check_module(MyModule()); check_evaluator(MyEvaluator(), jobs); check_reward(my_reward)
    check_env(parallel_env("digits-v0", "surrogate")); check_learner(lambda: make_learner("ma2ml", spec))

Each raises AssertionError with what is wrong and where.
"""

import copy
import itertools
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.env import INFO_KEYS, AutoMLEnv
from ma2ml_env.evaluators.base import Evaluator, Job, VectorEvaluator
from ma2ml_env.modules.base import Canonical, Describes, Expresses, Module, NamesFeatures
from ma2ml_env.recipe import Recipe
from ma2ml_env.reward import Reward
from ma2ml_env.trial import Code, GameSpec, Outcome, Proposal, Trial, code_of, trial_seed


class _Learner(Protocol):
    def ask(self, n: int, states: Sequence[Mapping[str, Any]] | None = None) -> list[Proposal]: ...
    def tell(self, trials: Sequence[Trial]) -> dict[str, float]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def random_codes(
    nvec: Mapping[str, Sequence[int]], n: int, seed: int = 0, intervals: Mapping[str, int] = {}
) -> dict[str, NDArray[Any]]:
    """Draw uniform codes: agent -> (n, L_i), integers, or floats for an agent with intervals."""
    rng = np.random.default_rng(seed)
    codes = {agent: rng.integers(np.array(sizes, dtype=int), size=(n, len(sizes))) for agent, sizes in nvec.items()}
    positions = {agent: rng.random((n, count)) for agent, count in intervals.items()}
    return codes | {agent: np.concatenate([codes[agent], u], axis=1) for agent, u in positions.items()}


def random_proposals(spec: GameSpec, n: int, seed: int = 0) -> list[Proposal]:
    """Draw uniform proposals of a game, with neither states nor log-probabilities."""
    return [Proposal(row) for row in _rows(random_codes(spec.nvec, n, seed, spec.intervals), spec)]


def as_actions(codes: Mapping[str, NDArray[Any]], spec: GameSpec) -> dict[str, Any]:
    """Turn codes, one (L_i,) or many (n, L_i), into actions of the environment."""
    actions: dict[str, Any] = dict(codes)
    for agent in spec.intervals:
        indices, positions = np.split(codes[agent], [len(spec.nvec[agent])], axis=-1)
        actions[agent] = {"decisions": indices.astype(np.int64), "intervals": positions}
    return actions


def check_module(module: Module, base: Recipe | None = None, samples: int = 200) -> None:
    """Check a module: codes survive decoding, `apply` returns new and repeatable recipes, which survive JSON.

    And where it has `base_values`: they are of the space, and what comes of them is expressed exactly. Its `features`, if any,
    are finite numbers of each code alone, each with a name if there are names; its `canonical` codes are of the same pipeline.
    """
    assert isinstance(module, Module), f"{module!r} lacks name, space or apply"
    tail = module.name.rpartition("_")[2]
    assert module.name, "an agent needs a name"
    assert "_" not in module.name or not tail.isdigit(), f"agent id {module.name!r} ends in _<int>"
    assert module.space.log10_size >= 0
    base = base or Recipe()
    before = base.key
    space, decisions = module.space, len(module.space.nvec)
    ends = [[0] * decisions + [0.0] * len(space.intervals), [n - 1 for n in space.nvec] + [1.0] * len(space.intervals)]
    rows = random_codes({"": space.nvec}, samples, intervals={"": len(space.intervals)})[""].tolist()
    for code in [code_of(row, decisions) for row in (*rows, *ends)]:
        values = space.decode(code)
        again = space.encode(values)
        assert again[:decisions] == code[:decisions], f"encode does not invert decode at {code}"
        assert np.allclose(again, code, rtol=0, atol=1e-9), f"encode does not invert decode at {code}"
        recipe = module.apply(base, values)
        assert isinstance(recipe, Recipe), f"apply returns a Recipe, not {type(recipe)}"
        assert recipe.key == module.apply(base, dict(values)).key, f"apply is not a function of its values at {code}"
        stored = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
        assert stored == recipe, f"the recipe does not survive JSON at {code}"
        assert stored.key == recipe.key
        assert module.apply(recipe, values).key == recipe.key, f"apply twice is not apply once at {code}"
        _check_base_values(module, recipe)
    _check_base_values(module, base)
    _check_features(module, np.array([*rows, *ends], dtype=np.float64))
    if isinstance(module, Canonical):
        _check_canonical(module, base, np.array(rows, dtype=np.int64))
    assert replace(base).key == before, "apply changed the recipe that it was given"


def _check_base_values(module: Module, recipe: Recipe) -> None:
    """What comes closest to a recipe is of the space, and closest to itself."""
    if isinstance(module, Expresses):
        space = module.space
        found = module.apply(recipe, space.decode(space.encode(module.base_values(recipe))))
        again = module.apply(found, space.decode(space.encode(module.base_values(found))))
        assert again.key == found.key, f"base_values {module.base_values(recipe)} are not closest to their own recipe"


def _check_features(module: Module, codes: NDArray[np.float64]) -> None:
    """What a module tells of its codes is finite, as wide for one as for many, and of each row alone."""
    if isinstance(module, Describes):
        told = module.features(codes)
        assert told.dtype == np.float64, f"features are float64, not {told.dtype}"
        assert told.shape[:1] == (len(codes),), f"features are (n, F), not {told.shape}"
        assert np.isfinite(told).all(), "features are finite"
        assert module.features(codes[:0]).shape == (0, told.shape[1]), "features of no codes are (0, F)"
        alone = np.concatenate([module.features(codes[i : i + 1]) for i in range(len(codes))])
        assert np.array_equal(alone, told), "features of a row depend on other rows"
        if isinstance(module, NamesFeatures):
            names = module.feature_names
            assert len(set(names)) == len(names) == told.shape[1], f"{told.shape[1]} features have as many names"


def _check_canonical(module: Module, base: Recipe, codes: NDArray[np.int64]) -> None:
    """The code that stands for a pipeline is of this pipeline, and stands for itself."""
    assert isinstance(module, Canonical)
    found = module.canonical(codes)
    assert np.array_equal(module.canonical(found), found), "canonical twice is not canonical once"
    for code, same in zip(codes.tolist(), found.tolist(), strict=True):
        keys = {module.apply(base, module.space.decode(each)).key for each in (code, same)}
        assert len(keys) == 1, f"the canonical code {same} of {code} is another pipeline"


def check_reward(reward: Reward) -> None:
    """Check a reward: finite for every status, 0.0 for a failure, `vector` equal to the scalar, monotone in accuracy."""
    for status, error in (("infeasible", ""), ("failed", "CRASH")):
        value = reward(Outcome(status=status, error=error, flops=10**9))  # type: ignore[arg-type]
        assert value == 0.0, f"an outcome that is {status} has reward 0.0, not {value}"
    rng = np.random.default_rng(0)
    accuracy = np.concatenate([rng.random(500), [0.0, 1.0, 0.5]])
    flops = np.concatenate([rng.integers(1, 10**10, 500), [0, 1, 10**12]])
    rewards = reward.vector(accuracy, flops)
    assert rewards.shape == accuracy.shape
    assert np.isfinite(rewards).all(), "a reward is finite"
    for a, f, r in zip(accuracy.tolist(), flops.tolist(), rewards.tolist(), strict=True):
        assert reward(Outcome(accuracy=a, flops=f)) == r, f"vector and scalar differ at accuracy {a}, {f} MACs"
        assert reward(Outcome(accuracy=min(1.0, a + 0.1), flops=f)) >= r, f"more accuracy is worth less at {a}"


def check_evaluator(evaluator: Evaluator, jobs: Sequence[Job]) -> dict[int, Outcome]:
    """Check an evaluator, and return the outcomes: each index once, lazily, repeatable, equal to `score` if it has one."""
    assert not list(evaluator.evaluate([])), "no jobs, no outcomes"
    unused = evaluator.evaluate(jobs)  # work starts at the first next(): this must not begin anything
    assert iter(unused) is unused, "outcomes come from an iterator"
    outcomes: dict[int, Outcome] = {}
    for index, outcome in evaluator.evaluate(jobs):
        assert 0 <= index < len(jobs), f"index {index} is not one of the {len(jobs)} jobs"
        assert index not in outcomes, f"index {index} came twice"
        assert isinstance(outcome, Outcome)
        assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome
        outcomes[index] = outcome
    assert len(outcomes) == len(jobs), f"missing: {sorted(set(range(len(jobs))) - set(outcomes))}"
    for index, again in evaluator.evaluate(jobs):
        for what in ("status", "accuracy", "flops", "fidelity"):
            assert vars(again)[what] == vars(outcomes[index])[what], f"job {index} comes to another {what} again"
    if isinstance(evaluator, VectorEvaluator):
        codes = {agent: np.array([job.codes[agent] for job in jobs]) for agent in jobs[0].codes}
        accuracy, flops = evaluator.score(codes, np.array([job.seed for job in jobs]))
        for index, outcome in outcomes.items():
            assert outcome.accuracy == accuracy[index], f"score and evaluate differ at job {index}"
            assert outcome.flops == flops[index]
    return outcomes


def check_env(env: AutoMLEnv, episodes: int = 100) -> None:
    """Check an environment: spaces, shared reward, infos, one step an episode, equal copies play equal episodes.

    PettingZoo's own seed test looks at the first step alone; this one plays `episodes` of them, and again after pickling.
    """
    assert env.agents == [], "before reset there are no agents"
    assert all(env.action_space(a) is env.action_space(a) for a in env.possible_agents), "spaces are built once"
    twin, batched = (pickle.loads(pickle.dumps(env)) for _ in range(2))
    spec = env.game.spec
    codes = random_codes(spec.nvec, episodes, 1, spec.intervals)
    rewards = []
    for episode in range(episodes):
        observations, infos = env.reset(seed=None if episode else 7)
        others, _ = twin.reset(seed=None if episode else 7)
        assert env.agents == env.possible_agents
        for agent in env.possible_agents:
            assert env.observation_space(agent).contains(observations[agent])
            assert np.array_equal(observations[agent], others[agent]), f"copies differ in episode {episode}"
            assert list(infos[agent]) == list(INFO_KEYS)
        joint = as_actions({agent: rows[episode] for agent, rows in codes.items()}, spec)
        _, reward, terminations, truncations, infos = env.step(joint)
        _, same, _, _, _ = twin.step(joint)
        assert reward == same, f"rewards of two copies differ in episode {episode}: {reward} and {same}"
        assert len(set(reward.values())) == 1, "the reward is shared"
        assert all(terminations.values()), "an episode is one step"
        assert not any(truncations.values())
        assert env.agents == []
        assert all(isinstance(v, float) for info in infos.values() for v in info.values()), "infos are floats"
        rewards.append(next(iter(reward.values())))
    batched.reset(seed=7)  # its open episode is the first row
    assert batched.evaluate_batch(as_actions(codes, spec)).tolist() == rewards, (
        "evaluate_batch and n times reset and step differ"
    )
    env.reset()
    batched.reset()
    assert np.array_equal(env.state(), batched.state()), "evaluate_batch leaves the environment elsewhere"


def check_learner(make: Callable[[], _Learner], spec: GameSpec, batches: int = 3, batch: int = 6) -> None:
    """Check a learner: codes in range, equal seeds propose equally, `tell` takes any trial, `state_dict` resumes to the bit.

    Args:
        make: a new learner over `spec`, always with the same seed.
        spec: the game.
        batches: told before the state is saved.
        batch: proposals at a time.
    """
    learner, twin = make(), make()
    for name in ("ask", "tell", "state_dict", "load_state_dict"):
        assert callable(getattr(learner, name, None)), f"a learner has a method {name!r}; {learner!r} has none"
    for each in (learner, twin):
        nothing = each.ask(0)
        assert nothing == [], f"ask(0) must return [], not {nothing!r}"
        metrics = each.tell([])
        assert metrics == {}, f"tell([]) must return {{}} and learn nothing, not {metrics!r}"
    number, begun = itertools.count(), copy.deepcopy(learner.state_dict())
    for _ in range(batches):
        proposals = learner.ask(batch)
        assert len(proposals) == batch, f"ask({batch}) must return {batch} proposals, not {len(proposals)}"
        for proposal in proposals:
            _check_proposal(proposal, spec)
        assert _as_json(twin.ask(batch)) == _as_json(proposals), "two learners of one seed propose different codes"
        trials = [_trial(next(number), proposal) for proposal in proposals]
        metrics = learner.tell(trials)
        assert all(isinstance(k, str) and np.isfinite(v) for k, v in metrics.items()), (
            f"tell must return finite numbers by name: {metrics}"
        )
        assert twin.tell(trials) == metrics, "two learners of one seed learn differently"
    states = [{agent: np.ones(spec.state_dim, dtype=np.float32) for agent in spec.nvec}] * 2
    for proposal in learner.ask(2, states):
        used = all(proposal.states[agent] == (1.0,) * spec.state_dim for agent in spec.nvec)
        assert used, "ask(n, states) must answer these states: each proposal holds its own, as tuples of floats"
    twin.ask(2, states)
    saved = copy.deepcopy(learner.state_dict())
    later = make()
    later.load_state_dict(saved)
    foreign = [_trial(next(number), proposal) for proposal in random_proposals(spec, batch)]
    failed = replace(foreign[0], outcome=Outcome(status="failed", error="CRASH"), reward=0.0)
    for told in ([], foreign, [failed], [foreign[1]] * 3):
        assert learner.tell(told) == later.tell(told), f"a restored learner learns differently from {len(told)} trials"
        assert _as_json(learner.ask(batch)) == _as_json(later.ask(batch)), "a restored learner proposes differently"
    learner.load_state_dict(begun)  # as where a batch that it was told is taken back
    fresh = make()
    fresh.load_state_dict(begun)
    for _ in range(2):
        proposals = learner.ask(batch)
        assert _as_json(proposals) == _as_json(fresh.ask(batch)), (
            "a learner that is taken back to its beginning knows more"
        )
        trials = [_trial(next(number), proposal) for proposal in proposals]
        assert learner.tell(trials) == fresh.tell(trials), (
            "a learner that is taken back to its beginning learns differently"
        )


def _check_proposal(proposal: Proposal, spec: GameSpec) -> None:
    assert proposal.codes.keys() == spec.nvec.keys(), f"codes of {list(proposal.codes)}, agents {list(spec.nvec)}"
    for agent, sizes in spec.nvec.items():
        code, intervals = proposal.codes[agent], spec.intervals.get(agent, 0)
        assert len(code) == len(sizes) + intervals, (
            f"agent {agent!r}: {len(code)} entries, not {len(sizes) + intervals}"
        )
        assert all(type(c) is int and 0 <= c < n for c, n in zip(code, sizes, strict=False)), f"{agent!r}: {code}"
        assert all(type(u) is float and 0 <= u <= 1 for u in code[len(sizes) :]), f"{agent!r}: {code}"
    assert Proposal.from_json(json.loads(json.dumps(proposal.to_json()))) == proposal


def _trial(number: int, proposal: Proposal) -> Trial:
    """A made-up result: the share of first choices."""
    codes = [c for code in proposal.codes.values() for c in code]
    accuracy = sum(c == 0 for c in codes) / len(codes)
    return Trial(number, trial_seed(0, number), proposal, Outcome(accuracy=accuracy), accuracy)


def _rows(codes: Mapping[str, NDArray[Any]], spec: GameSpec) -> list[dict[str, Code]]:
    n = len(next(iter(codes.values())))
    return [{agent: code_of(c[i].tolist(), len(spec.nvec[agent])) for agent, c in codes.items()} for i in range(n)]


def _as_json(proposals: Sequence[Proposal]) -> list[dict[str, Any]]:
    return [proposal.to_json() for proposal in proposals]
