"""From an image file to a square of values, as a person sees the picture. Pillow and numpy alone.

The same source stands in every exported `model.py`, so that a file becomes the same pixels there as in the training.

An image that Pillow stores with 8 bits a channel becomes uint8: palettes, CMYK, LAB and the rest are turned into grey or RGB,
what is transparent shows the background. Grey images of more than 8 bits and of floats keep their values until the whole data
set is known: `value_range` says which of them become 0 and 255. Colour profiles are not applied, as nobody does who trains.
"""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageColor
import PIL.ImageOps

FITS = ("crop", "pad", "squash")
"""crop: the shorter side is resized and the centre kept; pad: the longer side, and the background beside it; squash: both"""
ORIENTATION = 0x0112
"""EXIF's tag of how the camera was held"""
TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""what undoes it; from 5 on width and height change places. `exif_transpose` would write all tags anew, and fail on odd ones"""
DRAFT = 2
"""a JPEG is decoded at a half, a quarter or an eighth of its size while that is at least so many times what it becomes"""
HALF = 128
"""what the upper 8 of 16 bits reach at least, or they are no picture of 16 bits"""
LEVELS = 16
"""grey levels of 256 that the brightest value of floats has to reach, or the data's own extremes are taken for the range"""


class Look(NamedTuple):
    """How the files of a data set become squares."""

    size: int
    """side in pixels"""
    fit: str = "crop"
    """one of `FITS`"""
    background: str = "white"
    """a name or #rrggbb: what transparent pixels show, and what `pad` fills with"""


class Square(NamedTuple):
    """An image file, seen."""

    values: Any
    """(1 or 3, size, size): uint8, or float32 if it has more than 8 bits; NaN is then the background"""
    width: int
    """as a person sees it"""
    height: int
    mode: str
    """Pillow's, and `;16` behind it if Pillow read the upper 8 of 16 bits"""
    depth: str
    """byte, integer or float"""
    low: float
    """smallest value"""
    high: float
    several: bool
    """whether more frames or pages follow the first, which is taken"""
    vanished: bool
    """whether there is a shape in its transparency alone, which the background makes invisible"""


def colour(background: str) -> tuple[int, int, int]:
    """Red, green and blue of the background in 0..255.

    Raises:
        ValueError: if there is no such colour.
    """
    try:
        red, green, blue = PIL.ImageColor.getrgb(background)[:3]
    except ValueError:
        raise ValueError(f"the background is a name or #rrggbb, as in white or #808080; not {background!r}") from None
    return red, green, blue


def square(data: bytes, look: Look) -> Square:
    """An image file as a square.

    Args:
        data: the file's bytes.
        look: how it is brought to its size.

    Raises:
        ValueError: if it cannot be read as an image, or not as a person sees it; what is wrong, and what to do.
    """
    if data[4:8] == b"ftyp":
        _add_heif()
    try:
        with PIL.Image.open(io.BytesIO(data)) as opened:
            return _square(opened, look)
    except PIL.UnidentifiedImageError:
        lacks = (
            " that Pillow knows"
            if data[4:8] != b"ftyp"
            else "; HEIC and AVIF need pillow-heif: pip install pillow-heif"
        )
        raise ValueError(f"cannot be read as an image: it is none{lacks}") from None
    except Exception as error:  # whatever a decoder raises on a damaged file
        told = str(error).replace("\n", " ") or type(error).__name__
        raise ValueError(f"cannot be read as an image: {told}") from None


def _add_heif() -> None:
    """Let Pillow read HEIC, and AVIF where it does not by itself, if the library is there."""
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def _square(opened: Any, look: Look) -> Square:
    (width, height), mode = opened.size, _mode(opened)
    drafted = opened.format in ("JPEG", "MPO")
    if drafted:
        opened.draft(None, tuple(DRAFT * side for side in _resized(width, height, look)))
    opened.load()
    held = opened.getexif().get(ORIENTATION)
    image = opened.transpose(TURNS[held]) if held in TURNS else opened
    if not drafted:
        width, height = image.size
    elif held in TURNS and held >= 5:
        width, height = height, width
    back, vanished, depth = colour(look.background), False, _depth(image.mode)
    if depth == "byte":
        image, vanished = _seen(image, back)
        if look.fit == "pad" and len(set(back)) > 1:
            image = image.convert("RGB")
        extremes = np.array(image.getextrema())
    else:
        extremes = _values(opened, image)
        if not np.isfinite(extremes).all():
            raise ValueError("it holds values that are not finite (NaN or infinite)")
        image = PIL.Image.fromarray(np.ascontiguousarray(extremes, dtype=np.float32))
    low, high = float(extremes.min()), float(extremes.max())
    return Square(_fitted(image, look, back), width, height, mode, depth, low, high, _several(opened), vanished)


def _depth(mode: str) -> str:
    return "float" if mode == "F" else "integer" if mode[:1] == "I" else "byte"


def _mode(opened: Any) -> str:
    """The mode as it is stored; what Pillow would read as something else is refused."""
    arguments = opened.tile[0][3] if opened.tile else ""
    raw = str(arguments if isinstance(arguments, str) else arguments[0] if arguments else "")
    depth, mode = _depth(opened.mode), str(opened.mode)
    if opened.format == "PNG" and mode != "P" and "transparency" in opened.info and raw not in ("L", "RGB"):
        raise ValueError(
            "it has a transparent value at other than 8 bits: save it with 8 bits, or with an alpha channel"
        )
    if opened.format == "TIFF" and depth == "byte" and 2 in opened.tag_v2.get(339, ()):
        raise ValueError(
            "it holds signed values of 8 bits, whose sign Pillow does not read: save it with unsigned ones"
        )
    if opened.format == "TIFF" and depth != "byte" and opened.tag_v2.get(262) == 0:
        raise ValueError("it stores white as 0 (WhiteIsZero) at more than 8 bits: save it with black as 0")
    return f"{mode};16" if depth == "byte" and ";16" in raw else mode


