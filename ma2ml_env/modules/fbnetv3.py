"""The released FBNetV3 architectures A to D (Dai et al. 2021, arXiv 2006.02049) as recipes: a network and its resolution.

They are FBNetV3's own answers to the search of `nas_mobile.py`, their widths rounded to multiples of 8. The released A to C
pad two strided convolutions by less than half the kernel, which makes the maps behind them smaller and saves an eighth of the
MACs (355.5M, 460.2M and 555.6M with it); the table knows no such choice, and here, as in other public versions, none does:
407.5M, 520.0M, 634.0M and 642.6M. `NasMobile.code_of` says which are in a space: A and B with pairs of kernels, C with
inclusive ranges besides (its stage 4 has 88 channels), D never (its stage 7 has 240).
"""

from ma2ml_env.modules.nas_mobile import STAGES, stage, write
from ma2ml_env.recipe import Recipe

# Resolution, stem, and of every stage kernels and expansions (first block, other blocks), channels, depth.
_A = (
    ((3, 3), (1, 1), 16, 2),
    ((5, 5), (4, 2), 24, 4),
    ((5, 5), (5, 3), 40, 5),
    ((5, 3), (5, 3), 72, 5),
    ((3, 5), (5, 3), 120, 6),
    ((3, 5), (6, 4), 184, 6),
    ((5, 5), (6, 6), 224, 1),
)
_C = (
    ((3, 3), (1, 1), 16, 2),
    ((5, 3), (5, 3), 24, 5),
    ((5, 5), (5, 2), 48, 5),
    ((5, 3), (4, 3), 88, 5),
    ((3, 5), (4, 3), 120, 6),
    ((5, 5), (5, 5), 216, 6),
    ((5, 5), (6, 6), 216, 1),
)
_D = (
    ((3, 3), (1, 1), 16, 2),
    ((3, 3), (5, 2), 24, 6),
    ((5, 3), (4, 3), 40, 5),
    ((3, 3), (5, 3), 72, 5),
    ((3, 5), (5, 3), 128, 7),
    ((3, 5), (6, 5), 208, 6),
    ((5, 5), (6, 6), 240, 1),
)
_ARCHITECTURES = {"A": (224, 16, _A), "B": (248, 16, _A), "C": (248, 16, _C), "D": (248, 24, _D)}

FBNETV3: dict[str, Recipe] = {
    name: write(
        Recipe(), resolution, stem, tuple(stage(row, *fields) for row, fields in zip(STAGES, rows, strict=True))
    )
    for name, (resolution, stem, rows) in _ARCHITECTURES.items()
}
"""name -> recipe; all but network, resolution and auxiliary is as in `Recipe()`, which is not how they were trained"""
