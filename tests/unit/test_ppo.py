"""PPO, IPPO and MAPPO: what makes each of them itself."""

import copy
import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from ma2ml_agents.baselines.ippo import FURTHEST, IPPO, IPPOConfig, behaviour, clipped_loss, near
from ma2ml_agents.baselines.mappo import MAPPO, MAPPOConfig
from ma2ml_agents.baselines.ppo import PPO, PPOConfig
from ma2ml_agents.learner import Learner
from ma2ml_agents.registry import make_learner
from ma2ml_agents.variants.ma2ml_lite import reinforce_loss
from ma2ml_env.testing import check_learner
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial
from tests.maths.enumerable import COLUMNS, JOINT, NVEC, Enumerated, differ, gradient

NAMES = ["ppo", "ippo", "mappo"]
SPEC = GameSpec({"a": (3, 4), "b": (2, 5, 3)})


def told(proposals: list[Proposal], reward: float | None = None) -> list[Trial]:
    """Trials with one reward, or with the share of first choices."""
    made = []
    for k, p in enumerate(proposals):
        row = [c for code in p.codes.values() for c in code]
        made.append(Trial(k, k, p, Outcome(), row.count(0) / len(row) if reward is None else reward))
    return made


def moved(proposals: list[Proposal], **shift: float) -> list[Proposal]:
    """The same proposals, as if a policy had drawn them whose log-probabilities are others by `shift`."""
    return [
        Proposal(p.codes, p.states, {a: v + shift.get(a, 0.0) for a, v in (p.log_probs or {}).items()})
        for p in proposals
    ]


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", NAMES)
def test_check_learner(name: str) -> None:
    check_learner(lambda: make_learner(name, SPEC, seed=4), SPEC)


# The loss.


@pytest.mark.parametrize(
    ("log_ratio", "gain", "stopped"), [(0.5, 1, True), (-0.5, -1, True), (0.5, -1, False), (-0.5, 1, False)]
)
def test_clipping_stops_the_gradient_of_what_went_far_enough(log_ratio: float, gain: float, stopped: bool) -> None:
    log_prob = torch.tensor([-3.0 + log_ratio, -2.0], requires_grad=True)
    loss = clipped_loss(log_prob, torch.tensor([-3.0, -2.0]), torch.tensor([float(gain), 1.0]), 0.2)
    (found,) = torch.autograd.grad(loss, log_prob)
    expected = 0.0 if stopped else -gain * math.exp(log_ratio) / 2
    assert found.tolist() == pytest.approx([expected, -0.5])


@pytest.mark.parametrize("agent", NVEC)
def test_at_ratio_1_the_gradient_is_the_policy_gradient(agent: str) -> None:
    """Against autograd through the sum over every joint action; 0.83 stands for any V(S)."""
    game = Enumerated.make(5)
    exact = gradient((game.joint_log_prob(game.pi).exp() * game.q(JOINT)).sum(), game.pi[agent])
    gain = game.joint_log_prob(game.pi).exp().detach() * len(JOINT) * (game.q(JOINT) - 0.83)
    log_prob = game.log_prob(game.pi, agent, JOINT[:, COLUMNS[agent]])
    found = gradient(clipped_loss(log_prob, log_prob.detach(), gain, 0.2), game.pi[agent])
    assert differ(-found, exact) < 1e-8
    assert differ(found, gradient(reinforce_loss(log_prob, gain), game.pi[agent])) < 1e-8
    away = gradient(clipped_loss(log_prob, log_prob.detach() - 0.1, gain, 0.2), game.pi[agent])  # control: ratio 1.1
    assert differ(-away, exact) > 0.05


def test_old_log_probabilities() -> None:
    codes = {"a": (0, 0), "b": (0, 0, 0)}
    cases = [
        None,
        {"a": -1.0},
        {"a": -1.0, "b": math.nan},
        {"a": -1.0, "b": -math.inf},
        {"a": -1.0, "b": -2.0},
        {"a": -90.0, "b": 0.0},
    ]
    trials = [Trial(k, k, Proposal(codes, log_probs=log_probs), Outcome(), 0.5) for k, log_probs in enumerate(cases)]
    current = torch.tensor([-1.5, -1.75]).expand(len(cases), -1)
    found = behaviour(trials, ["a", "b"], current)
    assert found[:4].tolist() == [[-1.5, -1.75]] * 4
    assert found[4:].tolist() == [[-1.0, -2.0], [-90.0, 0.0]]
    assert near(found, current)[3:].tolist() == [[-1.5, -1.75], [-1.0, -2.0], [-1.5 - FURTHEST, -1.75 + FURTHEST]]


