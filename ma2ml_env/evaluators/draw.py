"""Draw the tables of a synthetic landscape: `landscape.py` says what they are."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.evaluators.landscape import Floats, Ints, Landscape, Pair, Tables, variance_of_intervals
from ma2ml_env.evaluators.means import FEWEST, Means, by_kind
from ma2ml_env.evaluators.peaks import Peaks


def build_tables(
    nvec: Mapping[str, Sequence[int]],
    intervals: Mapping[str, int],
    landscape: Landscape,
    kinds: Mapping[str, Sequence[str]] = {},
    ordered: Mapping[str, Sequence[bool]] = {},
) -> Tables:
    """Draw the tables of a landscape.

    Args:
        nvec: agent -> choices of each decision.
        intervals: agent -> number of intervals, of those with any.
        landscape: of which kind.
        kinds: agent -> kind of each decision, of agents that have any.
        ordered: agent -> whether each decision is ordered, the same.
    """
    sizes = np.array([n for own in nvec.values() for n in own], dtype=np.int64)
    agent = np.repeat(np.arange(len(nvec)), [len(own) for own in nvec.values()])
    drawn = np.random.default_rng([0x9EAC, landscape.seed % 2**63])
    peaks = Peaks(nvec, intervals, variance_of_intervals(nvec, intervals), drawn) if intervals else None
    rng = np.random.default_rng([0x5A11, landscape.seed % 2**63])
    best = rng.integers(sizes)
    named = {a: tuple(kinds.get(a, ("",) * len(own))) for a, own in nvec.items()}
    in_order = np.array([each for a, own in nvec.items() for each in ordered.get(a, (False,) * len(own))], dtype=bool)
    means = None
    if landscape.means and (groups := by_kind(named, in_order & (sizes > 1), FEWEST)):
        means = Means(
            groups, sizes, agent, landscape.means, best, np.random.default_rng([0x3EA5, landscape.seed % 2**63])
        )
    apart = np.isin(np.arange(len(sizes)), means.columns if means else [])
    free = (sizes > 1) & ~apart
    alike = by_kind(named, free, 2) if landscape.shared else []
    for columns in alike:
        best[columns] = best[columns[0]]
    contested = _choose_contested(rng, free, [agent == i for i in range(len(nvec))], landscape.contested)
    main = [np.zeros(n) if apart[d] else _planted_main(rng, n, best[d]) for d, n in enumerate(sizes)]
    for columns in alike:
        _share(rng, main, columns, best[columns[0]], landscape.shared)
    others = [d for d in np.flatnonzero(free) if d not in contested]
    partner = {d: int(rng.choice([other for other in others if agent[other] != agent[d]])) for d in contested}
    pairs = _choose_pairs(rng, free, agent, contested, partner)
    tables = [_planted_pair(rng, sizes[a], sizes[b], best[a], best[b]) for a, b in pairs]
    _scale(
        main,
        tables,
        [bool(agent[a] != agent[b]) for a, b in pairs],
        landscape,
        1.0 - (means.variance if means else 0.0),
    )
    separate = best.copy()
    for d in contested:
        separate[d] = _contest(rng, main, tables[pairs.index((d, partner[d]))], d, partner, best)
    if means:
        means.separate(separate, sizes)
    main = [table - table.mean() for table in main]
    flops = _effects_on_flops(rng, main, landscape.flops_link)
    cells = [np.empty(0), *main, *(t.ravel() for t in tables)]  # the first for games of intervals alone
    offsets = np.cumsum([len(c) for c in cells])[:-1]
    return Tables(
        sizes=sizes,
        agent=agent,
        effects=np.concatenate(cells),
        flops=np.concatenate([np.empty(0), *flops]),
        main=offsets[: len(sizes)],
        pair=offsets[len(sizes) :],
        first=np.array([a for a, _ in pairs], dtype=np.int64),
        second=np.array([b for _, b in pairs], dtype=np.int64),
        best=best,
        separate=separate,
        multipliers=rng.integers(0, 2**63, len(sizes), dtype=np.uint64) * np.uint64(2) + np.uint64(1),
        seed_multiplier=np.uint64(rng.integers(0, 2**63)) * np.uint64(2) + np.uint64(1),
        noise=rng.integers(0, 2**63, 2, dtype=np.uint64),
        peaks=peaks,
        means=means,
    )


def _share(rng: np.random.Generator, main: list[Floats], columns: Ints, best: int, share: float) -> None:
    """Give the main effects of one kind's decisions a common part, with this share of their variance in the mean."""
    common = _planted_main(rng, len(main[columns[0]]), best)
    own = float(np.mean([main[d].var() for d in columns]))
    common = common * np.sqrt(own / float(common.var()))
    for d in columns:
        main[d] = np.sqrt(1.0 - share) * main[d] + np.sqrt(share) * common


