"""F23: data files that are damaged, or made to do harm. The project unpacks no archive itself: torchvision does, by digest."""

import ast
import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hostile import Watch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ma2ml_env.training.data import idx, imagenet
from ma2ml_env.training.data import own as own_data
from ma2ml_env.training.data.npz import read_npz
from ma2ml_env.training.data.source import DataSource

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::RuntimeWarning"
)  # of pillow, about what it mends
ROOT = Path(__file__).parents[2]
WATCH = Watch()
SLOW = (pytest.mark.slow, pytest.mark.timeout(1800))
FUZZ = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def inputs(fast, slow):
    return pytest.mark.parametrize("number", [fast, pytest.param(slow, marks=SLOW)])


class Bomb:
    """A pickle that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@contextmanager
def named(path):
    """What is in it works, or is a ValueError that names the file."""
    told = str(path)
    try:
        yield
    except ValueError as error:
        told = str(error)
    assert str(path) in told


def damage(path, data, number, read):
    """Read a file of these bytes, cut short or with some of them replaced, so many times: each is read, or named."""

    @settings(max_examples=number, **FUZZ)
    @given(st.integers(0, len(data)), st.binary(max_size=6), st.booleans())
    def check(at, patch, cut):
        path.write_bytes(data[:at] + patch + (b"" if cut else data[at + len(patch) :]))
        with named(path):
            read(path)

    check()


def test_f23_nothing_is_unpacked_here():
    names = {"extractall", "extract", "unpack_archive", "extract_archive", "download_and_extract_archive"}
    for path in [*(ROOT / "ma2ml_env").rglob("*.py"), *(ROOT / "ma2ml_agents").rglob("*.py")]:
        called = {node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
                  for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}  # fmt: skip
        assert not called & names, path


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_f23_a_file_with_another_digest_is_not_unpickled(tmp_path, name):
    folder = tmp_path / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    folder.mkdir()
    files = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "batches.meta", "train", "test", "meta"]
    for file in files:
        (folder / file).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(FileNotFoundError, match=f"no complete {name}"):
        DataSource(name, folder=str(tmp_path)).load()
    assert not (tmp_path / "ran").exists()
    pickle.loads((folder / "meta").read_bytes())
    assert (tmp_path / "ran").exists()  # the control: it would have


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist"])
def test_f23_a_download_with_another_digest_is_refused_and_not_unpacked(tmp_path, monkeypatch, name):
    hostile = io.BytesIO()
    with tarfile.open(fileobj=hostile, mode="w:gz") as tar:
        for path in ("../../up", str(tmp_path / "absolute"), "inside"):
            tar.addfile(tarfile.TarInfo(path))
    fetched = []

    def fetch(url, filename, *rest):
        fetched.append(url)
        Path(filename).write_bytes(hostile.getvalue())

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", fetch)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, max_hops=3: url)
    root = tmp_path / "a" / "b"
    root.mkdir(parents=True)
    with pytest.raises(OSError, match=f"no complete {name}|{name} cannot be fetched"):
        DataSource(name, folder=str(root), download=True).load()
    assert fetched
    made = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert made <= {"cifar-10-python.tar.gz", "train-images-idx3-ubyte.gz"}


@inputs(60, 5_000)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_f23_a_damaged_image_is_named(tmp_path, kind, number):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, kind)

    def read(path):
        assert own_data.read_image(path, 8).shape in ((1, 8, 8), (3, 8, 8))

    damage(tmp_path / "image.png", whole.getvalue(), number, read)


def test_f23_an_image_that_unfolds_to_gigabytes_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)  # width and height of a PNG's header, with its checksum
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bomb\.png cannot be read as an image"):
        own_data.read_image(path, 8)


@inputs(100, 10_000)
def test_f23_a_damaged_npz_is_named(tmp_path, number):
    whole = io.BytesIO()
    np.savez_compressed(whole, x_train=np.zeros((4, 8, 8), np.uint8), y_train=np.array([0, 1, 0, 1]))
    damage(tmp_path / "own.npz", whole.getvalue(), number, read_npz)


def npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)


def npy(shape, descr="'|u1'"):
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    head = head.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


def test_f23_an_npz_runs_nothing_writes_nothing_and_cannot_claim_much(tmp_path):
    path, ran = tmp_path / "own.npz", tmp_path / "ran"
    labels = io.BytesIO()
    np.save(labels, np.array([0, 1]))
    for claimed in (
        npy("(10**9,)"),
        npy("(1000000, 1000000, 1000000)"),
        npy("(-1,)"),
        npy("(2,)", "'|O'") + pickle.dumps(Bomb(ran)),
        pickle.dumps(Bomb(ran)),
        npy(f"__import__('pathlib').Path({str(ran)!r}).touch()"),
    ):
        npz(path, **{"x_train.npy": claimed, "y_train.npy": labels.getvalue(), "..__..__up.npy": claimed})
        with WATCH() as seen, pytest.raises(ValueError, match=r"own\.npz"):
            read_npz(path)
        assert seen == []
    assert not ran.exists()
    path.write_bytes(pickle.dumps(Bomb(ran)))
    with pytest.raises(ValueError, match=r"own\.npz"):
        read_npz(path)
    assert not ran.exists()


def test_f23_a_damaged_idx_file_is_named_and_no_more_is_unfolded_than_it_says(tmp_path, monkeypatch):
    path, head = tmp_path / "x-ubyte.gz", b"\x00\x00\x08\x01\x00\x00\x00\x04"
    path.write_bytes(gzip.compress(head + b"abcd"))
    assert idx.read_idx(path).tolist() == [97, 98, 99, 100]
    read = []
    original = gzip.GzipFile.read

    def reading(self, size=-1):
        read.append(original(self, size))
        return read[-1]

    monkeypatch.setattr(gzip.GzipFile, "read", reading)
    bomb = gzip.compress(head + bytes(50_000_000))
    lie = gzip.compress(b"\x00\x00\x08\x02" + b"\xff" * 8 + b"abcd")
    for data in (
        bomb,
        lie,
        gzip.compress(head + b"abc"),
        gzip.compress(head)[:-9],
        b"",
        gzip.compress(b"\x00\x00\x08\xff"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="x-ubyte"):
            idx.read_idx(path)
    assert max(map(len, read)) < 100


def test_f23_a_damaged_cache_of_decoded_images_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    listed = [(str(tmp_path / "a.png"), 0)]
    assert len(imagenet.kept(listed, 8, tmp_path, tmp_path / "cache")[0]) == 1
    (file,) = (tmp_path / "cache").glob("*.npy")
    whole = file.read_bytes()
    for data in (b"", whole[:40], whole[:-1], pickle.dumps(Bomb(tmp_path / "ran")), npy("(10**12,)")):
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r"delete it, and it is made anew"):
            imagenet.kept(listed, 8, tmp_path, tmp_path / "cache")
    assert not (tmp_path / "ran").exists()
