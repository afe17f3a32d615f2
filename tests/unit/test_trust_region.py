"""The trust region: where its candidates lie, and when it grows, shrinks and starts anew."""

import copy

from ma2ml_agents.baselines.trust_region import TrustRegion
from tests.unit.telling import WIDE, distance, row, told, zeros


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
