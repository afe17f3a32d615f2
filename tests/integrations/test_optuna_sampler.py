"""MA2MLSampler: Optuna's own tests of samplers where they apply, and what it adds to them."""

import json
import math
import os
import pickle
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

optuna = pytest.importorskip("optuna", reason="Optuna is not installed (extra optuna)")
cases = pytest.importorskip("optuna.testing.pytest_samplers", reason="this Optuna has no tests of samplers")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402
from optuna.samplers import BaseSampler  # noqa: E402

from ma2ml_agents.optuna_sampler import MA2MLSampler, _Parameter  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Choices for a categorical distribution:UserWarning"),
]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


@pytest.mark.slow
class TestBasic(cases.BasicSamplerTestCase):
    """One exception: a range that changes is refused."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: MA2MLSampler(seed=0, batch=2)

    def test_dynamic_range_objective(self, sampler):
        with pytest.raises(ValueError, match="from the same range"):
            super().test_dynamic_range_objective(sampler, 20, 30)


@pytest.mark.slow
class TestRelative(cases.RelativeSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: MA2MLSampler(seed=0, batch=2)


class TestSingle(cases.SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: MA2MLSampler(seed=0)


def objective(trial):
    """Best at name b, count 3, rate .1, share .5: 4."""
    name = trial.suggest_categorical("aug.name", ["a", "b", "c"])
    count = trial.suggest_int("nas.count", 1, 5)
    rate = trial.suggest_float("hpo.rate", 1e-4, 1.0, log=True)
    share = trial.suggest_float("hpo.share", 0.0, 1.0)
    return (name == "b") + 1 - abs(count - 3) / 2 + 1 - abs(np.log10(rate) + 1) / 3 + 1 - abs(share - 0.5)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("learner", ["ma2ml_exact", "evolution"])
def test_it_learns_in_both_directions(direction, learner):
    sign = 1 if direction == "maximize" else -1
    study = optuna.create_study(direction=direction, sampler=MA2MLSampler(learner, seed=0))
    study.optimize(lambda trial: sign * objective(trial), n_trials=80)
    values = [sign * trial.value for trial in study.trials]
    assert np.mean(values[-16:]) > np.mean(values[:16]) + 0.5
    assert sign * study.best_value > 3.6


def test_agents_come_from_names_or_a_mapping():
    for agents, wanted in (
        (".", {"aug": 1, "nas": 1, "hpo": 2}),
        ({"aug.name": "one", "nas.count": "one"}, {"one": 2, "all": 2}),
        ("", {"all": 4}),
    ):
        sampler = MA2MLSampler(seed=0, agents=agents)
        optuna.create_study(sampler=sampler).optimize(objective, n_trials=2)
        assert {agent: len(own) for agent, own in sampler._owned.items()} == wanted
    spec = sampler._learner.joint.spec
    assert spec.nvec == {"all": (3, 5)}
    assert spec.ordered == {"all": (False, True)}
    assert spec.intervals == {"all": 2}


@pytest.mark.parametrize(
    "distribution",
    [
        CategoricalDistribution(["a", 1, None]), IntDistribution(-3, 7), IntDistribution(0, 30, step=3),
        IntDistribution(1, 1000), IntDistribution(1, 4096, log=True), FloatDistribution(-2, 3),
        FloatDistribution(1e-5, 10, log=True), FloatDistribution(0, 1, step=0.1), FloatDistribution(0, 100, step=0.5),
        FloatDistribution(0, 0.3, step=0.1), FloatDistribution(0, 0.7, step=0.1),
    ],
    ids=str,
)  # fmt: skip
def test_every_place_is_a_value_and_back(distribution):
    parameter = _Parameter("x", distribution)
    places = range(parameter.choices) if parameter.choices else np.linspace(0, 1, 257)
    for place in places:
        value = parameter.value(place)
        assert distribution._contains(distribution.to_internal_repr(value)), value
        again = parameter.place(value)
        assert parameter.value(again) == (pytest.approx(value) if isinstance(value, float) else value)
    if isinstance(distribution, IntDistribution) and distribution.high <= 1000:
        found = {parameter.value(place) for place in (places if parameter.choices else np.linspace(0, 1, 9001))}
        assert found == set(range(distribution.low, distribution.high + 1, distribution.step)), "each has its share"


def test_a_parameter_that_is_not_in_all_trials_is_refused_by_name():
    def conditional(trial):
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            return trial.suggest_float("x", 0, 1)
        return trial.suggest_float("y", 0, 1)

    with pytest.raises(
        ValueError, match=r"parameter '[xy]' is .* in trial \d+ and .* suggest all parameters in every trial"
    ):
        optuna.create_study(sampler=MA2MLSampler(seed=0)).optimize(conditional, n_trials=20)
    study = optuna.create_study(sampler=MA2MLSampler(seed=0))
    with pytest.raises(ValueError, match=r"parameter 'x' is FloatDistribution.*same range"):
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1 + trial.number), n_trials=3)


def test_failed_and_pruned_trials_are_told_and_the_worst_is_what_they_count():
    sampler = MA2MLSampler("evolution", seed=0, batch=2, search_space={"x": IntDistribution(0, 9)})
    study, told = optuna.create_study(direction="maximize", sampler=sampler), []

    def play(trial):
        x = trial.suggest_int("x", 0, 9)
        if trial.number == 1:
            raise RuntimeError("a training that crashes")
        if trial.number in (2, 3):
            if trial.number == 3:
                trial.report(7.0, 1)
            raise optuna.TrialPruned
        return float(x)

    study.optimize(play, n_trials=1)
    tell = sampler._learner.tell
    sampler._learner.tell = lambda trials: told.extend(trials) or tell(trials)
    study.optimize(play, n_trials=6, catch=RuntimeError)
    rewards = {trial.number: trial.reward for trial in told}
    assert rewards[1] == rewards[2] == min(rewards[0], 7.0)  # the worst of what was known then
    assert rewards[3] == 7.0
    assert {t.number: t.outcome.status for t in told if t.number < 4} == {0: "ok", 1: "failed", 2: "failed", 3: "ok"}


def test_what_somebody_else_decided_is_told_as_it_was():
    sampler = MA2MLSampler("evolution", seed=0, batch=2)
    study, told = optuna.create_study(direction="maximize", sampler=sampler), []
    study.optimize(objective, n_trials=2)
    tell = sampler._learner.tell
    sampler._learner.tell = lambda trials: told.extend(trials) or tell(trials)
    study.enqueue_trial({"aug.name": "b", "nas.count": 3, "hpo.rate": 0.1, "hpo.share": 0.5})
    study.optimize(objective, n_trials=6)
    (best,) = [trial for trial in told if trial.reward > 3.99]
    assert best.proposal.codes["aug"] == (1,)
    assert best.proposal.codes["nas"] == (2,)
    assert best.proposal.codes["hpo"] == pytest.approx((0.75, 0.5))


@pytest.mark.slow
def test_a_loaded_study_goes_on(tmp_path):
    """The learner of the second process is told all of the first one's trials."""
    storage = f"sqlite:///{tmp_path / 's.db'}"
    study = optuna.create_study(direction="maximize", storage=storage, study_name="s", sampler=MA2MLSampler(seed=0))
    study.optimize(objective, n_trials=40)
    sampler = MA2MLSampler(seed=1)
    again = optuna.load_study(study_name="s", storage=storage, sampler=sampler)
    again.optimize(objective, n_trials=16)
    assert len(sampler._told) >= 40
    values = [trial.value for trial in again.trials]
    assert np.mean(values[40:]) > np.mean(values[:16]) + 0.5


