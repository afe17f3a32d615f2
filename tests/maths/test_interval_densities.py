"""Squashed Gaussians: densities, divergences and gradients against numerical integrals and another implementation."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, SigmoidTransform, TransformedDistribution

from ma2ml_agents.ma2ml import MA2ML, MA2MLConfig, divergence
from ma2ml_agents.policies.controllers import MixedController, chosen, controller, entropy
from ma2ml_agents.policies.intervals import RESOLUTION, START, Gaussians, MixedTable
from ma2ml_agents.saving import seeded
from ma2ml_agents.variants.ma2ml_lite import reinforce_loss
from ma2ml_env.trial import GameSpec

CASES = [(0.0, 1.6), (0.0, 0.05), (2.5, 0.4), (-4.0, 1.0), (1.0, 2.5)]
OTHER = (0.5, 1.2)


def gaussians(mean: float, std: float, n: int = 1) -> Gaussians:
    return Gaussians(*(torch.full((n, 1), v, dtype=torch.float64) for v in (mean, math.log(std))))


def grid(points: int = 200_001, reach: float = 13.0) -> tuple[Tensor, Tensor]:
    """Positions u, dense where squashing is steep, and the weights of their trapezoids in u."""
    u = torch.linspace(-reach, reach, points, dtype=torch.float64).sigmoid()
    width = torch.zeros_like(u)
    width[1:] += u.diff() / 2
    width[:-1] += u.diff() / 2
    return u, width


def integral(values: Tensor) -> float:
    return float((values * grid()[1]).sum())


@pytest.mark.parametrize(("mean", "std"), CASES)
def test_density_integrates_to_one_and_is_the_change_of_variables(mean: float, std: float) -> None:
    u, _ = grid()
    log_p = gaussians(mean, std).log_prob(u[:, None])[:, 0]
    assert abs(integral(log_p.exp()) - 1) < 1e-6
    inside = (u > 1e-5) & (u < 1 - 1e-5)
    other = TransformedDistribution(Normal(mean, std), SigmoidTransform()).log_prob(u[inside])
    assert torch.allclose(log_p[inside], other.double(), atol=1e-5)
    without = Normal(mean, std).log_prob(u.logit())  # control: no Jacobian
    assert abs(integral(without.exp()) - 1) > 0.05


@pytest.mark.parametrize(("mean", "std"), CASES)
def test_draws_follow_the_density(mean: float, std: float) -> None:
    n = 20_000
    u = gaussians(mean, std, n).draw(torch.randn(n, 1, generator=seeded(0), dtype=torch.float64))[:, 0].sort().values
    cdf = Normal(mean, std).cdf(u.logit())
    distance = (cdf - torch.arange(1, n + 1) / n).abs().max()
    assert distance < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov: one in a thousand is above
    wrong = Normal(mean + 0.2 * std, std).cdf(u.logit())  # control
    assert (wrong - torch.arange(1, n + 1) / n).abs().max() > 1.95 / math.sqrt(n)


@pytest.mark.parametrize(("mean", "std"), CASES)
def test_divergence_is_the_integral_and_the_expected_log_ratio(mean: float, std: float) -> None:
    p, q = gaussians(mean, std), gaussians(*OTHER)
    exact, reverse = float(p.kl(q)), float(q.kl(p))
    u, _ = grid()
    log_p, log_q = p.log_prob(u[:, None])[:, 0], q.log_prob(u[:, None])[:, 0]
    assert integral(log_p.exp() * (log_p - log_q)) == pytest.approx(exact, rel=1e-4)
    n = 50_000
    drawn = p.draw(torch.randn(n, 1, generator=seeded(1), dtype=torch.float64))
    nothing = torch.zeros(n, 0, 1, dtype=torch.float64)  # no decisions
    tables = [MixedTable(nothing, Gaussians(g.mean.expand(n, 1), g.log_std.expand(n, 1))) for g in (p, q)]
    ratio = divergence.log_ratio(*tables, drawn)
    error = float(ratio.std()) / math.sqrt(n)
    assert abs(float(ratio.mean()) - exact) < 4 * error
    assert abs(float(ratio.mean()) - reverse) > 4 * error  # control: the other direction
    assert torch.allclose(divergence.kl_along(*tables), torch.tensor(exact, dtype=torch.float64))


@pytest.mark.parametrize(("mean", "std"), CASES)
def test_entropy_is_the_integral(mean: float, std: float) -> None:
    g = gaussians(mean, std)
    log_p = g.log_prob(grid()[0][:, None])[:, 0]
    assert float(g.entropy()) == pytest.approx(-integral(log_p.exp() * log_p), abs=2e-4)
    table = MixedTable(torch.tensor([[[math.log(0.5)] * 2]], dtype=torch.float64), g)
    assert float(entropy(table)) == pytest.approx(math.log(2) + math.log(RESOLUTION) + float(g.entropy()))


def test_the_start_is_the_nearest_to_uniform() -> None:
    found = {std: float(gaussians(0.0, std).entropy()) for std in (START - 0.15, START, START + 0.15)}
    assert max(found, key=found.__getitem__) == START
    assert -0.03 < found[START] < 0
    zeros = Gaussians.of(torch.zeros(1, 1, 2, dtype=torch.float64))
    assert float(zeros.mean) == 0
    assert float(zeros.log_std.exp()) == pytest.approx(START)


def test_a_temperature_is_a_power_of_the_gaussian() -> None:
    cold, hot = gaussians(0.7, 0.5), gaussians(0.7, 0.5).heated(3.0)
    x = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    a, b = (Normal(g.mean[0], g.log_std.exp()[0]).log_prob(x) for g in (cold, hot))
    assert torch.allclose((a - a[0]) / 3.0, b - b[0])


def test_reinforce_gives_the_gradient_of_a_quadratic() -> None:
    """Reward -(x - a)^2: the gradient of -((mean - a)^2 + std^2) is -2 (mean - a), and -2 std^2 by log std."""
    n, a, mean, std = 200_000, 1.2, 0.3, 0.6
    g = gaussians(mean, std, n)
    u = g.draw(torch.randn(n, 1, generator=seeded(2), dtype=torch.float64))
    leaves = [g.mean.clone().requires_grad_(), g.log_std.clone().requires_grad_()]
    reward = -((u[:, 0].logit() - a) ** 2)
    gain = reward - reward.mean()
    log_prob = Gaussians(*leaves).log_prob(u)[:, 0]
    found = torch.autograd.grad(reinforce_loss(log_prob, gain), leaves)
    for gradient, exact in zip(found, (-2 * (mean - a), -2 * std**2), strict=True):
        each = -n * gradient[:, 0]  # one estimate for every sample
        error = float(each.std()) / math.sqrt(n)
        assert abs(float(each.mean()) - exact) < 4 * error
        assert error < 0.02 * abs(exact)  # what the test could see


MIXED = GameSpec({"a": (2, 3), "b": ()}, state_dim=3, intervals={"a": 1, "b": 1})


def wild(net: torch.nn.Module, seed: int, scale: float = 0.6) -> None:
    g = seeded(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=g))


def test_a_mixed_policy_is_a_distribution() -> None:
    policy = controller(MIXED, "a", hidden=6, embedding=5, generator=seeded(0)).double()
    assert isinstance(policy, MixedController)
    wild(policy, 3, scale=1.5)
    u, width = grid(2001)
    state, total = torch.randn(1, 3, generator=seeded(1), dtype=torch.float64), 0.0
    shares = []
    for code in itertools.product(range(2), range(3)):
        codes = torch.cat([torch.tensor(code, dtype=torch.float64).expand(len(u), 2), u[:, None]], dim=1)
        density = chosen(policy.log_probs(state.expand(len(u), -1), codes), codes).exp()
        shares.append(float((density * width).sum().detach()))
        total += shares[-1]
    assert abs(total - 1) < 1e-5
    sample = policy.sample(state.expand(20_000, -1), seeded(5))
    kind = sample.codes[:, 0] * 3 + sample.codes[:, 1]
    for k, share in enumerate(shares):
        assert abs(float((kind == k).double().mean()) - share) < 4 * math.sqrt(share / 20_000)
    means = [float(sample.codes[kind == k, 2].mean()) for k in range(6) if (kind == k).sum() > 300]
    assert max(means) - min(means) > 0.1  # the interval hears of the decisions before it


ROWS, WEIGHT = 100_000, 1.0
TOLERANCE = 0.08  # relative error was 0.01 to 0.05 over ten seeds


@pytest.mark.parametrize("agent", ["a", "b"])
def test_the_learners_own_update_is_the_gradient_of_eq_5(agent: str) -> None:
    """As `test_learner_gradient.py`, with the sums over positions as integrals."""
    config = MA2MLConfig(
        hidden=6, embedding=5, policy_lr=0.0, lambda_=WEIGHT, lambda_per_decision=False, samples=2, grad_clip=1e9,
        ensemble=1, critic_hidden=(8,),
    )  # fmt: skip
    learner = MA2ML(MIXED, config, seed=0)
    actors = learner.actors
    nets = [*(actor.policy for actor in actors.values()), *(actor.rho for actor in actors.values()), learner.critic]
    for k, net in enumerate(nets):
        wild(net, k, 0.4)
    states = torch.randn(1, 2, 3, generator=seeded(2)).expand(ROWS, -1, -1)
    learner._update_policies(states)
    policy = actors[agent].policy
    found = -torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])

    def exact(weight: float) -> Tensor:
        u, width = grid(121, reach=9.0)
        rows = {
            "a": torch.tensor([(*code, v) for code in itertools.product(range(2), range(3)) for v in u.tolist()]),
            "b": u[:, None],
        }
        volume = {"a": width.repeat(6), "b": width}
        log_pi, ratio = {}, {}
        for i, name in enumerate(MIXED.nvec):
            s, codes = states[:1, i].expand(len(rows[name]), -1), rows[name].double()
            table, target = actors[name].policy.log_probs(s, codes), actors[name].rho.log_probs(s, codes)
            log_pi[name], ratio[name] = chosen(table, codes), divergence.log_ratio(table, target, codes)
        m, k = len(rows["a"]), len(rows["b"])
        joint = torch.cat([rows["a"].repeat_interleave(k, 0), rows["b"].repeat(m, 1)], dim=1).double()
        with torch.no_grad():
            q = learner.critic(joint)[0].reshape(m, k)
        p = {name: log_pi[name].exp() * volume[name] for name in log_pi}
        value = p["a"] @ q.double() @ p["b"] - weight * sum((p[name] * ratio[name]).sum() for name in p)
        grads = torch.autograd.grad(value, list(policy.parameters()))
        return torch.cat([g.flatten() for g in grads])

    def differ(a: Tensor, b: Tensor) -> float:
        return float((a - b).norm() / b.norm())

    assert differ(found, exact(WEIGHT)) < TOLERANCE
    assert differ(found, exact(0.0)) > 2 * TOLERANCE  # control: without the divergence
    assert differ(found, exact(-WEIGHT)) > 2 * TOLERANCE  # control: its sign
