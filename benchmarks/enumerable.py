"""Divergence against entropy, and Theorem 1, on games small enough to sum over: `python benchmarks/enumerable.py`.

200 random games of three agents with 4, 6 and 3 actions, and 72 joint actions, rewards of unit variance. Prints JSON:

- `entropy_loss`, `divergence_loss`: expected reward that one agent alone could still gain, with eq. 4 and eq. 5 at the same
  lambda, after 400 exact steps of one agent after another: mean and half its interval of 95 %. Eq. 4 ends at the Boltzmann
  policies of its lambda, eq. 5 at an optimum.
- `divergence_loss_of_lambda`: the same loss of eq. 5 for each lambda (Remark 1), and `divergence_below_best`: how far the
  expected reward then lies below the game's best, as no agent alone can leave what may be a local optimum.
- `violations_exact`: share of exact steps after which the expected reward is lower (Theorem 1 says 0);
  `violations_entropy`: the control, the same steps of eq. 4 from a policy that is already good.
- `violations_sampled`: the same for steps on Q of the others' sampled actions, n at a time.
- `violations_simultaneous`: exact steps of all agents at once, as Algorithm 1 takes them, for each lambda. Theorem 1 is about
  joint steps; these are not.
- `violations_following`: the same where target policies follow by tau = 0.1 (eq. 14) instead of being the last policies. A
  policy's parameters are its probabilities; `violations_following_logits`: its log-probabilities.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from provenance import tell

Floats = NDArray[np.float64]
SHAPE = (4, 6, 3)
ROUNDING = 1e-12
STEPS = 24
"""of which lower rewards are counted, in each game"""
LAMBDAS = (0.1, 0.3, 1.0, 3.0)
TAU = 0.1


def tilt(rho: Floats, q: Floats, weight: float) -> Floats:
    """Arg max over pi of E_pi[q] - weight KL(pi || rho): rho exp(q / weight), normalised (eq. 9)."""
    log = np.log(np.maximum(rho, 1e-300)) + q / weight
    pi = np.exp(log - log.max())
    return np.asarray(pi / pi.sum())


def expected(q: Floats, policies: list[Floats]) -> float:
    """E[Q] under the product of the policies."""
    return float(np.einsum("abc,a,b,c->", q, *policies))


def marginal(q: Floats, policies: list[Floats], agent: int) -> Floats:
    """E over the other agents of Q, for every action of one."""
    letters = "abc"
    others = [letters[i] for i in range(3) if i != agent]
    return np.asarray(
        np.einsum(f"abc,{','.join(others)}->{letters[agent]}", q, *(policies[i] for i in range(3) if i != agent))
    )


def sampled(q: Floats, policies: list[Floats], agent: int, n: int, rng: np.random.Generator) -> Floats:
    """The same from n draws of the others' actions."""
    draws = [rng.choice(len(p), size=n, p=p) for p in policies]
    others = tuple(draws[i] for i in range(3) if i != agent)
    return np.asarray(np.moveaxis(q, agent, -1)[others].mean(axis=0))


def left(q: Floats, policies: list[Floats]) -> float:
    """What the best placed agent could still gain by itself: 0 where the policies are an optimum of the reward."""
    return max(float(marginal(q, policies, agent).max()) for agent in range(3)) - expected(q, policies)


def ascend(q: Floats, start: list[Floats], weight: float) -> list[Floats]:
    """Policies after 400 exact steps of eq. 5, one agent after another."""
    policies = list(start)
    for step in range(400):
        agent = step % 3
        policies[agent] = tilt(policies[agent], marginal(q, policies, agent), weight)
    return policies