# The agents.


@pytest.mark.parametrize("name", ["ippo", "mappo"])
def test_the_ratio_is_each_agents_own(name: str) -> None:
    """What agent a's ratio forbids a, it does not forbid b; a joint ratio would."""
    for shift, a_stays in ((-1.0, True), (0.0, False)):
        learner = make_learner(name, SPEC, epochs=1, normalise=False, entropy_weight=0.0)
        learner.tell(told(learner.ask(8), reward=0.0))  # afterwards a reward of 1 is a gain for every trial
        proposals = moved(learner.ask(8), a=shift)  # a's ratio is above 1 + clip, and b's is 1
        before = copy.deepcopy(learner.state_dict()["policies"])
        metrics = learner.tell(told(proposals, reward=1.0))
        after = learner.state_dict()["policies"]
        assert same(before["a"], after["a"]) == a_stays
        assert not same(before["b"], after["b"])
        assert (metrics["clipped/a"], metrics["clipped/b"]) == (float(a_stays), 0.0)


def test_ppo_has_one_ratio_for_all() -> None:
    for shift, stays in ((-1.0, True), (0.0, False)):
        learner = PPO(SPEC, PPOConfig(n_epochs=1, normalize_advantage=False, ent_coef=0.0))
        proposals = moved(learner.ask(8), a=shift)
        before = copy.deepcopy(learner.state_dict()["policy"])
        learner.tell(told(proposals, reward=5.0))  # above every V(S)
        after = learner.state_dict()["policy"]
        for key in before:
            if "action_net" in key:
                assert same({key: before[key]}, after) == stays
        assert not same({"value_net.bias": before["value_net.bias"]}, after)


@pytest.mark.parametrize(("cls", "sees_others"), [(IPPO, False), (MAPPO, True)])
def test_what_the_critics_see(cls: type[IPPO], sees_others: bool) -> None:
    """Agent a's step depends on b's state if, and only if, its critic sees it."""
    learner = cls(SPEC, cls.Config(normalise=False, critic_lr=0.03))
    for _ in range(3):
        learner.tell(told(learner.ask(12)))
    proposals, state = learner.ask(12), copy.deepcopy(learner.state_dict())
    steps = []
    for offset in (0.0, 1.0):
        learner.load_state_dict(state)
        other = [
            Proposal(p.codes, {**p.states, "b": tuple(s + offset for s in p.states["b"])}, p.log_probs)
            for p in proposals
        ]
        learner.tell(told(other))
        steps.append(copy.deepcopy(learner.state_dict()["policies"]["a"]))
    assert same(*steps) != sees_others
    assert set(state["critics"]) == ({"central"} if sees_others else {"a", "b"})


@pytest.mark.parametrize("name", ["ippo", "mappo"])
def test_entropy_weight_keeps_policies_broad(name: str) -> None:
    spread = {}
    for weight in (0.0, 1.0):
        learner = make_learner(name, SPEC, seed=0, entropy_weight=weight)
        for _ in range(5):
            metrics = learner.tell(told(learner.ask(12)))
        spread[weight] = metrics["entropy/b"]
    assert spread[1.0] > spread[0.0] + 0.05


# Stable-Baselines3.


@pytest.mark.parametrize("name", ["ippo", "mappo"])
def test_a_batch_of_one_teaches(name: str) -> None:
    """The advantage of a single trial, less its own mean, would be nothing."""
    learner = make_learner(name, GameSpec({"a": (3, 2), "b": (4,)}), seed=0)
    before = copy.deepcopy(learner.state_dict())
    for number in range(4):
        (proposal,) = learner.ask(1)
        learner.tell([Trial(number, 0, proposal, Outcome(), reward=float(number % 2))])
    policies = (before["policies"], learner.state_dict()["policies"])
    assert any(
        not torch.equal(old, policies[1][agent][key]) for agent in "ab" for key, old in policies[0][agent].items()
    )


