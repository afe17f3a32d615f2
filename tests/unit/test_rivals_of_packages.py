"""Rivals whose models are those of other packages: Optuna, SMAC3, cmaes."""

import copy
import logging.handlers
import sys

import numpy as np
import pytest

from ma2ml_agents.baselines.catcma import CatCMA
from ma2ml_agents.baselines.gp_sampler import GPSampler
from ma2ml_agents.baselines.tpe import TPE
from ma2ml_agents.registry import make_learner
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial
from tests.unit.telling import SMALL, WIDE, made, ones, row, told, zeros

# ---- tpe -------------------------------------------------------------------------------------------------------------


def test_tpe_learns_after_its_random_start() -> None:
    learner = TPE(WIDE, TPE.Config(startup=48), seed=0)
    start = [learner.ask(24), learner.ask(24)]
    for proposals in start:
        told(learner, proposals)
    for _ in range(3):
        last = learner.ask(24)
        told(learner, last)
    assert ones(last) > ones(start[0] + start[1]) + 0.15


def test_a_resumed_tpe_proposes_the_same_and_its_state_is_what_was_told() -> None:
    learner = TPE(SMALL, TPE.Config(startup=8), seed=0)
    for _ in range(3):
        told(learner, learner.ask(8))
    learner.ask(8)  # never told, as in a run that is killed here
    state = copy.deepcopy(learner.state_dict())
    assert set(state) == {"memory", "generator"}
    other = TPE(SMALL, TPE.Config(startup=8), seed=9)
    other.load_state_dict(state)
    again = learner.ask(8)
    assert other.ask(8) == again
    untaught = TPE(SMALL, TPE.Config(startup=8), seed=9)  # control: the random state alone is not enough
    untaught.generator.set_state(state["generator"])
    assert untaught.ask(8) != again


def test_a_batch_knows_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constant liar: each trial of a batch is running while the next ones are drawn; what is never told is forgotten."""
    learner, studies = TPE(WIDE, TPE.Config(startup=24), seed=0), []
    make = learner._study
    monkeypatch.setattr(learner, "_study", lambda: studies.append(make()) or studies[-1])
    told(learner, learner.ask(24))
    learner.ask(3)
    learner.ask(5)
    states = [[trial.state.name for trial in study.trials] for study in studies]
    assert states == [["RUNNING"] * 24, ["COMPLETE"] * 24 + ["RUNNING"] * 3, ["COMPLETE"] * 24 + ["RUNNING"] * 5]


def test_tpe_sees_the_best_and_others_old_and_new() -> None:
    learner = TPE(WIDE, TPE.Config(others=4), seed=0)
    crowd, values = learner.moves.uniform(100), [*range(50), *range(100, 50, -1)]  # the best are in the middle
    learner.tell([made(WIDE, code, value) for code, value in zip(crowd, values, strict=True)])
    with learner._quiet():
        study = learner._study()
    rows = [0, 24, 49, *range(50, 75), 99]
    assert [trial.value for trial in study.trials] == [values[row] for row in rows]
    assert [tuple(trial.params.values()) for trial in study.trials] == [tuple(crowd[row]) for row in rows]
    for all_of_them in (0, 75, 200):
        learner.config = TPE.Config(others=all_of_them)
        assert learner.seen() == list(range(100))


def test_tpe_shows_ordered_decisions_as_integers() -> None:
    spec = GameSpec({"a": (4, 5), "b": (6,)}, ordered={"a": (False, True), "b": (True,)})
    shown = [type(each).__name__ for each in TPE(spec, seed=0).space.values()]
    assert shown == ["CategoricalDistribution", "IntDistribution", "IntDistribution"]
    unordered = TPE(spec, TPE.Config(order=False), seed=0).space.values()
    assert {type(each).__name__ for each in unordered} == {"CategoricalDistribution"}
    learner = TPE(spec, TPE.Config(startup=4), seed=0)
    for _ in range(3):  # near ones are alike: the highest is worth most
        proposals = learner.ask(8)
        told = [0.1 * (p.codes["a"][1] + p.codes["b"][0]) for p in proposals]
        learner.tell(
            [Trial(i, i, p, Outcome(accuracy=r), r) for i, (p, r) in enumerate(zip(proposals, told, strict=True))]
        )
    assert np.mean([p.codes["b"][0] for p in learner.ask(8)]) > 3.0


def test_tpe_is_quiet_and_leaves_what_others_set() -> None:
    import optuna

    heard = logging.handlers.MemoryHandler(1000)
    logging.getLogger("optuna").addHandler(heard)
    before, numpys = optuna.logging.get_verbosity(), np.random.get_state()[1].tolist()  # noqa: NPY002
    learner = TPE(WIDE, seed=0)
    for _ in range(2):
        told(learner, learner.ask(24))
    assert optuna.logging.get_verbosity() == before == optuna.logging.INFO
    assert np.random.get_state()[1].tolist() == numpys  # noqa: NPY002
    assert not heard.buffer
    optuna.create_study()  # control: this one is heard
    logging.getLogger("optuna").removeHandler(heard)
    assert "A new study" in heard.buffer[0].getMessage()


@pytest.mark.parametrize(("name", "package"), [("tpe", "optuna"), ("gp_sampler", "optuna"), ("catcma", "cmaes")])
def test_without_its_package_the_error_names_the_extra(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = "catcma" if name == "catcma" else package
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"'{name}' needs {package}.*ma2ml\[{extra}\]"):
        make_learner(name, WIDE)


def test_without_smac_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smac", None)
    with pytest.raises(ImportError, match=r"'smac' needs smac: pip install 'ma2ml\[smac\]'"):
        make_learner("smac", WIDE)


# ---- the models of others --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gp_sampler", "smac"])
def test_a_model_learns_after_its_random_start(name: str) -> None:
    learner = make_learner(name, GameSpec({"a": (4,) * 4, "b": (3,) * 2}), seed=0, **{START[name]: 12})
    first, rounds = learner.ask(12), list[list[Proposal]]()
    told(learner, first)
    for _ in range(4):
        rounds.append(learner.ask(8))
        told(learner, rounds[-1])
    assert ones(rounds[-2] + rounds[-1]) > ones(first) + 0.15
    assert len({row(p) for p in rounds[-1]}) == 8, "each knows of those before it"


START = {"gp_sampler": "startup", "smac": "start"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smac"])
def test_all_of_a_batch_is_the_forests(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own ask of a batch fills up at random; here fits follow each other, with what is pending."""
    learner = make_learner(name, WIDE, seed=0, at_once=5, challengers=200, searches=4)
    told(learner, learner.ask(24))
    rounds, best = [], learner._best
    monkeypatch.setattr(
        learner, "_best", lambda trials, costs, n: rounds.append((len(trials), n)) or best(trials, costs, n)
    )
    proposals = learner.ask(12)
    assert rounds[0] == (24, 5)
    assert [n for n, _ in rounds] == sorted({n for n, _ in rounds}), "what was proposed is pending"
    assert len({row(p) for p in proposals}) == 12


