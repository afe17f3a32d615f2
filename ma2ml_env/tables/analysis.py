"""What can be said of a joint game whose every pipeline is measured: exactly, not by samples.

All functions take `values`, an array with one axis an agent: `values[a_1, ..., a_N]` is the mean reward of the joint action, an
agent's action being the number of its code (`as_joint` makes it of a table). Nothing here is estimated but what noise leaves
open, and `not_told_apart` is about that.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import factorial, prod

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.space import SearchSpace

Values = NDArray[np.float64]


def as_joint(values: Values, spaces: Mapping[str, SearchSpace]) -> Values:
    """Values of all points (points,), the last decision fastest, as one axis an agent.

    Raises:
        ValueError: if their number is not that of the joint actions.
    """
    sizes = [prod(space.nvec) for space in spaces.values()]
    if values.shape != (prod(sizes),):
        raise ValueError(f"{prod(sizes)} joint actions have as many values, not {values.shape}")
    return values.reshape(sizes)


def regret(values: Values, found: Values) -> Values:
    """How much is lost to the optimum by what was found, of any shape; 0 is the optimum."""
    return np.asarray(values.max() - found)


def not_told_apart(repeats: Values, z: float = 1.96, neighbours: int = 200) -> NDArray[np.bool_]:
    """Which points their measurements do not tell from the best one.

    A deviation of a few measurements says little, and the noise is larger where accuracy is low, so a point's variance is the
    mean over the `neighbours` points around it in the order of means. A point is told apart if its mean is lower than the best
    one's by more than z standard errors of the difference.

    Args:
        repeats: (points, repeats) measurements; NaN at the end of a row where a point was measured less often.
        z: 1.96 is 95 % a pair, both sides.
        neighbours: points whose variances are averaged.

    Returns:
        (points,).

    Raises:
        ValueError: if no point was measured twice, or one not at all.
    """
    counts, means = _counted(repeats)
    variance = noise_variance(repeats, means, neighbours)
    best = int(means.argmax())
    error = np.sqrt(variance / counts + variance[best] / counts[best])
    return np.asarray(means >= means[best] - z * error)


def noise_variance(repeats: Values, at: Values, neighbours: int = 200) -> Values:
    """Variance of a single measurement at these means: that of the points around each in the order of means, together.

    Args:
        repeats: as of `not_told_apart`.
        at: (n,) means.
        neighbours: points whose variances are averaged.

    Returns:
        (n,).

    Raises:
        ValueError: if no point was measured twice, or one not at all.
    """
    counts, means = _counted(repeats)
    twice = counts > 1
    if not twice.any():
        raise ValueError("without a point that was measured twice nobody knows the noise")
    squares = np.nansum((repeats[twice] - means[twice, None]) ** 2, 1)
    order = np.argsort(means[twice], kind="stable")
    freedoms = counts[twice][order] - 1
    many = min(neighbours, len(order))
    place = np.searchsorted(means[twice][order], at)
    begin = np.clip(place - many // 2, 0, len(order) - many)
    sums, frees = (np.append(0.0, np.cumsum(each)) for each in (squares[order], freedoms))
    return np.asarray((sums[begin + many] - sums[begin]) / (frees[begin + many] - frees[begin]))


def _counted(repeats: Values) -> tuple[NDArray[np.int64], Values]:
    """How often each point was measured, and its mean."""
    counts = (~np.isnan(repeats)).sum(1)
    if not counts.all():
        raise ValueError(f"every point has at least one measurement, and point {int(counts.argmin())} has none")
    return counts, np.nanmean(repeats, 1)


def shares(values: Values) -> dict[tuple[int, ...], float]:
    """Functional analysis of variance under uniform policies: set of agents -> share of the variance (Sobol' 2001).

    The shares sum to 1; an agent's total share is the sum over the sets that it is in. All are 0 where the values are equal.
    """
    variance = float(values.var())
    axes = range(values.ndim)
    effects: dict[tuple[int, ...], Values] = {}
    found: dict[tuple[int, ...], float] = {}
    for size in range(values.ndim + 1):
        for agents in combinations(axes, size):
            others = tuple(axis for axis in axes if axis not in agents)
            effect = values.mean(others, keepdims=True)
            for part, other in effects.items():
                if set(part) < set(agents):
                    effect = effect - other
            effects[agents] = effect
            if agents:
                found[agents] = float((effect**2).mean()) / variance if variance > 0.0 else 0.0
    return found


def total_shares(values: Values) -> list[float]:
    """Of each agent, the share of the variance that all sets with it have."""
    found = shares(values)
    return [sum(share for agents, share in found.items() if agent in agents) for agent in range(values.ndim)]


def baseline(values: Values, policy: NDArray[np.float64], agent: int) -> Values:
    """b(A_-i) = E_{A_i ~ pi_i}[Q(A_i, A_-i)] (paper, eq. 3) with Q the true reward: one axis of length 1 in place of i's.

    Raises:
        ValueError: if the policy is no distribution over the agent's actions.
    """
    _check(values, policy, agent)
    shape = [1] * values.ndim
    shape[agent] = -1
    return np.asarray((values * policy.reshape(shape)).sum(agent, keepdims=True))


def advantage(
    values: Values,
    policies: Sequence[NDArray[np.float64]],
    agent: int,
    *,
    targets: Sequence[NDArray[np.float64]] | None = None,
    weight: float = 0.0,
) -> Values:
    """Each joint action's exact counterfactual advantage of agent i (paper, eq. 13's bracket; eq. 12 is what is taken off).

    Q - lambda log(pi_i / rho_i) - E_{A_i ~ pi_i}[Q] + lambda KL(pi_i || rho_i), Q being the true reward. Its mean over
    A_i ~ pi_i is 0 whatever the others do.

    Args:
        values: as ever.
        policies: of each agent, a distribution over its actions.
        agent: i, from 0.
        targets: the policies rho of eq. 12; None is without divergence.
        weight: lambda.

    Raises:
        ValueError: if a policy is none, or an action that it takes is impossible for its target.
    """
    policy = policies[agent]
    found = values - baseline(values, policy, agent)
    if targets is None or weight == 0.0:
        return np.asarray(found)
    target = targets[agent]
    _check(values, target, agent)
    if (target[policy > 0.0] == 0.0).any():
        raise ValueError(f"the target policy of agent {agent} excludes what its policy does")
    ratio = np.zeros(len(policy))
    taken = policy > 0.0
    ratio[taken] = np.log(policy[taken] / target[taken])
    shape = [1] * values.ndim
    shape[agent] = -1
    return np.asarray(found - weight * (ratio - policy @ ratio).reshape(shape))


def expected(values: Values, policies: Sequence[NDArray[np.float64]]) -> float:
    """The mean reward under a product of policies."""
    found = values
    for agent, policy in enumerate(policies):
        found = baseline(found, policy, agent)
    return float(found.item())


def shapley(values: Values, actions: Sequence[int], policies: Sequence[NDArray[np.float64]]) -> list[float]:
    """What each agent's action adds to the mean under the policies, averaged over the orders of the agents (Shapley 1953).

    A coalition acts, the others draw from their policies; the values sum to values[actions] minus the policies' mean.
    """
    agents = range(values.ndim)
    worth: dict[frozenset[int], float] = {}
    for size in range(values.ndim + 1):
        for coalition in combinations(agents, size):
            acts = [_only(len(p), actions[a]) if a in coalition else p for a, p in enumerate(policies)]
            worth[frozenset(coalition)] = expected(values, acts)
    n = values.ndim
    found = []
    for agent in agents:
        others = [each for each in agents if each != agent]
        found.append(
            sum(
                factorial(size) * factorial(n - size - 1) / factorial(n)
                * (worth[frozenset(some) | {agent}] - worth[frozenset(some)])
                for size in range(n)
                for some in combinations(others, size)
            )
        )  # fmt: skip
    return found


def equilibria(values: Values) -> NDArray[np.bool_]:
    """Which joint actions no single agent can better (Nash 1950, pure): the shape of `values`; the optimum is always one."""
    found = np.ones(values.shape, dtype=bool)
    for agent in range(values.ndim):
        found &= values >= values.max(agent, keepdims=True)
    return found


def separate(values: Values, base: Sequence[int]) -> tuple[tuple[int, ...], float]:
    """Separate search: each agent takes what is best beside the others' base actions, and these are joined.

    Returns:
        (joint action, what it loses to the optimum).
    """
    joint = tuple(
        int(values[tuple(slice(None) if a == agent else base[a] for a in range(values.ndim))].argmax())
        for agent in range(values.ndim)
    )
    return joint, float(values.max() - values[joint])


def by_main_effects(values: Values) -> tuple[tuple[int, ...], float]:
    """What each agent takes who knows its actions' means over all of the others' actions; what that loses to the optimum."""
    axes = range(values.ndim)
    joint = tuple(int(values.mean(tuple(a for a in axes if a != agent)).argmax()) for agent in axes)
    return joint, float(values.max() - values[joint])


def _only(size: int, action: int) -> NDArray[np.float64]:
    policy = np.zeros(size)
    policy[action] = 1.0
    return policy


def _check(values: Values, policy: NDArray[np.float64], agent: int) -> None:
    if policy.shape != (values.shape[agent],) or (policy < 0.0).any() or not np.isclose(policy.sum(), 1.0):
        raise ValueError(
            f"a policy of agent {agent} is {values.shape[agent]} probabilities that sum to 1, not {policy.shape} of sum "
            f"{policy.sum():g}"
        )
