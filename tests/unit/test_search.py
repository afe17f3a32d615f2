"""The loop: order, budget, resume, callbacks."""

import json

import numpy as np
import pytest

from ma2ml_agents.run.loop import Callback, search
from ma2ml_env.playable import Playable
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial, trial_seed

SPEC = GameSpec({"a": (5, 5)})


class Game:
    """Sum of the code, as a reward; played in an order of its own."""

    def __init__(self, seed=0, fail_at=None):
        self.spec = SPEC
        self.rng = np.random.default_rng(seed)
        self.fail_at = fail_at
        self.played = []

    def play(self, proposals, seeds, *, first_number=0, known={}, on_outcome=None):  # noqa: B006
        outcomes = dict(known)
        for i in self.rng.permutation(len(proposals)):
            number = first_number + int(i)
            if number in known:
                continue
            if number == self.fail_at:
                raise KeyboardInterrupt
            self.played.append(number)
            outcomes[number] = Outcome(accuracy=sum(proposals[i].codes["a"]) / 10)
            on_outcome(number, outcomes[number])
        return [
            Trial(first_number + i, seeds[i], p, outcomes[first_number + i], outcomes[first_number + i].accuracy)
            for i, p in enumerate(proposals)
        ]


class Learner:
    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.bias = 0
        self.told = []

    def ask(self, n, states=None):
        return [Proposal({"a": (int(self.rng.integers(5)), self.bias)}) for _ in range(n)]

    def tell(self, trials):
        self.told.append([trial.number for trial in trials])
        self.bias = int(sum(trial.reward for trial in trials) * 10) % 5
        return {"bias": float(self.bias)}

    def state_dict(self):
        return {"rng": self.rng.bit_generator.state, "bias": self.bias}

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state["rng"]
        self.bias = state["bias"]


class Log(Callback):
    def __init__(self):
        self.events = []

    def on_start(self, budget, trials):
        self.events.append(("start", budget, len(trials)))

    def on_outcome(self, number, outcome):
        self.events.append(("outcome", number))

    def on_batch(self, batch, trials, metrics):
        assert set(metrics) == {"bias", "seconds"}
        self.events.append(("batch", batch, len(trials)))


def test_whole_batches_in_order_and_exactly_the_budget():
    game, learner, log = Game(), Learner(), Log()
    best = search(game, learner, budget=10, batch=4, seed=7, callbacks=[log])
    assert learner.told == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert sorted(game.played) == list(range(10))
    assert best.seed == trial_seed(7, best.number)
    assert [event for event in log.events if event[0] != "outcome"] == [
        ("start", 10, 0), ("batch", 0, 4), ("batch", 1, 4), ("batch", 2, 2),
    ]  # fmt: skip


def test_the_best_is_the_highest_reward_and_ties_go_to_the_lower_number():
    class Same(Learner):
        def ask(self, n, states=None):
            return [Proposal({"a": (number in (2, 5), 0)}) for number in range(n)]

    assert search(Game(), Same(), budget=8, batch=8).number == 2


@pytest.mark.parametrize("fail_at", range(10))
def test_an_interrupted_search_goes_on_and_plays_only_what_has_no_outcome(tmp_path, fail_at):
    with TrialStore(tmp_path / "calm") as store:
        best = search(Game(), Learner(), budget=10, batch=4, store=store)
        calm = list(store.trials())
    game, learner, log = Game(seed=1, fail_at=fail_at), Learner(), Log()
    with TrialStore(tmp_path / "run") as store:
        with pytest.raises(KeyboardInterrupt):
            search(game, learner, budget=10, batch=4, store=store)
        before = sorted(game.played)
        again = Game(seed=2)
        # the same object, in the middle of a batch, and one with another seed: what counts is what is stored
        assert (
            search(again, learner if fail_at % 2 else Learner(9), budget=10, batch=4, store=store, callbacks=[log])
            == best
        )
        assert sorted(before + again.played) == list(range(10))
        assert list(store.trials()) == calm
    first = fail_at // 4 * 4
    assert log.events[0] == ("start", 10, first)
    assert sorted(event[1] for event in log.events if event[0] == "outcome") == list(range(first, 10))


