import json
import math

import numpy as np
import pytest

from ma2ml_env.recipe import Operation, Recipe, Spec
from ma2ml_env.trial import Outcome, Proposal, Trial, trial_seed, trial_seeds


def test_trial_survives_json():
    proposal = Proposal({"a": (1, 2)}, {"a": (float(np.float32(0.1)), -1e-30)}, {"a": -math.pi}, "mutation")
    trial = Trial(3, 2**62 + 1, proposal, Outcome(accuracy=1 / 3, metrics={"x": 0.1}), 0.25)
    assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial


@pytest.mark.parametrize(
    "bad",
    [{"status": "fine"}, {"error": "OOPS"}, {"accuracy": math.nan}, {"accuracy": 1.5}, {"accuracy": -0.1}, {"flops": -1},
     {"status": "failed", "accuracy": 0.5}, {"metrics": {"loss": math.inf}}, {"test_accuracy": 1.5},
     {"test_accuracy": math.nan}, {"rungs": (0.5, 2.0)}, {"batch_end": -1}, {"curve": {0: 0.5}}, {"curve": {1: 1.5}},
     {"curve": {1: math.nan}}],
)  # fmt: skip
def test_outcomes_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=r"."):
        Outcome(**bad)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(),
        Outcome(accuracy=0.5, cached=True, seconds=0.0, attempts=0),
        Outcome(
            accuracy=0.5, test_accuracy=0.25, rungs=(0.25, 0.5), batch_end=24, metrics={"rung_1": 0.1, "cached": 1.0}
        ),
        Outcome(accuracy=0.5, curve={1: 0.25, 20: 0.5}),
    ],
)
def test_outcomes_survive_json(outcome):
    """Names that were once the project's own among the metrics are a user's now."""
    again = Outcome.from_json(json.loads(json.dumps(outcome.to_json())))
    assert again == outcome
    assert type(again.rungs) is tuple


def test_outcomes_of_before_their_fields_are_read():
    """What 0.1.0 kept among the metrics; and a number of a user's beside it."""
    metrics = {"cached": 1.0, "test_accuracy": 0.25, "rung_1": 0.1, "rung_2": 0.2, "batch_end": 24.0, "mine": 3.0}
    old = {"status": "ok", "accuracy": 0.5, "flops": 3, "params": 2, "seconds": 0.0, "fidelity": 0.5, "attempts": 0,
           "error": "", "metrics": metrics, "note": ""}  # fmt: skip
    outcome = Outcome.from_json(old)
    assert (outcome.cached, outcome.test_accuracy, outcome.rungs, outcome.batch_end) == (True, 0.25, (0.1, 0.2), 24)
    assert outcome.metrics == {"mine": 3.0}
    plain = Outcome.from_json({**old, "metrics": {"train_loss": 1.0}})
    assert plain == Outcome(accuracy=0.5, flops=3, params=2, fidelity=0.5, attempts=0, metrics={"train_loss": 1.0})


@pytest.mark.parametrize(
    "bad",
    [{"rungs": ["a"]}, {"rungs": 0.5}, {"rungs": {"a": 1}}, {"test_accuracy": "0.5"}, {"test_accuracy": []}, {"cached": 1.0},
     {"batch_end": None}, {"metrics": None}, {"curve": [0.5]}, {"curve": {"1": "a"}}, {"curve": {"first": 0.5}}],
)  # fmt: skip
def test_fields_of_another_kind_are_refused(bad):
    with pytest.raises(ValueError, match=r"field|finite|epochs"):
        Outcome.from_json({**Outcome().to_json(), **bad})


@pytest.mark.parametrize("data", [{}, {"number": 1}, {"codes": 3}, {"surprise": 1}])
def test_foreign_json_is_refused(data):
    for kind in (Trial, Proposal):
        with pytest.raises(ValueError, match="not a"):
            kind.from_json(data)
    if data:
        with pytest.raises(ValueError, match="not"):
            Outcome.from_json(data)
        with pytest.raises(ValueError, match="not fields of a recipe"):
            Recipe.from_json(data)


def test_trial_seeds_are_a_function_of_seed_and_number():
    assert trial_seeds(9, 5, 4).tolist() == [trial_seed(9, 5 + i) for i in range(4)]
    seeds = {trial_seed(s, n) for s in range(-50, 50) for n in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= s < 2**63 for s in seeds)
    bits = np.array([[trial_seed(0, n) >> b & 1 for b in range(63)] for n in range(4000)])
    assert abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / math.sqrt(4000)  # five standard errors


def test_recipe_survives_json_and_keeps_its_key():
    recipe = Recipe(augment=((Operation("rotate", 0.3, 2),), ()), loss=Spec("cross_entropy", {"label_smoothing": 0.1}))
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.key == recipe.key
    assert isinstance(again.augment[0][0], Operation)


def test_keys_tell_recipes_apart():
    base = Recipe()
    others = [
        base.with_slots(learning_rate=0.1),
        base.with_slots(flip=False),
        base.with_slots(network=base.network.with_args(filters=20)),
    ]
    assert len({base.key, *(other.key for other in others)}) == 4
    assert others[0].network_key == base.network_key != others[2].network_key
    assert Spec("a", {"x": 1, "y": 2}) == Spec("a", {"y": 2, "x": 1})


def test_key_is_the_same_in_every_process():
    # A constant: it changes only with the content of the default recipe, and then deliberately.
    assert Recipe().key == "5fdfe986e795fcfc93651e03e733d10a"


def test_with_slots_is_replace_and_forgets_the_key():
    base = Recipe()
    assert base.key != base.with_slots(warmup=0.5).key
    with pytest.raises(TypeError, match="learning"):
        base.with_slots(learning=1)


@pytest.mark.parametrize(
    "data",
    [{"network": "nasnet"}, {"network": {"kind": "nasnet"}}, {"augment": [[["rotate", 0.5, 1, 2]]]}, {"augment": 3}],
)
def test_recipes_of_the_wrong_shape_are_refused(data):
    with pytest.raises(ValueError, match="recipe field"):
        Recipe.from_json(data)
