"""What makes each rival itself."""

import copy
import logging.handlers
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ma2ml_agents.baselines.catcma import CatCMA
from ma2ml_agents.baselines.evolution import Evolution, EvolutionConfig
from ma2ml_agents.baselines.gp_sampler import GPSampler
from ma2ml_agents.baselines.local_search import LocalSearch
from ma2ml_agents.baselines.moves import Moves
from ma2ml_agents.baselines.predictor import ACQUISITIONS, Predictor, PredictorConfig, in_turn
from ma2ml_agents.baselines.tpe import TPE
from ma2ml_agents.baselines.trust_region import TrustRegion
from ma2ml_agents.learner import Learner
from ma2ml_agents.registry import make_learner
from ma2ml_agents.saving import seeded
from ma2ml_env.trial import Code, GameSpec, Outcome, Proposal, Trial

WIDE = GameSpec({"a": (6,) * 8, "b": (5,) * 4})
SMALL = GameSpec({"a": (3,), "b": (4, 1)})
RIVALS = ("evolution", "local_search", "predictor", "tpe", "trust_region", "catcma", "gp_sampler", "smac")


def row(proposal: Proposal) -> Code:
    return tuple(c for code in proposal.codes.values() for c in code)


def made(spec: GameSpec, code: Sequence[int], reward: float) -> Trial:
    values, codes = iter(code), {}
    for agent, nvec in spec.nvec.items():
        codes[agent] = tuple(next(values) for _ in nvec)
    return Trial(0, 0, Proposal(codes), Outcome(), reward)


def zeros(proposals: Sequence[Proposal], reward: float = 0.0) -> list[Trial]:
    return [Trial(k, k, p, Outcome(), reward) for k, p in enumerate(proposals)]


