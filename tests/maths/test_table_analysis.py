"""What `tables/analysis.py` says is what going through all joint actions one by one says."""

import math
from itertools import permutations, product

import numpy as np
import pytest

from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.tables import analysis

RNG = np.random.default_rng(0)
VALUES = RNG.random((3, 4, 2))
POLICIES = [RNG.dirichlet(np.ones(size)) for size in VALUES.shape]
TARGETS = [RNG.dirichlet(np.ones(size)) for size in VALUES.shape]
ACTIONS = list(product(*map(range, VALUES.shape)))


def probability(joint, policies=POLICIES):
    return math.prod(policy[action] for policy, action in zip(policies, joint, strict=True))


def replaced(joint, agent, action):
    return (*joint[:agent], action, *joint[agent + 1 :])


def test_the_joint_array_is_the_table_in_its_order():
    spaces = {
        "a": SearchSpace([Decision("x", (0, 1)), Decision("y", (0, 1, 2))]),
        "b": SearchSpace([Decision("z", (0, 1))]),
    }
    flat = np.arange(12.0)
    joint = analysis.as_joint(flat, spaces)
    for number, (x, y, z) in enumerate(product(range(2), range(3), range(2))):
        assert joint[3 * x + y, z] == number
    with pytest.raises(ValueError, match="12 joint actions"):
        analysis.as_joint(flat[1:], spaces)


@pytest.mark.parametrize("agent", range(3))
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_advantage_is_the_paper_s(agent, weight):
    """Eq. 13 with each expectation as a sum over the agent's actions."""
    found = analysis.advantage(VALUES, POLICIES, agent, targets=TARGETS, weight=weight)
    pi, rho = POLICIES[agent], TARGETS[agent]
    kl = sum(p * math.log(p / r) for p, r in zip(pi, rho, strict=True))
    for joint in ACTIONS:
        mean = sum(pi[a] * VALUES[replaced(joint, agent, a)] for a in range(len(pi)))
        own = math.log(pi[joint[agent]] / rho[joint[agent]])
        assert found[joint] == pytest.approx(VALUES[joint] - weight * own - mean + weight * kl)
        total = sum(pi[a] * found[replaced(joint, agent, a)] for a in range(len(pi)))
        assert total == pytest.approx(0.0, abs=1e-12)


def test_it_is_the_joint_ratio_less_the_baseline_of_equation_12():
    """Q - lambda log(pi / rho) less its mean over A_i ~ pi_i: the other agents' ratios cancel."""
    weight, agent = 0.3, 1
    found = analysis.advantage(VALUES, POLICIES, agent, targets=TARGETS, weight=weight)

    def regularised(joint):
        return VALUES[joint] - weight * math.log(probability(joint) / probability(joint, TARGETS))

    for joint in ACTIONS:
        mean = sum(POLICIES[agent][a] * regularised(replaced(joint, agent, a)) for a in range(4))
        assert found[joint] == pytest.approx(regularised(joint) - mean)


def test_the_mean_under_policies_is_that_of_all_joint_actions():
    assert analysis.expected(VALUES, POLICIES) == pytest.approx(sum(probability(a) * VALUES[a] for a in ACTIONS))


def test_shapley_values_are_the_mean_over_all_orders():
    actions = (2, 1, 0)
    found = analysis.shapley(VALUES, actions, POLICIES)

    def worth(coalition):
        fits = [a for a in ACTIONS if all(a[i] == actions[i] for i in coalition)]
        others = [i for i in range(3) if i not in coalition]
        return sum(math.prod(POLICIES[i][a[i]] for i in others) * VALUES[a] for a in fits)

    added = np.zeros(3)
    for order in permutations(range(3)):
        for place, agent in enumerate(order):
            added[agent] += worth(order[: place + 1]) - worth(order[:place])
    assert found == pytest.approx(added / 6)
    assert sum(found) == pytest.approx(VALUES[actions] - analysis.expected(VALUES, POLICIES))


def test_equilibria_are_what_nobody_alone_can_better():
    rough = np.round(VALUES, 1)  # with ties
    found = analysis.equilibria(rough)
    for joint in ACTIONS:
        nash = all(
            rough[joint] >= rough[replaced(joint, agent, a)] for agent in range(3) for a in range(rough.shape[agent])
        )
        assert found[joint] == nash
    assert found[np.unravel_index(rough.argmax(), rough.shape)]
    assert 1 < found.sum() < rough.size


