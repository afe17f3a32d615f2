"""Files are read once: what is kept, how changes are seen, what is said, and what is left out."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pictures import two_classes, write
from PIL import Image

from ma2ml_agents.cli.main import main
from ma2ml_env.training.data import kept, pixels, reader, telling
from ma2ml_env.training.data.own import read_images
from ma2ml_env.training.data.source import DataSource

FRESH = reader.FRESH


@pytest.fixture(autouse=True)
def _settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files in a folder of the test; files are old enough to be known by their times; all is said anew."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(kept.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr(reader, "FRESH", -(1 << 62))
    telling.tell.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "data")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many files were decoded since the last call."""
    seen: list[int] = []
    real = pixels.square

    def square(data: bytes, look: pixels.Look) -> pixels.Square:
        seen.append(len(data))
        return real(data, look)

    monkeypatch.setattr(pixels, "square", square)

    def count() -> int:
        number = len(seen)
        seen.clear()
        return number

    return count


def test_what_has_not_changed_is_not_decoded_again(folder: Path, tmp_path: Path, decoded: Callable[[], int]) -> None:
    first = read_images(folder, 8, cache=tmp_path / "cache")
    assert decoded() == 12
    again = read_images(folder, 8, cache=tmp_path / "cache")
    assert decoded() == 0
    assert np.array_equal(first.x["train"], again.x["train"])
    assert (first.content, first.names, first.seen) == (again.content, again.names, again.seen)
    read_images(folder, 9, cache=tmp_path / "cache")
    read_images(folder, 8, cache=tmp_path / "cache", fit="pad")
    read_images(folder, 8, cache=tmp_path / "cache", background="black")
    assert decoded() == 36


def test_images_keep_their_names_when_one_of_two_equal_files_goes(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "00.png")
    read_images(folder, 8, cache=tmp_path / "cache")
    (folder / "cat" / "00.png").unlink()
    kept_images = read_images(folder, 8, cache=tmp_path / "cache")
    assert np.array_equal(kept_images.x["train"], read_images(folder, 8, cache=tmp_path / "other").x["train"])


def test_what_has_changed_is_decoded_alone(folder: Path, tmp_path: Path, decoded: Callable[[], int]) -> None:
    first = read_images(folder, 8, cache=tmp_path / "cache")
    decoded()
    write(folder / "cat" / "3.png", 99)
    (folder / "cat" / "0.png").unlink()
    write(folder / "dog" / "new.png", 100)
    (folder / "dog" / "5.png").rename(folder / "dog" / "another.png")  # its bytes are known
    second = read_images(folder, 8, cache=tmp_path / "cache")
    assert decoded() == 2
    anew = read_images(folder, 8, cache=tmp_path / "other")
    assert np.array_equal(second.x["train"], anew.x["train"])
    assert second.content == anew.content != first.content
    assert second.seen == anew.seen


