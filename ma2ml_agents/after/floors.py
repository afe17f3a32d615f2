"""What a search has to beat: pipelines that anybody has without one, trained on the same images and as often as the winner.

Three floors: a linear model on the pixels, a plain convolutional network, each at the best of six learning rates, and the
game's base recipe. The rates are chosen by validation images. A winner that is not above the best of them is said to be so.

The first two are recipes like any other, so they are trained where the winner is, on its device, and are stored as it is.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from ma2ml_agents.after.retrained import Finished, Floor, Retrained, Verdict, mean_and_deviation
from ma2ml_env.io.predictions import predictions_path, read_predictions
from ma2ml_env.recipe import Recipe, Spec

EPOCHS = 30
"""of a floor's trainings, or the game's own if those are fewer: without augmentation more of them do not help"""
RATE_SHARE = 1 / 3
"""of these epochs, of the trainings that choose a learning rate"""
LINEAR_RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
PLAIN_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
WIDTH = 16
"""channels of the plain network's first block; each further one has twice as many, 256 at most"""
CONFIDENCE = 0.95
"""of the interval of a difference"""
MANY = 1e9
"""degrees of freedom of what is known as well as a normal one"""

_log = logging.getLogger(__name__)

Trains = Callable[[str, Sequence[Recipe], float], list[Finished]]
"""(stage, recipes, share of the full training) -> a training of each, in order; of the whole one on training and validation
images, of less on the training images"""


def linear(base: Recipe) -> Recipe:
    """Multinomial logistic regression on the pixels: the plain network without a block."""
    return _plain(base, (), LINEAR_RATES[0])


def plain(base: Recipe, size: int) -> Recipe:
    """The plain network for images of so many pixels a side: three blocks up to 63, one more with each doubling."""
    blocks = max(3, int(math.log2(size)) - 2)
    return _plain(base, tuple(min(WIDTH << block, 256) for block in range(blocks)), PLAIN_RATES[0])


def _plain(base: Recipe, widths: tuple[int, ...], rate: float) -> Recipe:
    """With the base recipe's batches, flip, decay and resolution, and nothing that augments or regularises beside these."""
    return replace(
        Recipe(),
        network=Spec("plain", {"widths": widths}),
        resolution=base.resolution,
        crop_padding=0,
        flip=base.flip,
        cutout=0,
        learning_rate=rate,
        weight_decay=base.weight_decay,
        batch_size=base.batch_size,
        precision=base.precision,
        drop_path=0.0,
        auxiliary=0.0,
        epochs=min(EPOCHS, base.epochs),
    )


def floors(base: Recipe, size: int, repeats: int, train: Trains, metric: str = "accuracy") -> list[Floor]:
    """Choose the rates, then train each as often as the winner; a floor none of whose trainings succeeds is warned of.

    Args:
        base: the game's base recipe.
        size: of the images, side in pixels.
        repeats: trainings of the winner.
        train: trains recipes.
        metric: of validation images, by which the rates are chosen: the run's own.
    """
    found = []
    for name, short, recipe, rates in (
        ("a linear model", "linear", linear(base), LINEAR_RATES),
        ("a plain network", "plain", plain(base, base.resolution or size), PLAIN_RATES),
    ):
        tuned = train(f"rates-{short}", [replace(recipe, learning_rate=rate) for rate in rates], RATE_SHARE)
        best = min(tuned, key=lambda one: one.chosen_by("validation", metric))
        ok = best.outcome.status == "ok"
        found += _floor(name, train(f"floor-{short}", [best.job.recipe] * repeats, 1.0) if ok else tuned, True)
    return found


def base_floor(trainings: Sequence[Finished]) -> list[Floor]:
    """The base recipe as a floor, if it could be trained."""
    return _floor("the base recipe", trainings, False)


def _floor(name: str, trainings: Sequence[Finished], tuned: bool) -> list[Floor]:
    done = [one for one in trainings if one.outcome.status == "ok"]
    if trainings and not done:
        first = trainings[0].outcome
        _log.warning(
            "%s could not be trained, so the winner is not compared with it: %s %s", name, first.error, first.note
        )
    return [Floor(name, done, done[0].job.recipe.learning_rate if tuned else None)] if done else []


def judge(
    winner: Sequence[Finished], floors: Sequence[Floor], images: int, classes: int, metric: str = "accuracy"
) -> Verdict | None:
    """The winner against the best floor, by test accuracy; None if there is none.

    The interval is Student's, with Welch and Satterthwaite's degrees of freedom, as few trainings hardly tell their deviation.

    Args:
        winner: its trainings, at least one.
        floors: what it has to beat.
        images: for the test.
        classes: of them.
        metric: that the search went by.

    Raises:
        ValueError: if what a training said of the test images is damaged.
    """
    if not floors or not winner:
        return None
    best = max(floors, key=lambda floor: mean_and_deviation(floor.trainings)[0])
    means, by_seed, doubt = [], 0.0, 0.0
    for trainings in (winner, best.trainings):
        mean, deviation = mean_and_deviation(trainings)
        means.append(mean)
        variance = (deviation or 0.0) ** 2 / len(trainings)
        by_seed += variance
        doubt += variance**2 / max(1, len(trainings) - 1)
    right = [_right(trainings, classes) for trainings in (winner, best.trainings)]
    if right[0] is not None and right[1] is not None and images > 1:
        by_image = float((right[0] - right[1]).var(ddof=1)) / images
    else:  # taken for independent between the two: too large, not too small
        by_image = sum(mean * (1.0 - mean) for mean in means) / max(1, images)
    fewest = min(len(winner), len(best.trainings))
    whole = by_seed + by_image
    freedom = min(whole**2 / doubt, MANY) if doubt else MANY
    half = float(student.ppf((1.0 + CONFIDENCE) / 2.0, freedom)) * math.sqrt(whole)
    return Verdict(best.name, means[0] - means[1], half, fewest, metric)


def _right(trainings: Sequence[Finished], classes: int) -> NDArray[np.float64] | None:
    """Share of the trainings that get each test image right, (images,); None if one has left no predictions."""
    seen = [read_predictions(predictions_path(one.weights), classes) for one in trainings]
    known = [one.labels == one.predicted for one in seen if one is not None]
    return np.mean(known, axis=0) if len(known) == len(seen) else None


def ranked(result: Retrained) -> list[tuple[str, float | None, Sequence[Finished]]]:
    """(name, learning rate if it was chosen here, trainings) of the winner and its floors, the best first."""
    rows: list[tuple[str, float | None, Sequence[Finished]]] = [
        (f"trial {result.winner.trial.number} *", None, result.repeats)
    ]
    rows += [(floor.name, floor.rate, floor.trainings) for floor in result.floors]
    return sorted(rows, key=lambda row: -mean_and_deviation(row[2])[0])
