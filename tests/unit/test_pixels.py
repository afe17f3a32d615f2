"""Every kind of file as a person sees it, or refused by name; the same pixels in training and in an exported model."""

import io
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from ma2ml_agents.after.card_pixels import of_dataset
from ma2ml_agents.after.export import load_model_file, model_source
from ma2ml_env.training.data import pixels
from ma2ml_env.training.data.own import read_image
from ma2ml_env.training.data.source import DataSource

RAMP = np.tile(np.linspace(0, 255, 64), (64, 1))
SEEN = [17, 47, 79, 111, 144, 176, 208, 238]
"""the ramp at 8 pixels"""
GREY = Image.fromarray(RAMP.astype(np.uint8))
COLOUR = Image.merge("RGB", [GREY, GREY, GREY])


def lab(image: Image.Image) -> Image.Image:
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    found = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert found is not None
    return found


def deep(values: np.ndarray, kind: type) -> Image.Image:
    return Image.fromarray(values.astype(kind))


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def row(path: Path, **how: Any) -> list[list[int]]:
    """The upper row of each channel at 8 pixels."""
    values: list[list[int]] = read_image(path, 8, **how)[:, 0].tolist()
    return values


@pytest.mark.parametrize(
    ("name", "image", "channels", "off"),
    [
        ("grey.png", GREY, 1, 1),
        ("bits.png", GREY.convert("1"), 1, 6),
        ("alpha.png", GREY.convert("LA"), 1, 1),
        ("palette.png", COLOUR.convert("P", palette=Image.Palette.ADAPTIVE), 3, 1),
        ("colour.png", COLOUR, 3, 1),
        ("alpha.webp", COLOUR.convert("RGBA"), 3, 3),
        ("print.jpg", COLOUR.convert("CMYK"), 3, 3),
        ("print.tif", COLOUR.convert("CMYK"), 3, 1),
        ("video.tif", COLOUR.convert("YCbCr"), 3, 2),
        ("lab.tif", lab(COLOUR), 3, 3),
        ("8_in_16.png", deep(RAMP, np.uint16), 1, 2),
        ("9_in_16.png", deep(RAMP * 2, np.uint16), 1, 2),
        ("12_in_16.png", deep(RAMP * 16, np.uint16), 1, 2),
        ("16.png", deep(RAMP * 257, np.uint16), 1, 1),
        ("16.tif", deep(RAMP * 257, np.uint16), 1, 1),
        ("8_in_32.tif", deep(RAMP, np.int32), 1, 2),
        ("31_in_32.tif", deep(RAMP / 255 * (2**31 - 1), np.int32), 1, 1),
        ("negative.tif", deep(RAMP * 9 - 1000, np.int32), 1, 1),
        ("share.tif", deep(RAMP / 255, np.float32), 1, 1),
        ("float.tif", deep(RAMP, np.float32), 1, 1),
        ("beyond.tif", deep(RAMP * 100, np.float32), 1, 1),
        ("little.tif", deep(RAMP / 255 * 2, np.float32), 1, 1),
        ("below.tif", deep(RAMP / 255 - 0.5, np.float32), 1, 1),
    ],
)  # fmt: skip
def test_a_ramp_is_the_same_ramp_in_every_mode(
    tmp_path: Path, name: str, image: Image.Image, channels: int, off: int
) -> None:
    """Black to white: not all zeros, not the lower bits, not the negative."""
    found = np.array(row(save(tmp_path / name, image)))
    assert found.shape == (channels, 8)
    assert np.abs(found - SEEN).max() <= off


def test_ordinary_images_are_cropped_as_ever(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for mode in ("RGB", "L"):
        for size in ((20, 14), (300, 77), (9, 9)):
            image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).convert(mode)
            before = np.asarray(ImageOps.fit(image, (16, 16), method=Image.Resampling.BILINEAR))
            found = read_image(save(tmp_path / "a.png", image), 16)
            assert np.array_equal(found, before[None] if mode == "L" else before.transpose(2, 0, 1))