def test_a_change_that_leaves_size_and_times_is_seen_by_who_verifies(
    folder: Path, tmp_path: Path, decoded: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "cat" / "0.png"
    Image.fromarray(np.zeros((20, 16, 3), np.uint8)).save(path, compress_level=0)
    read_images(folder, 8, cache=tmp_path / "cache")
    decoded()
    Image.fromarray(np.full((20, 16, 3), 9, np.uint8)).save(path, compress_level=0)
    stamps = reader._stamps
    before = path.stat()

    def as_before(files: dict[str, Path]) -> object:
        found, bad = stamps(files)
        index = json.loads(next((tmp_path / "cache").glob("*.json")).read_bytes())
        return {name: tuple(row[:4]) for name, row in index["entries"]} if found else found, bad

    monkeypatch.setattr(reader, "_stamps", as_before)
    assert read_images(folder, 8, cache=tmp_path / "cache").x["train"][0].max() == 0
    assert read_images(folder, 8, cache=tmp_path / "cache", verify=True).x["train"][0].max() == 9
    assert decoded() == 1
    assert path.stat().st_size == before.st_size


def test_a_file_that_was_just_written_is_looked_at_again(
    folder: Path, tmp_path: Path, decoded: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change might bear the same time."""
    monkeypatch.setattr(reader, "FRESH", FRESH)
    read_images(folder, 8, cache=tmp_path / "cache")
    index = json.loads(next((tmp_path / "cache").glob("*.json")).read_bytes())
    assert {row[2] for _, row in index["entries"]} == {0}
    decoded()
    read_images(folder, 8, cache=tmp_path / "cache")
    assert decoded() == 0, "its bytes are the same"


@pytest.mark.parametrize("what", ["index", "entries", "squares", "short", "gone"])
def test_a_damaged_cache_is_made_anew(folder: Path, tmp_path: Path, decoded: Callable[[], int], what: str) -> None:
    first = read_images(folder, 8, cache=tmp_path / "cache")
    decoded()
    (index,), (squares,) = (tmp_path / "cache").glob("*.json"), (tmp_path / "cache").glob("*.npy")
    if what == "index":
        index.write_bytes(index.read_bytes()[:-9])
    elif what == "entries":
        told = json.loads(index.read_bytes())
        told["entries"][0], told["entries"][1] = told["entries"][1], told["entries"][0]
        index.write_text(json.dumps(told))
    elif what == "gone":
        squares.unlink()
    else:
        data = bytearray(squares.read_bytes())
        data[-1] ^= 1
        squares.write_bytes(data if what == "squares" else data[:-1])
    again = read_images(folder, 8, cache=tmp_path / "cache")
    assert decoded() == 12
    assert np.array_equal(first.x["train"], again.x["train"])
    read_images(folder, 8, cache=tmp_path / "cache")
    assert decoded() == 0


HEADERS = {
    "tokens": "'''",
    "negative": "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 3, 8, 8), }",
    "fortran": "{'descr': '|u1', 'fortran_order': True, 'shape': (12, 3, 8, 8), }",
}


@pytest.mark.parametrize("what", [*HEADERS, "infinite", "fifo"])
def test_a_hostile_cache_is_made_anew(folder: Path, tmp_path: Path, what: str) -> None:
    """Each of these is raised as an error of another type, or waited for."""
    first = read_images(folder, 8, cache=tmp_path / "cache")
    (index,), (squares,) = (tmp_path / "cache").glob("*.json"), (tmp_path / "cache").glob("*.npy")
    if what == "infinite":
        index.write_text(json.dumps({**json.loads(index.read_bytes()), "crc": float("inf")}))
    elif what == "fifo":
        index.unlink()
        os.mkfifo(index)
    else:
        data = squares.read_bytes()
        squares.write_bytes(data[:10] + HEADERS[what].encode().ljust(117) + b"\n" + data[128:])
    again = read_images(folder, 8, cache=tmp_path / "cache")
    assert np.array_equal(first.x["train"], again.x["train"])


def test_another_file_of_the_same_size_and_times_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders of one name may have been written within one tick of the clock."""
    for place, value in (("data", 0), ("other/data", 9)):
        for name in ("cat", "dog"):
            (tmp_path / place / name).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(np.full((8, 8, 3), value, np.uint8))
            for number in range(6):
                image.save(tmp_path / place / name / f"{number}.png", compress_level=0)
    real = Path.stat

    def at_once(path: Path, **options: bool) -> os.stat_result:
        found = real(path, **options)
        return os.stat_result(tuple(found)[:10], {"st_mtime_ns": 1, "st_ctime_ns": 1})

    monkeypatch.setattr(Path, "stat", at_once)
    assert read_images(folder, 8, cache=tmp_path / "cache").x["train"].max() == 0
    assert read_images(tmp_path / "other" / "data", 8, cache=tmp_path / "cache").x["train"].min() == 9


def test_a_file_larger_than_the_memory_is_named(folder: Path, tmp_path: Path) -> None:
    os.truncate(folder / "cat" / "0.png", 1 << 43)
    with pytest.raises(
        ValueError, match=r"cat/0\.png cannot be read: its 8,796,093,022,208 bytes do not fit into memory"
    ):
        read_images(folder, 8, cache=tmp_path / "cache")


def test_a_cache_moves_with_its_data(folder: Path, tmp_path: Path, decoded: Callable[[], int]) -> None:
    read_images(folder, 8, cache=tmp_path / "cache")
    moved = tmp_path / "elsewhere" / "data"
    moved.parent.mkdir()
    folder.rename(moved)
    read_images(moved, 8, cache=tmp_path / "cache")
    shutil.copytree(moved, tmp_path / "copy" / "data")
    read_images(tmp_path / "copy" / "data", 8, cache=tmp_path / "cache")
    assert decoded() == 12, "a copy has other times, and the same bytes"


def test_a_folder_that_cannot_be_written_is_no_error(folder: Path, tmp_path: Path, decoded: Callable[[], int]) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        read_images(folder, 8, cache=tmp_path / "file")
    assert decoded() == 12
    assert len(list((tmp_path / "temporary").glob("ma2ml-*/images-*.npy"))) == 1
    shutil.rmtree(tmp_path / "temporary")
    for _ in range(2):
        read_images(folder, 8, cache=tmp_path / "file")
    assert decoded() == 24, "there is nowhere to keep them"


def test_squares_of_the_temporary_folder_are_kept_where_they_were_asked_for(
    folder: Path, tmp_path: Path, decoded: Callable[[], int]
) -> None:
    read_images(folder, 8)
    read_images(folder, 8, cache=tmp_path / "cache")
    assert decoded() == 12
    shutil.rmtree(tmp_path / "temporary")
    read_images(folder, 8, cache=tmp_path / "cache")
    assert decoded() == 0


def test_a_temporary_folder_of_somebody_else_is_not_used(folder: Path, tmp_path: Path) -> None:
    shared = tmp_path / "temporary" / f"ma2ml-{os.getuid()}"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    read_images(folder, 8)
    assert not list(shared.iterdir())


def test_a_cache_has_a_limit(folder: Path, tmp_path: Path, decoded: Callable[[], int]) -> None:
    one = 12 * 3 * 8 * 8
    for size in (8, 7, 6):
        read_images(folder, size, cache=tmp_path / "cache", limit=1.9 * one)
    names = sorted(path.suffix for path in (tmp_path / "cache").iterdir())
    assert names == [".json"] * 2 + [".npy"] * 2, "the first was dropped"
    decoded()
    read_images(folder, 6, cache=tmp_path / "cache", limit=1.9 * one)
    assert decoded() == 0
    read_images(folder, 8, cache=tmp_path / "none", limit=one / 2)
    assert not list((tmp_path / "none").iterdir())


def test_a_new_maximum_scales_all_images_anew(tmp_path: Path) -> None:
    def deep(path: Path, top: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), top, np.uint16)).save(path)

    for name in ("a", "b"):
        for number in range(3):
            deep(tmp_path / "data" / name / f"{number}.png", 255)
    assert read_images(tmp_path / "data", 8, cache=tmp_path / "cache").x["train"].max() == 255
    deep(tmp_path / "data" / "a" / "3.png", 300)
    raw = read_images(tmp_path / "data", 8, cache=tmp_path / "cache")
    assert raw.value_range == (0, 511)
    assert raw.x["train"][:, 0, 0, 0].tolist() == [127, 127, 127, 150, 127, 127, 127]
    assert "values from 0 to 511 became 0 to 255" in raw.notes


