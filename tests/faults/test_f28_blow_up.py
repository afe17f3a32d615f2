"""F28: rewards that no network can bear. The learner goes back to where it stood, says so, and goes on."""

import logging
import math
from itertools import count

import numpy as np
import pytest
import torch
from parts import Light, make_game, result, run

from ma2ml_agents.registry import learner_names, make_learner
from ma2ml_agents.run.guard import ROLLED_BACK, tell
from ma2ml_env.trial import GameSpec, Outcome, Trial

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of the overflow that is provoked
SPEC = GameSpec({"a": (2, 3), "b": (4,)})
REWARDS = {
    "constant": lambda i: 0.5,
    "zero": lambda i: 0.0,
    "alternating": lambda i: float(i % 2),
    "large": lambda i: 1e4 * (i % 7),
    "huge": lambda i: 1e30 * (i % 3),
    "opposite": lambda i: 1e300 * (-1) ** i,
    "largest": lambda i: 1.7e308 * (-1) ** i,
}
BEARABLE = ("constant", "zero", "alternating", "large")


def numbers(state):
    """All floats of a state, its arrays and its tensors."""
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, (list, tuple)):
        return [number for item in state for number in numbers(item)]
    if isinstance(state, torch.Tensor):
        state = state.numpy()
    return np.asarray(state).ravel().tolist() if isinstance(state, (np.ndarray, np.floating, float)) else []


def play(learner, reward, batches, tell=tell):
    """What each batch's `tell` measured."""
    numbered = count()
    for _ in range(batches):
        proposals = learner.ask(6)
        assert all(math.isfinite(x) for p in proposals for x in (p.log_probs or {}).values())
        yield tell(learner, [Trial(n := next(numbered), 0, p, Outcome(), reward(n)) for p in proposals])


@pytest.mark.parametrize(
    "rewards", [r if r in ("alternating", "largest") else pytest.param(r, marks=pytest.mark.slow) for r in REWARDS]
)
@pytest.mark.parametrize("name", learner_names())
def test_f28_parameters_and_proposals_stay_finite(name, rewards):
    learner = make_learner(name, SPEC)
    for metrics in play(learner, REWARDS[rewards], 2):
        assert all(map(math.isfinite, metrics.values()))
        assert all(map(math.isfinite, numbers(learner.state_dict())))
        assert ROLLED_BACK not in metrics or rewards not in BEARABLE


@pytest.mark.parametrize("name", ["ma2ml_paper", "ma2ml_lite", "ppo", "mappo"])
def test_control_without_the_guard_they_do_not(name):
    learner = make_learner(name, SPEC)
    try:
        *_, metrics = play(learner, REWARDS["largest"], 3, tell=lambda learner, trials: learner.tell(trials))
    except (OverflowError, ValueError, AssertionError):  # it raises, or proposes with a probability that is none
        return
    assert not all(map(math.isfinite, [*metrics.values(), *numbers(learner.state_dict())]))


def test_f28_a_dropped_batch_leaves_no_trace_and_is_not_asked_again(caplog):
    told, other = (make_learner("ma2ml_paper", SPEC, targets="raw") for _ in range(2))
    with caplog.at_level(logging.WARNING):
        (metrics,) = play(told, REWARDS["largest"], 1)
    assert metrics[ROLLED_BACK] == 1.0
    assert "the learner blew up (" in caplog.text
    assert "critic_loss" in caplog.text
    assert "of trials 0 to 5" in caplog.text
    first = other.ask(6)
    second = other.ask(6)  # of one that was told nothing
    assert told.ask(6) == second != first


class Fuse(Light):
    """Blows up when it is told of trial 6; a rollback of it is what `Light` would not have learned."""

    def tell(self, trials):
        metrics = super().tell(trials)
        if any(trial.number == 6 for trial in trials):
            return {**metrics, "loss": math.nan}
        return metrics


def test_f28_a_run_goes_on_and_a_resumed_one_ends_the_same(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("parts.Light", Fuse)
    heard = []

    class Listen:
        def on_start(self, budget, trials): ...
        def on_outcome(self, number, outcome): ...
        def on_batch(self, batch, trials, metrics):
            heard.append((ROLLED_BACK in metrics, "loss" in metrics))

    class Cut(Listen):
        def on_outcome(self, number, outcome):
            if number == 12:
                raise KeyboardInterrupt

    run(tmp_path / "calm", budget=20, callbacks=[Listen()])
    assert heard == [(False, False), (True, False), (False, False), (False, False)]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", budget=20, callbacks=[Cut()])
    run(tmp_path / "cut", budget=20)
    assert result(tmp_path / "cut") == result(tmp_path / "calm")
    assert len(result(tmp_path / "calm")[0]) == 20  # all trials are kept


def test_f28_an_error_of_a_sound_learner_is_not_hidden():
    class Broken(Light):
        def tell(self, trials):
            raise ValueError("a bug")

    learner = Broken(make_game().spec)
    with pytest.raises(ValueError, match="a bug"):
        list(play(learner, REWARDS["constant"], 1))


def test_f28_a_learner_without_a_state_is_told_as_it_is():
    class Bare:
        def tell(self, trials):
            return {"told": float(len(trials))}

    trials = [Trial(n, 0, p, Outcome(), 0.5) for n, p in enumerate(make_learner("random", SPEC).ask(3))]
    assert tell(Bare(), trials) == {"told": 3.0}


def test_f28_a_matrix_without_a_factor_is_a_blow_up():
    learner = make_learner("hybrid", SPEC, policy_settings={"targets": "raw"})
    seen = list(play(learner, REWARDS["largest"], 2))
    assert any(ROLLED_BACK in metrics for metrics in seen)
    assert all(map(math.isfinite, numbers(learner.state_dict())))


def test_f28_an_error_of_the_learner_itself_is_not_hidden():
    class Broken:
        def state_dict(self):
            return {"number": 1.0}

        def tell(self, trials):
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        tell(Broken(), [])