def test_shares_are_those_of_drawing_again():
    """An agent's total share is half the mean square of what changes when it alone is drawn again (Jansen 1999)."""
    totals, found = analysis.total_shares(VALUES), analysis.shares(VALUES)
    assert sum(found.values()) == pytest.approx(1.0)
    for agent in range(3):
        squares = [
            (VALUES[joint] - VALUES[replaced(joint, agent, a)]) ** 2
            for joint in ACTIONS
            for a in range(VALUES.shape[agent])
        ]
        assert totals[agent] == pytest.approx(np.mean(squares) / 2 / VALUES.var())
        alone = VALUES.mean(tuple(a for a in range(3) if a != agent)).var() / VALUES.var()
        assert found[agent,] == pytest.approx(alone)
    additive = np.add.outer(np.add.outer([0.0, 1.0], [0.0, 2.0]), [0.0, 3.0])
    assert sum(share for agents, share in analysis.shares(additive).items() if len(agents) > 1) < 1e-12
    assert set(analysis.shares(np.ones((2, 2))).values()) == {0.0}


def test_separate_search_joins_what_is_best_beside_the_base():
    base = (1, 2, 1)
    joint, loss = analysis.separate(VALUES, base)
    assert joint == tuple(
        max(range(VALUES.shape[agent]), key=lambda a: VALUES[replaced(base, agent, a)]) for agent in range(3)
    )
    assert loss == max(VALUES[a] for a in ACTIONS) - VALUES[joint]
    coordination = np.array([[1.0, 0.0], [0.0, 2.0]])  # no agent leaves the base alone, so both stay
    assert analysis.separate(coordination, (0, 0)) == ((0, 0), 1.0)
    mains, lost = analysis.by_main_effects(coordination)
    assert (mains, lost) == ((1, 1), 0.0)


def test_regret_is_what_is_lost_to_the_best():
    assert analysis.regret(VALUES, VALUES).min() == 0.0
    assert analysis.regret(VALUES, np.array([0.0])) == pytest.approx(VALUES.max())


def test_the_best_are_told_from_the_rest_by_their_noise():
    """Of 500 points with known means, those that are not told apart hold the true best in 19 of 20 draws, and few others."""
    rng = np.random.default_rng(1)
    truth = np.linspace(0.5, 0.9, 500)
    inside = sizes = 0
    for _ in range(100):
        measured = truth[:, None] + 0.005 * rng.standard_normal((500, 3))
        found = analysis.not_told_apart(measured, neighbours=100)
        inside += found[499]
        sizes += found.sum()
    assert inside >= 90
    assert 5 < sizes / 100 < 40
    exact = analysis.not_told_apart(truth[:, None].repeat(2, 1))
    assert np.flatnonzero(exact).tolist() == [499]
    with pytest.raises(ValueError, match="measured twice"):
        analysis.not_told_apart(truth[:, None])
    with pytest.raises(ValueError, match="point 1 has none"):
        analysis.not_told_apart(np.array([[0.5, 0.6], [np.nan, np.nan]]))


def test_points_that_were_measured_less_often_have_wider_errors():
    few = np.array([[0.90, 0.91, 0.92, 0.90], [0.895, np.nan, np.nan, np.nan], [0.895, 0.895, 0.895, 0.895]])
    assert analysis.not_told_apart(few, neighbours=3).tolist() == [True, True, False]


@pytest.mark.parametrize("policy", [np.ones(4), np.array([0.5, 0.5, 0.5, -0.5]), np.array([0.5, 0.5])])
def test_what_is_no_policy_is_refused(policy):
    with pytest.raises(ValueError, match="agent 1"):
        analysis.baseline(VALUES, policy, 1)


def test_a_target_that_excludes_what_the_policy_does_is_refused():
    targets = [*TARGETS[:2], np.array([1.0, 0.0])]
    with pytest.raises(ValueError, match="excludes"):
        analysis.advantage(VALUES, POLICIES, 2, targets=targets, weight=0.1)