def test_ppo_samples_its_policy() -> None:
    learner = PPO(SPEC, PPOConfig(learning_rate=0.02), seed=1)
    for _ in range(6):
        learner.tell(told(learner.ask(24)))
    n = 4000
    state = {agent: np.full(8, 0.3, dtype=np.float32) for agent in SPEC.nvec}
    proposals = learner.ask(n, [state] * n)
    codes = torch.tensor([[c for code in p.codes.values() for c in code] for p in proposals])
    observations = torch.full((n, 16), 0.3)
    with torch.no_grad():
        _, log_probs, _ = learner.model.policy.evaluate_actions(observations, codes)
        decisions = learner.model.policy.get_distribution(observations[:1]).distribution
    assert torch.allclose(torch.tensor([sum((p.log_probs or {}).values()) for p in proposals]), log_probs, atol=1e-5)
    skew = 0.0
    for t, decision in enumerate(decisions):
        probability = decision.probs[0]
        share = torch.bincount(codes[:, t], minlength=len(probability)) / n
        assert (share - probability).abs().max() < 5 * 0.5 / math.sqrt(n)  # five standard errors
        skew = max(skew, float((probability - 1 / len(probability)).abs().max()))
    assert skew > 0.1, "far from uniform, or the comparison could not fail"


def test_ppo_plays_episodes_of_one_step() -> None:
    learner = PPO(SPEC, seed=2)
    trials = told(learner.ask(7))
    states = torch.tensor([[s for state in t.proposal.states.values() for s in state] for t in trials])
    with torch.no_grad():
        values = learner.model.policy.predict_values(states)[:, 0].numpy()
    learner.tell(trials)
    buffer, rewards = learner.model.rollout_buffer, np.array([t.reward for t in trials])
    assert buffer.returns[:, 0] == pytest.approx(rewards, abs=1e-6)
    assert buffer.advantages[:, 0] == pytest.approx(rewards - values, abs=1e-6)
    assert np.abs(values).max() > 1e-3  # control: V says something
    first, second = ([row.tolist() for part in buffer.get(3) for row in part.actions] for _ in range(2))
    codes = sorted([c for code in t.proposal.codes.values() for c in code] for t in trials)
    assert sorted(first) == sorted(second) == codes, "a pass takes every trial once"
    assert first != second


@pytest.mark.parametrize("name", NAMES)
def test_global_random_states_are_neither_read_nor_changed(name: str) -> None:
    def life(seed: int) -> tuple[Any, ...]:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
        learner: Learner = make_learner(name, SPEC, seed=5)
        first = learner.ask(6)
        metrics = learner.tell(told(first))
        learner.load_state_dict(copy.deepcopy(learner.state_dict()))
        last = learner.ask(6)
        after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
        assert before == after
        return first, metrics, last

    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        assert life(1) == life(2)
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        random.setstate(kept[2])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("log_prob", [0.0, -1e4])
def test_foreign_trials_far_from_the_policy_teach_and_break_nothing(name: str, log_prob: float) -> None:
    """Of 200 decisions the ratio to a policy that was sure, or that found them all but impossible, is no float."""
    learner = make_learner(name, GameSpec({"a": (9,) * 100, "b": (9,) * 100}), seed=0)
    log_probs = {"a": log_prob, "b": log_prob}
    foreign = [Proposal({"a": (k,) * 100, "b": (2,) * 100}, log_probs=log_probs) for k in range(2)]
    key = "policy" if name == "ppo" else "policies"
    for proposals in (foreign[:1], foreign, [*learner.ask(3), foreign[0]]):
        trials = [Trial(k, k, p, Outcome(), 0.5 * (k % 2)) for k, p in enumerate(proposals)]
        before = copy.deepcopy(learner.state_dict()[key])
        assert all(math.isfinite(v) for v in learner.tell(trials).values())
        after = learner.state_dict()[key]
        if proposals is foreign:
            policies = [(before, after)] if name == "ppo" else [(before[a], after[a]) for a in ("a", "b")]
            assert not any(same(*pair) for pair in policies)
    assert len(learner.ask(2)) == 2


@pytest.mark.parametrize(
    ("cls", "setting"),
    [(c, s) for c in (IPPOConfig, MAPPOConfig) for s in ({"epochs": 0}, {"clip": 0.0}, {"policy_lr": math.nan})]
    + [(IPPOConfig, s) for s in ({"entropy_weight": -1.0}, {"decay": 1.0}, {"critic_hidden": (0,)}, {"hidden": 0})]
    + [(PPOConfig, s) for s in ({"n_epochs": 0}, {"clip_range": 0.0}, {"learning_rate": -1.0}, {"batch_size": 1})]
    + [(PPOConfig, s) for s in ({"ent_coef": -0.1}, {"target_kl": 0.0}, {"activation": "gelu"}, {"net_arch": (8, 0)})],
)
def test_settings_out_of_range(cls: type, setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        cls(**setting)
