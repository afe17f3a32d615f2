"""The Gaussian-process critic against closed forms, and what it makes `MA2ML` propose."""

import math

import numpy as np
import pytest
import torch

from ma2ml_agents import gaussian
from ma2ml_agents.gaussian import GaussianProcess

NVEC = (4, 3, 1, 5, 0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(n: int, nvec: tuple[int, ...] = NVEC, seed: int = 0) -> torch.Tensor:
    u = torch.rand(n, len(nvec), generator=generator(seed), dtype=torch.float64)
    sizes = torch.tensor(nvec)
    codes = torch.where(sizes > 0, (u * sizes).floor(), u)
    return codes if 0 in nvec else codes.long()


def covariance(a: torch.Tensor, b: torch.Tensor, process: GaussianProcess, nvec: tuple[int, ...] = NVEC) -> np.ndarray:
    """The docstring's k, pair by pair and decision by decision."""
    s = process.settings.detach().exp().numpy()
    u, v = s[: len(nvec)], s[len(nvec) : -2]
    k = np.empty((len(a), len(b)))
    for i, first in enumerate(a.numpy()):
        for j, second in enumerate(b.numpy()):
            log = 0.0
            for d, size in enumerate(nvec):
                if size:
                    log -= u[d] * (first[d] != second[d])
                log -= v[d] * (2 * (first[d] - second[d]) / (max(size - 1, 1) if size else 1)) ** 2
            k[i, j] = s[-2] * math.exp(log)
    return k


def unequal(nvec: tuple[int, ...] = NVEC) -> GaussianProcess:
    process = GaussianProcess(nvec)
    with torch.no_grad():
        process.settings += torch.randn(len(process.settings), generator=generator(9), dtype=torch.float64)
    return process


def test_the_posterior_is_that_of_the_gaussian_in_trials_and_candidates() -> None:
    process, codes, candidates = unequal(), uniform(20), uniform(6, seed=1)
    y = torch.randn(20, generator=generator(2), dtype=torch.float64) + 3.0
    noise = float(process.settings.detach()[-1].exp())
    inverse = np.linalg.inv(covariance(codes, codes, process) + noise * np.eye(20))
    across = covariance(candidates, codes, process)
    mean = across @ inverse @ (y.numpy() - y.numpy().mean()) + y.numpy().mean()
    spread = covariance(candidates, candidates, process) - across @ inverse @ across.T

    posterior = process.posterior(codes, y)
    assert posterior.mean(candidates).numpy() == pytest.approx(mean, abs=1e-9)
    drawn = posterior.draws(candidates, torch.full((40_000,), 0.5, dtype=torch.float64), generator()).numpy()
    assert drawn.mean(0) == pytest.approx(mean, abs=0.02)
    assert np.cov(drawn.T) == pytest.approx(0.25 * spread, abs=0.02 * spread.max())
    still = posterior.draws(candidates, torch.zeros(2, dtype=torch.float64), generator())
    assert torch.equal(still, posterior.mean(candidates).expand(2, -1))


def test_targets_may_be_of_any_level_and_scale() -> None:
    codes, candidates = uniform(60), uniform(7, seed=1)
    y = torch.randn(60, generator=generator(1), dtype=torch.float64)
    found = []
    for scale, level in ((1.0, 0.0), (1e-3, 100.0)):
        process = GaussianProcess(NVEC)
        process.learn(codes, scale * y + level, generator(2))
        posterior = process.posterior(codes, scale * y + level)
        drawn = posterior.draws(candidates, torch.ones(3, dtype=torch.float64), generator(3))
        found.append(((posterior.mean(candidates) - level) / scale, (drawn - level) / scale))
    for one, other in zip(*found, strict=True):
        assert one.numpy() == pytest.approx(other.numpy(), abs=1e-6)


def settled_on(value: str, shuffled: bool = False) -> tuple[GaussianProcess, int]:
    """A process that learned from 150 trials in which one decision of three matters: by its order, or by its choices' names."""
    nvec = (9, 9, 9)
    codes = uniform(150, nvec, seed=3)
    place = codes[:, 1].double()
    table = torch.randn(9, generator=generator(4), dtype=torch.float64)
    y = (place / 3 - 1).sin() if value == "order" else table[codes[:, 1]]
    if shuffled:  # the control: the same numbers, and nothing to be learned
        y = y[torch.randperm(150, generator=generator(5))]
    y = (y - y.mean()) / y.std() + 0.1 * torch.randn(150, generator=generator(6), dtype=torch.float64)
    process = GaussianProcess(nvec)
    for _ in range(15):
        process.learn(codes, y, generator(7))
    return process, len(nvec)


def test_the_likelihood_finds_which_decision_matters_and_how() -> None:
    by_order, length = settled_on("order")
    u, v = by_order.settings.detach().exp()[:-2].split(length)
    assert v[1] > 3 * v[[0, 2]].max()
    assert v[1] > u[1]
    by_name, _ = settled_on("name")
    assert by_name.settings.detach().exp()[1] > 3 * by_name.settings.detach().exp()[[0, 2]].max()
    control, _ = settled_on("order", shuffled=True)
    assert control.settings[-1] > by_order.settings[-1] + 1.0  # all is noise


def test_interactions_are_seen_that_no_sum_has() -> None:
    """Exclusive or: no main effect says anything, and codes that were in no trial are told apart by the pair."""
    nvec = (2, 2, 4, 4)
    everything = torch.cartesian_prod(*(torch.arange(n) for n in nvec))
    everything = everything[torch.randperm(len(everything), generator=generator(8))]
    tried, new = everything[:40], everything[40:]
    exclusive = (everything[:, 0] ^ everything[:, 1]).double()

    process = GaussianProcess(nvec)
    for _ in range(15):
        process.learn(tried, exclusive[:40], generator())
    expected = process.posterior(tried, exclusive[:40]).mean(new)
    assert expected[exclusive[40:] == 1].min() > expected[exclusive[40:] == 0].max() + 0.5
    memory = GaussianProcess(nvec)  # the control: nothing is like anything else
    with torch.no_grad():
        memory.settings[:8] += 8.0
    assert memory.posterior(tried, exclusive[:40]).mean(new).std() < 0.01


def test_of_many_trials_the_newest_and_the_best_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "MOST", 8)
    codes, y = uniform(30), torch.arange(30, dtype=torch.float64)
    y[:3] += 100.0
    kept = GaussianProcess(NVEC).posterior(codes, y)
    rows = [2, 1, 0, 25, 26, 27, 28, 29]  # four of the newest, and the best four of the others
    assert sorted(kept.codes.tolist()) == sorted(codes[rows].tolist())
    assert kept.level == pytest.approx(float(y.mean()))  # of all: what is not known is no better for it
    by_worth = GaussianProcess(NVEC).posterior(codes, y, worth=-y)  # the best by another number than the targets
    assert sorted(by_worth.rows.tolist()) == [3, 4, 5, 6, 26, 27, 28, 29]


