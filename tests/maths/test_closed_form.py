"""The closed-form learner against what it claims: posteriors, draws and policies, each by another road."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ma2ml_agents.gaussian import GaussianProcess
from ma2ml_agents.gaussian_functions import FEATURES, Functions
from ma2ml_agents.joint import Joint
from ma2ml_agents.ma2ml_exact.additive import Additive, Weights
from ma2ml_agents.ma2ml_exact.effects import Effects, times
from ma2ml_agents.ma2ml_exact.feature_worth import FeatureWorth
from ma2ml_agents.ma2ml_exact.policies import Policies
from ma2ml_agents.meaning import Meaning
from ma2ml_env.trial import GameSpec

SPEC = GameSpec(
    {"aug": (3, 3, 4), "nas": (2, 5), "hpo": (4,)},
    intervals={"hpo": 1},
    kinds={"aug": ("type", "type", "")},
    ordered={"nas": (False, True)},
    features=lambda codes: np.stack([codes[:, 0] * codes[:, 3], codes[:, 6] ** 2, codes[:, 1] * 0.0], axis=1),
)
"""of three features the last is the same everywhere"""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_codes(n: int, seed: int = 0) -> Tensor:
    nvec = torch.tensor(Joint(SPEC).nvec)
    u = torch.rand(n, len(nvec), generator=seeded(seed), dtype=torch.float64)
    grid = (u * 32 * 64).round() / (32 * 64)  # positions that the critic reads as they are
    return torch.where(nvec > 0, (u * nvec).floor(), grid)


def meaning(wanted: bool = True) -> Meaning:
    return Meaning(Joint(SPEC), wanted=wanted)


def effects(**switches: bool) -> Effects:
    return Effects(Joint(SPEC), **{"ties": True, "order": True, **switches})


def prior(of: Effects, order: float, tie: float) -> Tensor:
    """The covariance of effects and level."""
    eye = torch.eye(of.size + 1, dtype=torch.float64)
    half = times(of.factors(order, tie), eye)
    return half @ half.T


def test_effects_of_one_kind_share_a_part_and_others_do_not() -> None:
    c = prior(effects(), order=1.0, tie=0.5)
    first, second = range(3), range(3, 6)
    own = c[first][:, first]
    assert c[first][:, second].numpy() == pytest.approx((own * 0.5 / 1.5).numpy(), abs=1e-5)
    assert not c[:6, 6:].any()
    assert not prior(effects(ties=False), 1.0, 0.5)[:3, 3:6].any()


def test_effects_by_order_are_near_where_choices_are() -> None:
    c = prior(effects(), order=math.exp(4.0), tie=0.0)
    depth = c[12:17][:, 12:17]  # nas: five ordered choices
    assert depth[0, 1] > depth[0, 2] > depth[0, 4]
    names = prior(effects(order=False), math.exp(4.0), 0.0)
    assert names[12, 13] == pytest.approx(names[12, 16])


def test_an_effect_of_a_position_is_interpolated() -> None:
    of, codes = effects(), random_codes(1)
    codes[0, -1] = (10 + 0.25) / 32
    row = of.rows(codes)[0]
    assert row[of.offsets[-1] + 10] == 0.75
    assert row[of.offsets[-1] + 11] == 0.25
    assert row.sum() == 8.0  # seven decisions and the level


def test_a_code_at_the_last_position_has_no_neighbour_beyond() -> None:
    codes = random_codes(1)
    codes[0, -1] = 1.0
    assert effects().rows(codes)[0, -1] == 1.0
    assert effects().rows(codes)[0, -2] == 1.0


@pytest.mark.parametrize("trials", [5, 200])
def test_the_posterior_of_effects_is_that_of_the_gaussian(trials: int) -> None:
    of, codes = effects(), random_codes(trials)
    y = torch.randn(trials, generator=seeded(3), dtype=torch.float64)
    additive = Additive(of, meaning())
    additive.weights = Weights(noise=0.3, order=-0.5, tie=0.7, meaning=0.4)
    found = additive.fit(codes, y)
    features = 0.5 * math.exp(0.4) * torch.eye(2, dtype=torch.float64)
    c = torch.block_diag(prior(of, math.exp(-0.5), math.exp(0.7)), features)  # type: ignore[no-untyped-call]
    x, r = additive.rows(codes), math.exp(0.3)
    k = x @ c @ x.T + r * torch.eye(trials, dtype=torch.float64)
    inverse = torch.linalg.inv(k)
    square = float(y @ inverse @ y) / trials  # s^2
    assert found.mean.numpy() == pytest.approx((c @ x.T @ inverse @ y).numpy(), abs=1e-6)
    assert found.scale**2 == pytest.approx(square, rel=1e-6)
    assert found.likelihood == pytest.approx(
        float(-0.5 * (trials * math.log(square) + torch.logdet(k))), rel=1e-6, abs=1e-6
    )
    covariance = square * (c - c @ x.T @ inverse @ x @ c)
    row = additive.rows(random_codes(1, seed=9))[0]
    assert found.deviation(row) ** 2 == pytest.approx(float(row @ covariance @ row), rel=1e-6)
    drawn = found.deviations(torch.randn(of.size + 3, 40_000, generator=seeded(1), dtype=torch.float64))
    assert torch.cov(drawn).numpy() == pytest.approx(covariance.numpy(), abs=0.03 * float(covariance.max()))


def test_counting_on_gives_the_bits_of_counting_anew() -> None:
    codes, y = random_codes(300), torch.randn(300, generator=seeded(), dtype=torch.float64)
    on = Additive(effects(), meaning())
    for end in (7, 100, 300):
        counted = on.fit(codes[:end], y[:end])
    anew = Additive(effects(), meaning()).fit(codes, y)
    assert torch.equal(counted.mean, anew.mean)
    after = Additive(effects(), meaning()).fit(codes[100:], y[100:])
    assert torch.equal(on.fit(codes[100:], y[100:]).mean, after.mean)


def test_evidence_finds_what_is_shared_and_leaves_what_is_not() -> None:
    """The same three effects in two decisions: the tie's weight rises; independent ones: it falls."""
    told, weights = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64), []
    for second in (told, -told):
        codes = random_codes(150, seed=4)
        y = told[codes[:, 0].long()] + second[codes[:, 1].long()]
        y = y + 0.3 * torch.randn(150, generator=seeded(), dtype=torch.float64)
        additive = Additive(effects(), meaning(wanted=False))
        additive.fit(codes, y, steps=60)
        weights.append(additive.weights.tie)
    assert weights[0] > math.log(0.1) > weights[1]


