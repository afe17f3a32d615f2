"""What makes each rival itself."""

import copy
import logging.handlers
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ma2ml_agents.baselines.evolution import Evolution, EvolutionConfig
from ma2ml_agents.baselines.local_search import LocalSearch
from ma2ml_agents.baselines.moves import Moves
from ma2ml_agents.baselines.predictor import ACQUISITIONS, Predictor, PredictorConfig, in_turn
from ma2ml_agents.baselines.tpe import TPE
from ma2ml_agents.learner import Learner
from ma2ml_agents.registry import make_learner
from ma2ml_agents.saving import seeded
from ma2ml_env.trial import Code, GameSpec, Outcome, Proposal, Trial

WIDE = GameSpec({"a": (6,) * 8, "b": (5,) * 4})
SMALL = GameSpec({"a": (3,), "b": (4, 1)})
RIVALS = ("evolution", "local_search", "predictor", "tpe")


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
    monkeypatch.setattr(learner, "_study", lambda seed: studies.append(make(seed)) or studies[-1])
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
        study = learner._study(0)
    rows = [0, 24, 49, *range(50, 75), 99]
    assert [trial.value for trial in study.trials] == [values[row] for row in rows]
    assert [tuple(trial.params.values()) for trial in study.trials] == [tuple(crowd[row]) for row in rows]
    for all_of_them in (0, 75, 200):
        learner.config = TPE.Config(others=all_of_them)
        assert learner._seen() == list(range(100))


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


def test_without_optuna_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"ma2ml\[optuna\]"):
        make_learner("tpe", WIDE)


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
    ],
    ids=str,
)
def test_settings_out_of_range(name: str, setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        make_learner(name, WIDE, **setting)
