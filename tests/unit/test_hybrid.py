"""The hybrid: who learns inside, and what is whose."""

from dataclasses import asdict

import pytest
import torch

from ma2ml_agents import make_learner
from ma2ml_agents.hybrid import Hybrid, HybridConfig
from ma2ml_agents.hybrid.config import POLICIES
from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.registry import LEARNERS, learner_class, learner_title, registry_name
from ma2ml_agents.variants.entropy import EntropyConfig
from ma2ml_env.trial import GameSpec, Outcome, Trial

SPEC = GameSpec({"a": (4, 3), "b": (5, 2), "c": (3,)})


def taught(learner, batches=2, batch=12):
    for first in range(0, batches * batch, batch):
        trials = []
        for number, p in enumerate(learner.ask(batch), first):
            reward = sum(c == 1 for code in p.codes.values() for c in code) / 5
            trials.append(Trial(number, number, p, Outcome(accuracy=reward), reward))
        learner.tell(trials)
    return learner


@pytest.mark.parametrize("policies", POLICIES)
def test_the_policies_inside_learn_from_every_trial(policies):
    learner = make_learner("hybrid", SPEC, seed=1, policies=policies, policy_settings={"updates": 2})
    before = [p.clone() for actor in learner.inner.actors.values() for p in actor.policy.parameters()]
    taught(learner)
    assert type(learner.inner) is POLICIES[policies]
    assert len(learner.inner.replay) == 24
    after = [p for actor in learner.inner.actors.values() for p in actor.policy.parameters()]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_defaults_of_the_policies_are_filled_in():
    assert HybridConfig().policy_settings == asdict(MA2MLConfig())
    assert HybridConfig(policies="entropy").policy_settings == asdict(EntropyConfig())
    assert HybridConfig(policy_settings={"tau": 0.5}).policy_settings == asdict(MA2MLConfig(tau=0.5))
    again = HybridConfig(**asdict(HybridConfig(policies="entropy", policy_settings={"samples": 2})))
    assert again.policy_settings["samples"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policies": "evolution"}, "ma2ml, entropy, single_agent"),
        ({"policy_settings": {"tua": 0.1}}, "did you mean 'tau'"),
        ({"policy_settings": {"tau": "fast"}}, "'tau' is a number"),
        ({"policy_settings": {"tau": 0.0}}, "tau lies in"),
        ({"policy_settings": 3}, "policy_settings"),
        ({"lambda_": 0.1}, "no setting 'lambda_'"),
        ({"mutant_share": -0.1}, "mutant_share"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_learner("hybrid", SPEC, **settings)


@pytest.mark.slow
def test_no_method_of_the_paper_carries_an_exact_critic():
    assert "behaviour" in taught(make_learner("hybrid", SPEC)).state_dict()
    for name in ("ma2ml", "ma2ml_paper", "on_policy", "entropy", "single_agent"):
        state = taught(make_learner(name, SPEC)).state_dict()
        assert set(state) == {"actors", "critic", "critic_optimizer", "replay", "generator"}
        assert {p.origin for p in make_learner(name, SPEC).ask(6)} <= {"policy", "redraw"}


def test_the_registry_knows_the_name_of_a_class():
    assert registry_name(Hybrid) == "hybrid"
    for name in LEARNERS:
        assert registry_name(learner_class(name)) == name
        assert 10 < len(learner_title(name)) < 130

    class Mine:
        """Mine."""

    assert registry_name(Mine) == f"{__name__}.{Mine.__qualname__}"