def test_catcma_draws_by_the_states_and_moves_by_what_was_drawn() -> None:
    spec = GameSpec({"a": (9, 2), "b": (6, 1)}, ordered={"a": (True, True), "b": (False, False)})
    learner = CatCMA(spec, CatCMA.Config(population=8, distinct=False), seed=0)
    assert learner._integers.tolist() == [0]
    assert learner._names.tolist() == [1, 2]  # two choices in order are names as well, one choice is none
    states = [{agent: np.full(8, k, dtype=np.float32) for agent in spec.nvec} for k in range(8)]
    proposals = learner.ask(8, states)
    assert [p.codes for p in learner.ask(8, states)] == [p.codes for p in proposals]
    told, solutions = learner._distribution.tell, []
    learner._distribution.tell = lambda batch: solutions.extend(batch) or told(batch)
    high = [p.codes["a"][0] / 8 for p in proposals]
    learner.tell([Trial(k, k, p, Outcome(), r) for k, (p, r) in enumerate(zip(proposals, high, strict=True))])
    raw = [float(solution._v_raw[0]) for solution, _ in solutions]
    assert len(raw) == 8
    assert any(abs(v - round(v)) > 1e-6 for v in raw), "the numbers that were drawn, not the choices they fell on"
    assert [round(min(max(v, 0), 8)) for v, (s, _) in zip(raw, solutions, strict=True)] == [
        s.z[0] for s, _ in solutions
    ]
    assert learner._distribution._mean[0] > 4.0  # it moved to where rewards are high


def test_catcma_takes_a_trial_that_it_did_not_draw_as_its_choices() -> None:
    spec = GameSpec({"a": (9, 4)}, ordered={"a": (True, False)})
    learner = CatCMA(spec, CatCMA.Config(population=4), seed=0)
    solution = learner._solution(np.array([7, 3]), key=-1 % 2**32)
    assert solution._v_raw.tolist() == solution.z.tolist() == [7.0]
    assert solution.c.tolist() == [[False, False, False, True]]
    learner.tell([made(spec, (7, 3), 1.0)] * 3)
    assert learner._distribution.generation == 0  # a population is not whole yet
    learner.tell([made(spec, (7, 3), 1.0)])
    assert learner._distribution.generation == 1


def test_a_game_of_single_choices_is_no_trouble() -> None:
    for name in ("catcma", "trust_region", "tpe"):
        learner = make_learner(name, GameSpec({"a": (1, 1)}), seed=0)
        for _ in range(2):
            learner.tell(zeros(learner.ask(24), 0.5))
        assert [row(p) for p in learner.ask(2)] == [(0, 0)] * 2


def test_gp_sampler_shows_order_too() -> None:
    spec = GameSpec({"a": (4, 5)}, ordered={"a": (False, True)})
    shown = [type(each).__name__ for each in GPSampler(spec, seed=0).space.values()]
    assert shown == ["CategoricalDistribution", "IntDistribution"]