def test_evidence_finds_features_that_count_and_leaves_those_that_do_not() -> None:
    codes, weights = random_codes(150, seed=4), []
    for told in (meaning()(codes)[:, 0], torch.randn(150, generator=seeded(5), dtype=torch.float64)):
        additive = Additive(effects(), meaning())
        additive.fit(codes, told + 0.3 * torch.randn(150, generator=seeded(), dtype=torch.float64), steps=60)
        weights.append(additive.weights.meaning)
    assert weights[0] > math.log(0.1) > weights[1]


def test_features_have_one_scale_and_those_that_never_vary_are_left_out() -> None:
    found = meaning()(random_codes(4000, seed=3))
    assert found.shape == (4000, 2)
    assert found.mean(0).numpy() == pytest.approx([0.0, 0.0], abs=0.1)
    assert found.std(0).numpy() == pytest.approx([1.0, 1.0], abs=0.1)
    assert torch.equal(found * 64, (found * 64).round())
    assert meaning(wanted=False)(random_codes(3)).shape == (3, 0)
    assert Meaning(Joint(GameSpec({"a": (2,)})), wanted=True).size == 0


def test_what_features_are_worth_to_changes_is_what_they_are_worth_there() -> None:
    joint, own = Joint(SPEC), meaning()
    weights = torch.randn(2, 7, generator=seeded(), dtype=torch.float64)
    worth = FeatureWorth(own, weights, joint)
    places = random_codes(7)
    places[:, 6] = (places[:, 6] * 32).round()  # numbers of positions
    worth.stand(places.long())
    for d, size in enumerate(joint.nvec):
        values = worth.values(d)
        for choice in range(size or 33):
            changed = places.clone()
            changed[:, d] = choice
            changed[:, 6] /= 32
            assert values[:, choice].numpy() == pytest.approx((own(changed) * weights.T).sum(1).numpy())
        worth.move(d, torch.zeros(7, dtype=torch.int64))
        places[:, d] = 0
    assert not worth.places.any()


NVEC = (4, 3, 6, 0, 2)


def process_of(n: int) -> tuple[GaussianProcess, Tensor, Tensor]:
    u = torch.rand(n, len(NVEC), generator=seeded(1), dtype=torch.float64)
    sizes = torch.tensor(NVEC)
    codes = torch.where(sizes > 0, (u * sizes).floor(), u)
    y = torch.sin(codes.sum(1)) + 0.1 * torch.randn(n, generator=seeded(2), dtype=torch.float64)
    process = GaussianProcess(NVEC)
    process.learn(codes, y, seeded(3), batches=10)
    return process, codes, y