def test_a_finished_run_answers_at_once_and_a_larger_budget_goes_on(tmp_path):
    with TrialStore(tmp_path) as store:
        best = search(Game(), Learner(), budget=8, batch=4, store=store)
    with TrialStore(tmp_path) as store:
        game = Game()
        assert search(game, Learner(), budget=8, batch=4, store=store) == best
        assert game.played == []
        search(game, Learner(), budget=12, batch=4, store=store)
        assert sorted(game.played) == [8, 9, 10, 11]
        calm = list(store.trials())
    with TrialStore(tmp_path / "other") as store:
        search(Game(), Learner(), budget=12, batch=4, store=store)
        assert list(store.trials()) == calm


def test_an_open_batch_keeps_its_size_when_the_budget_changes(tmp_path):
    with TrialStore(tmp_path) as store:
        with pytest.raises(KeyboardInterrupt):
            search(Game(fail_at=5), Learner(), budget=6, batch=4, store=store)
        with pytest.raises(ValueError, match="trials 4 to 5 are proposed already: a budget of 5 is too small"):
            search(Game(), Learner(), budget=5, batch=4, store=store)
        learner = Learner()
        search(Game(), learner, budget=11, batch=4, store=store)
        assert learner.told == [[4, 5], [6, 7], [8, 9, 10]]  # the first that is new fills up what 6 had cut


def test_a_learner_that_proposes_something_else_is_refused(tmp_path):
    class Changed(Learner):
        def ask(self, n, states=None):
            return [Proposal({"a": (4, 4)}) for _ in range(n)]

    Changed.__qualname__, Changed.__module__ = Learner.__qualname__, Learner.__module__
    with TrialStore(tmp_path) as store:
        with pytest.raises(KeyboardInterrupt):
            search(Game(fail_at=5), Learner(), budget=8, batch=4, store=store)
        game = Game()
        with pytest.raises(ValueError, match="does not propose what it proposed before"):
            search(game, Changed(), budget=8, batch=4, store=store)
        assert game.played == []


def test_another_game_seed_batch_or_learner_is_refused(tmp_path):
    class Other(Learner):
        pass

    class Larger(Game):
        def __init__(self):
            super().__init__()
            self.spec = GameSpec({"a": (5, 6)})

    with TrialStore(tmp_path) as store:
        search(Game(), Learner(), budget=4, batch=4, store=store)
        with pytest.raises(ValueError, match="seed is 0 there and 1 here"):
            search(Game(), Learner(), budget=4, batch=4, seed=1, store=store)
        with pytest.raises(ValueError, match="batch is 4 there and 5 here"):
            search(Game(), Learner(), budget=4, batch=5, store=store)
        with pytest.raises(ValueError, match="learner is "):
            search(Game(), Other(), budget=4, batch=4, store=store)
        with pytest.raises(ValueError, match=r"nvec.a is \[5, 5\] there and \[5, 6\] here"):
            search(Larger(), Learner(), budget=4, batch=4, store=store)


def test_a_game_that_knows_more_is_told_and_asked_for_more(tmp_path):
    """`remember`, `recipe` and `values` have defaults: `Game` above has none of them, and is no `Playable`."""

    class Knowing(Playable):
        def __init__(self):
            self.spec, self.play, self.remembered = SPEC, Game().play, []

        def play(self, *args, **options):
            raise AssertionError("it is set")

        def remember(self, trials):
            self.remembered += [trial.number for trial in trials]

        def values(self, codes):
            return {"a": {"sum": sum(codes["a"])}}

    for budget, remembered in ((4, []), (8, [0, 1, 2, 3])):
        game = Knowing()
        with TrialStore(tmp_path) as store:
            best = search(game, Learner(), budget=budget, batch=4, store=store)
        assert game.remembered == remembered
    told = json.loads((tmp_path / "best.json").read_text())
    assert told["values"] == {"a": {"sum": sum(best.proposal.codes["a"])}}
    assert told["recipe"] is None


@pytest.mark.parametrize(("budget", "batch"), [(0, 4), (-1, 4), (4, 0)])
def test_impossible_budget(tmp_path, budget, batch):
    with TrialStore(tmp_path / "run") as store, pytest.raises(ValueError, match="budget and batch are at least 1"):
        search(Game(), Learner(), budget=budget, batch=batch, store=store)
    assert not (tmp_path / "run").exists()