def test_a_jpeg_of_less_than_four_times_the_size_is_decoded_in_full(tmp_path: Path) -> None:
    """A larger one by its own scaling, which is another by few grey levels."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (60, 40, 3), dtype=np.uint8))
    for times, most in ((1, 0), (4, 8)):
        path = save(tmp_path / "a.jpg", small.resize((40 * times, 60 * times), Image.Resampling.BICUBIC))
        with Image.open(path) as image:
            whole = np.asarray(ImageOps.fit(image, (16, 16), method=Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        difference = np.abs(read_image(path, 16).astype(int) - whole)
        assert difference.max() <= most
        assert bool(difference.any()) == (times > 1)


def glyph(colour: int) -> Image.Image:
    """A square that stands in the transparency alone."""
    values = np.full((64, 64, 4), colour, np.uint8)
    values[..., 3] = 0
    values[16:48, 16:48, 3] = 255
    return Image.fromarray(values)


def test_what_is_transparent_shows_the_background(tmp_path: Path) -> None:
    path = save(tmp_path / "glyph.png", glyph(0))
    centre, corner = (slice(None), 4, 4), (slice(None), 0, 0)
    found = read_image(path, 8)
    assert (found[centre].tolist(), found[corner].tolist()) == ([0] * 3, [255] * 3)
    found = read_image(path, 8, background="#102030")
    assert found[corner].tolist() == [16, 32, 48]
    save(path, glyph(0).quantize(8, method=Image.Quantize.FASTOCTREE))  # a palette with transparent entries
    assert read_image(path, 8)[corner].tolist() == [255] * 3
    save(path, Image.fromarray(np.full((8, 8), 7, np.uint8)), transparency=7)
    assert read_image(path, 8)[corner].tolist() == [255]
    with pytest.raises(ValueError, match="background is a name or #rrggbb, as in white or #808080; not 'blurple'"):
        read_image(path, 8, background="blurple")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_image_is_turned_as_it_was_held(tmp_path: Path, mode: str) -> None:
    image = (COLOUR if mode == "RGB" else GREY).resize((32, 64))
    exif = image.getexif()
    exif[0x0112] = 6
    for name in ("a.jpg", "a.png", "a.tif", "a.webp"):
        path = save(tmp_path / name, image, exif=exif)
        seen = pixels.square(path.read_bytes(), pixels.Look(8))
        assert (seen.width, seen.height) == (64, 32), name
        assert seen.values[0, 0, 0] < 60 < 190 < seen.values[0, -1, 0], name


ASCII, SHORT = 2, 3


@pytest.mark.parametrize(
    ("tags", "turned"),
    [
        ([(0x0112, ASCII, b"6\0\0\0")], False),  # no number: nobody turns it
        ([(0x0112, SHORT, b"\6\0\0\0"), (0x0100, ASCII, b"a\0\0\0")], True),  # could not be written anew
        ([(0x0112, SHORT, b"\x09\0\0\0")], False),  # there is no ninth way
    ],
)
def test_odd_tags_of_a_camera_are_no_error(tags: list[tuple[int, int, bytes]], turned: bool) -> None:
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 2 if kind == ASCII else 1) + value for tag, kind, value in sorted(tags)
    )
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    data = io.BytesIO()
    COLOUR.resize((32, 64)).save(data, "JPEG", exif=exif)
    seen = pixels.square(data.getvalue(), pixels.Look(8))
    assert (seen.width, seen.height) == ((64, 32) if turned else (32, 64))


def test_the_first_frame_is_taken_and_told(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (40 * i, 0, 0)) for i in range(3)]
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        path = save(tmp_path / name, frames[1], save_all=True, append_images=frames[:1], lossless=True)
        seen = pixels.square(path.read_bytes(), pixels.Look(8))
        assert seen.several, name
        assert abs(int(seen.values[0, 0, 0]) - 40) < 2, name
    assert not pixels.square(save(tmp_path / "b.gif", frames[0]).read_bytes(), pixels.Look(8)).several


def png16(colours: np.ndarray, kind: int, transparent: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = colours.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in colours)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    extra = chunk(b"tRNS", transparent) if transparent else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )


def test_colours_of_16_bits_are_read_by_their_upper_8_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png16(np.stack([RAMP * 257] * 3, 2), 2))
    assert np.abs(np.array(row(path)) - SEEN).max() <= 1
    path.write_bytes(png16(np.stack([RAMP * 16] * 3, 2), 2))
    with pytest.raises(ValueError, match="colours of 16 bits use less than half of their range"):
        row(path)


@pytest.mark.extra
@pytest.mark.parametrize(("image", "channels"), [(GREY, 1), (COLOUR, 3)], ids=["grey", "colour"])
def test_a_heic_picture_is_the_same_ramp(tmp_path: Path, image: Image.Image, channels: int) -> None:
    heif = pytest.importorskip("pillow_heif", reason='pillow-heif is not installed: pip install "ma2ml[heif]"')
    path = tmp_path / "phone.heic"
    heif.from_pillow(image).save(path, quality=-1)  # without loss
    seen = read_image(path, 8)
    assert seen.shape == (channels, 8, 8)
    assert np.abs(seen.astype(int) - SEEN).max() <= 3


def tiff(image: Image.Image, **tags: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "TIFF", tiffinfo={int(tag[1:]): value for tag, value in tags.items()})
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(deep(RAMP * np.nan, np.float32)), "not finite"),
        (tiff(deep(np.where(RAMP > 9, np.inf, 0), np.float32)), "not finite"),
        (tiff(deep(RAMP, np.uint16), t262=0), "WhiteIsZero.*save it with black as 0"),
        (png16(RAMP, 0, b"\0\0"), "a transparent value at other than 8 bits"),
        (b"\0\0\0\x18ftypheic" + bytes(64), "pip install pillow-heif"),
        (b"no image", "it is none that Pillow knows"),
        (b"", "it is none that Pillow knows"),
    ],
)
def test_what_cannot_be_seen_is_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"a\.png cannot be read as an image: .*{message}"):
        row(path)


def test_unsigned_integers_of_32_bits_are_no_negative_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = tiff(deep(RAMP / 255 * (2**31 - 1), np.int32))
    unsigned = (RAMP / 255 * (2**32 - 1)).astype("<u4").tobytes()
    signed = (RAMP / 255 * (2**31 - 1)).astype("<i4").tobytes()
    assert signed in data
    format_is_signed = b"\x53\x01\x03\x00\x01\x00\x00\x00\x02\x00"
    assert format_is_signed in data
    path.write_bytes(data.replace(signed, unsigned).replace(format_is_signed, format_is_signed[:8] + b"\x01\x00"))
    assert np.abs(np.array(row(path)) - SEEN).max() <= 1


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([("byte", "RGB", 3, 9)], ("byte", 0, 255)),
        ([("integer", "I;16", 0, 255), ("integer", "I", 5, 256)], ("integer", 0, 511)),
        ([("integer", "I", 0, 0)], ("integer", 0, 255)),
        ([("integer", "I", -4, 70)], ("integer", -4, 70)),
        ([("float", "F", 0, 0.5), ("float", "F", 0.1, 1)], ("float", 0, 1)),
        ([("float", "F", 0, 0.01)], ("float", 0, 0.01)),
        ([("float", "F", 0, 200)], ("float", 0, 255)),
        ([("float", "F", 0, 1.5)], ("float", 0, 1.5)),
        ([("float", "F", 300, 300)], ("float", 300, 301)),
    ],
)
def test_one_range_for_a_whole_data_set(seen: Any, expected: Any) -> None:
    assert pixels.value_range(seen) == expected


def test_images_of_different_depths_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(4):
            save(tmp_path / name / f"{number}.png", deep(RAMP * 257, np.uint16) if name == "a" else GREY)
    with pytest.raises(ValueError, match=r"no one range of values fits all images.*4 of 8 bits, 4 of more bits"):
        DataSource("images", str(tmp_path), size=8, cache=str(tmp_path / "cache")).load()


def test_darker_images_stay_darker(tmp_path: Path) -> None:
    """A range a file would make them equal."""
    for label, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for number in range(5):
            save(tmp_path / name / f"{number}.tif", deep(RAMP * 16 / (2 - label), np.uint16))
    data = DataSource("images", str(tmp_path), size=8, cache=str(tmp_path / "cache")).load()
    assert data.pixels["value_range"] == [0.0, 4095.0]
    seen = {(int(image.max()), int(label)) for image, label in zip(data.train_x, data.train_y, strict=True)}
    assert seen == {(118, 0), (237, 1)}


@pytest.mark.parametrize("fit", pixels.FITS)
def test_fits(tmp_path: Path, fit: str) -> None:
    values = np.zeros((20, 40, 3), np.uint8)
    values[:, :10] = values[:, 30:] = (200, 0, 0)
    found = read_image(save(tmp_path / "a.png", Image.fromarray(values)), 20, fit=fit, background="blue")
    top, left, centre = (found[:, y, x].tolist() for y, x in ((0, 0), (10, 0), (10, 10)))
    black, red, blue = [0, 0, 0], [200, 0, 0], [0, 0, 255]
    assert (top, left, centre) == {
        "crop": (black, black, black), "pad": (blue, red, black), "squash": (red, red, black)
    }[fit]  # fmt: skip


def odd_images(folder: Path, count: int) -> list[Path]:
    """Of many sizes, modes, kinds of files, turned and transparent."""
    rng, paths = np.random.default_rng(0), []
    modes = ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK"]
    for number in range(count):
        width, height = rng.integers(1, 200, 2).tolist() if number % 5 else rng.integers(300, 900, 2).tolist()
        blocks = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 4), dtype=np.uint8)
        image = Image.fromarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width]).convert("RGBA")
        mode = modes[number % len(modes)]
        end = {"CMYK": "jpg", "RGB": ["jpg", "png", "webp", "bmp"][number % 4], "P": "gif", "1": "tif"}.get(mode, "png")
        exif = Image.Exif()
        exif[0x0112] = number % 8 + 1
        told = {"exif": exif} if end in ("jpg", "png", "webp") else {}
        image = image.convert("RGB").convert(mode) if mode in ("CMYK", "1", "P") else image.convert(mode)
        paths.append(save(folder / f"{number}.{end}", image, **told))
    return paths


@pytest.mark.parametrize(
    "fit", [fit if fit == "crop" else pytest.param(fit, marks=pytest.mark.slow) for fit in pixels.FITS]
)
def test_a_model_sees_files_as_the_training_did_bit_by_bit(tmp_path: Path, fit: str) -> None:
    """200 odd images, by the card and the source that an export has."""
    paths = odd_images(tmp_path, 200)
    (tmp_path / "model.py").write_text(model_source("resnet_cifar"))
    told = of_dataset(
        {"fit": fit, "background": "#40a0ff", "depth": "byte", "value_range": [0.0, 255.0], "files": True}
    )
    (tmp_path / "card.json").write_text(json.dumps({"size": 24, "channels": 3, "pixels": told}))
    there = load_model_file(tmp_path / "model.py").read_files(paths, tmp_path).numpy()
    for path, other in zip(paths, there, strict=True):
        here = read_image(path, 24, fit, "#40a0ff")
        assert np.array_equal(np.broadcast_to(here, (3, 24, 24)), other), path.name


def test_a_model_scales_deep_files_by_the_range_of_the_training(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(model_source("resnet_cifar"))
    told = of_dataset({"depth": "integer", "value_range": [0.0, 4095.0], "files": True})
    (tmp_path / "card.json").write_text(json.dumps({"size": 8, "channels": 1, "pixels": told}))
    model = load_model_file(tmp_path / "model.py")
    dark = save(tmp_path / "dark.png", deep(RAMP * 4, np.uint16))
    found = model.read_files([dark], tmp_path)[0].numpy()
    assert np.array_equal(found, read_image(dark, 8, value_range=(0.0, 4095.0)))
    assert found.max() == 59
    full = save(tmp_path / "full.png", deep(RAMP * 256, np.uint16))
    with pytest.warns(
        UserWarning, match=r"full\.png has values from 0 to \d+, and those of the training 0 to 4095: what"
    ):
        assert model.read_files([full], tmp_path).max() == 255
    with pytest.raises(ValueError, match=r"grey\.png has values of 8 bits, the training had more bits"):
        model.read_files([save(tmp_path / "grey.png", GREY)], tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png is no file"):
        model.read_files([tmp_path / "pipe.png"], tmp_path)


def test_a_model_takes_decoded_images_as_the_training_took_arrays(tmp_path: Path) -> None:
    """Floats by the range of the training, oblong ones by its fit."""
    (tmp_path / "model.py").write_text(model_source("resnet_cifar"))
    told = of_dataset(
        {"depth": "float", "value_range": [0.0, 1.0], "files": False, "fit": "pad", "background": "black"}
    )
    card = {"size": 8, "channels": 3, "pixels": told, "mean": [0.5] * 3, "std": [0.5] * 3}
    (tmp_path / "card.json").write_text(json.dumps(card))
    (tmp_path / "recipe.json").write_text(json.dumps({"resolution": 0}))
    model = load_model_file(tmp_path / "model.py")
    values = torch.arange(2 * 3 * 4 * 8).view(2, 3, 4, 8) / 191
    found = model.preprocess(values, tmp_path)
    assert torch.equal(found, model.preprocess((values * 255).round().to(torch.uint8), tmp_path))
    assert found.shape == (2, 3, 8, 8)
    assert (found[:, :, :2] == -1).all()
    assert (found[1, :, 2:6] > -1).all()
    grey = save(tmp_path / "grey.png", GREY)
    assert np.array_equal(model.read_files([grey], tmp_path)[0, :1].numpy(), read_image(grey, 8)), "as 8 bits show 0..1"
    (tmp_path / "card.json").write_text(json.dumps({**card, "pixels": of_dataset({"files": True})}))
    with pytest.raises(ValueError, match="images are uint8"):
        model.preprocess(values, tmp_path)


def test_colours_are_mixed_where_the_training_had_greys(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(model_source("resnet_cifar"))
    (tmp_path / "card.json").write_text(json.dumps({"size": 8, "channels": 1, "pixels": of_dataset({})}))
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    found = load_model_file(tmp_path / "model.py").read_files([save(tmp_path / "a.png", colours)], tmp_path)
    assert np.array_equal(found[0, 0].numpy(), np.asarray(colours.convert("L")))


def test_signed_bytes_are_refused(tmp_path: Path) -> None:
    """Pillow reads them as if they had no sign."""
    path = tmp_path / "signed.tif"
    GREY.save(path, tiffinfo={339: 2})
    with pytest.raises(ValueError, match="signed values of 8 bits"):
        read_image(path, 8)