def test_functions_are_draws_of_the_process() -> None:
    process, codes, y = process_of(50)
    posterior = process.posterior(codes, y)
    place = torch.tensor([[3, 1, 2, 16, 0]])
    drawn = []
    for basis in range(6):
        noise = torch.randn(FEATURES + 50, 3000, generator=seeded(10 + basis), dtype=torch.float64)
        functions = Functions(posterior, y[:, None].expand(-1, 3000), noise, 1.0, seeded(basis))
        functions.stand(place.expand(3000, -1))
        drawn.append(functions.values(2))
    values = torch.cat(drawn).numpy() + posterior.level
    points = place.double().repeat(6, 1)
    points[:, 2], points[:, 3] = torch.arange(6), 0.5
    exact = posterior.draws(points, torch.ones(20_000, dtype=torch.float64), seeded(5)).numpy()
    assert values.mean(0) == pytest.approx(posterior.mean(points).numpy(), abs=0.02)
    assert np.cov(values.T) == pytest.approx(np.cov(exact.T), abs=0.12 * float(np.cov(exact.T).max()))


def test_a_moved_function_is_where_it_would_have_stood() -> None:
    process, codes, y = process_of(40)
    noise = torch.randn(FEATURES + 40, 5, generator=seeded(), dtype=torch.float64)
    made = [Functions(process.posterior(codes, y), y[:, None].expand(-1, 5), noise, 0.4, seeded(7)) for _ in range(2)]
    made[0].stand(torch.tensor([[3, 1, 2, 16, 0]]).expand(5, -1))
    for d, choices in ((2, [0, 1, 2, 3, 4]), (3, [0, 8, 16, 24, 32]), (0, [3, 2, 1, 0, 0])):
        made[0].move(d, torch.tensor(choices))
    made[1].stand(made[0].places)
    for d in range(len(NVEC)):
        assert made[0].values(d).numpy() == pytest.approx(made[1].values(d).numpy(), abs=1e-9)


def test_functions_that_are_pulled_to_the_mean_are_the_mean() -> None:
    process, codes, y = process_of(40)
    noise = torch.randn(FEATURES + 40, 2, generator=seeded(), dtype=torch.float64)
    functions = Functions(process.posterior(codes, y), y[:, None].expand(-1, 2), noise, 0.0, seeded(7))
    functions.stand(torch.tensor([[3, 1, 2, 16, 0]]).expand(2, -1))
    point = torch.tensor([[3.0, 1.0, 2.0, 0.5, 0.0]], dtype=torch.float64)
    mean = float(process.posterior(codes, y).mean(point))
    level = process.posterior(codes, y).level
    assert functions.values(2)[:, 2].numpy() + level == pytest.approx([mean, mean])


def test_the_process_says_how_much_is_interactions() -> None:
    u = torch.rand(200, 4, generator=seeded(), dtype=torch.float64)
    codes = (u * 3).floor().long()
    noise = torch.randn(200, generator=seeded(1), dtype=torch.float64)
    interacting = (codes[:, 0] == codes[:, 1]).double() - (codes[:, 2] == codes[:, 3]).double() + 0.2 * noise
    told = []
    for y in (interacting, noise):
        process = GaussianProcess((3, 3, 3, 3))
        process.learn(codes, y, seeded(2), batches=20)
        told.append(process.share)
    assert told[0] > 0.5
    assert told[1] < 0.2


SMALL = GameSpec({"a": (2, 3), "b": (3,)})


def policies_of(spec: GameSpec) -> tuple[Policies, Effects, Joint]:
    joint = Joint(spec)
    own = Effects(joint, ties=True, order=True)
    return Policies(own, list(joint.slices.values()), seeded()), own, joint


def test_policies_maximise_equation_12() -> None:
    """The objective of eq. 12 at the closed form is above that of every other factorised policy that was tried."""
    _, own, _ = policies_of(SMALL)
    lambda_, mu = 0.7, 0.4
    mean = torch.randn(own.size + 1, 1, generator=seeded(1), dtype=torch.float64)
    draw = torch.randn(own.size + 1, 1, generator=seeded(2), dtype=torch.float64)
    temperature = 1 / (1 / lambda_ + 1 / mu)
    spread = temperature / lambda_
    logits = (mean + spread * draw) / temperature
    assert logits.numpy() == pytest.approx((mean / mu + (mean + draw) / lambda_).numpy())
    rho = [torch.softmax(mean[o : o + n, 0] / mu, 0) for o, n in zip(own.offsets, own.sizes, strict=True)]
    q = [(mean + draw)[o : o + n, 0] for o, n in zip(own.offsets, own.sizes, strict=True)]
    pi = [torch.softmax(logits[o : o + n, 0], 0) for o, n in zip(own.offsets, own.sizes, strict=True)]

    def objective(of: list[Tensor]) -> float:
        """By going through all joint actions: E[Q] - lambda KL."""
        total = 0.0
        for a in itertools.product(*(range(len(p)) for p in of)):
            p = math.prod(float(of[d][i]) for d, i in enumerate(a))
            value = sum(float(q[d][i]) for d, i in enumerate(a))
            ratio = sum(math.log(float(of[d][i] / rho[d][i])) for d, i in enumerate(a))
            total += p * (value - lambda_ * ratio)
        return total

    best = objective(pi)
    for seed in range(200):
        noise = [torch.randn(len(p), generator=seeded(100 + seed), dtype=torch.float64) for p in pi]
        other = [torch.softmax(p.log() + 0.3 * n, 0) for p, n in zip(pi, noise, strict=True)]
        assert objective(other) < best


