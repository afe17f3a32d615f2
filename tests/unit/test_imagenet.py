"""ImageNet's layout, on generated folders."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ma2ml_agents.after.retrain import retrain
from ma2ml_agents.cli.main import main
from ma2ml_env.games.make import make_game
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.registry import resolve
from ma2ml_env.store.store import TrialStore
from ma2ml_env.training import loop
from ma2ml_env.training.data import imagenet
from ma2ml_env.training.data.source import VALIDATION, DataSource
from ma2ml_env.training.data.survey import survey
from ma2ml_env.training.images import batches
from ma2ml_env.training.images.resized_crop import resized_crop
from ma2ml_env.trial import Outcome

CLASSES = ("n01", "n02", "n03", "n04")


def write(folder: Path, part: str, count: int, classes=CLASSES) -> None:
    rng = np.random.default_rng(len(part))
    for label, name in enumerate(classes):
        (folder / part / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            # The class's brightness, so that labels can be told from images.
            pixels = rng.integers(0, 20, (20 + i, 30, 3)) + 60 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / part / name / f"{i}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("imagenet")
    write(made, "train", 12)
    write(made, "val", 3)
    return made


def source(folder, **options):
    return DataSource(**{"name": "imagenet", "folder": str(folder), "size": 16, "validation": 8, **options})


def brightness(images):
    return (images.float().mean((1, 2, 3)) / 60).floor().long()


def test_a_survey_needs_no_pixels(folder):
    lines = survey(*source(folder).read()).lines()
    assert lines[0].startswith("  train: 40 (n01 10")
    assert any("not decoded yet" in line for line in lines)


def test_parts_are_squares_with_their_labels(folder, tmp_path):
    data = source(folder, cache=str(tmp_path)).load()
    assert data.train_x.shape == (40, 3, 16, 16)
    assert data.validation_x.shape == (8, 3, 16, 16)
    assert data.test_x.shape == (12, 3, 16, 16)
    assert data.train_x.dtype == torch.uint8
    assert data.class_names == CLASSES
    for x, y in ((data.train_x, data.train_y), (data.validation_x, data.validation_y), (data.test_x, data.test_y)):
        assert torch.equal(brightness(x), y)
    assert torch.bincount(data.validation_y).tolist() == [2, 2, 2, 2]
    assert not data.resident
    assert data.to(torch.device("meta")) is data


def test_classes_are_drawn_by_the_seed(folder, tmp_path):
    drawn = [source(folder, classes=2, seed=seed, cache=str(tmp_path)).load() for seed in range(6)]
    assert len({data.class_names for data in drawn}) > 1
    for data in drawn:
        assert data.classes == 2
        assert data.class_names == tuple(sorted(data.class_names))
        names = [CLASSES.index(name) for name in data.class_names]
        assert torch.equal(brightness(data.train_x), torch.tensor(names)[data.train_y])
    again = source(folder, classes=2, seed=0, cache=str(tmp_path)).load()
    assert again.class_names == drawn[0].class_names
    assert torch.equal(again.train_x, drawn[0].train_x)


def test_images_are_decoded_once(folder, tmp_path, monkeypatch):
    first = source(folder, cache=str(tmp_path)).load()
    monkeypatch.setattr(imagenet, "read_image", lambda *_: pytest.fail("decoded again"))
    again = source(folder, cache=str(tmp_path)).load()
    assert torch.equal(first.train_x, again.train_x)
    with pytest.raises(pytest.fail.Exception):
        source(folder, cache=str(tmp_path), size=17).load()


def test_what_training_writes_into_a_batch_does_not_reach_the_file(folder, tmp_path):
    source(folder, cache=str(tmp_path)).load().train_x.zero_()
    assert source(folder, cache=str(tmp_path)).load().train_x.any()


def test_a_cache_moves_with_its_data_and_other_images_are_seen(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "a")
    first = source(moved).load()
    moved = (tmp_path / "a").rename(tmp_path / "b")
    files = sorted((moved / "ma2ml-cache").iterdir())
    assert torch.equal(source(moved).load().train_x, first.train_x)
    assert sorted((moved / "ma2ml-cache").iterdir()) == files, "nothing was decoded again"
    for path in (moved / "train").rglob("*.png"):
        Image.new("RGB", (40, 30), (9, 9, 9)).save(path)
    assert source(moved).load().train_x.max() == 9


def test_an_interrupted_cache_is_made_anew(folder, tmp_path, monkeypatch):
    real, seen = imagenet.read_image, []

    def stop(path, size):
        seen.append(path)
        if len(seen) > 20:
            raise KeyboardInterrupt
        return real(path, size)

    monkeypatch.setattr(imagenet, "read_image", stop)
    with pytest.raises(KeyboardInterrupt):
        source(folder, cache=str(tmp_path)).load()
    assert not list(tmp_path.glob("*.partial"))
    monkeypatch.setattr(imagenet, "read_image", real)
    assert torch.equal(brightness(source(folder, cache=str(tmp_path)).load().train_x), source(folder).load().train_y)


def test_a_disk_without_room_is_said_before_anything_is_decoded(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    monkeypatch.setattr(imagenet, "read_image", lambda *_: pytest.fail("decoded"))
    with pytest.raises(OSError, match=r"--cache DIR"):
        source(folder, cache=str(tmp_path)).load()


RECIPE = Recipe(
    network=Spec("resnet_cifar", {"depth": 8}), crop_padding=0, crop_area=0.3, resolution=12, cutout=0, batch_size=16,
    drop_path=0.0, auxiliary=0.0, epochs=8,
)  # fmt: skip


def test_images_are_trained_on_from_their_file_as_from_memory(folder, tmp_path):
    mapped = source(folder, cache=str(tmp_path)).load()
    held = replace(mapped, resident=True)
    trained = [loop.fit(RECIPE, data, seed=1, fidelity=1.0) for data in (mapped, held)]
    assert trained[0].accuracy == trained[1].accuracy > 0.5  # four classes
    assert trained[0].metrics == trained[1].metrics


def test_validation_images_are_joined_where_they_lie(folder, tmp_path, monkeypatch):
    """All of ImageNet is larger than any memory, so nothing may copy it."""
    mapped = source(folder, cache=str(tmp_path)).load()
    held = replace(mapped, resident=True).merged()
    monkeypatch.setattr(
        imagenet.torch, "cat", lambda parts: pytest.fail("copied") if parts[0].dim() > 1 else held.train_y
    )
    merged = mapped.merged()
    monkeypatch.undo()
    assert merged.train_x.shape == held.train_x.shape == (48, 3, 16, 16)
    assert merged.train_x.nbytes == held.train_x.nbytes
    rows = torch.randperm(48)
    assert torch.equal(merged.train_x[rows], held.train_x[rows])
    assert torch.equal(merged.train_y, held.train_y)
    trained = [loop.fit(RECIPE, data, seed=1, fidelity=0.25) for data in (merged, held)]
    assert trained[0].metrics == trained[1].metrics
    assert trained[0].accuracy is trained[1].accuracy is None


def test_an_error_while_reading_ends_the_training(folder, tmp_path, monkeypatch):
    data = source(folder, cache=str(tmp_path)).load()
    monkeypatch.setattr(batches, "_read", lambda *_: (_ for _ in ()).throw(OSError("the disk is gone")))
    with pytest.raises(OSError, match="the disk is gone"):
        loop.fit(RECIPE, data, seed=1, fidelity=1.0)


def test_archives_that_are_not_the_published_ones_are_named(tmp_path, capsys):
    command = ["search", "imagenet200-v0", "--data", str(tmp_path), "--run", str(tmp_path / "run"), "--budget", "1"]
    assert main(command) == 2
    assert "no train folder" in capsys.readouterr().err
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"nothing")
    assert main(command) == 2
    assert (
        "ILSVRC2012_devkit_t12.tar.gz is not present in the root directory or is corrupted" in capsys.readouterr().err
    )
    (tmp_path / "train" / "n01").mkdir(parents=True)
    (tmp_path / "train" / "n02.tar").touch()
    assert main(command) == 2
    assert "not unpacked to the end (n02.tar is left)" in capsys.readouterr().err


def test_a_folder_is_not_read_through_the_pickle_beside_it(tmp_path):
    write(tmp_path, "train", 4)
    write(tmp_path, "val", 1)
    (tmp_path / "meta.bin").write_bytes(b"no pickle")
    assert source(tmp_path, validation=4).load().class_names == CLASSES


@pytest.mark.slow
def test_a_search_and_a_retraining_by_levels_of_the_small_sibling(folder, tmp_path, monkeypatch):
    """Searched on two classes, trained to the end on all four, whose heads count."""
    sets = [
        "proxy_epochs=1",
        "final_epochs=1",
        "validation=4",
        "classes=2",
        f"cache={tmp_path / 'cache'}",
        "batch_size=16",
    ]
    words = [word for setting in sets for word in ("--set", setting)]
    run = str(tmp_path / "run")
    game = ["imagenet200-600m-small-v0", "--data", str(folder), "--learner", "random", "--budget", "2", "--batch", "2"]
    assert main(["search", *game, "--size", "16", "--run", run, "--workers", "1", *words]) == 0
    named = replace(resolve("games", "imagenet200-600m-small-v0"), final_source={"classes": None})
    monkeypatch.setattr("ma2ml_agents.after.retrain.resolve", lambda *_: named)
    with TrialStore(Path(run)) as store:
        searched = {trial.number: trial.outcome.flops for trial in store.trials()}
    result = retrain(run, levels=(1e6, 1e9), top_k=2, repeats=1, baseline=True)
    assert json.loads((Path(run) / "retrain" / "data.json").read_text())["classes"] == 4
    assert result.levels[0].best is None
    assert {one.outcome.flops - searched[one.trial.number] for one in result.top} == {2 * 1984}  # two more classes
    steps = [one.outcome.metrics["steps"] for one in (*result.top, *result.repeats, *result.baseline)]
    assert steps == [3.0, 3.0, 3.0, 3.0], "44 images, and 48 with the validation images, in batches of 16"
    limit = max(searched.values())
    again = retrain(run, levels=(limit,), top_k=2)
    fitting = {one.trial.number for one in result.top if one.outcome.flops <= limit}
    assert 0 < len(fitting) < len(searched)
    assert {one.trial.number for one in again.top} == fitting, "the larger one fits no more, and is not trained"
    assert again.levels[0].best.outcome.flops <= limit


def test_the_papers_settings():
    game = make_game("imagenet200-600m-v0", "surrogate")
    assert (game.protocol.budget, game.protocol.batch, game.protocol.top_k) == (1992, 24, 20)
    assert (game.protocol.proxy_epochs, game.protocol.final_epochs) == (100, 400)
    sizes = {name: module.space.log10_size for name, module in game.modules.items()}
    assert [math.floor(size) for size in sizes.values()] == [160, 17, 7]
    assert game.reward(Outcome(accuracy=0.8, flops=600_000_000)) == 0.8


@pytest.mark.parametrize(
    ("name", "agents", "budget", "top_k", "epochs", "limit"),
    [
        ("cifar10-v0", 3, 5016, 30, (12, 600), None),
        ("cifar100-v0", 3, 4008, 30, (12, 600), None),
        ("cifar100-resnet56-hpo-v0", 1, 4008, 30, (12, 200), None),
        ("cifar100-resnet56-aug-hpo-v0", 2, 4008, 30, (12, 200), None),
        ("imagenet200-v0", 3, 1992, 20, (100, 400), None),
        ("imagenet200-600m-v0", 3, 1992, 20, (100, 400), 600e6),
        ("imagenet200-900m-v0", 3, 1992, 20, (100, 400), 900e6),
    ],
)
def test_named_games_of_the_paper(name, agents, budget, top_k, epochs, limit):
    """Section 4: what a change of a constant would make another experiment of."""
    game, named = make_game(name, "surrogate"), resolve("games", name)
    protocol = game.protocol
    assert len(game.spec.nvec) == agents
    assert (protocol.budget, protocol.batch, protocol.top_k) == (budget, 24, top_k)
    assert (protocol.proxy_epochs, protocol.final_epochs) == epochs
    assert named.flops_limit == limit
    if name.startswith("imagenet"):
        assert named.source["classes"] == 200
        assert VALIDATION["imagenet"] == 10_000
        assert dict(named.final_source) == {"classes": None}
    if "resnet56" in name:
        assert named.base.network == Spec("resnet_cifar", {"depth": 56})


def test_random_crops_are_parts_of_the_image_of_the_right_size():
    """The image is its own coordinates, so a crop tells where it was taken from."""
    ramp = torch.arange(64, dtype=torch.uint8) * 3
    images = torch.stack([ramp.expand(64, 64), ramp.expand(64, 64).T]).expand(2000, 2, 64, 64)
    crops = resized_crop(images, 0.25, 32, torch.Generator().manual_seed(0)).float()
    width = (crops[:, 0, 16, -1] - crops[:, 0, 16, 0]) / 3 / 62 * 32 / 31 * 62 / 64
    height = (crops[:, 1, -1, 16] - crops[:, 1, 0, 16]) / 3 / 62 * 32 / 31 * 62 / 64
    area = width * height
    assert area.min() > 0.2
    assert area.max() < 1.05
    assert area.mean() == pytest.approx(0.6, abs=0.04)  # uniform in [0.25, 1], less what is cut off
    ratio = (width / height).log()
    assert ratio.mean() == pytest.approx(0.0, abs=0.02)
    assert ratio.abs().max() < math.log(4 / 3) + 0.1
    left = crops[:, 0, 16, 0]
    assert (left < 3).any()
    assert left.std() > 10  # not always the same place
    whole = resized_crop(images[:50], 1.0, 64, torch.Generator())
    assert (whole.float() - images[:50].float()).abs().mean() < 12  # no less than its whole area


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 5}, "cannot be drawn from 4"),
        ({"classes": 1}, "at least 2"),
        ({"validation": 47}, "cannot be taken from 48"),
        ({"limit": 1}, "at least 2 training images"),
        ({"name": "digits", "classes": 3}, "options of imagenet"),
    ],
)
def test_bad_options_are_named(folder, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        source(folder, **{"cache": str(tmp_path), **options}).load()


def test_a_folder_without_parts_says_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="train and val folders"):
        source(tmp_path).load()


def test_train_and_val_have_the_same_classes(tmp_path):
    write(tmp_path, "train", 4)
    write(tmp_path, "val", 2, CLASSES[:3])
    with pytest.raises(ValueError, match="different classes: n04"):
        source(tmp_path).load()


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    write(tmp_path, "train", 4)
    write(tmp_path, "val", 2)
    (tmp_path / "train" / "n02" / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"n02.*1\.png"):
        source(tmp_path, validation=4).load()


def test_all_images_that_cannot_be_read_are_named_and_those_of_more_than_8_bits_are_among_them(tmp_path):
    """A range of each image's own would make dark and bright ones equal."""
    write(tmp_path, "train", 4)
    write(tmp_path, "val", 2)
    (tmp_path / "val" / "n01" / "0.png").write_bytes(b"no image")
    Image.fromarray(np.full((8, 8), 999, np.uint16)).save(tmp_path / "val" / "n02" / "0.png")
    with pytest.raises(ValueError, match=r"n01/0\.png cannot be read.*n02/0\.png has more than 8 bits") as error:
        source(tmp_path, validation=4).load()
    assert "\n" not in str(error.value)


def test_images_that_change_while_they_are_in_use_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    used = source(tmp_path / "copy")
    used = replace(used, digest=used.identity().digest)
    used.load()
    (tmp_path / "copy" / "train" / "n02" / "3.png").unlink()
    with pytest.raises(ValueError, match="changed while they were in use"):
        used.load()
