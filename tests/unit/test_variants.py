"""Rivals that are MA2ML but for one part, and the parts that can be switched."""

import pytest
import torch

from ma2ml_agents import make_learner
from ma2ml_agents.ma2ml.divergence import kl_along
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial

SPEC = GameSpec({"a": (4, 3), "b": (5, 2), "c": (3,)})


def tell_random(learner, batches=2, batch=12):
    told = {}
    for number in range(batches):
        trials = []
        for i, p in enumerate(learner.ask(batch)):
            reward = sum(c == 1 for code in p.codes.values() for c in code) / 5
            trials.append(Trial(number * batch + i, i, p, Outcome(accuracy=reward), reward))
        told = learner.tell(trials)
    return told


def test_entropy_diverges_from_the_uniform_policy_which_never_moves():
    learner = make_learner("entropy", SPEC, seed=3)
    before = {name: p.clone() for name, p in learner.actors["a"].rho.state_dict().items()}
    tell_random(learner)
    assert all(torch.equal(p, before[name]) for name, p in learner.actors["a"].rho.state_dict().items())
    states, codes = torch.randn(7, 8), torch.randint(2, (7, 2))
    table = learner.actors["a"].policy.log_probs(states, codes)
    uniform = learner.actors["a"].target(states, codes)
    assert uniform.exp().sum(2) == pytest.approx(torch.ones(7, 2))
    # KL(pi || uniform) = log |A| - H(pi), decision by decision.
    entropy = -(table.exp() * table).sum((1, 2))
    assert kl_along(table, uniform).detach() == pytest.approx(
        (torch.tensor([4.0, 3.0]).log().sum() - entropy).detach(), abs=1e-5
    )


def test_single_agent_has_one_controller_for_all_decisions():
    learner = make_learner("single_agent", SPEC, seed=3)
    assert list(learner.actors) == ["all"]
    assert learner.actors["all"].policy.nvec == (4, 3, 5, 2, 3)
    given = [{agent: torch.randn(8).numpy() for agent in SPEC.nvec} for _ in range(3)]
    for proposal, state in zip(learner.ask(3, given), given, strict=True):
        assert {agent: len(code) for agent, code in proposal.codes.items()} == {"a": 2, "b": 2, "c": 1}
        assert proposal.states["b"] == pytest.approx(tuple(state["b"]))


def test_paper_has_nothing_that_the_paper_does_not_name():
    learner = make_learner("ma2ml_paper", SPEC, seed=3)
    told = tell_random(learner)
    assert told["updates"] == 8
    assert learner.critic.members == 1
    assert learner.critic.linear is None
    assert learner.weight == learner.config.lambda_
    assert {p.origin for p in learner.ask(12)} == {"policy"}


def test_shared_credit_is_one_number_for_all():
    learner = make_learner("ma2ml", SPEC, seed=3, credit="shared")
    tell_random(learner)
    joint, states = torch.zeros(6, 5, dtype=torch.int64), torch.randn(6, 3, 8)
    q = torch.arange(6.0)
    b = learner._baseline(q, joint, slice(0, 2), torch.zeros(2, 6, 2, dtype=torch.int64), states)
    assert b == pytest.approx(torch.full((6,), 2.5))


@pytest.mark.parametrize("bad", [{"credit": "all"}, {"tau": 0.0}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        make_learner("ma2ml", SPEC, **bad)


def test_foreign_trials_without_states_teach_a_single_agent():
    learner = make_learner("single_agent", SPEC, seed=3)
    codes = {"a": (0, 1), "b": (2, 1), "c": (2,)}
    told = learner.tell([Trial(0, 0, Proposal(codes), Outcome(accuracy=0.5), 0.5)])
    assert told["reward"] == 0.5