def test_threads_take_proposals_of_one_learner_each_its_own():
    sampler = MA2MLSampler("random", seed=0, batch=8, search_space={"x": FloatDistribution(0, 1)})
    study, seen = optuna.create_study(sampler=sampler), []
    lock = threading.Lock()

    def play(trial):
        with lock:
            seen.append(trial.suggest_float("x", 0, 1))
        return 0.0

    made = []
    begin = sampler._begin
    sampler._begin = lambda space: made.append(space) or begin(space)
    study.optimize(play, n_trials=32, n_jobs=4)
    assert len(set(seen)) == 32
    assert len(made) == 1, "Optuna reseeds the sampler before each trial of a thread"


def test_a_forked_process_has_another_learner(monkeypatch):
    sampler = MA2MLSampler("random", seed=0, search_space={"x": FloatDistribution(0, 1)})
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    seed, waiting = sampler._seed, len(sampler._waiting)
    sampler.reseed_rng()
    assert (sampler._seed, len(sampler._waiting)) == (seed, waiting)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    sampler.reseed_rng()
    assert sampler._seed != seed
    assert not sampler._waiting


def test_another_study_has_another_learner():
    sampler = MA2MLSampler("evolution", seed=0, search_space={"x": FloatDistribution(0, 1)})
    for direction, best in (("maximize", 1.0), ("minimize", 0.0)):
        study = optuna.create_study(direction=direction, sampler=sampler)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=60)
        assert abs(np.mean([trial.value for trial in study.trials[30:]]) - best) < 0.3, direction


