"""The identity of data: equal wherever they lie, another one for every change; and their split."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import write
from PIL import Image

from ma2ml_env.training.data.groups import read_groups
from ma2ml_env.training.data.identity import Identity
from ma2ml_env.training.data.raw import Raw
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.data.split import split


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root, rng = tmp_path / "data", np.random.default_rng(0)
    for name in ("ant", "bee", "cat"):
        for i in range(10):
            path = root / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return root


def source(root: Path, **options: object) -> DataSource:
    return replace(DataSource("images", str(root), size=8), **options)  # type: ignore[arg-type]


def test_the_place_may_move(folder: Path, tmp_path: Path) -> None:
    before = source(folder).identity()
    shutil.move(folder, tmp_path / "elsewhere")
    assert source(tmp_path / "elsewhere").identity() == before
    assert Identity.from_json(before.to_json()) == before
    assert before.counts == {"train": (8, 8, 8), "validation": (1, 1, 1), "test": (1, 1, 1)}


def renamed_class(root: Path) -> None:
    (root / "ant").rename(root / "zebra")


def fewer(root: Path) -> None:
    (root / "bee" / "3.png").unlink()


def more(root: Path) -> None:
    shutil.copy(root / "bee" / "3.png", root / "bee" / "30.png")


def renamed_file(root: Path) -> None:
    (root / "bee" / "3.png").rename(root / "bee" / "3b.png")


def other_pixels(root: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / "bee" / "3.png")


def other_bytes(root: Path) -> None:
    path = root / "bee" / "3.png"
    Image.open(path).save(path, compress_level=0)


def other_class(root: Path) -> None:
    (root / "bee" / "3.png").rename(root / "cat" / "10.png")


def swapped(root: Path) -> None:
    one, two, between = root / "ant" / "0.png", root / "bee" / "0.png", root / "between"
    one.rename(between), two.rename(one), between.rename(two)


def another_class(root: Path) -> None:
    shutil.copytree(root / "ant", root / "dog")


def own_test_part(root: Path) -> None:
    for part in ("train", "test"):
        shutil.copytree(root, root.parent / "parts" / part)
    shutil.rmtree(root)
    (root.parent / "parts").rename(root)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (renamed_class, "classes +zebra -ant"),
        (fewer, "train 24 -> 23"),
        (more, "train 24 -> 25"),
        (renamed_file, "names, bytes or parts of some images"),
        (other_pixels, "names, bytes or parts of some images"),
        (other_bytes, "names, bytes or parts of some images"),
        (other_class, "images a class of train"),
        (swapped, "names, bytes or parts of some images"),
        (another_class, "classes +dog; train 24 -> 32"),
        (own_test_part, "train 24 -> 27; test 3 -> 30"),
    ],
)
def test_every_change_is_another_identity_and_is_told(folder: Path, change, told: str) -> None:  # type: ignore[no-untyped-def]
    before = source(folder).identity()
    change(folder)
    now = source(folder).identity()
    assert now.digest != before.digest
    assert told in before.changes(now)


def test_split_and_size_are_part_of_it(folder: Path) -> None:
    before = source(folder).identity()
    assert before.changes(source(folder, seed=1).identity()).startswith("names, bytes or parts")
    assert before.changes(source(folder, size=9).identity()) == "size 8 -> 9"
    assert before.changes(source(folder, limit=20).identity()) == "train 24 -> 20"
    assert before.changes(before) == ""


def test_arrays_have_one(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).integers(0, 255, (40, 4, 4), dtype=np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y)
    before = DataSource("npz", str(tmp_path / "a.npz")).identity()
    np.savez_compressed(tmp_path / "b.npz", y_train=y, x_train=x)  # other bytes, the same arrays
    assert DataSource("npz", str(tmp_path / "b.npz")).identity() == before
    x[3, 0, 0] ^= 1
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y)
    assert DataSource("npz", str(tmp_path / "a.npz")).identity().digest != before.digest
    assert DataSource("digits").identity() == DataSource("digits").identity()


def raw(*counts: int, **parts: tuple[int, ...]) -> Raw:
    labels = {"train": np.repeat(np.arange(len(counts)), counts)}
    labels |= {part: np.repeat(np.arange(len(counts)), each) for part, each in parts.items()}
    return Raw({}, labels, tuple("abcdefgh"[: len(counts)]))  # type: ignore[arg-type]


def test_each_class_is_in_each_part() -> None:
    for seed in range(20):
        data = raw(5, 40, 40)
        labels = split(data, seed=seed, test=8, validation=8).labels(data)
        assert all(set(labels[part].tolist()) == {0, 1, 2} for part in ("train", "validation", "test"))


def test_a_tenth_of_few_images_holds_each_class_all_the_same(tmp_path: Path) -> None:
    for name in ("ant", "bee", "cat"):
        for number in range(3):
            write(tmp_path / "data" / name / f"{number}.png", len(name) * 7 + number + ord(name[0]))
    _, chosen = (read := source(tmp_path / "data").read())
    for labels in chosen.labels(read[0]).values():
        assert sorted(labels.tolist()) == [0, 1, 2]


def test_too_few_of_a_class_say_how_many() -> None:
    with pytest.raises(ValueError, match=r"at least 3 images for train and test and validation; too few have a \(2\)"):
        split(raw(2, 40), seed=0, test=4, validation=4)
    data = raw(2, 40, test=(1, 1))
    with pytest.raises(ValueError, match="19 validation images cannot be taken from 20"):
        split(raw(10, 10, test=(1, 1)), seed=0, test=4, validation=19)
    assert set(split(data, seed=0, test=4, validation=4).labels(data)["validation"].tolist()) == {0, 1}


def test_groups_stay_in_one_part(folder: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    persons = {name: f"person {int(Path(name).stem) % 5}" for name in names}
    file = tmp_path / "groups.csv"
    file.write_text("name,group\n" + "".join(f"{name},{persons[name]}\n" for name in names))
    grouped = source(folder, groups=str(file), validation=6)
    data, chosen = grouped.read()
    found = {part: {persons[name] for name in each} for part, each in chosen.names(data).items()}
    assert not found["train"] & found["validation"]
    assert not found["train"] & found["test"]
    assert not found["validation"] & found["test"]
    assert grouped.identity().digest != source(folder, validation=6).identity().digest
    data, chosen = source(folder, validation=6).read()  # without groups, the same persons are in several parts
    plain = {part: {persons[name] for name in each} for part, each in chosen.names(data).items()}
    assert plain["train"] & plain["validation"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["a.png"], "line 1: it has to be `name,group`"),
        (["a.png,x", "a.png,y"], "line 2: a.png is in group x already"),
        (["a.png,x", "c.png,x"], "c.png not among the images, which are named as in a.png"),
        (["a.png,x"], "b.png without a group"),
        (["a.png,x", "b.png,x"], "group x in several of the folders"),
    ],
)
def test_bad_groups_are_one_line(tmp_path: Path, lines: list[str], told: str) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=told):
        read_groups(file, {"train": ["a.png"], "test": ["b.png"]})
    with pytest.raises(FileNotFoundError, match="no file"):
        read_groups(tmp_path / "none.csv", {})


def test_names_are_the_same_on_every_file_system(folder: Path) -> None:
    import unicodedata

    (folder / "ant").rename(folder / unicodedata.normalize("NFC", "forêt"))
    composed = source(folder).identity()
    (folder / unicodedata.normalize("NFC", "forêt")).rename(folder / unicodedata.normalize("NFD", "forêt"))
    assert source(folder).identity() == composed


def test_what_is_not_read_is_told_and_hidden_files_are_not_looked_at(folder: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    before = source(folder).identity()
    (folder / "bee" / ".thumbnails").mkdir()
    shutil.copy(folder / "bee" / "0.png", folder / "bee" / ".thumbnails" / "0.png")
    shutil.copy(folder / "bee" / "0.png", folder / "cover.png")
    (folder / "bee" / "notes.txt").write_text("x")
    assert source(folder).identity() == before
    notes = " ".join(source(folder).read()[0].notes)
    assert "in no class folder of a part: cover.png" in notes
    assert "bee/notes.txt" in notes
    own_test_part(folder)
    shutil.copytree(folder / "test" / "ant", folder / "more" / "ant")
    assert "in no class folder of a part: more/" in " ".join(source(folder).read()[0].notes)


def test_groups_of_few_images_of_a_class_are_split(tmp_path: Path) -> None:
    """A tenth of ten images would be ten folds, and scikit-learn makes none without an image of each class."""
    chosen = split(raw(5, 5), seed=0, test=1, validation=1, groups=[str(row) for row in range(10)])
    assert sorted(row for rows in chosen.rows.values() for row in rows.tolist()) == list(range(10))
    assert all(len(rows) for rows in chosen.rows.values())


def test_names_of_groups_are_in_the_composed_form_too(tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("cafe\u0301.png,x\n")
    assert read_groups(file, {"train": ["caf\u00e9.png"]}) == {"train": ["x"]}
