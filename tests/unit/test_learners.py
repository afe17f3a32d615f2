"""What every learner owes its caller."""

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from ma2ml_agents.learner import Learner
from ma2ml_agents.registry import LEARNERS, learner_class, make_learner
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial

SPECS = {
    "three agents": GameSpec({"aug": (3, 4), "nas": (2, 5, 3), "hpo": (4,)}),
    "one agent": GameSpec({"nas": (3, 2)}, state_dim=1),
    "a single choice": GameSpec({"a.b": (1,), "c": (2, 1)}, state_dim=3),
}
SPEC = SPECS["three agents"]


def trials(proposals: list[Proposal], first: int = 0) -> list[Trial]:
    """Reward: share of first choices, plus a little that differs."""
    made = []
    for number, proposal in enumerate(proposals, first):
        row = [c for code in proposal.codes.values() for c in code]
        reward = 0.9 * row.count(0) / len(row) + 0.01 * (number % 7)
        made.append(Trial(number, number, proposal, Outcome(accuracy=reward), reward))
    return made


def taught(name: str, spec: GameSpec = SPEC, batches: int = 2, **config: Any) -> Learner:
    learner = make_learner(name, spec, seed=3, **config)
    for k in range(batches):
        learner.tell(trials(learner.ask(8), first=8 * k))
    return learner


def assert_plain(value: Any) -> None:
    if isinstance(value, dict):
        assert all(isinstance(key, str) for key in value)
        for item in value.values():
            assert_plain(item)
    elif isinstance(value, list):
        for item in value:
            assert_plain(item)
    else:
        assert isinstance(value, (bool, int, float, str, np.ndarray, torch.Tensor)), type(value)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return np.array_equal(np.asarray(a), np.asarray(b))
    return bool(a == b)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_proposals_fit_the_game_and_metrics_are_finite(name: str, spec: GameSpec) -> None:
    learner = make_learner(name, spec, seed=0)
    assert isinstance(learner, Learner)
    for _ in range(2):
        proposals = learner.ask(6)
        for p in proposals:
            assert list(p.codes) == list(p.states) == list(spec.nvec)
            for agent, nvec in spec.nvec.items():
                assert len(p.codes[agent]) == len(nvec)
                assert all(type(c) is int and 0 <= c < n for c, n in zip(p.codes[agent], nvec, strict=True))
                assert len(p.states[agent]) == spec.state_dim
                assert np.array_equal(np.float32(p.states[agent]).astype(float), p.states[agent])
            assert all(value <= 1e-6 for value in (p.log_probs or {}).values())  # None: no policy drew it as it is
            assert Proposal.from_json(json.loads(json.dumps(p.to_json()))) == p
        metrics = learner.tell(trials(proposals))
        assert {"reward", "updates"} <= metrics.keys()
        assert all(isinstance(v, float) and math.isfinite(v) for v in metrics.values()), metrics
    assert learner.ask(0) == []


@pytest.mark.parametrize("name", LEARNERS)
def test_states_that_are_given_are_used(name: str) -> None:
    given = [{agent: np.full(8, k + i, dtype=np.float32) for i, agent in enumerate(SPEC.nvec)} for k in range(3)]
    for k, proposal in enumerate(make_learner(name, SPEC).ask(3, given)):
        assert proposal.states == {agent: (float(k + i),) * 8 for i, agent in enumerate(SPEC.nvec)}
    with pytest.raises(ValueError, match="needs 2 states"):
        make_learner(name, SPEC).ask(2, given)
    with pytest.raises(ValueError, match="state of 'nas'"):
        make_learner(name, SPEC).ask(1, [{**given[0], "nas": np.zeros(3)}])


@pytest.mark.parametrize("name", LEARNERS)
def test_ask_changes_the_random_state_alone(name: str) -> None:
    learner = taught(name)
    before = copy.deepcopy(learner.state_dict())
    learner.ask(5)
    after = learner.state_dict()
    assert {key for key in before if not equal(before[key], after[key])} == {"generator"}


@pytest.mark.parametrize("name", LEARNERS)
def test_no_trials_change_nothing(name: str) -> None:
    learner = taught(name)
    before = copy.deepcopy(learner.state_dict())
    assert learner.tell([]) == {}
    assert equal(before, learner.state_dict())


