"""What a search knows before its first batch: pipelines to start from, and what other runs' were worth."""

import numpy as np
import pytest

from ma2ml_agents.registry import learner_names, make_learner
from ma2ml_agents.run.known import LEVEL, Scored, beginning, due, scores
from ma2ml_agents.run.loop import Callback, search
from ma2ml_env.games.make import make_game
from ma2ml_env.store.store import TrialStore
from ma2ml_env.testing import random_proposals
from ma2ml_env.trial import Outcome, Proposal, Trial


def game():
    return make_game("digits-v0", "surrogate", modules=["loss", "hpo"])


def codes(n, seed=5):
    return [proposal.codes for proposal in random_proposals(game().spec, n, seed)]


def trial(number, reward, origin="policy", status="ok"):
    return Trial(number, 0, Proposal({}, origin=origin), Outcome(status=status), reward)


class Told:
    """A learner that keeps what it is told."""

    def __init__(self):
        self.inner = make_learner("random", game().spec)
        self.heard = []

    def ask(self, n, states=None):
        assert n > 0, "nobody is asked for nothing"
        return self.inner.ask(n)

    def tell(self, trials):
        self.heard.append(list(trials))
        return {}

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state):
        self.inner.load_state_dict(state)


@pytest.mark.parametrize("k", [1, 4, 6])
def test_known_pipelines_are_the_first_trials_and_count(k):
    learner, start = Told(), codes(k)
    search(game(), learner, budget=10, batch=4, start=start)
    heard = [trial for part in learner.heard for trial in part]
    assert [trial.number for trial in heard] == list(range(10))
    assert [trial.proposal.codes for trial in heard[:k]] == start
    assert [trial.proposal.origin for trial in heard] == ["start"] * k + ["random"] * (10 - k)
    assert [len(part) for part in learner.heard] == [4, 4, 2]
    assert heard[0].proposal.states == {}


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (lambda: codes(11), "11 pipelines to start from, more than the budget of 10"),
        (lambda: [*codes(2), codes(2)[0]], "pipelines 0 and 2 are the same one"),
        (lambda: [{"loss": (0, 0)}], "start: pipeline 0 does not fit the game"),
        (lambda: [{**codes(1)[0], "loss": (9, 0)}], "start: pipeline 0 does not fit the game"),
        # Plain cross-entropy has no strength: two codes, one pipeline.
        (lambda: [{**codes(1)[0], "loss": (0, strength)} for strength in (0, 1)], "pipelines 0 and 1 are the same one"),
    ],
)
def test_what_cannot_be_started_from_is_refused(start, message, tmp_path):
    with TrialStore(tmp_path / "run") as store, pytest.raises(ValueError, match=message):
        search(game(), Told(), budget=10, batch=4, start=start(), store=store)
    assert not (tmp_path / "run").exists()


class StopAt(Callback):
    def __init__(self, count):
        self.left = count

    def on_outcome(self, number, outcome):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def stored(folder):
    with TrialStore(folder, create=False) as store:
        return [trial.proposal.to_json() for trial in store.trials()], store.learner_state().state


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return np.array_equal(np.asarray(a), np.asarray(b))


SCORED = [Scored(row, float(score)) for score, row in enumerate(codes(20, seed=9))]


@pytest.mark.parametrize(
    ("learner", "fail_at"), [("evolution", 3), ("evolution", 7), ("evolution", 14), ("evolution", 18), ("ma2ml", 14)]
)
def test_an_interrupted_search_with_knowledge_ends_as_a_calm_one(tmp_path, learner, fail_at):
    settings = {"updates": 1, "critic_steps": 1} if learner == "ma2ml" else {}
    told = {"budget": 24, "batch": 6, "start": codes(8), "learned": SCORED}

    def go(name, *callbacks, **more):
        made = make_learner(learner, game().spec, **settings)
        with TrialStore(tmp_path / name) as store:
            return search(game(), made, **{**told, **more}, store=store, callbacks=callbacks)

    go("calm")
    with pytest.raises(KeyboardInterrupt):
        go("broken", StopAt(fail_at))
    for other in ({"start": codes(7)}, {"start": ()}, {"learned": SCORED[1:]}, {"learned": ()}):
        with pytest.raises(ValueError, match=r"is a run of another game: (start|learned)"):
            go("broken", **other)
    go("broken")
    (proposals, state), (calm, calm_state) = stored(tmp_path / "broken"), stored(tmp_path / "calm")
    assert proposals == calm
    assert same(state, calm_state)
    with TrialStore(tmp_path / "broken") as store:
        store.forget_learner()  # all is asked and told again
    go("broken")
    assert same(stored(tmp_path / "broken")[1], calm_state)


def test_others_are_heard_once_when_the_level_of_this_search_is_known():
    learner = Told()
    search(game(), learner, budget=18, batch=6, start=codes(2), learned=SCORED)
    assert [len(part) for part in learner.heard] == [6, 6, 20, 6]  # 2 of the first 12 were known, so 16 tell the level
    own = [trial.reward for part in (*learner.heard[:2], learner.heard[3]) for trial in part][2:18]
    heard = [trial.reward for trial in learner.heard[2]]
    assert heard == pytest.approx([np.mean(own) + np.std(own) * score for score in range(20)])
    assert {trial.proposal.origin for trial in learner.heard[2]} == {"learned"}


def test_without_a_level_nobody_is_told():
    assert due(SCORED, [], [trial(n, 0.5) for n in range(LEVEL - 1)]) == []
    assert due(SCORED, [], [trial(n, 0.0, status="failed") for n in range(30)]) == []
    assert len(due(SCORED, [], [trial(n, 0.5) for n in range(LEVEL)])) == 20
    assert due(SCORED, [trial(n, 0.5) for n in range(LEVEL)], [trial(99, 0.5)]) == []
    assert due([], [], [trial(n, 0.5) for n in range(LEVEL)]) == []


def test_scores_are_from_the_beginning():
    trials = [trial(0, 0.9, "start"), *[trial(n, 0.1 * n) for n in range(1, 5)], trial(5, 0.0, status="failed")]
    later = [trial(n, 0.05 * n) for n in range(6, 30)]
    start = beginning([*trials, *later], batch=6)
    assert [t.number for t in start] == [1, 2, 3, 4, *range(6, 18)]  # whole batches, until there are 12
    told = [*trials[:5], *later]
    scored = scores(told, np.array([t.reward for t in told]), start)
    inside = scored[[t in start for t in told]]
    assert (inside.mean(), inside.std()) == (pytest.approx(0), pytest.approx(1))
    assert scored.mean() > 0.5
    assert np.array_equal(scores(trials, np.full(6, 0.1), trials), np.zeros(6))


@pytest.mark.parametrize("name", learner_names())
def test_every_learner_takes_what_it_did_not_propose(name):
    try:
        learner = make_learner(name, game().spec)
    except ImportError as error:
        pytest.skip(str(error))
    best = search(game(), learner, budget=24, batch=12, start=codes(14), learned=SCORED)
    assert 0 <= best.number < 24
