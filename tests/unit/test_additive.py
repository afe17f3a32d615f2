"""The additive critic against closed forms, and what it proposes."""

import math

import numpy as np
import pytest
import torch

from ma2ml_agents import make_learner
from ma2ml_agents.hybrid import additive
from ma2ml_agents.hybrid.additive import Additive
from ma2ml_agents.policies.intervals import cosines
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial

NVEC = (4, 3, 1, 5, 2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(n: int, nvec: tuple[int, ...] = NVEC, seed: int = 0) -> torch.Tensor:
    return (torch.rand(n, len(nvec), generator=generator(seed)) * torch.tensor(nvec)).long()


def one_hot(codes: torch.Tensor, nvec: tuple[int, ...] = NVEC) -> torch.Tensor:
    return torch.cat([torch.nn.functional.one_hot(codes[:, d], n).double() for d, n in enumerate(nvec)], dim=1)


@pytest.mark.parametrize("n", [6, 60])  # fewer trials than choices, and more
@pytest.mark.parametrize("most", [0, 2000], ids=["of-trials", "of-choices"])
@pytest.mark.parametrize("nvec", [NVEC, (0, *NVEC, 0)], ids=["decisions", "intervals"])
def test_likelihood_mean_and_deviation_are_those_of_the_gaussian(n: int, most: int, nvec, monkeypatch) -> None:
    """y ~ N(0, s^2 (X X^T + r I)), by numpy; the deviations' covariance from draws, within five of its standard errors."""
    monkeypatch.setattr(additive, "_MOST", most)
    codes, log_ratio = uniform(n), 0.7
    x, y = one_hot(codes), torch.randn(n, generator=generator(1), dtype=torch.float64)
    if nvec != NVEC:
        positions = torch.rand(n, 2, generator=generator(3), dtype=torch.float64)
        codes = torch.cat([positions[:, :1], codes.double(), positions[:, 1:]], dim=1)
        x = torch.cat([x, cosines(positions).double()], dim=1)
    system = Additive(nvec)._system(codes, y)
    assert isinstance(system, additive._OfTrials if most == 0 and n < sum(NVEC) else additive._OfChoices)
    fitted = system.fit(log_ratio)

    x, y = x.numpy(), y.numpy()
    covariance = x @ x.T + math.exp(log_ratio) * np.eye(n)
    variance = float(y @ np.linalg.solve(covariance, y)) / n  # s^2, at its likeliest
    assert fitted.likelihood == pytest.approx(-0.5 * np.linalg.slogdet(variance * covariance)[1], rel=1e-9)
    assert fitted.mean.numpy() == pytest.approx(x.T @ np.linalg.solve(covariance, y), abs=1e-7)
    posterior = variance * (np.eye(x.shape[1]) - x.T @ np.linalg.solve(covariance, x))
    draws = 40_000
    found = np.cov(fitted.deviations(draws, generator(2)).numpy())
    scale = np.sqrt(np.outer(posterior.diagonal(), posterior.diagonal()) + posterior**2)
    assert (abs(found - posterior) < 5 * scale / math.sqrt(draws)).all()


def test_many_choices_are_a_system_of_trials() -> None:
    """Of 30,000 choices a system of choices would take 7 GB."""
    nvec = (30_000, 3)
    codes = uniform(40, nvec)
    codes[0] = torch.tensor([29_999, 2])
    targets = torch.zeros(40, dtype=torch.float64)
    targets[0] = 3.0
    critic = Additive(nvec)
    critic.learn(codes, targets)
    assert critic.responses(codes, targets, 2, 0.0, generator()).tolist() == [[29_999, 2]] * 2


def test_without_spread_every_response_is_the_best_sum() -> None:
    """A sum of main effects that trials show without noise: its best code, that was in none of them."""
    w = torch.randn(sum(NVEC), generator=generator(2), dtype=torch.float64)
    best = torch.tensor([int(part.argmax()) for part in w.split(list(NVEC))])
    codes = uniform(200)
    codes = codes[(codes != best).any(dim=1)]
    found = Additive(NVEC).responses(codes, one_hot(codes) @ w, 3, 0.0, generator())
    assert found.tolist() == [best.tolist()] * 3


def test_spread_and_trials_decide_how_far_responses_differ() -> None:
    """Draws vary more with their spread, and less with more trials; a decision of one choice has no other."""
    nvec = (6,) * 30 + (1,)
    w = torch.randn(sum(nvec), generator=generator(3), dtype=torch.float64)

    def differences(trials: int, spread: float) -> float:
        codes = uniform(trials, nvec)
        noise = torch.randn(trials, generator=generator(4), dtype=torch.float64)
        found = Additive(nvec).responses(codes, one_hot(codes, nvec) @ w + noise, 12, spread, generator())
        assert (found[:, -1] == 0).all()
        return float((found[:, None] != found[None]).double().mean())

    assert differences(60, 0.0) == 0.0
    assert differences(60, 0.2) < differences(60, 0.6) < differences(60, 1.0)
    assert differences(1_000, 0.6) < 0.5 * differences(60, 0.6)


def test_the_noise_is_found_by_the_likelihood() -> None:
    """Over batches log r goes to what made the trials: s^2 = 1 and noise of 0.5 or 50."""
    w = torch.randn(sum(NVEC), generator=generator(5), dtype=torch.float64)
    codes = uniform(600)
    for noise in (0.5, 50.0):
        additive = Additive(NVEC)
        y = one_hot(codes) @ w + math.sqrt(noise) * torch.randn(600, generator=generator(6), dtype=torch.float64)
        for _ in range(20):
            additive.learn(codes, y)
        assert math.log(noise) - 1.5 < additive.log_ratio < math.log(noise) + 1.5


def test_equal_rewards_and_a_single_trial_are_no_error() -> None:
    for n in (1, 30):
        found = Additive(NVEC).responses(uniform(n), torch.zeros(n), 4, 0.4, generator())
        assert ((found >= 0) & (found < torch.tensor(NVEC))).all()


def test_an_interval_goes_to_the_peak_that_the_trials_show() -> None:
    nvec = (3, 0)
    position = torch.rand(100, 1, generator=generator(7), dtype=torch.float64)
    codes = torch.cat([uniform(100, (3,)).double(), position], dim=1)
    targets = 1.0 - (position[:, 0] - 0.3) ** 2 + 0.1 * (codes[:, 0] == 2)
    found = Additive(nvec).responses(codes, targets, 2, 0.0, generator())
    assert found[:, 0].tolist() == [2.0, 2.0]
    assert found[:, 1].numpy() == pytest.approx([0.3, 0.3], abs=0.08)


def batch(learner: object, number: int, n: int = 24) -> list[str]:
    proposals = learner.ask(n)  # type: ignore[attr-defined]
    codes = [[c for code in p.codes.values() for c in code] for p in proposals]
    rewards = [sum(c == 1 for c in row) / len(row) for row in codes]
    learner.tell(  # type: ignore[attr-defined]
        [
            Trial(number * n + i, i, p, Outcome(accuracy=r), r)
            for i, (p, r) in enumerate(zip(proposals, rewards, strict=True))
        ]
    )
    return [p.origin for p in proposals]


@pytest.mark.slow
def test_three_quarters_of_a_batch_are_responses_after_the_first() -> None:
    spec = GameSpec({"a": (7,) * 30, "b": (5,) * 30})
    learner = make_learner("hybrid", spec, seed=0)
    assert "response" not in batch(learner, 0)
    assert batch(learner, 1).count("response") == 18
    assert "response" not in batch(make_learner("hybrid", spec, seed=0, response_share=0.0), 1)


def test_a_game_whose_main_effects_are_settled_is_left_to_the_others() -> None:
    """Twelve codes, all but one known: a response that is known is not proposed."""
    learner = make_learner("hybrid", GameSpec({"a": (3, 2), "b": (2,)}), seed=0)
    for number in range(2):
        batch(learner, number)
    assert batch(learner, 2).count("response") <= 1


@pytest.mark.slow
def test_many_trials_at_once_are_learned_from_as_if_they_had_come_in_batches() -> None:
    """A warm start: both exact critics' settings and the policies have what as many batches would have given them."""
    spec = GameSpec({"a": (4,) * 6})
    codes = uniform(480, (4,) * 6)
    rewards = (codes == 1).double().sum(1)
    once, seldom = make_learner("hybrid", spec, seed=0), make_learner("hybrid", spec, seed=0)
    trials = [
        Trial(i, 0, Proposal({"a": tuple(code)}), Outcome(), reward)
        for i, (code, reward) in enumerate(zip(codes.tolist(), rewards.tolist(), strict=True))
    ]
    metrics = once.tell(trials)
    assert metrics["updates"] == 20 * once.inner.config.updates
    for first in range(0, 480, 24):
        seldom.tell(trials[first : first + 24])
    first_step = Additive((4,) * 6).log_ratio - 0.35
    assert once.behaviour.additive.log_ratio < first_step - 1.0
    assert once.behaviour.additive.log_ratio == pytest.approx(seldom.behaviour.additive.log_ratio, abs=2.0)
    assert metrics["entropy/a"] < 0.9 * 6 * math.log(4)


def test_counting_on_gives_the_bits_of_counting_anew():
    """Trials come batch by batch; in the end the oldest are forgotten, and a learner that was loaded has counted nothing."""
    sizes = [3, 5, 2, 4]
    codes = torch.stack([torch.randint(size, (3000,), generator=seeded(0)) for size in sizes], dim=1)
    targets = torch.randn(3000, generator=seeded(1), dtype=torch.float64)
    going = Additive(sizes)
    for rows in (slice(0, 24), slice(0, 48), slice(0, 48), slice(0, 2500), slice(10, 3000), slice(0, 24)):
        anew = Additive(sizes)
        anew.log_ratio = going.log_ratio
        proposals = []
        for critic in (going, anew):
            critic.learn(codes[rows], targets[rows])
            proposals.append(critic.responses(codes[rows], targets[rows], 8, 1.0, seeded(2)))
        hot = torch.cat(
            [torch.nn.functional.one_hot(codes[rows, i], size) for i, size in enumerate(sizes)], dim=1
        ).double()
        assert torch.equal(going._system(codes[rows], targets[rows]).gram, hot.T @ hot)
        assert torch.equal(*proposals)
        assert going.log_ratio == anew.log_ratio


def seeded(seed):
    return torch.Generator().manual_seed(seed)
