"""The closed-form learner in every kind of game and history."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from ma2ml_agents.learner import States
from ma2ml_agents.ma2ml_exact.learner import MA2MLExact, keys_of, noise_of
from ma2ml_agents.registry import make_learner
from ma2ml_agents.run.loop import search
from ma2ml_env.games.make import make_game
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial

GAME = GameSpec(
    {"aug": (3, 3, 2), "nas": (2, 5), "hpo": (4,)},
    kinds={"aug": ("k", "k", "")},
    ordered={"nas": (False, True)},
    features=lambda codes: np.stack([codes[:, 0] * codes[:, 4], (codes == 1).sum(1)], axis=1).astype(np.float64),
)
MIXED = GameSpec({"aug": (3, 4), "hpo": ()}, intervals={"hpo": 2})


def made(spec: GameSpec = GAME, seed: int = 0, **config: Any) -> MA2MLExact:
    return make_learner("ma2ml_exact", spec, seed=seed, **config)  # type: ignore[return-value]


def trials(proposals: Sequence[Proposal], rewards: Sequence[float] | None = None, first: int = 0) -> list[Trial]:
    """What came of them: the share of choices that are 1, unless told."""
    told = [float(np.mean([c == 1 for code in p.codes.values() for c in code])) for p in proposals]
    worth = told if rewards is None else rewards
    return [
        Trial(first + i, i, p, Outcome(accuracy=min(max(r, 0.0), 1.0)), r)
        for i, (p, r) in enumerate(zip(proposals, worth, strict=True))
    ]


def searched(spec: GameSpec = GAME, batches: int = 3, **config: Any) -> MA2MLExact:
    learner = made(spec, **config)
    for batch in range(batches):
        learner.tell(trials(learner.ask(8), first=8 * batch))
    return learner


def random_states(n: int, seed: int = 0) -> States:
    rng = np.random.default_rng(seed)
    return [{agent: rng.standard_normal(8) for agent in GAME.nvec} for _ in range(n)]


@pytest.mark.parametrize("known", [0, 1])
def test_of_fewer_than_two_trials_everything_is_open(known: int) -> None:
    learner = made()
    learner.tell(trials(learner.ask(known)))
    proposals = learner.ask(300)
    for agent, sizes in GAME.nvec.items():
        for place, size in enumerate(sizes):
            counts = np.bincount([p.codes[agent][place] for p in proposals], minlength=size)
            assert counts.min() > 0.5 * 300 / size


@pytest.mark.parametrize("rewards", [[0.5] * 8, [0.0] * 8])
def test_equal_rewards_and_failures_alone_teach_nothing(rewards: list[float]) -> None:
    learner = made()
    assert np.isfinite(list(learner.tell(trials(learner.ask(8), rewards)).values())).all()
    assert len({p.codes["aug"] for p in learner.ask(20)}) > 5


@pytest.mark.parametrize(
    "spec",
    [
        GameSpec({"only": (3, 3, 4, 2)}),
        GameSpec({"a": (7,)}),
        GameSpec({"a": (1,), "b": (5, 1)}),
        GameSpec({"a": ()}, intervals={"a": 2}),
        MIXED,
    ],
    ids=["one agent", "one decision", "single choices", "intervals alone", "mixed"],
)
def test_every_kind_of_game_is_searched(spec: GameSpec) -> None:
    learner = made(spec)
    for batch in range(6):
        proposals = learner.ask(4)
        worth = [np.mean([0.1 * c for code in p.codes.values() for c in code]) for p in proposals]
        metrics = learner.tell(trials(proposals, [float(w) for w in worth], first=4 * batch))
        assert np.isfinite(list(metrics.values())).all()


def test_positions_end_where_they_are_worth_most() -> None:
    learner = made(GameSpec({"a": ()}, intervals={"a": 2}))
    for batch in range(8):
        proposals = learner.ask(8)
        worth = [1.0 - (p.codes["a"][0] - 0.3) ** 2 - (p.codes["a"][1] - 0.8) ** 2 for p in proposals]
        learner.tell(trials(proposals, worth, first=8 * batch))
    last = np.mean([p.codes["a"] for p in learner.ask(8)], axis=0)
    assert last == pytest.approx([0.3, 0.8], abs=0.1)


def test_what_others_proposed_is_learned_from() -> None:
    learner = made()
    others = [Proposal({agent: tuple(i % n for n in sizes) for agent, sizes in GAME.nvec.items()}) for i in range(30)]
    learner.tell(trials(others))
    assert np.mean([code == 1 for p in learner.ask(8) for c in p.codes.values() for code in c]) > 0.6


@pytest.mark.slow
def test_a_search_finds_the_best_of_a_small_game() -> None:
    game = make_game("digits-v0", "surrogate", seed=3)
    best = search(game, made(game.spec), budget=240, batch=24, seed=0)
    random = search(game, make_learner("random", game.spec, seed=0), budget=240, batch=24, seed=0)
    assert best.reward > random.reward + 0.02


@pytest.mark.parametrize("config", [{}, {"interactions": False}], ids=["interacting", "additive"])
def test_a_learner_that_is_taken_back_to_its_beginning_has_forgotten(config: dict[str, Any]) -> None:
    learner, fresh = made(**config), made(**config)
    begun = learner.state_dict()
    learner.tell(trials(learner.ask(24)))
    learner.load_state_dict(begun)
    assert learner.ask(8) == fresh.ask(8)


@pytest.mark.parametrize("config", [{}, {"interactions": False}], ids=["interacting", "additive"])
def test_a_state_that_is_loaded_goes_on_to_the_byte(config: dict[str, Any]) -> None:
    learner = searched(batches=4, **config)
    other = made(seed=9, **config)
    other.load_state_dict(learner.state_dict())
    for batch in range(3):
        first, second = learner.ask(8), other.ask(8)
        assert first == second
        assert learner.tell(trials(first, first=100 + 8 * batch)) == other.tell(trials(second, first=100 + 8 * batch))


def test_noise_is_a_function_of_the_state_alone() -> None:
    s = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    noise = noise_of(keys_of(s), 50)
    assert torch.equal(noise_of(keys_of(s[1:2]), 50)[:, 0], noise[:, 1])
    assert not torch.equal(noise[:, 0], noise[:, 1])
    moved = s.clone()
    moved[0, 1, 7] += 1e-6  # the last number of the last agent: all of S counts
    assert keys_of(moved)[0] != keys_of(s)[0]
    assert abs(float(noise.mean())) < 0.3
    assert float(noise.std()) == pytest.approx(1.0, abs=0.2)


def test_the_mean_is_what_a_draw_without_spread_says() -> None:
    critic = searched(batches=4, interactions=False, features=False).critic
    codes = torch.tensor([[0] * sum(map(len, GAME.nvec.values())), [1] * sum(map(len, GAME.nvec.values()))])
    drawn = critic.draw(torch.randn(critic.noise_size, 3, dtype=torch.float64), 0.0).effects
    expected = critic.effects.rows(codes) @ drawn[: critic.effects.size + 1]
    assert torch.allclose(expected, critic.mean(codes)[:, None].expand(-1, 3))


def test_given_states_are_answered_as_they_are() -> None:
    learner, states = searched(), random_states(8)
    proposals = learner.ask(8, states)
    for proposal, state in zip(proposals, states, strict=True):
        for agent in GAME.nvec:
            assert np.array(proposal.states[agent]) == pytest.approx(state[agent], rel=1e-6)
    assert {p.origin for p in proposals} == {"policy"}


def test_a_product_of_two_agents_that_is_a_feature_is_found_from_few_trials() -> None:
    """No effect of one choice says it; the critic without features and interactions does not see it."""
    spec = GameSpec(
        {"a": (8,), "b": (8,)}, features=lambda codes: ((codes[:, :1] - 3.5) * (codes[:, 1:] - 3.5)).astype(np.float64)
    )
    found = []
    for features in (True, False):
        learner = made(spec, features=features, interactions=False)
        for batch in range(3):
            proposals = learner.ask(6)
            worth = [(p.codes["a"][0] - 3.5) * (p.codes["b"][0] - 3.5) / 12.25 for p in proposals]
            learner.tell(trials(proposals, worth, first=6 * batch))
        found.append(max(learner.replay.rewards.tolist()))
        asked = [(p.codes["a"][0] - 3.5) * (p.codes["b"][0] - 3.5) for p in learner.ask(12, [
            {agent: np.random.default_rng(i).standard_normal(8) for agent in spec.nvec} for i in range(12)
        ])]  # fmt: skip
        found.append(float(np.mean(asked)))
    assert found[0] == 1.0
    assert found[1] > found[3] + 3.0


def test_features_that_are_no_numbers_are_refused() -> None:
    spec = GameSpec({"a": (3, 3)}, features=lambda codes: np.where(codes > 1, np.nan, codes))
    with pytest.raises(ValueError, match="not finite"):
        made(spec)
    assert made(spec, features=False).ask(1)


def test_constant_states_get_noise_of_their_own() -> None:
    """An environment without random states must not be given one hypothesis for ever."""
    zeros = [{agent: np.zeros(8) for agent in GAME.nvec}] * 12
    learner = searched()
    s = learner.joint.states(12, zeros, learner.generator)
    assert len(set(learner._keys(s))) == 12  # in one batch
    learner.tell(trials(learner.ask(1, zeros[:1]), first=50))
    keys = [learner._keys(s[:1])[0] for _ in range(2)]  # and one after another
    assert len({*keys, keys_of(s)[0]}) == 3


def test_a_new_state_is_its_own_key() -> None:
    learner, states = searched(), random_states(3)
    s = learner.joint.states(3, states, learner.generator)
    assert learner._keys(s) == keys_of(s)


def test_no_pipeline_is_proposed_twice_while_others_are_left() -> None:
    spec = GameSpec({"a": (3, 2), "b": (4,)})
    learner, seen = made(spec), list[tuple[Any, ...]]()
    for batch in range(2):
        proposals = learner.ask(8)
        seen += [tuple(p.codes.values()) for p in proposals]
        learner.tell(trials(proposals, first=8 * batch))
    assert len(set(seen)) == 16
    learner.tell(trials(learner.ask(8), first=16))
    assert len(learner.ask(8)) == 8  # when none is left it goes on


def test_log_probabilities_are_those_of_agents() -> None:
    for proposal in searched().ask(4):
        assert proposal.log_probs is not None
        assert set(proposal.log_probs) == set(GAME.nvec)
        assert all(log <= 1e-9 for log in proposal.log_probs.values())
    assert searched(agents="one").ask(1)[0].log_probs is None


@pytest.mark.parametrize(
    "config",
    [
        {"credit": "joint", "interactions": False, "features": False},
        {"off_policy": False},
        {"agents": "one"},
        {"ties": False, "order": False, "interactions": False},
        {"features": False},
        {"mu": 1e9},
        {"lambda_": 1e9},
    ],
)
def test_every_switch_searches(config: dict[str, Any]) -> None:
    """And proposes otherwise than the default does."""
    assert searched(batches=4, **config).ask(8) != searched(batches=4).ask(8)


def test_only_the_newest_batch_is_known_on_policy() -> None:
    assert len(searched(batches=4, off_policy=False).replay) == 8
    assert len(searched(batches=4).replay) == 32


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"lambda_": 0.0}, "lambda_"),
        ({"mu": float("nan")}, "mu"),
        ({"targets": "best"}, "targets"),
        ({"targets": "raw"}, "standardised, ranks, blend"),
        ({"agents": "two"}, "agents"),
        ({"credit": "joint"}, "interactions=false"),
        ({"credit": "joint", "interactions": False}, "features=false"),
        ({"credit": "joint", "interactions": False, "features": False, "credit_steps": 0}, "credit_steps"),
    ],
)
def test_settings_out_of_range_are_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        made(**config)


@pytest.mark.slow
def test_ten_thousand_trials_take_no_longer_than_some() -> None:
    """Neither N^3 nor N^2: a batch after 10,000 trials against one after 2,000, and memory of what is held."""
    spec = GameSpec({"a": (4,) * 30, "b": (5,) * 20})
    seconds = []
    for known in (2_000, 10_000):
        learner, rng = made(spec), np.random.default_rng(0)
        codes = [tuple(tuple(rng.integers(n)) for n in spec.nvec.values()) for _ in range(known)]
        worth = rng.normal(0.8, 0.05, known).clip(0, 1).tolist()
        told = [Proposal(dict(zip(spec.nvec, map(lambda c: tuple(map(int, c)), code), strict=True))) for code in codes]
        learner.replay.add(*learner.joint.read(trials(told, worth), learner.generator))
        began = time.process_time()
        learner.tell(trials(learner.ask(24), first=known))
        learner.tell(trials(learner.ask(24), first=known))
        seconds.append(time.process_time() - began)
    assert len(learner.replay) == 10_000
    assert seconds[1] < 5 * seconds[0] + 1.0
