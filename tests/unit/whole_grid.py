"""Invented trainings of all pipelines of a small game, for the tests of tables and of what is asked of them."""

from dataclasses import replace
from functools import cache

import numpy as np

from ma2ml_env.game import Protocol
from ma2ml_env.games.make import make_game
from ma2ml_env.games.measured import levels
from ma2ml_env.games.named import NamedGame
from ma2ml_env.games.trio import TRIO_DIGITS
from ma2ml_env.tables.trainings import Trainings
from ma2ml_env.trial import ERRORS, STATUSES

GAME, AGENTS = "trio-digits-v0", ["aug", "hpo"]
"""whose codes without strength are one pipeline for all families"""


def small_game(evaluator="surrogate", **options):
    return make_game(GAME, evaluator, modules=AGENTS, **options)


def all_codes(game):
    """(points, L) in order, the last decision fastest."""
    sizes = [n for sizes in game.spec.nvec.values() for n in sizes]
    return np.stack(np.unravel_index(np.arange(int(np.prod(sizes))), sizes), axis=1)


def split(game, row):
    """Agent -> code of a row of indices."""
    codes, row = {}, [int(each) for each in row]
    for agent, sizes in game.spec.nvec.items():
        codes[agent], row = tuple(row[: len(sizes)]), row[len(sizes) :]
    return codes


@cache
def pipelines(game):
    """Recipe key -> its codes, in order."""
    found = {}
    for row in all_codes(game):
        found.setdefault(game.recipe(split(game, row)).key, []).append(tuple(row.tolist()))
    return found


def trainings(repeats=3, *, failing=(), game=None, epochs=(1, 2, 5, 10), seed=0):
    """Each pipeline trained so often, under one of its codes; seeds 1, 2, ... in the order of the rows.

    `failing`: (number of the pipeline, repeat, error) of those that failed.
    """
    game = game or small_game()
    own = [codes[0] for codes in pipelines(game).values()]
    n, rng = len(own), np.random.default_rng(seed)
    level, macs = rng.uniform(0.3, 0.9, n), rng.integers(10**5, 10**6, n)
    accuracy = np.concatenate([(level + rng.normal(0, 0.02, n)).clip(0, 1).round(3) for _ in range(repeats)])
    rows = n * repeats
    status, error = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    test, curve = (accuracy - 0.01).clip(0, 1), accuracy[:, None] * np.linspace(0.4, 0.9, len(epochs))
    seconds, flops = rng.uniform(1, 3, rows), np.tile(macs, repeats)
    for pipeline, repeat, reason in failing:
        row = repeat * n + pipeline
        status[row], error[row] = STATUSES.index("failed"), ERRORS.index(reason)
        accuracy[row], test[row], curve[row], flops[row] = 0.0, np.nan, np.nan, 0
    agents = list(game.modules.values())
    about = {
        "decisions": [[a.name, d.name, list(d.choices)] for a in agents for d in a.space.decisions],
        "intervals": [],
        "sources": [{
            "game": GAME, "data": TRIO_DIGITS.digest, "learner": "random", "seed": 0, "halving": [],
            "levels": levels(agents, game.base),
            "trains": {"base": game.base.key, "fidelity": game.protocol.fidelity, "class_weights": "none"},
            "made": {"ma2ml": "1", "torch": "2", "processor": "3"},
        }],
    }  # fmt: skip
    return Trainings(
        about,
        codes=np.tile(own, (repeats, 1)),
        positions=np.empty((rows, 0)),
        seeds=np.arange(1, rows + 1, dtype=np.uint64),
        status=status,
        error=error,
        accuracy=accuracy,
        test_accuracy=test,
        epochs=np.array(epochs, dtype=np.int64),
        curve=curve,
        fidelity=np.full(rows, game.protocol.fidelity),
        flops=flops,
        params=np.tile(rng.integers(1000, 9000, n), repeats),
        seconds=seconds,
        source=np.zeros(rows, dtype=np.int64),
    )


TINY = NamedGame(
    id="tiny-v0",
    title="a policy on some digits: really trained in seconds",
    data="digits",
    base=replace(
        TRIO_DIGITS.base, epochs=2, batch_size=16, network=TRIO_DIGITS.base.network.with_args(filters=4, cells=1, reductions=())
    ),
    protocol=Protocol(budget=12, batch=6, top_k=3, proxy_epochs=2, final_epochs=2, repeats=2),
    modules=(("aug_trio", {}),),
    source={"limit": 100, "validation": 200},
)  # fmt: skip
"""registered as `whole_grid:TINY`"""
SUITE = """
name = "tiny"
game = "tiny-v0"
repeats = 2
[set]
curve = [1, 2]
test = true
[[pipelines]]
of = "grid"
"""
