import numpy as np
import pytest

from ma2ml_env.evaluators.base import Evaluator
from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.evaluators.wrap import Cached
from ma2ml_env.game import Game, Protocol
from ma2ml_env.modules.aug import Aug
from ma2ml_env.modules.hpo_sgd import HpoSgd
from ma2ml_env.recipe import Recipe
from ma2ml_env.testing import random_codes
from ma2ml_env.trial import Outcome, Proposal, trial_seed


class Backwards(Evaluator):
    """Outcomes in reverse order, and a count of what was evaluated."""

    def __init__(self):
        self.jobs = []

    def evaluate(self, jobs):
        for index in reversed(range(len(jobs))):
            self.jobs.append(jobs[index])
            yield index, Outcome(accuracy=jobs[index].number / 100)


def game(evaluator=None):
    modules = [Aug(1), HpoSgd(2)]
    return Game(modules, evaluator or Surrogate({m.name: m.space.nvec for m in modules}))


def proposals(n):
    codes = random_codes(game().spec.nvec, n)
    return [Proposal({a: tuple(c[i].tolist()) for a, c in codes.items()}) for i in range(n)]


def test_trials_come_in_the_order_of_proposals_and_outcomes_as_they_arrive():
    arrived = []
    asked = proposals(4)
    trials = game(Backwards()).play(asked, [5, 6, 7, 8], first_number=10, on_outcome=lambda n, o: arrived.append(n))
    assert [t.number for t in trials] == [10, 11, 12, 13]
    assert [t.seed for t in trials] == [5, 6, 7, 8]
    assert [t.proposal for t in trials] == asked
    assert [t.reward for t in trials] == [0.10, 0.11, 0.12, 0.13]
    assert arrived == [13, 12, 11, 10]


def test_a_reward_is_a_float_whatever_made_it():
    made = game(Backwards())
    made.reward = lambda outcome: np.float64(outcome.accuracy)
    assert [type(trial.reward) for trial in made.play(proposals(2), [0, 0])] == [float, float]


def test_known_outcomes_are_not_evaluated_again():
    evaluator = Backwards()
    known = {1: Outcome(accuracy=0.9)}
    trials = game(evaluator).play(proposals(3), [0, 0, 0], known=known)
    assert [t.reward for t in trials] == [0.0, 0.9, 0.02]
    assert sorted(job.number for job in evaluator.jobs) == [0, 2]


def test_a_batch_with_a_bad_proposal_is_refused_whole():
    evaluator = Backwards()
    good, bad = proposals(2)
    bad = Proposal({**bad.codes, "aug": (99, 0, 0, 0, 0, 0)})
    with pytest.raises(ValueError, match=r"agent 'aug': decision 'sub0\.op0\.type' takes an index in 0\.\.14, not 99"):
        game(evaluator).play([good, bad], [0, 0])
    with pytest.raises(ValueError, match=r"agents are \['aug', 'hpo'\], not \['aug'\]"):
        game(evaluator).play([Proposal({"aug": good.codes["aug"]})], [0])
    with pytest.raises(ValueError, match="as many seeds"):
        game(evaluator).play([good], [0, 1])
    assert evaluator.jobs == []


def test_score_checks_its_codes():
    codes = random_codes(game().spec.nvec, 3)
    seeds = codes["aug"][:, 0]
    codes["hpo"][1, 2] = 4
    with pytest.raises(
        ValueError, match=r"agent 'hpo', row 1: decision 'weight_decay\.0' takes an index in 0\.\.3, not 4"
    ):
        game().score(codes, seeds)
    with pytest.raises(ValueError, match="codes are integers of shape"):
        game().score({**codes, "hpo": codes["hpo"].astype(float)}, seeds)
    with pytest.raises(ValueError, match="agents are"):
        game().score({"aug": codes["aug"]}, seeds)


def test_score_plays_where_nothing_is_vectorised():
    codes = random_codes(game().spec.nvec, 3)
    assert game(Backwards()).score(codes, codes["aug"][:, 0]).tolist() == [0.0, 0.01, 0.02]


def test_jobs_carry_the_proxys_fidelity_and_a_seed_of_their_own():
    played = Backwards()
    modules = [HpoSgd(1)]
    small = Game(modules, played, base=Recipe(epochs=60), protocol=Protocol(proxy_epochs=3, final_epochs=60))
    small.play([Proposal({"hpo": (0, 0)})], [trial_seed(1, 7)], first_number=7)
    assert played.jobs[0].fidelity == 0.05
    assert played.jobs[0].seed == trial_seed(1, 7)
    assert played.jobs[0].recipe.learning_rate == 0.0125


def test_bad_games_are_refused():
    with pytest.raises(ValueError, match="different names"):
        Game([HpoSgd(), HpoSgd()], Backwards())
    with pytest.raises(ValueError, match="different names"):
        Game([], Backwards())
    with pytest.raises(ValueError, match="base recipe has 600"):
        Game([HpoSgd()], Backwards(), protocol=Protocol(final_epochs=10, proxy_epochs=1))
    with pytest.raises(ValueError, match="budget is at least 1"):
        Protocol(budget=0)
    with pytest.raises(ValueError, match="more than the final"):
        Protocol(proxy_epochs=20, final_epochs=10)


def test_an_object_that_evaluates_and_nothing_else_can_be_played():
    class Own:
        def evaluate(self, jobs):
            return ((index, Outcome(accuracy=job.number / 100)) for index, job in enumerate(jobs))

    own = game(Own())
    trials = own.play(proposals(3), [1, 2, 3])
    assert [trial.reward for trial in trials] == [0.0, 0.01, 0.02]
    own.remember(trials)
    own.evaluator.close()
    assert Cached(Own()).evaluate([]) is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0], r"the evaluator gave no outcome of the jobs \[1\]"),
        ([0, 0], "job 0, which is none of the 2 or had one"),
        ([0, -1], "job -1"),
    ],
)
def test_an_evaluator_gives_one_outcome_of_each_job(given, message):
    class Own:
        def evaluate(self, jobs):
            return ((index, Outcome(accuracy=0.5)) for index in given)

    with pytest.raises(RuntimeError, match=message):
        game(Own()).play(proposals(2), [1, 2])


@pytest.mark.parametrize("wrong", [None, 3, Surrogate, lambda jobs: []])
def test_what_cannot_evaluate_is_refused_in_one_line(wrong):
    for place in (Cached, lambda evaluator: Game([Aug(1)], evaluator)):
        with pytest.raises(ValueError, match="no evaluator: derive its class from ma2ml_env"):
            place(wrong)