def test_what_lies_outside_the_space_is_left_out_and_infinite_values_have_a_side():
    space = {"x": IntDistribution(0, 9), "y": CategoricalDistribution(["a", "b"])}
    sampler = MA2MLSampler("random", seed=0, batch=2, search_space=space)
    study, told = optuna.create_study(sampler=sampler), []
    wide = {"x": IntDistribution(0, 99), "y": CategoricalDistribution(["a", "b", "c"])}
    values = [
        ({"x": 50, "y": "a"}, 9.0),
        ({"x": 5, "y": "c"}, 9.0),
        ({"x": 5, "y": "a"}, 3.0),
        ({"x": 7, "y": "b"}, 1.0),
    ]
    values += [({"x": 1, "y": "a"}, -math.inf), ({"x": 2, "y": "a"}, math.inf)]
    for params, value in values:
        study.add_trial(optuna.trial.create_trial(params=params, distributions=wide, value=value))
    sampler._begin(space)
    sampler._learner.tell = lambda trials: told.extend(trials)
    sampler._tell(study)
    assert {trial.number: trial.reward for trial in told} == {2: -3.0, 3: -1.0, 4: -1.0, 5: -3.0}
    assert [trial.number for trial in told if trial.outcome.status == "failed"] == [5]


def test_a_pickled_sampler_goes_on():
    sampler = MA2MLSampler("evolution", seed=0, batch=2)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=6)
    study.sampler = pickle.loads(pickle.dumps(sampler))
    study.optimize(objective, n_trials=6)
    assert len(study.sampler._told) > len(sampler._told)


def test_equal_seeds_propose_equally():
    def played(seed):
        study = optuna.create_study(direction="maximize", sampler=MA2MLSampler(seed=seed))
        study.optimize(objective, n_trials=20)
        return json.dumps([trial.params for trial in study.trials])

    assert played(3) == played(3)
    assert played(3) != played(4)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="batch is at least 1"):
        MA2MLSampler(batch=0)
    study = optuna.create_study(sampler=MA2MLSampler("hibrid", search_space={"x": IntDistribution(0, 3)}))
    with pytest.raises(ValueError, match="did you mean 'hybrid'"):
        study.optimize(lambda trial: trial.suggest_int("x", 0, 3), n_trials=1)
    study = optuna.create_study(sampler=MA2MLSampler("tpe", search_space={"x": FloatDistribution(0, 3)}))
    with pytest.raises(ValueError, match="takes decisions alone"):
        study.optimize(lambda trial: trial.suggest_float("x", 0, 3), n_trials=1)