def _values(opened: Any, image: Any) -> Any:
    """Values (H, W) of a grey image of more than 8 bits."""
    values = np.asarray(image)
    if opened.format == "TIFF" and values.dtype == np.int32:
        bits, signed = opened.tag_v2.get(258, (1,)), opened.tag_v2.get(339, (1,))
        if tuple(bits) == (32,) and tuple(signed) == (1,):  # Pillow has no mode for these
            values = values.view(np.uint32)
    return values


def _seen(image: Any, back: tuple[int, int, int]) -> tuple[Any, bool]:
    """(as L or RGB before the background, whether a shape vanished in it)."""
    grey = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data:
        return image.convert("L" if grey else "RGB"), False
    if image.mode == "La":
        image = image.convert("LA")
    clear = image.convert("RGBA")
    flat = PIL.Image.new("RGBA", clear.size, (*back, 255))
    flat.alpha_composite(clear)
    alpha, image = clear.getchannel("A").getextrema(), flat.convert("RGB")
    vanished = alpha[0] < alpha[1] and all(low == high for low, high in image.getextrema())
    return (image.getchannel("R") if grey and len(set(back)) == 1 else image), vanished


def _resized(width: int, height: int, look: Look) -> tuple[int, int]:
    """Size to which the whole picture is resized, before anything is cut off or filled up."""
    if look.fit == "squash":
        return look.size, look.size
    longer, shorter = max(width, height), min(width, height)
    share = look.size / (longer if look.fit == "pad" else shorter)
    return max(1, round(width * share)), max(1, round(height * share))


def _fitted(image: Any, look: Look, back: tuple[int, int, int]) -> Any:
    """A picture of mode L, RGB or F as (1 or 3, size, size)."""
    side, method = look.size, PIL.Image.Resampling.BILINEAR
    if look.fit == "crop":
        values = _channels(PIL.ImageOps.fit(image, (side, side), method=method))
    else:
        values = _channels(image.resize(_resized(image.width, image.height, look), method))
    if values.shape[1:] != (side, side):
        filling = {1: [back[0]], 3: back}[len(values)] if image.mode != "F" else [np.nan]
        whole = np.empty((len(values), side, side), values.dtype)
        whole[:] = np.array(filling, values.dtype).reshape(-1, 1, 1)
        top, left = (side - values.shape[1]) // 2, (side - values.shape[2]) // 2
        whole[:, top : top + values.shape[1], left : left + values.shape[2]] = values
        values = whole
    return values


def _channels(image: Any) -> Any:
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _several(opened: Any) -> bool:
    """Whether there is a second frame; asked when the first has been taken."""
    try:
        opened.seek(1)
    except EOFError:
        return False
    except Exception:  # there is one, and it is damaged
        return True
    return True


def value_range(seen: Sequence[tuple[str, str, float, float]]) -> tuple[str, float, float]:
    """Which values become 0 and 255, the same for a whole data set.

    Args:
        seen: (depth, mode, smallest, largest value) of its images.

    Returns:
        (depth, low, high): 0..255 of bytes; 0 and the smallest 2^k - 1 that holds all integers; 0..1 or 0..255 of floats that
        lie there and use more than a sixteenth of it; else the smallest and the largest value.

    Raises:
        ValueError: if no one range fits all; what to do.
    """
    depths = {depth for depth, _, _, _ in seen}
    if len(depths) > 1:
        counts = ", ".join(f"{sum(each[0] == depth for each in seen)} of {_DEPTHS[depth]}" for depth in sorted(depths))
        raise ValueError(f"no one range of values fits all images ({counts}): save all of them with 8 bits, or none")
    upper = [high for _, mode, _, high in seen if mode.endswith(";16") and not mode.startswith("I")]
    if upper and max(upper) < HALF:
        raise ValueError(
            "the colours of 16 bits use less than half of their range, and only their upper 8 bits are read: save them with 8 "
            "bits a channel"
        )
    (depth,) = depths
    return depth, *array_range(depth, min(each[2] for each in seen), max(each[3] for each in seen))


_DEPTHS = {"byte": "8 bits", "integer": "more bits", "float": "floats"}


def array_range(depth: str, low: float, high: float) -> tuple[float, float]:
    """As `value_range`, of a data set's smallest and largest value."""
    if depth == "byte":
        return 0.0, 255.0
    if depth == "integer" and low >= 0:
        return 0.0, float(2 ** max(8, int(high).bit_length()) - 1)
    for usual in (1.0, 255.0):
        if depth == "float" and low >= 0 and usual / LEVELS <= high <= usual:
            return 0.0, usual
    return low, high if high > low else low + 1.0


def to_bytes(values: Any, low: float, high: float, background: str = "white") -> Any:
    """Values of any shape as uint8: low becomes 0 and high 255; what lies beyond is cut off, NaN is the background's grey."""
    if values.dtype == np.uint8 and (low, high) == (0.0, 255.0):
        return values
    red, green, blue = colour(background)
    scaled = (values.astype(np.float64) - low) * (255.0 / (high - low))
    scaled = np.where(np.isnan(scaled), (299 * red + 587 * green + 114 * blue) / 1000, scaled)
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
