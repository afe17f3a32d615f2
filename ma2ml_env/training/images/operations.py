"""The fifteen operations of an augmentation policy, by how they work.

Operations and levels are those of torchvision's tensor path (level 9 is the full range), and Cutout. How an operation works
says how images go together, each with a magnitude of its own, at the price of one call:

- a move (shear, translation, rotation) puts pixels elsewhere whatever their values;
- a tone (inversion, solarisation, posterisation, brightness) changes values whatever their place;
- a blend mixes an image with a degenerate one, its grey or its blur;
- what adapts to the image, without a magnitude, is torchvision's own call.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

LEVELS = 10
SHADES = 256


def _affine(image: Tensor, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    # Shears have their centre in the corner, as PIL's matrix (1, m, 0, 0, 1, 0) has and torchvision after it.
    centre = [0.0, 0.0] if any(shear) else None
    out: Tensor = F.affine(
        image,
        angle=0.0,
        translate=list(shift),
        scale=1.0,
        shear=[math.degrees(math.atan(s)) for s in shear],
        center=centre,
    )
    return out


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    return _mix(images * factor.float(), _grey(images).float().mean((1, 2, 3), keepdim=True), 1.0 - factor)


def _color(images: Tensor, factor: Tensor) -> Tensor:
    # On one channel there is no colour to adjust.
    return images if images.shape[1] == 1 else _mix(images * factor.float(), _grey(images), 1.0 - factor)


def _sharpness(images: Tensor, factor: Tensor) -> Tensor:
    return _mix(images, F.adjust_sharpness(images, 0.0).short() - images, 1.0 - factor)


def _grey(images: Tensor) -> Tensor:
    grey: Tensor = images if images.shape[1] == 1 else F.rgb_to_grayscale(images)
    return grey


def _mix(base: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """`base + share x other` as uint8, rounded once, to float32, as torch's fused `add` with its `alpha` rounds."""
    exact = base.double() + share.float().double() * other.double()
    return exact.float().clamp(0, SHADES - 1).to(torch.uint8)


class Kind(NamedTuple):
    """How an operation works. One of the first four, or none of them: Cutout, which draws a place for each image."""

    move: Callable[[Tensor, float], Tensor] | None = None
    """(image, magnitude) -> image, its pixels elsewhere"""
    tone: Callable[[Tensor, float], Tensor] | None = None
    """(image, magnitude) -> image, each pixel changed by its value alone"""
    blend: Callable[[Tensor, Tensor], Tensor] | None = None
    """(images, factor (B, 1, 1, 1) float64) -> images; the factor is 1 + magnitude"""
    adapt: Callable[[Tensor], Tensor] | None = None
    """images -> images"""
    top: Callable[[int], tuple[float, float]] | None = None
    """side of the image in pixels -> magnitude at level 0 and at level 9; None: it has no magnitude"""
    signed: bool = False
    """whether half of the images take the negative magnitude"""


def _move(apply: Callable[[Tensor, float], Tensor], top: Callable[[int], tuple[float, float]]) -> Kind:
    return Kind(move=apply, top=top, signed=True)


def _factor(**how: Any) -> Kind:
    return Kind(**how, top=lambda size: (0.0, 0.9), signed=True)


KINDS: dict[str, Kind] = {
    "shear_x": _move(lambda x, m: _affine(x, shear=(m, 0.0)), lambda size: (0.0, 0.3)),
    "shear_y": _move(lambda x, m: _affine(x, shear=(0.0, m)), lambda size: (0.0, 0.3)),
    "translate_x": _move(lambda x, m: _affine(x, (int(m), 0)), lambda size: (0.0, 150 / 331 * size)),
    "translate_y": _move(lambda x, m: _affine(x, (0, int(m))), lambda size: (0.0, 150 / 331 * size)),
    "rotate": _move(lambda x, m: F.rotate(x, m), lambda size: (0.0, 30.0)),
    "auto_contrast": Kind(adapt=F.autocontrast),
    "invert": Kind(tone=lambda x, m: F.invert(x)),
    "equalize": Kind(adapt=F.equalize),
    "solarize": Kind(tone=lambda x, m: F.solarize(x, 255 * m), top=lambda size: (1.0, 0.0)),
    "posterize": Kind(tone=lambda x, m: F.posterize(x, int(m)), top=lambda size: (8.0, 4.0)),
    "contrast": _factor(blend=_contrast),
    "color": _factor(blend=_color),
    "brightness": _factor(tone=lambda x, m: F.adjust_brightness(x, 1.0 + m)),
    "sharpness": _factor(blend=_sharpness),
    "cutout": Kind(top=lambda size: (0.0, 60 / 331 * size)),
}
"""name -> kind, in the order of the module's table of operations"""


def magnitude(name: str, level: int | None, size: int) -> float:
    """The unsigned magnitude of an operation at level 0..9 on images of `size` pixels a side; 0.0 where it has none."""
    top = KINDS[name].top
    if top is None or level is None:
        return 0.0
    if name == "posterize":  # whole bits: 8, 8, 7, 7, 6, 6, 5, 5, 4, 4, as in torchvision
        return float(8 - round(level / ((LEVELS - 1) / 4)))
    return float(torch.linspace(*top(size), LEVELS)[level])  # float32 steps, as in torchvision
