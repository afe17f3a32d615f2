"""What a card says of pixels: how files become what the network was trained on, and what is another for decoded images."""

from collections.abc import Mapping, Sequence
from typing import Any

from ma2ml_env.training.data.raw import READER

BEFORE = {
    "fit": "crop",
    "background": "white",
    "depth": "byte",
    "value_range": [0.0, 255.0],
    "files": True,
    "reader": 1,
}
"""of retrainings by versions that did not say"""
_FITS = {
    "crop": "the shorter side is resized, the centre is kept",
    "pad": "the longer side is resized, the rest is filled with the background",
    "squash": "both sides are resized, whatever their ratio",
}
_DEPTHS = {"byte": "8 bits", "integer": "integers of more than 8 bits", "float": "floats"}


def of_dataset(pixels: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored beside a retraining."""
    return {**BEFORE, **pixels, "reader": READER}


def rows(pixels: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Of the card's table."""
    low, high = pixels["value_range"]
    return [
        ("stored values", f"{_DEPTHS[pixels['depth']]}: {low:g} becomes 0, {high:g} becomes 255"),
        ("to a square", f"{pixels['fit']}: {_FITS[pixels['fit']]}"),
        ("transparent pixels", f"show {pixels['background']}"),
    ]


def text(pixels: Mapping[str, Any]) -> Sequence[str]:
    """Which way from an image to the network is that of the training."""
    if pixels["files"]:
        told = (
            "`read_files` and `python model.py IMAGE ...` do the training's own arithmetic, from the bytes of a file to the "
            "last bit. `preprocess` and `classify` take images that are decoded already: those of another size are resized by "
            "torchvision, and not by Pillow as in the training, which is another by a few grey levels at sharp edges. "
            "Colour profiles are not applied."
        )
    else:
        told = (
            "The network was trained on arrays: `preprocess` and `classify` do the training's own arithmetic. `read_files` "
            "and `python model.py IMAGE ...` resize a file by Pillow, and not by torchvision as in the training, which is "
            "another by a few grey levels at sharp edges. Colour profiles are not applied."
        )
    return [told, ""]
