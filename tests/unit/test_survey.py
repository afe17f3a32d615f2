"""A look at a data set: counts, near-duplicates, constant images, and what validation images leave of a reward."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import two_classes
from PIL import Image

from ma2ml_agents.cli.main import main
from ma2ml_agents.run import ticker
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.data.survey import Survey, survey


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root, rng = tmp_path / "data", np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 10), ("test", 10)):
        for name in ("ant", "bee"):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


def look(folder: Path) -> Survey:
    return survey(*DataSource("images", str(folder), size=16).read())


def test_nothing_is_wrong_with_good_data(folder: Path) -> None:
    found = look(folder)
    assert found.counts["train"] == {"ant": 20, "bee": 20}
    assert found.kinds == {"32 x 32 RGB": 80}
    assert (found.constant, found.twins, found.majority) == ((), (), 0.5)
    assert not any("WARNING" in line for line in found.lines())
    assert found.sampling_error(0.9) == pytest.approx(1.96 * (0.09 / 20) ** 0.5)


def test_near_duplicates_across_parts_are_told(folder: Path) -> None:
    with Image.open(folder / "train" / "ant" / "3.png") as image:
        image.save(folder / "test" / "ant" / "again.jpg", quality=97, subsampling=0)
        image.resize((64, 64)).save(folder / "val" / "bee" / "larger.png")
    shutil.copy(
        folder / "train" / "ant" / "5.png", folder / "train" / "ant" / "5b.png"
    )  # within a part it misleads nobody
    assert set(look(folder).twins) == {
        ("test test/ant/again.jpg", "train train/ant/3.png"),
        ("validation val/bee/larger.png", "train train/ant/3.png"),
        ("test test/ant/again.jpg", "validation val/bee/larger.png"),
    }
    assert "near-duplicates in different parts" in "".join(look(folder).lines())
    raw, chosen = DataSource("images", str(folder), size=16).read()
    few = survey(raw, chosen, most_pairs=100)
    assert not few.compared
    assert "were not looked for" in "".join(few.lines())


def test_constant_images_and_lacking_classes_are_told(folder: Path) -> None:
    Image.new("RGB", (32, 32), "grey").save(folder / "train" / "ant" / "blank.png")
    shutil.rmtree(folder / "val" / "bee")
    found = look(folder)
    assert found.constant == ("train/ant/blank.png",)
    assert found.lacking["validation"] == ("bee",)
    assert found.majority == 1.0
    told = "".join(found.lines())
    assert "no validation image of class bee" in told
    assert "one value alone: train/ant/blank.png" in told


def test_the_command_says_it_and_compares_every_byte(folder: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    command = ["data", str(folder), "--size", "16", "--cache", str(tmp_path / "cache")]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "train: 40 (ant 20, bee 20)" in told
    assert "32 x 32 RGB" in told
    assert main([*command, "--verify", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["identity"]["counts"]["train"] == [20, 20]
    assert found["changes"] == []


def test_the_command_takes_arrays_and_refuses_what_is_neither(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    x, y = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8), np.arange(60) % 3
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y)
    assert main(["data", str(tmp_path / "a.npz"), "--size", "8"]) == 0
    assert "npz, 3 classes" in capsys.readouterr().out
    assert main(["data", str(tmp_path / "none")]) == 2
    assert "no folder" in capsys.readouterr().err


def test_json_is_alone_on_stdout_however_long_the_reading_takes(tmp_path, monkeypatch, capsys):
    read = DataSource.read
    monkeypatch.setattr(ticker, "SILENCE", 0.01)
    monkeypatch.setattr(DataSource, "read", lambda self: (time.sleep(0.2), read(self))[1])
    assert main(["data", str(two_classes(tmp_path / "data")), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["changes"] == []
    assert "reading the data, " in told.err
