"""Images in a report: samples, what the winner's augmentation makes of them, and its errors."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from reported import make_run, retrain

from ma2ml_agents.reports.page import page as pages
from ma2ml_agents.reports.page.facts import gather
from ma2ml_agents.reports.page.page import write_report
from ma2ml_agents.reports.page.pictures import DRAWS, ERRORS, ROWS, pictures
from ma2ml_env.io.predictions import predictions_path, write_predictions
from ma2ml_env.metrics import Predictions
from ma2ml_env.recipe import Operation, Recipe
from ma2ml_env.store.store import TrialStore
from ma2ml_env.training.data.source import DataSource

TEN = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def digits():
    return DataSource("digits").load()


@pytest.fixture
def run(tmp_path, digits):
    run = make_run(tmp_path / "run", 8, identity=DataSource("digits").identity())
    retrain(run, TEN)
    return run


def facts_of(run):
    with TrialStore(run, create=False) as store:
        return gather(store)


def pixels(shown):
    data = base64.b64decode(shown.url.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)))


def test_samples_and_augmented_images_are_the_runs(run, digits):
    invert = Recipe(augment=((Operation("invert", 1.0, None),),), crop_padding=0, flip=False, cutout=0)
    seen = pictures(facts_of(run), invert)
    assert [name for name, _ in seen.samples] == TEN
    first = digits.train_x[(digits.train_y == 0).nonzero()[0, 0]][0].numpy()
    assert np.array_equal(pixels(seen.samples[0][1][0]), first)
    assert len(seen.augmented) == ROWS
    for one, draws in seen.augmented:
        assert len(draws) == DRAWS
        assert all(np.array_equal(pixels(each), 255 - pixels(one)) for each in draws)


def test_errors_are_those_of_least_probability(run, digits):
    labels = digits.test_y.numpy()
    wrong = np.arange(len(labels)) % 10 == 0
    predicted = np.where(wrong, (labels + 1) % 10, labels)
    logs = -np.arange(len(labels), dtype=np.float32) / 10
    for path in (run / "retrain" / "top" / f"{number}.safetensors" for number in (0, 1)):
        write_predictions(predictions_path(path), Predictions(10, labels, predicted, wrong.astype(np.int64), logs))
    seen = pictures(facts_of(run), None)
    assert len(seen.errors) == ERRORS
    last = int(np.flatnonzero(wrong)[-1])
    assert np.array_equal(pixels(seen.errors[0]), digits.test_x[last][0].numpy())
    assert f"is {labels[last]}, taken for {predicted[last]}" in seen.errors[0].caption


def test_page_says_where_images_or_predictions_are_not_there(run, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "library", lambda: "")
    html = write_report([run], tmp_path / "a.html").html
    assert html.count("data:image/png;base64,") > 30
    assert "predictions of these test images are not there" in html
    gone = make_run(tmp_path / "gone", 8, game="own-small-v1", npz=tmp_path / "gone.npz")
    html = write_report([gone], tmp_path / "b.html").html
    assert re.search(r"There are no pictures, because the images cannot be read: .*gone\.npz", html)


def test_other_images_than_the_searchs_are_not_shown(tmp_path):
    run = make_run(tmp_path / "run", 8, identity=DataSource("digits", limit=100).identity())
    (line,) = pictures(facts_of(run), None).missing
    assert "the data have changed since the search: train 100 -> 1,000" in line
