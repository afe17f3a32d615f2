"""What a search knows before its first batch: pipelines to start from, and what other runs' were worth."""

import numpy as np
import pytest

from ma2ml_agents.registry import learner_names, make_learner
from ma2ml_agents.run.informed import FEWEST, above, beginning, due, scores
from ma2ml_agents.run.known import Scored
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
        (lambda: [{"loss": (0, 0)}], "start: pipeline 0 does not fit the game: it has the agents loss, not "),
        (lambda: [{**codes(1)[0], "loss": (0,)}], "the code of agent 'loss' has 1 numbers, not 2"),
        (
            lambda: [{**codes(1)[0], "loss": (9, 0)}],
            "number 0 of agent 'loss' is an int from 0",
        ),
        (lambda: [{**codes(1)[0], "loss": (np.int64(0), 0)}], r"an int from 0 to \d, not np.int64\(0\)"),
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
    ("learner", "fail_at"),
    [*(("evolution", n) for n in (3, 11, 16, 30)), pytest.param("ma2ml", 12, marks=pytest.mark.slow)],
)
def test_an_interrupted_search_with_knowledge_ends_as_a_calm_one(tmp_path, learner, fail_at):
    settings = {"updates": 1, "critic_steps": 1} if learner == "ma2ml" else {}
    told = {"budget": 32, "batch": 8, "start": codes(6), "learned": SCORED}

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


def best_first(n):
    """Pipelines of this very game with their scores: of use."""
    rows = codes(n, seed=9)
    rewards = game().score({a: np.array([row[a] for row in rows]) for a in rows[0]}, np.zeros(n, dtype=np.int64))
    return [Scored(row, float(z)) for row, z in zip(rows, (rewards - rewards.mean()) / rewards.std(), strict=True)]


@pytest.mark.parametrize("useful", [True, False])
def test_others_are_heard_if_the_half_that_heard_is_better(useful):
    learned = best_first(200)
    if not useful:
        learned = [Scored(each.codes, -each.score) for each in learned]
    made = make_learner("predictor", game().spec, start=4, rounds=2)
    heard = []

    class Spy(Told):
        def __init__(self):
            super().__init__()
            self.inner = made

        def tell(self, trials):
            heard.append(list(trials))
            return made.tell(trials)

    class Metrics(Callback):
        batches = []  # noqa: RUF012

        def on_batch(self, batch, trials, metrics):
            self.batches.append((trials, metrics))

    log = Metrics()
    log.batches = []
    search(game(), Spy(), budget=42, batch=20, start=codes(2), learned=learned, callbacks=[log])
    (first, metrics), (_, later), _ = log.batches
    assert [trial.proposal.origin for trial in first].count("informed") == 9
    assert [trial.proposal.origin for trial in first[:2]] == ["start", "start"]
    assert all(trial.proposal.origin == "informed" for trial in first[-9:])
    own = [trial.reward for trial in first[2:11]]
    assert metrics["uninformed"] == pytest.approx(np.mean(own))
    assert metrics["informed"] == pytest.approx(np.mean([trial.reward for trial in first[-9:]]))
    assert (metrics["informed"] > metrics["uninformed"]) == useful
    assert "informed" not in later
    sizes = [len(part) for part in heard]
    assert sizes == ([200, 200, 20, 20, 2] if useful else [200, 20, 20, 2])
    assert [trial.reward for trial in heard[0]] == [each.score for each in learned]
    if useful:
        levelled = [np.mean(own) + np.std(own) * each.score for each in learned]
        assert [trial.reward for trial in heard[1]] == pytest.approx(levelled)
        assert metrics["learned"] == 200


def test_above_is_more_than_chance():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(2000, 2, 12))
    assert np.mean([above(a.tolist(), b.tolist()) for a, b in draws]) < 0.06
    assert np.mean([above((a + 2).tolist(), b.tolist()) for a, b in draws]) > 0.95
    assert not above([0.5, 0.5], [0.5, 0.5])
    assert above([0.6, 0.6], [0.5, 0.5])


def test_a_batch_that_is_halved_is_the_first_that_is_large_enough():
    assert due(SCORED, [], FEWEST)
    assert not due(SCORED, [], FEWEST - 1)
    assert not due([], [], FEWEST)
    assert due(SCORED, [trial(0, 0.5, "start"), trial(1, 0.5)], FEWEST)
    assert not due(SCORED, [trial(0, 0.5, "informed")], FEWEST)
    with pytest.raises(ValueError, match="a batch of 4 is too small to learn from other runs"):
        search(game(), Told(), budget=8, batch=4, learned=SCORED)


def test_a_learner_without_a_state_cannot_go_back(tmp_path):
    class Bare:
        def ask(self, n, states=None):
            return random_proposals(game().spec, n)

        def tell(self, trials):
            return {}

    assert search(game(), Bare(), budget=8, batch=8).number < 8
    with pytest.raises(ValueError, match="needs state_dict and load_state_dict"):
        search(game(), Bare(), budget=8, batch=8, learned=SCORED)
    with (
        TrialStore(tmp_path / "run") as store,
        pytest.raises(ValueError, match="stored needs a learner with state_dict"),
    ):
        search(game(), Bare(), budget=8, batch=8, store=store)
    assert not (tmp_path / "run").exists()


def test_scores_are_from_the_beginning():
    trials = [trial(0, 0.9, "start"), *[trial(n, 0.1 * n) for n in range(1, 5)], trial(5, 0.0, status="failed")]
    later = [trial(n, 0.05 * n) for n in range(6, 30)]
    start = beginning([*trials, *later], batch=6)
    assert [t.number for t in start] == [1, 2, 3, 4, *range(6, 12)]  # whole batches, until there are 8
    told = [*trials[:5], *later]
    scored = scores(told, np.array([t.reward for t in told]), start)
    inside = scored[[t in start for t in told]]
    assert (inside.mean(), inside.std()) == (pytest.approx(0), pytest.approx(1))
    assert scored.mean() > 0.5
    informed = [trial(n, 0.9, "informed") for n in range(4)]
    assert beginning([*informed, *later], batch=12) == later[:8]
    assert np.array_equal(scores(trials, np.full(6, 0.1), trials), np.zeros(6))


@pytest.mark.slow
@pytest.mark.parametrize("name", learner_names())
def test_every_learner_takes_what_it_did_not_propose(name):
    try:
        learner = make_learner(name, game().spec)
    except ImportError as error:
        pytest.skip(str(error))
    best = search(game(), learner, budget=24, batch=12, start=codes(14), learned=SCORED)
    assert 0 <= best.number < 24
