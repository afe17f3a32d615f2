"""What lies in a folder of images: names in two ways, links, folders that cannot be read, and more than memory holds."""

import os
from pathlib import Path

import pytest
from pictures import two_classes, write
from PIL import Image

from ma2ml_env.training.data import kept, telling
from ma2ml_env.training.data.own import read_images


@pytest.fixture(autouse=True)
def _settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files in a folder of the test; all is said anew."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(kept.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    telling.tell.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "data")


def test_two_names_that_look_alike_are_refused(folder: Path, tmp_path: Path) -> None:
    """Else one of them would stand for both."""
    for name in ("caf\u00e9.png", "cafe\u0301.png"):
        write(folder / "cat" / name, 1)
    with pytest.raises(ValueError, match="two files have the same name, written in two ways of Unicode: cat/café"):
        read_images(folder, 8, cache=tmp_path / "cache")


def test_two_class_folders_that_look_alike_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("caf\u00e9", "cafe\u0301"):
        write(folder / name / "0.png", 1)
    with pytest.raises(ValueError, match="two folders have the same name, written in two ways of Unicode: caf"):
        read_images(folder, 8, cache=tmp_path / "cache")


def test_a_link_to_a_folder_is_not_followed_and_told(folder: Path, tmp_path: Path) -> None:
    """One to the class folder itself would never end."""
    write(tmp_path / "more" / "0.png", 1)
    (folder / "cat" / "linked").symlink_to(tmp_path / "more")
    (folder / "cat" / "round").symlink_to(folder / "cat")
    found = read_images(folder, 8, cache=tmp_path / "cache")
    assert len(found.y["train"]) == 12
    assert any("links to folders: cat/linked, cat/round" in note for note in found.notes)
    (folder / "emu").symlink_to(tmp_path / "more")
    assert read_images(folder, 8, cache=tmp_path / "cache").class_names == ("cat", "dog", "emu")


def test_a_folder_that_cannot_be_read_is_an_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images would lack unseen."""
    write(folder / "cat" / "more" / "0.png", 1)
    real = os.scandir

    def scandir(place: str | Path) -> object:
        if str(place).endswith("more"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="more"):
        read_images(folder, 8, cache=tmp_path / "cache")


def test_two_folders_of_validation_images_are_refused(tmp_path: Path) -> None:
    for part in ("train", "val", "valid"):
        write(tmp_path / "data" / part / "cat" / "0.png", 1)
    with pytest.raises(ValueError, match="has both val and valid: keep one of them"):
        read_images(tmp_path / "data", 8)


def test_a_name_that_is_no_text_is_refused_before_a_run_is_made(folder: Path, tmp_path: Path) -> None:
    """`split.csv` could not be written."""
    os.rename(folder / "cat" / "0.png", os.fsencode(folder / "cat") + b"/\xff.png")
    with pytest.raises(ValueError, match=r"names are not UTF-8: cat/\\xff\.png; rename them"):
        read_images(folder, 8, cache=tmp_path / "cache")


def test_more_than_the_memory_holds_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / name / "0.png")
    with pytest.raises(ValueError, match=r"2 images of 3000000 pixels take 54,000\.0 GB of memory, and .* are left"):
        read_images(tmp_path / "data", 3_000_000, cache=tmp_path / "cache")