def distance(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def told(learner: Learner, proposals: Sequence[Proposal]) -> list[Code]:
    """Tell the share of ones as reward; the codes told."""
    trials = [Trial(k, k, p, Outcome(), row(p).count(1) / len(row(p))) for k, p in enumerate(proposals)]
    learner.tell(trials)
    return [row(p) for p in proposals]


# ---- moves -----------------------------------------------------------------------------------------------------------


def test_mutations_change_one_decision_and_reach_every_other_choice() -> None:
    moves, start = Moves((3, 1, 4), seeded(0)), np.array([1, 0, 2])
    reached = {tuple(code.tolist()) for code in moves.mutated(np.tile(start, (400, 1)))}
    assert reached == {tuple(code.tolist()) for code in moves.neighbours(start)}
    assert len(reached) == 2 + 3
    assert all(distance(code, start) == 1 for code in reached)
    assert Moves((1, 1), seeded(0)).mutated(np.zeros((2, 2), dtype=np.int64)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("name", RIVALS)
def test_no_repeats_while_there_are_new_codes_and_no_hang_after(name: str) -> None:
    learner, seen = make_learner(name, SMALL, seed=0), set()
    for k in range(3):
        codes = told(learner, learner.ask(4))
        seen |= set(codes)
        assert len(seen) == 4 * (k + 1)
    assert len(learner.ask(24)) == 24  # of 12 codes, all known
    assert len(make_learner(name, SMALL).ask(24)) == 24


@pytest.mark.parametrize("name", RIVALS)
def test_asking_twice_and_for_more_than_was_told(name: str) -> None:
    learner = make_learner(name, WIDE, seed=0)
    first, second = learner.ask(24), learner.ask(24)
    assert [row(p) for p in first] != [row(p) for p in second]
    learner.tell(zeros(second[:1]))
    assert len(learner.ask(100)) == 100


@pytest.mark.parametrize("name", RIVALS)
def test_no_log_probs_are_made_up(name: str) -> None:
    assert all(p.log_probs is None for p in make_learner(name, WIDE).ask(3))


# ---- evolution -------------------------------------------------------------------------------------------------------


def test_the_first_p_are_random_then_children_of_the_told() -> None:
    learner = Evolution(WIDE, EvolutionConfig(population=30, sample=5))
    assert [p.origin for p in learner.ask(40)] == ["random"] * 40  # nothing told: nobody to mutate
    parents = told(learner, learner.ask(24))
    proposals = learner.ask(24)
    assert [p.origin for p in proposals] == ["random"] * 6 + ["mutation"] * 18
    assert all(min(distance(row(p), parent) for parent in parents) == 1 for p in proposals[6:])
    assert min(distance(row(p), parent) for p in proposals[:6] for parent in parents) > 1  # control


def test_the_oldest_die_however_good_they_are() -> None:
    """The best trial is a parent while it is among the newest P, and never after."""
    best = (1,) * 12
    config = EvolutionConfig(population=10, sample=200, distinct=False)  # S: the best is in every tournament
    learner = Evolution(WIDE, config)
    learner.tell([made(WIDE, best, 1.0)])
    crowd = learner.moves.uniform(10)
    for code in crowd[:9]:
        learner.tell([made(WIDE, code, 0.5)])
    assert all(distance(row(p), best) == 1 for p in learner.ask(20))
    learner.tell([made(WIDE, crowd[9], 0.5)])
    assert all(distance(row(p), best) > 1 for p in learner.ask(20))


def test_the_sample_selects() -> None:
    """With S = 1 a parent is anyone; with many it is the best of the population."""

    def children_of_the_best(sample: int) -> int:
        learner = Evolution(WIDE, EvolutionConfig(population=20, sample=sample, distinct=False))
        crowd = learner.moves.uniform(20)
        learner.tell([made(WIDE, code, k / 20) for k, code in enumerate(crowd)])
        return sum(distance(row(p), crowd[19]) == 1 for p in learner.ask(40))

    assert children_of_the_best(200) == 40
    assert children_of_the_best(1) < 10


def test_the_classic_form_repeats() -> None:
    def distinct(flag: bool) -> int:
        learner, seen = Evolution(SMALL, EvolutionConfig(population=4, sample=4, distinct=flag)), set()
        for _ in range(3):
            seen |= set(told(learner, learner.ask(4)))
        return len(seen)

    assert distinct(True) == 12
    assert distinct(False) < 11


# ---- local search ----------------------------------------------------------------------------------------------------


def test_local_search_visits_neighbours_of_the_best_of_a_batch() -> None:
    learner = LocalSearch(WIDE, seed=0)
    start = learner.ask(24)
    assert {p.origin for p in start} == {"random"}
    incumbent = max(told(learner, start), key=lambda code: code.count(1))
    for _ in range(5):
        proposals = learner.ask(24)
        assert all(distance(row(p), incumbent) == 1 for p in proposals)
        best = max(told(learner, proposals), key=lambda code: code.count(1))
        assert best.count(1) > incumbent.count(1)  # some of 24 of the 56 neighbours improve, in each of these batches
        incumbent = best


def test_local_search_stays_where_nothing_improves_and_restarts_when_all_is_tried() -> None:
    learner, peak = LocalSearch(WIDE, seed=0), (1,) * 12
    learner.tell([made(WIDE, peak, 1.0)])
    neighbours = 8 * 5 + 4 * 4
    seen = []
    while len(seen) < neighbours:
        proposals = learner.ask(14)
        seen += [row(p) for p in proposals]
        metrics = learner.tell(zeros(proposals))
        assert metrics["incumbent"] == 1.0
        assert metrics["restarts"] == (len(seen) == neighbours)
    assert len(set(seen)) == neighbours
    assert all(distance(code, peak) == 1 for code in seen)
    again = learner.ask(24)
    assert {p.origin for p in again} == {"random"}
    learner.tell(zeros(again, reward=0.3))  # worse than the peak, and yet the next start
    assert all(min(distance(row(p), row(a)) for a in again[:1]) == 1 for p in learner.ask(24))


def test_local_search_moves_to_a_better_foreign_trial() -> None:
    learner, foreign = LocalSearch(WIDE, seed=0), (2,) * 12
    told(learner, learner.ask(24))
    learner.tell([made(WIDE, foreign, 0.1)])  # worse: no move
    assert all(distance(row(p), foreign) > 1 for p in learner.ask(24))
    learner.tell([made(WIDE, foreign, 2.0)])
    assert all(distance(row(p), foreign) == 1 for p in learner.ask(24))


# ---- predictor -------------------------------------------------------------------------------------------------------


def ones(proposals: Sequence[Proposal]) -> float:
    return float(np.mean([row(p).count(1) / len(row(p)) for p in proposals]))


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_predicted_candidates_beat_random_mutations_of_the_best(acquisition: str) -> None:
    """After 96 random trials, over seeds 0 to 4: .66 to .89 of ones, against .29 to .36 in mutations of the best."""
    learner = Predictor(WIDE, PredictorConfig(start=96, acquisition=acquisition), seed=0)
    for _ in range(4):
        told(learner, learner.ask(24))
    best = learner.memory.codes[np.argsort(-learner.memory.rewards, kind="stable")[:24]]
    assert ones(learner.ask(24)) > (learner.moves.mutated(best) == 1).mean() + 0.2


def test_control_a_predictor_that_is_told_nothing_but_zeros_does_not() -> None:
    learner = Predictor(WIDE, PredictorConfig(start=96), seed=0)
    for _ in range(4):
        learner.tell(zeros(learner.ask(24)))
    assert ones(learner.ask(24)) < 0.35


def test_members_pick_in_turn() -> None:
    scores = np.array([[3.0, 2.0, 1.0, 0.0], [3.0, 1.0, 2.0, 0.0]], dtype=np.float32)
    assert in_turn(scores, 3) == [0, 2, 1]
    assert in_turn(scores[:1], 3) == [0, 1, 2]
    assert in_turn(scores, 9) == [0, 2, 1, 3]
    assert in_turn(scores[:, :0], 9) == []


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


# ---- trust region ----------------------------------------------------------------------------------------------------


def test_candidates_lie_in_the_region_about_its_best() -> None:
    learner = TrustRegion(WIDE, TrustRegion.Config(length=3, candidates=200), seed=0)
    codes = told(learner, learner.ask(24))
    best = max(codes, key=lambda code: code.count(1))
    drawn = [row(p) for p in learner.ask(24)]
    assert {distance(code, best) for code in drawn} <= {1, 2, 3}
    assert not set(drawn) & set(codes)
    far = TrustRegion(WIDE, TrustRegion.Config(length=9, candidates=200), seed=0)  # control
    told(far, far.ask(24))
    assert max(distance(row(p), best) for p in far.ask(24)) > 3


def test_the_region_grows_shrinks_and_starts_anew() -> None:
    config = TrustRegion.Config(start=8, length=4, longest=8, factor=2.0, successes=2, failures=16, candidates=50)
    learner, lengths = TrustRegion(WIDE, config, seed=0), []
    for reward in (0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5):
        lengths.append(learner.tell(zeros(learner.ask(8), reward))["length"])
    assert lengths == [4, 4, 8, 8, 8, 8, 4, 4, 2, 2, 1, 1, 4]
    assert learner._first == len(learner.memory) == 13 * 8
    assert learner._former == [4 * 8]  # the first of the best trials
    about = [row(p) for _ in range(2) for p in learner.ask(4)]  # of a new region, about one centre
    assert all(distance(code, learner._centre) <= 4 for code in about)


def test_a_resumed_region_goes_on() -> None:
    config = TrustRegion.Config(start=8, length=2, failures=8, candidates=50)
    learner = TrustRegion(WIDE, config, seed=0)
    for _ in range(6):
        learner.tell(zeros(learner.ask(8), 0.5))
    assert learner._former
    other = TrustRegion(WIDE, config, seed=9)
    other.load_state_dict(copy.deepcopy(learner.state_dict()))
    for _ in range(3):
        again = learner.ask(8)
        assert other.ask(8) == again
        assert learner.tell(zeros(again)) == other.tell(zeros(again))


def test_gp_sampler_shows_order_too() -> None:
    spec = GameSpec({"a": (4, 5)}, ordered={"a": (False, True)})
    shown = [type(each).__name__ for each in GPSampler(spec, seed=0).space.values()]
    assert shown == ["CategoricalDistribution", "IntDistribution"]


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("evolution", {"population": 0}),
        ("evolution", {"sample": 0}),
        ("predictor", {"acquisition": "luck"}),
        ("predictor", {"targets": "rank"}),
        ("predictor", {"rounds": 0}),
        ("predictor", {"random": -1}),
        ("tpe", {"startup": 0}),
        ("tpe", {"candidates": 0}),
        ("tpe", {"others": -1}),
        ("gp_sampler", {"startup": 0}),
        ("catcma", {"population": 3}),
        ("trust_region", {"factor": 1.0}),
        ("trust_region", {"length": 0}),
        ("smac", {"at_once": 0}),
    ],
    ids=str,
)
def test_settings_out_of_range(name: str, setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        make_learner(name, WIDE, **setting)
