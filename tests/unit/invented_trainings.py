"""Invented trainings of the large measured game: nobody trained them. Their accuracy is a known function of what codes mean.

So a fit can be judged by the truth. They say nothing of the game, and no figure of them is one of a surrogate.
"""

import numpy as np

from ma2ml_env.games.fitted import Columns
from ma2ml_env.games.make import make_game
from ma2ml_env.games.measured import levels
from ma2ml_env.games.trio import TRIO_DIGITS_LARGE
from ma2ml_env.modules.nasnet_cost import ImageShape
from ma2ml_env.tables.trainings import Trainings
from ma2ml_env.views.joint import JointSpace

GAME = TRIO_DIGITS_LARGE.id
EPOCHS = (1, 3, 5, 8, 12, 20)
IMAGE = ImageShape(1, 8, 10)


def large_game(evaluator="surrogate", **options):
    return make_game(GAME, evaluator, **options)


def columns(game):
    return Columns([*game.modules.values()], game.base, IMAGE)


def joint(game):
    return JointSpace({name: module.space for name, module in game.modules.items()})


def truth(features, names):
    """Logits (n,) at the end: a rate that suits, a few operations, a policy that is not too strong; they interact."""
    told = {name: features[:, place] for place, name in enumerate(names)}
    rate = told["hpo.log10_step"]
    cell = told["nas.normal.conv_3x3"] + told["nas.reduction.sep_conv_3x3"] - told["nas.normal.identity"]
    harm = told["aug.rate.invert"] + 0.1 * told["aug.dose.rotate"]
    return 1.6 - 2.0 * (rate - 0.2) ** 2 + 0.5 * cell + 0.6 * told["log10_macs"] - 3.0 - harm * (1 + (rate > 0.3))


def deviation(logits):
    """Of the noise: more, the lower the accuracy."""
    return 0.1 + 0.3 / (1.0 + np.exp(logits))


def trainings(codes, *, seed=0, learner="random", failing=(), game=None):
    """One training of each code (n, decisions)."""
    game = game or large_game()
    told = columns(game)
    features, macs, params = told(codes)
    rng, n = np.random.default_rng(seed), len(codes)
    logits = truth(features, told.names)
    shared = rng.normal(size=n)
    steps = [2.0, 1.2, 0.8, 0.5, 0.2, 0.0, 0.1]  # below the end, of each epoch and of the test images
    each = [
        logits - step + deviation(logits - step) * (shared if not step else 0.6 * shared + 0.8 * rng.normal(size=n))
        for step in steps
    ]
    *curve, test = (1.0 / (1.0 + np.exp(-np.array(each)))).round(3)
    status, error = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    curve, flops = np.array(curve).T, macs.copy()
    for row in failing:
        status[row], error[row], flops[row] = 2, 2, 0
        curve[row], test[row] = np.nan, np.nan
    agents = list(game.modules.values())
    about = {
        "decisions": [[a.name, d.name, list(d.choices)] for a in agents for d in a.space.decisions],
        "intervals": [],
        "sources": [{
            "game": GAME, "data": TRIO_DIGITS_LARGE.digest, "learner": learner, "seed": seed, "halving": [],
            "levels": levels(agents, game.base),
            "trains": {"base": game.base.key, "fidelity": game.protocol.fidelity, "class_weights": "none"},
            "made": {"ma2ml": "1", "torch": "2", "processor": "3"},
        }],
    }  # fmt: skip
    return Trainings(
        about,
        codes=codes,
        positions=np.empty((n, 0)),
        seeds=np.arange(1, n + 1, dtype=np.uint64) + np.uint64(seed * 10**6),
        status=status,
        error=error,
        accuracy=np.where(status == 0, np.nan_to_num(curve[:, -1]), 0.0),
        test_accuracy=test,
        epochs=np.array(EPOCHS),
        curve=curve,
        fidelity=np.full(n, game.protocol.fidelity),
        flops=flops,
        params=np.where(flops > 0, params, 0),
        seconds=0.5 + macs / 4e5,
        source=np.zeros(n, dtype=np.int64),
    )