@pytest.mark.parametrize("n", [1, 40])
def test_equal_rewards_and_a_single_trial_are_no_error(n: int) -> None:
    process = GaussianProcess(NVEC)
    process.learn(uniform(n), torch.zeros(n), generator())
    drawn = process.posterior(uniform(n), torch.zeros(n)).draws(uniform(5, seed=1), torch.ones(3).double(), generator())
    assert drawn.shape == (3, 5)
    assert drawn.isfinite().all()


def test_candidates_that_are_known_or_stand_twice_are_no_error() -> None:
    process, codes = GaussianProcess(NVEC), uniform(30)
    y = torch.randn(30, generator=generator(1), dtype=torch.float64)
    twice = torch.cat([codes, codes])
    assert process.posterior(codes, y).draws(twice, torch.ones(3).double(), generator()).isfinite().all()


def test_its_state_goes_on_bit_for_bit() -> None:
    codes, y = uniform(50), torch.randn(50, generator=generator(1), dtype=torch.float64)
    first, second = GaussianProcess(NVEC), GaussianProcess(NVEC)
    first.learn(codes, y, generator())
    second.load_state_dict(first.state_dict())
    for process in (first, second):
        process.learn(codes, y, generator(2))
    assert torch.equal(first.settings, second.settings)
    assert not torch.equal(first.settings, first.about)


def test_noise_does_not_fall_below_its_floor() -> None:
    codes = uniform(80)
    process = GaussianProcess(NVEC)
    for _ in range(60):
        process.learn(codes, codes[:, 0], generator())
    assert process.settings.detach()[-1] >= math.log(gaussian._LEAST_NOISE)
    drawn = process.posterior(codes, codes[:, 0]).draws(codes, torch.ones(2, dtype=torch.float64), generator())
    assert drawn.isfinite().all()


def test_what_trials_do_not_show_stays_at_what_was_expected() -> None:
    """A decision with a single choice has no effect: its settings stay with the prior, however long is learned."""
    codes = uniform(80)
    process = GaussianProcess(NVEC)
    with torch.no_grad():
        process.settings[[2, 7]] += 2.0
    for _ in range(40):
        process.learn(codes, codes[:, 0], generator())
    assert process.settings.detach()[[2, 7]].numpy() == pytest.approx(process.about[[2, 7]].numpy(), abs=0.1)