def test_a_grey_data_set_with_one_colour_has_three_channels(
    folder: Path, tmp_path: Path, decoded: Callable[[], int]
) -> None:
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            grey = image.convert("L")
        grey.save(path)
    assert read_images(folder, 8, cache=tmp_path / "cache").x["train"].shape == (12, 1, 8, 8)
    decoded()
    write(folder / "cat" / "colour.png", 1)
    raw = read_images(folder, 8, cache=tmp_path / "cache")
    assert decoded() == 1
    assert raw.x["train"].shape == (13, 3, 8, 8)
    assert np.array_equal(raw.x["train"][0, 0], raw.x["train"][0, 2])
    (folder / "cat" / "colour.png").unlink()
    assert read_images(folder, 8, cache=tmp_path / "cache").x["train"].shape == (12, 1, 8, 8)


def spoil(folder: Path) -> None:
    (folder / "cat" / "0.png").write_bytes(b"no image")
    (folder / "dog" / "1.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    os.mkfifo(folder / "dog" / "pipe.png")
    (folder / "dog" / "zero.png").symlink_to("/dev/zero")
    (folder / "dog" / "gone.png").symlink_to(folder / "nowhere")
    (folder / "dog" / "notes.txt").touch()


def test_all_bad_files_are_named_at_once_and_skipped_if_that_is_wanted(folder: Path, tmp_path: Path) -> None:
    spoil(folder)
    with pytest.raises(ValueError, match=r"--skip-bad leaves them out") as error:
        read_images(folder, 8, cache=tmp_path / "cache")
    told = str(error.value)
    assert "\n" not in told
    for name in ("cat/0.png", "dog/1.heic", "dog/pipe.png, dog/zero.png is no file", "dog/gone.png", "(5 of 16 files)"):
        assert name in told
    assert "pip install pillow-heif" in told
    raw = read_images(folder, 8, cache=tmp_path / "cache", skip_bad=True)
    assert len(raw.x["train"]) == len(raw.names["train"]) == len(raw.seen["train"]) == 11
    assert any(note.startswith("left out 5 files: ") and "cat/0.png" in note for note in raw.notes)
    assert any("dog/notes.txt" in note for note in raw.notes)
    for path in (folder / "cat").iterdir():
        path.write_bytes(b"none")
    with pytest.raises(ValueError, match="no image of cat can be read"):
        read_images(folder, 8, cache=tmp_path / "cache", skip_bad=True)


def test_a_picture_that_the_background_swallows_is_told(folder: Path, tmp_path: Path) -> None:
    white = np.full((9, 9, 4), 255, np.uint8)
    white[:4, :, 3] = 0
    Image.fromarray(white).save(folder / "cat" / "0.png")
    notes = read_images(folder, 8, cache=tmp_path / "cache").notes
    assert "cat/0.png: nothing is seen of a transparent picture on white; give another --background" in notes
    assert not read_images(folder, 8, cache=tmp_path / "cache", background="black").notes
    for path in folder.rglob("*.png"):
        Image.fromarray(white).save(path)
    with pytest.raises(ValueError, match="nothing is seen of a transparent picture"):
        read_images(folder, 8, cache=tmp_path / "cache")


def _load(source: DataSource) -> int:
    return int(source.load().train_x.sum())


@pytest.mark.slow
def test_a_worker_finds_what_is_kept_and_says_nothing(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "SLOW", -1.0)
    (folder / "dog" / "notes.txt").touch()
    source = DataSource("images", str(folder), size=8, cache=str(tmp_path / "cache"))
    here = _load(source)
    told = capfd.readouterr().err
    assert "notes.txt" in told
    assert f"read 12 images in 0.0 s; kept in {tmp_path / 'cache'}" in told
    stamp = [path.stat().st_mtime_ns for path in sorted((tmp_path / "cache").glob("*.json"))]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(_load, [source] * 2)) == [here] * 2
    assert capfd.readouterr().err == ""
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "cache").glob("*.json"))] == stamp


def test_a_long_reading_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 6))
    monkeypatch.setattr(telling.time, "monotonic", lambda: next(now))
    with telling.bar("reading images", 5) as advance:
        for _ in range(5):
            advance()
    assert capsys.readouterr().err.splitlines() == [
        "reading images: 2 of 5, 18 s to go",
        "reading images: 4 of 5, 6 s to go",
    ]


def test_a_fifo_among_the_images_is_one_line_at_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(folder / "cat" / "x.png")
    assert main(["search", "own-small-v0", "--images", str(folder), "--run", str(tmp_path / "run"), "--size", "8"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cat/x.png is no file, but a pipe, a device or the like" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_at_once_are_safe(folder: Path, tmp_path: Path) -> None:
    """Each of them writes; whoever reads finds the one or the other."""
    source = DataSource("images", str(folder), size=8, cache=str(tmp_path / "cache"))
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert len(set(pool.map(_load, [source] * 6))) == 1
    assert len(list((tmp_path / "cache").glob("images-*"))) == 2
    assert not list((tmp_path / "cache").glob(".*"))