def test_credit_is_what_choices_are_worth_beyond_equation_3s_baseline() -> None:
    policies, of, joint = policies_of(SPEC)
    mean = torch.randn(of.size + 4, generator=seeded(3), dtype=torch.float64)
    codes = random_codes(50, seed=4)
    places, mu = policies.places(codes), 0.2
    for agent, told in zip(joint.agents, policies.credit(mean, codes, mu), strict=True):
        worth = torch.zeros(50, dtype=torch.float64)
        for d in range(joint.slices[agent].start, joint.slices[agent].stop):
            values = mean[of.offsets[d] : of.offsets[d] + of.sizes[d]]
            rho = torch.exp(values / mu) / torch.exp(values / mu).sum()
            worth += values[places[:, d]] - rho @ values
        assert told == pytest.approx(float(worth.abs().mean()))


def test_samples_have_the_probabilities_that_they_are_told_with() -> None:
    policies, own, joint = policies_of(SMALL)
    logits = torch.randn(own.size + 1, 1, generator=seeded(1), dtype=torch.float64)
    places, log_probs = policies.sample(logits.expand(-1, 60_000))
    counts: dict[tuple[int, ...], list[float]] = {}
    for row, log in zip(places.tolist(), log_probs.sum(1).tolist(), strict=True):
        counts.setdefault(tuple(row), []).append(log)
    assert len(counts) == 18
    for logs in counts.values():
        assert len(set(logs)) == 1
        assert len(logs) / 60_000 == pytest.approx(math.exp(logs[0]), abs=0.01)
    assert log_probs.shape[1] == len(joint.agents)


def test_densities_of_intervals_integrate_to_one() -> None:
    policies, own, _ = policies_of(GameSpec({"a": ()}, intervals={"a": 1}))
    logits = torch.randn(own.size + 1, 1, generator=seeded(1), dtype=torch.float64).expand(-1, 50_000)
    places, log_probs = policies.sample(logits)
    positions = policies.codes(places, torch.float64)[:, 0]
    assert ((positions >= 0) & (positions <= 1)).all()
    inside = (positions > 1 / 32) & (positions < 31 / 32)  # a cell at an end is half as wide
    assert float((-log_probs[inside, 0]).exp().mean() * inside.double().mean()) == pytest.approx(30 / 32, abs=0.05)


def test_answers_settle_on_what_no_agent_betters_alone() -> None:
    """At a low temperature they are an equilibrium of the drawn game: every decision is best while the others stand."""
    process, codes, y = process_of(60)
    spec = GameSpec({"a": (4, 3), "b": (6,), "c": (2,)}, intervals={"b": 1})
    joint = Joint(spec)
    own = Effects(joint, ties=False, order=False)
    policies = Policies(own, list(joint.slices.values()), seeded())
    noise = torch.randn(FEATURES + 60, 12, generator=seeded(), dtype=torch.float64)
    functions = Functions(process.posterior(codes, y), y[:, None].expand(-1, 12), noise, 0.3, seeded(7))
    functions.stand(torch.zeros(12, 5, dtype=torch.int64))
    effects_ = torch.zeros(own.size + 1, 12, dtype=torch.float64)
    for _ in range(3):
        policies.answer(effects_, [functions], 1e-6)
    for d in range(5):
        values = functions.values(d)
        assert (values.max(1).values - values.gather(1, functions.places[:, d : d + 1])[:, 0]).max() < 1e-3


def test_learning_from_joint_values_approaches_the_closed_form() -> None:
    policies, own, _ = policies_of(SMALL)
    mean = torch.randn(own.size + 1, 1, generator=seeded(1), dtype=torch.float64).expand(-1, 20)
    draw = mean + 0.5
    lambda_, mu = 2.0, 2.0
    wanted = policies._table(mean / mu + draw / lambda_).exp()
    errors = []
    for steps in (1, 12, 400):
        told = policies._table(policies.learned(mean / mu, draw, lambda_, steps)).exp()
        errors.append(float((told - wanted).abs().mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02