def _choose_contested(
    rng: np.random.Generator, free: NDArray[np.bool_], owned: Sequence[NDArray[np.bool_]], share: float
) -> list[int]:
    """A share of each agent's free decisions, at least one in all; none where there is nobody to cooperate with."""
    each = [np.flatnonzero(own & free) for own in owned]
    if sum(len(f) > 0 for f in each) < 2:
        return []
    chosen = [int(d) for f in each for d in rng.permutation(f)[: int(len(f) * share)]]
    return chosen or [int(rng.choice(max(each, key=len)))]


def _choose_pairs(
    rng: np.random.Generator,
    may: NDArray[np.bool_],
    agent: Ints,
    contested: Sequence[int],
    partner: Mapping[int, int],
) -> list[Pair]:
    """Pairs of decisions that interact: within agents about one a decision, across agents one and a half.

    Contested decisions have no interaction within their agent, so that by itself the agent prefers the other choice.
    """
    free = np.flatnonzero(may).tolist()
    dedicated = list(partner.items())
    within = [(a, b) for a in free for b in free if a < b and agent[a] == agent[b]]
    within = [(a, b) for a, b in within if a not in contested and b not in contested]
    across = [(a, b) for a in free for b in free if a < b and agent[a] != agent[b]]
    across = [(a, b) for a, b in across if (a, b) not in dedicated and (b, a) not in dedicated]
    within = [within[i] for i in rng.permutation(len(within))[: len(free)]]
    across = [across[i] for i in rng.permutation(len(across))[: max(0, len(free) * 3 // 2 - len(dedicated))]]
    return [*dedicated, *within, *across]


def _scale(
    main: Sequence[Floats], tables: Sequence[Floats], is_across: Sequence[bool], landscape: Landscape, whole: float
) -> None:
    """Bring each group to its share of the whole variance; a group that cannot exist leaves its share to the others."""
    target = {"main": landscape.main, "across": landscape.across}
    target["within"] = max(0.0, 1.0 - target["main"] - target["across"])
    groups = {
        "main": main,
        "within": [t for t, across in zip(tables, is_across, strict=True) if not across],
        "across": [t for t, across in zip(tables, is_across, strict=True) if across],
    }
    variance = {name: sum(float(t.var()) for t in group) for name, group in groups.items()}
    total = sum(target[name] for name in groups if variance[name] > 0) or 1.0
    for name, group in groups.items():
        for table in group:
            table *= np.sqrt(whole * target[name] / total / variance[name]) if variance[name] > 0 else 0.0


def _effects_on_flops(rng: np.random.Generator, main: Sequence[Floats], link: float) -> list[Floats]:
    """MACs go with the main effects, plus a part of their own."""
    own = [rng.standard_normal(len(t)) for t in main]
    spread = np.sqrt(sum(float(t.var()) for t in main)) or 1.0
    own_spread = np.sqrt(sum(float(t.var()) for t in own)) or 1.0
    return [
        link * t / spread + np.sqrt(1 - link**2) * (u - u.mean()) / own_spread for t, u in zip(main, own, strict=True)
    ]


def _planted_main(rng: np.random.Generator, n: int, best: int) -> Floats:
    """A centred main effect with its maximum at `best`; some decisions matter much more than others."""
    table = rng.standard_normal(n)
    top = int(table.argmax())
    table[[top, best]] = table[[best, top]]
    return (table - table.mean()) * float(rng.lognormal(0.0, 0.5)) if n > 1 else np.zeros(1)


def _planted_pair(rng: np.random.Generator, n: int, m: int, best_n: int, best_m: int) -> Floats:
    """A pure interaction (n, m), zero mean in every row and column, with its maximum at the best cell."""
    table = rng.standard_normal((n, m))
    table = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    row, column = np.unravel_index(table.argmax(), table.shape)
    table[[row, best_n]] = table[[best_n, row]]
    table[:, [column, best_m]] = table[:, [best_m, column]]
    weighted: Floats = table * float(rng.lognormal(0.0, 0.5))
    return weighted


def _contest(
    rng: np.random.Generator,
    main: list[Floats],
    pair: Floats,
    d: int,
    partner: Mapping[int, int],
    best: Ints,
) -> int:
    """Make decision d prefer another choice by itself, without moving the joint optimum; returns that choice.

    Moving (d, partner) from the best cell to (x, y), x not best, costs at least gap = (B_best - B_y) / k + I_best - I_xy: the
    partner's main effect, shared by the k decisions that are contested with it, and the interaction. Every other term is at
    its maximum already. A preference of less than the smallest gap thus cannot pay.
    """
    other = partner[d]
    k = sum(p == other for p in partner.values())
    gap = (main[other][best[other]] - main[other]) / k + pair[best[d], best[other]] - pair
    smallest = float(np.delete(gap, best[d], axis=0).min())
    rival = int(rng.choice([x for x in range(len(main[d])) if x != best[d]]))
    main[d][rival] = main[d][best[d]] + 0.5 * smallest
    return rival