@pytest.mark.parametrize("name", LEARNERS)
def test_foreign_failed_and_repeated_trials(name: str) -> None:
    learner = make_learner(name, SPEC)
    foreign = Proposal({"aug": (0, 1), "nas": (1, 4, 2), "hpo": (3,)}, origin="user")
    failed = Trial(1, 1, foreign, Outcome(status="failed", error="OOM"), 0.0)
    for told in ([failed], trials([foreign] * 3), [failed] * 2 + trials(learner.ask(2))):
        assert all(math.isfinite(v) for v in learner.tell(told).values())
    assert len(learner.ask(4)) == 4


@pytest.mark.parametrize("name", LEARNERS)
def test_bad_trials_are_refused_by_name(name: str) -> None:
    learner = taught(name)
    before = copy.deepcopy(learner.state_dict())
    good = {"aug": (0, 1), "nas": (1, 4, 2), "hpo": (3,)}
    for codes, message in (({**good, "hpo": (4,)}, "trial 9.*'hpo'"), ({"aug": (0, 1)}, "trial 9.*codes are needed")):
        with pytest.raises(ValueError, match=message):
            learner.tell([Trial(9, 9, Proposal(codes), Outcome(), 0.0)])
    with pytest.raises(ValueError, match=r"trial 9.*finite"):
        learner.tell([Trial(9, 9, Proposal(good), Outcome(), math.nan)])
    assert equal(before, learner.state_dict())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("ma2ml", "entropy", "single_agent") else name
        for name in LEARNERS
    ],
)
def test_a_restored_learner_goes_on_to_the_bit(name: str) -> None:
    learner = taught(name)
    state = copy.deepcopy(learner.state_dict())
    assert_plain(state)
    other = make_learner(name, SPEC, seed=99)
    other.load_state_dict(state)
    kept = copy.deepcopy(state)
    for _ in range(2):
        proposals = learner.ask(5)
        assert other.ask(5) == proposals
        assert learner.tell(trials(proposals)) == other.tell(trials(proposals))
    assert equal(learner.state_dict(), other.state_dict())
    assert equal(state, kept), "going on wrote into the state that was loaded"


@pytest.mark.parametrize("name", LEARNERS)
def test_seeds(name: str) -> None:
    assert make_learner(name, SPEC, seed=1).ask(4) == make_learner(name, SPEC, seed=1).ask(4)
    assert make_learner(name, SPEC, seed=1).ask(4) != make_learner(name, SPEC, seed=2).ask(4)


@pytest.mark.parametrize(
    "config",
    [
        {"targets": "raw", "ensemble": 1, "lambda_per_decision": False, "distinct": False},
        {"critic_sees_states": True, "targets": "standardised", "critic_hidden": ()},
        {"updates": 0},
        {"capacity": 5, "critic_steps": 1},
    ],
    ids=str,
)
def test_settings_of_ma2ml(config: dict[str, Any]) -> None:
    learner = make_learner("ma2ml", SPEC, **config)
    for _ in range(2):
        metrics = learner.tell(trials(learner.ask(6)))
    assert all(math.isfinite(v) for v in metrics.values())


@pytest.mark.parametrize("setting", [{"targets": "rank"}, {"tau": 0.0}, {"samples": 0}, {"ensemble": 0}])
def test_settings_out_of_range(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        make_learner("ma2ml", SPEC, **setting)


def test_distinct_proposals() -> None:
    """A game of 12 codes: proposals are new while there are new ones; without the setting they repeat."""
    spec = GameSpec({"a": (3,), "b": (4,)})

    def distinct(**config: Any) -> int:
        learner = make_learner("ma2ml", spec, seed=0, **config)
        seen = set()
        for k in range(3):
            proposals = learner.ask(4)
            seen |= {(*p.codes["a"], *p.codes["b"]) for p in proposals}
            learner.tell(trials(proposals, first=4 * k))
        return len(seen)

    assert distinct() == 12
    assert distinct(distinct=False) < 11
    learner = taught("ma2ml", spec, batches=3)  # more than there are: repeats, and no endless loop
    assert len(learner.ask(24)) == 24


def test_names_and_settings() -> None:
    with pytest.raises(ValueError, match="did you mean 'ma2ml_lite'"):
        make_learner("ma2ml_light", SPEC)
    with pytest.raises(ValueError, match="did you mean 'policy_lr'"):
        make_learner("ma2ml", SPEC, policy_lt=1.0)
    with pytest.raises(ValueError, match="no setting 'decay'"):
        make_learner("random", SPEC, decay=1.0)
    assert learner_class("ma2ml").__name__ == "MA2ML"
    with pytest.raises(ValueError, match="at least one agent"):
        make_learner("random", GameSpec({}))
