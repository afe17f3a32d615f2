import pytest
import torch

from ma2ml_agents.policies.controllers import Controller, chosen, entropy
from ma2ml_agents.saving import seeded

NVECS = [(2, 5, 3), (4,), (7, 1, 2, 2), (3,) * 12]


def make(nvec: tuple[int, ...], seed: int = 0) -> Controller:
    return Controller(nvec, 8, hidden=16, embedding=6, generator=seeded(seed))


def states(n: int) -> torch.Tensor:
    return torch.randn(n, 8, generator=seeded(5))


@pytest.mark.parametrize("nvec", NVECS)
def test_sampling_and_scoring_agree(nvec: tuple[int, ...]) -> None:
    controller, s = make(nvec), states(50)
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.mul_(10)  # far from uniform
    sample = controller.sample(s, seeded(1))
    table = controller.log_probs(s, sample.codes)
    assert sample.codes.shape == (50, len(nvec))
    assert torch.allclose(sample.table, table, atol=1e-5)
    assert torch.allclose(sample.log_prob, chosen(table, sample.codes), atol=1e-5)
    other = controller.log_probs(-s, sample.codes)  # control: at other states the numbers are others
    assert max(nvec) == 1 or not torch.allclose(sample.table, other, atol=1e-3)


@pytest.mark.parametrize("nvec", NVECS)
def test_codes_in_range_and_every_choice_drawn(nvec: tuple[int, ...]) -> None:
    codes = make(nvec).sample(states(500), seeded(1)).codes
    for t, size in enumerate(nvec):
        assert sorted(set(codes[:, t].tolist())) == list(range(size))


def test_frequencies_are_the_probabilities() -> None:
    controller = make((4, 3))
    with torch.no_grad():
        controller.head.mul_(20)
    s = states(1).expand(20_000, -1)
    sample = controller.sample(s, seeded(2))
    found = torch.bincount(sample.codes[:, 0], minlength=4) / 20_000
    assert torch.allclose(found, sample.table[0, 0].exp(), atol=0.015)  # 4 standard errors of 0.0035


def test_a_hot_policy_is_nearer_to_uniform() -> None:
    controller = make((5, 5))
    with torch.no_grad():
        controller.head_bias[:, 0] = 4.0
    cold, hot = controller.sample(states(100), seeded(0)), controller.sample(states(100), seeded(0), temperature=3.0)
    assert entropy(hot.table).mean() > entropy(cold.table).mean() + 0.5


def test_initial_policy_is_almost_uniform() -> None:
    table = make((4, 4)).sample(states(100), seeded(0)).table
    assert (table.exp() - 0.25).abs().max() < 0.03


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    controller = make((3, 3))
    controller.sample(states(3), seeded(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_decide() -> None:
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in make((3, 2), seed).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_gradients_reach_every_parameter() -> None:
    controller, s = make((3, 2)), states(8)
    codes = controller.sample(s, seeded(0)).codes
    chosen(controller.log_probs(s, codes), codes).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in controller.parameters())