def interval(values: list[float]) -> list[float]:
    """Mean and half its interval of 95 %."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return [round(float(np.mean(values)), 6), round(float(1.96 * error), 6)]


def probabilities(rho: Floats, pi: Floats) -> Floats:
    """Eq. 14 on tables of probabilities."""
    return (1 - TAU) * rho + TAU * pi


def logits(rho: Floats, pi: Floats) -> Floats:
    """Eq. 14 on log-probabilities, normalised."""
    log = (1 - TAU) * np.log(np.maximum(rho, 1e-300)) + TAU * np.log(np.maximum(pi, 1e-300))
    mixed = np.exp(log - log.max())
    return np.asarray(mixed / mixed.sum())


def at_once(q: Floats, start: list[Floats], weight: float, follow: Callable[[Floats, Floats], Floats]) -> int:
    """Steps, of all agents at once, after which the expected reward is lower; `follow` moves a target policy (rho, pi)."""
    policies, targets, lower = start, start, 0
    for _ in range(STEPS):
        before = expected(q, policies)
        policies = [tilt(rho, marginal(q, policies, agent), weight) for agent, rho in enumerate(targets)]
        targets = [follow(rho, pi) for rho, pi in zip(targets, policies, strict=True)]
        lower += expected(q, policies) < before - ROUNDING
    return lower


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=200, help="random games (200)")
    parser.add_argument("--lambda", dest="weight", type=float, default=0.3, help="weight of either regulariser (0.3)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    losses: dict[str, list[float]] = {"entropy": [], "divergence": []}
    lower = {"exact": [0, 0], "entropy": [0, 0], **{f"sampled_{n}": [0, 0] for n in (4, 16, 64)}}
    follows = {"simultaneous": lambda rho, pi: pi, "following": probabilities, "following_logits": logits}
    together = {kind: dict.fromkeys(LAMBDAS, 0) for kind in follows}
    loss_of: dict[float, list[float]] = {weight: [] for weight in LAMBDAS}
    below_best: dict[float, list[float]] = {weight: [] for weight in LAMBDAS}
    for _ in range(args.games):
        q = rng.normal(size=SHAPE)
        start = [rng.dirichlet(np.ones(n)) for n in SHAPE]
        for kind in losses:
            policies = list(start)
            for step in range(400):
                agent = step % 3
                rho = policies[agent] if kind == "divergence" else np.full(SHAPE[agent], 1.0 / SHAPE[agent])
                before = expected(q, policies)
                policies[agent] = tilt(rho, marginal(q, policies, agent), args.weight)
                if step < STEPS and kind == "divergence":
                    lower["exact"][0] += expected(q, policies) < before - ROUNDING
                    lower["exact"][1] += 1
                if step == 11 and kind == "divergence":  # somewhere on the way
                    good = list(policies)
            losses[kind].append(left(q, policies))
        for agent in range(3):
            changed = list(good)
            changed[agent] = tilt(np.full(SHAPE[agent], 1.0 / SHAPE[agent]), marginal(q, good, agent), args.weight)
            lower["entropy"][0] += expected(q, changed) < expected(q, good) - ROUNDING
            lower["entropy"][1] += 1
        for n in (4, 16, 64):
            policies = list(start)
            for step in range(STEPS):
                agent, before = step % 3, expected(q, policies)
                policies[agent] = tilt(policies[agent], sampled(q, policies, agent, n, rng), args.weight)
                lower[f"sampled_{n}"][0] += expected(q, policies) < before - ROUNDING
                lower[f"sampled_{n}"][1] += 1
        for weight in LAMBDAS:
            policies = ascend(q, start, weight)
            loss_of[weight].append(left(q, policies))
            below_best[weight].append(float(q.max()) - expected(q, policies))
        for kind, follow in follows.items():
            for weight in LAMBDAS:
                together[kind][weight] += at_once(q, start, weight, follow)
    report: dict[str, object] = {"games": args.games, "lambda": args.weight}
    for kind, values in losses.items():
        report[f"{kind}_loss"] = interval(values)
    report["divergence_loss_of_lambda"] = {f"{weight:g}": interval(values) for weight, values in loss_of.items()}
    report["divergence_below_best"] = {f"{weight:g}": interval(values) for weight, values in below_best.items()}
    for kind, (count, steps) in lower.items():
        report[f"violations_{kind}"] = f"{count} of {steps}"
    for kind, counts in together.items():
        report[f"violations_{kind}"] = {f"{weight:g}": f"{n} of {args.games * STEPS}" for weight, n in counts.items()}
    tell(report)


if __name__ == "__main__":
    main()
