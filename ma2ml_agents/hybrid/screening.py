"""Screening: which of many candidates are worth a training. Not of the paper, which trains what its policies draw.

Candidates are the policies' draws, or descendants: first changes of the best pipelines, beside policies' draws, then changes of
the favourites among these, for some generations. Each that is taken is the favourite of another opinion, a member of the
critic's ensemble or a draw of the Gaussian process (Thompson sampling), so a batch differs as far as these do.
"""

from collections.abc import Callable, Set

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ma2ml_agents.joint import Codes
from ma2ml_agents.policies.intervals import moved

_FAVOURITES = 3
"""of each opinion, that the next generation descends from"""


def elite(codes: Codes, rewards: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Rows of the `size` best distinct codes, best first; fewer if there are fewer: codes (N, L), rewards (N,)."""
    found: dict[bytes, int] = {}
    for row in np.argsort(-rewards, kind="stable").tolist():
        if len(found) == size:
            break
        found.setdefault(codes[row].tobytes(), row)
    return np.array(list(found.values()), dtype=np.int64)


def mutants(parents: Tensor, n: int, nvec: Tensor, generator: torch.Generator) -> Tensor:
    """N changed parents, (m, L) -> (n, L): one decision takes another value, and one more on average.

    An interval, for which `nvec` holds a 0, takes a step (`intervals.moved`). Half of the children first take a part of their
    decisions from a second parent.
    """
    decisions = len(nvec)
    rows = torch.randint(len(parents), (2, n), generator=generator)
    taken = torch.rand(n, decisions, generator=generator) < torch.rand(n, 1, generator=generator)
    crossed = torch.rand(n, 1, generator=generator) < 0.5
    child = torch.where(taken & crossed, parents[rows[1]], parents[rows[0]])
    change = torch.rand(n, decisions, generator=generator) < 1.0 / decisions
    change[torch.arange(n), torch.randint(decisions, (n,), generator=generator)] = True
    others = (nvec - 1).clamp(min=1)
    step = 1 + (torch.rand(n, decisions, generator=generator) * others).long().minimum(others - 1)
    changed = (child + step) % nvec.clamp(min=1)
    if (nvec == 0).any():
        changed = torch.where(nvec == 0, moved(child, generator), changed)
    return torch.where(change, changed, child)


def descendants(
    parents: Tensor,
    others: Tensor,
    n: int,
    nvec: Tensor,
    opinions: Callable[[Tensor], Tensor],
    *,
    rounds: int,
    generator: torch.Generator,
) -> Tensor:
    """Mutants of parents (m, L) and others (j, L); for some rounds, each opinion's favourites and mutants of these: (k, L).

    Args:
        parents: the best pipelines.
        others: candidates beside the first generation.
        n: children of each round.
        nvec: choices of each decision, (L,).
        opinions: each opinion's values of candidates, (k, L) -> (M, k); asked once a generation, and not the last.
        rounds: generations, at least 1.
        generator: draws everything.
    """
    pool: Tensor = torch.cat([mutants(parents, n, nvec, generator), others]).unique(dim=0)  # type: ignore[no-untyped-call]
    for _ in range(rounds - 1):
        values = opinions(pool)
        favourites = pool[values.topk(min(_FAVOURITES, len(pool)), dim=1).indices.flatten().unique()]  # type: ignore[no-untyped-call]
        pool = torch.cat([favourites, mutants(favourites, n, nvec, generator)]).unique(dim=0)  # type: ignore[no-untyped-call]
    return pool


def best_by_member(candidates: Tensor, values: Tensor, wanted: int, known: Set[bytes]) -> list[int]:
    """Rows of candidates (n, L), none known and none twice: the j-th is the best left by member j mod M of values (M, n).

    Fewer than wanted if the candidates run out.
    """
    keys = [row.tobytes() for row in candidates.numpy()]
    taken = set(known)
    orders = [iter(torch.argsort(-value, stable=True).tolist()) for value in values]
    chosen = []
    for j in range(wanted):
        for row in orders[j % len(orders)]:
            if keys[row] not in taken:
                taken.add(keys[row])
                chosen.append(row)
                break
    return chosen
