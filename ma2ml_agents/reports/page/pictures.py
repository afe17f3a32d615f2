"""Images of the run: samples of each class, what the winner's augmentation makes of some, and its worst errors.

This file imports torch, so it is imported where there are images alone.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ma2ml_agents.reports.page.facts import Facts
from ma2ml_agents.run.stored import training_options
from ma2ml_env.games.named import NamedGame
from ma2ml_env.io.predictions import predictions_path, read_predictions
from ma2ml_env.metrics import Predictions
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import resolve
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.images.batches import augmented

ROWS, DRAWS = 4, 7
"""images that are augmented, and how often each"""
SAMPLES = 10
"""classes of which images are shown, and images of each: as many as `SAMPLES_EACH`"""
SAMPLES_EACH = 5
ERRORS = 12
MOST_SIDE = 96


@dataclass(frozen=True)
class Shown:
    """An image of the page."""

    url: str
    """a PNG, within the page"""
    caption: str = ""


@dataclass(frozen=True)
class Pictures:
    """What is shown of a run's images."""

    samples: Sequence[tuple[str, Sequence[Shown]]] = ()
    """class -> training images"""
    augmented: Sequence[tuple[Shown, Sequence[Shown]]] = ()
    """an image, and what a training may see of it"""
    errors: Sequence[Shown] = ()
    missing: Sequence[str] = ()


def pictures(facts: Facts, recipe: Recipe | None) -> Pictures:
    """Read the run's images and show some.

    Args:
        facts: of a run that was trained.
        recipe: the winner's; None where there is none.
    """
    named: NamedGame = resolve("games", facts.config.game)
    if named.data == "imagenet":
        return Pictures(missing=["Images of ImageNet are not shown: reading them would take hours."])
    dataset = _load(facts)
    if isinstance(dataset, str):
        return Pictures(missing=[f"There are no pictures, because the images cannot be read: {dataset}"])
    generator = torch.Generator().manual_seed(facts.config.seed)
    augmented = [] if recipe is None else _augmented(dataset, recipe, generator)
    errors, missing = _errors(facts, dataset)
    return Pictures(_samples(dataset), augmented, errors, missing)


def _load(facts: Facts) -> Dataset | str:
    """The images that the run was searched on, or why they are not there."""
    try:
        source, _ = training_options(facts.config.beside(facts.folder))
        dataset: Dataset = source.load()
        if facts.data is not None and (changes := facts.data.identity.changes(source.identity())):
            return f"the data have changed since the search: {changes}"
        return dataset
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())[:300]


def _samples(dataset: Dataset) -> list[tuple[str, list[Shown]]]:
    labels, found = dataset.train_y, []
    for label in range(min(SAMPLES, dataset.classes)):
        rows = (labels == label).nonzero()[:SAMPLES_EACH, 0]
        found.append((str(dataset.class_names[label]), [Shown(_url(dataset.train_x[row])) for row in rows]))
    return found


def _augmented(dataset: Dataset, recipe: Recipe, draws: torch.Generator) -> list[tuple[Shown, list[Shown]]]:
    """Of the first classes an image, and what the training would have made of it."""
    first = [int((dataset.train_y == label).nonzero()[0, 0]) for label in sorted(set(dataset.train_y.tolist()))[:ROWS]]
    made = []
    for row in first:
        images = augmented(dataset.train_x[torch.tensor([row])].repeat(DRAWS, 1, 1, 1), recipe, dataset, draws)
        name = str(dataset.class_names[int(dataset.train_y[row])])
        made.append((Shown(_url(dataset.train_x[torch.tensor(row)]), name), [Shown(_url(image)) for image in images]))
    return made


def _errors(facts: Facts, dataset: Dataset) -> tuple[list[Shown], list[str]]:
    """Test images that the winner gets wrong and gives the least probability of their class, over its trainings."""
    if facts.retraining is None:
        return [], []
    named: NamedGame = resolve("games", facts.config.game)
    if named.final_source:
        return [], ["Errors are not shown as images: the winner was trained on other images than the search."]
    found = [read_predictions(predictions_path(path), dataset.classes) for path in facts.retraining.weights]
    seen = [each for each in found if each is not None and np.array_equal(each.labels, dataset.test_y.numpy())]
    if not seen:
        return [], ["Errors are not shown as images: the winner's predictions of these test images are not there."]
    wrong, logs = (_mean(seen, name) for name in ("wrong", "logs"))
    order = [int(i) for i in np.lexsort((logs, -wrong)) if wrong[i] > 0.5][:ERRORS]
    if not order:
        return [], ["The winner has no error on the test images to show."]
    names = dataset.class_names
    return [
        Shown(
            _url(dataset.test_x[i]),
            f"is {names[int(seen[0].labels[i])]}, taken for {names[int(seen[0].predicted[i])]}; "
            f"probability of the right class {np.exp(logs[i]):.1e}",
        )
        for i in order
    ], []


def _mean(seen: Sequence[Predictions], what: str) -> NDArray[np.float64]:
    values = [(each.labels != each.predicted) if what == "wrong" else each.logs for each in seen]
    return np.asarray(np.mean(values, axis=0), dtype=np.float64)


def _url(image: torch.Tensor) -> str:
    """A uint8 image (C, H, W) as a PNG in a URL; small ones are made larger by whole factors, large ones smaller."""
    array = image.numpy()
    made = Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))
    side = max(made.size)
    if side > MOST_SIDE:
        made.thumbnail((MOST_SIDE, MOST_SIDE))
    file = io.BytesIO()
    made.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
