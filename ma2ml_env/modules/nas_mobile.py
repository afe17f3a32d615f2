"""NAS on ImageNet: a mobile network and the side of its images, after FBNetV3 (Dai et al. 2021, arXiv 2006.02049, Table 1).

The table below is reconstructed: public transcriptions confirm a part of it, and the released architectures A to C fit it, but
the original could not be read. With ranges without their highest value and one kernel a stage it has 10^17.36 codes, the 10^17
of the paper (section 4.1, where exponents are floored); inclusive ranges have 10^19.90. Widths are rounded when a network is
built, so there are at most 10^15.40 networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ma2ml_env.modules.base import nearest
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.trial import Code

Range = tuple[int, int, int]
"""lowest, highest, step"""


@dataclass(frozen=True)
class Row:
    """A stage of the table. A number in place of a range is not searched."""

    channels: Range
    depth: Range | int
    expansion: Range | int
    """of the first block"""
    rest: Range | int
    """expansion of the other blocks"""
    stride: int
    se: bool


RESOLUTION: Range = (224, 272, 8)
STEM: Range = (16, 24, 2)
KERNELS = (3, 5)
"""of every stage"""
STAGES = (
    Row((16, 24, 2), (1, 4, 1), 1, 1, stride=1, se=False),
    Row((20, 32, 4), (4, 7, 1), (4, 7, 1), (2, 5, 1), stride=2, se=False),
    Row((24, 48, 4), (4, 7, 1), (4, 7, 1), (2, 5, 1), stride=2, se=True),
    Row((56, 84, 4), (4, 8, 1), (4, 7, 1), (2, 5, 1), stride=2, se=False),
    Row((96, 144, 4), (6, 10, 1), (4, 7, 1), (2, 5, 1), stride=1, se=True),
    Row((180, 224, 4), (5, 9, 1), (4, 7, 1), (4, 7, 1), stride=2, se=True),
    Row((180, 224, 4), 1, 6, 6, stride=1, se=True),
)


class NasMobile:
    """The architecture agent of the paper's ImageNet games.

    Args:
        inclusive: whether a range holds its highest value.
        kernel_pairs: whether a stage's first block has a kernel of its own, as released architectures have: 10^19.17 codes,
            or 10^21.70 with inclusive ranges.
        resolution: range of the side that images are resized to, in pixels; a smaller game wants smaller ones.
        name: agent id.

    Raises:
        ValueError: if the range of resolutions is empty or begins below 1.
    """

    def __init__(
        self,
        inclusive: bool = False,
        kernel_pairs: bool = False,
        resolution: Range = RESOLUTION,
        name: str = "nas",
    ) -> None:
        low, high, step = resolution
        if not (1 <= low < high and step >= 1):
            raise ValueError(f"a resolution from {low} to {high} pixels in steps of {step} is no range")
        self.name = name
        self._choices = _choices(inclusive, kernel_pairs, resolution)
        self._fixed = {name: choices[0] for name, choices in self._choices.items() if len(choices) == 1}
        searched = [
            Decision(name, choices, ordered=True) for name, choices in self._choices.items() if len(choices) > 1
        ]
        self.space = SearchSpace(searched)

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `network`, `resolution`, and `auxiliary` 0: these networks have no auxiliary head.

        Widths are written as they are built, as multiples of 8, and a stage of one block has no values for others. Of a base
        that is a mobile network already the arguments that are not searched are kept (`head`, `stem_stride`).
        """
        chosen = {**self._fixed, **values}
        stages = []
        for number, row in enumerate(STAGES, 1):
            kernel, channels, depth, expansion, rest = (
                chosen[f"stage{number}.{field}"]
                for field in ("kernel", "channels", "depth", "expansion", "expansion_rest")
            )
            kernels = (kernel, chosen.get(f"stage{number}.kernel_rest", kernel))
            stages.append(stage(row, kernels, (expansion, rest), channels, depth))
        return write(recipe, chosen["resolution"], chosen["stem"], tuple(stages))

    def code_of(self, recipe: Recipe) -> Code:
        """A code that `apply` turns into this recipe's network and resolution; the first one, where rounding merges several.

        Raises:
            ValueError: if there is none; all that stands in the way is named.
        """
        if recipe.network.kind != "mobile" or len(recipe.network.args["stages"]) != len(STAGES):
            raise ValueError(f"only mobile networks of {len(STAGES)} stages are in this space")
        wanted = _wanted(recipe)
        values, outside = dict[str, int](), list[str]()
        for name, value in wanted.items():
            choices = self._choices.get(name, (wanted[name.removesuffix("_rest")],))  # one kernel for all blocks
            widths = name == "stem" or name.endswith("channels")
            fitting = [choice for choice in choices if (round_channels(choice) if widths else choice) == value]
            if not fitting:
                outside.append(f"{name} {value} is none of {choices}")
            elif name in self._choices:
                values[name] = fitting[0]
        if outside:
            raise ValueError("not in this space: " + "; ".join(outside))
        code = self.space.encode({name: value for name, value in values.items() if name not in self._fixed})
        if self.apply(recipe, self.space.decode(code)).network != recipe.network:
            raise ValueError("not in this space: strides or squeeze and excitation are not the table's")
        return code

    def base_values(self, base: Recipe) -> dict[str, int]:
        """The choice that is closest to each number of the recipe's mobile network; of another one, the middle of each range.

        The games' base recipe is FBNetV3-B, whose stages have two kernels each. With one a stage it is the first block's. A
        resolution of 0 leaves images as they are; what comes closest is the highest that is searched.
        """
        mobile = base.network.kind == "mobile" and len(base.network.args["stages"]) == len(STAGES)
        wanted = _wanted(base) if mobile else {}
        wanted["resolution"] = base.resolution or max(self._choices["resolution"])
        values = {}
        for decision in self.space.decisions:
            name, choices = decision.name, decision.choices
            widths = name == "stem" or name.endswith("channels")
            built = [round_channels(choice) if widths else choice for choice in choices]
            near = nearest(built, wanted[name]) if name in wanted else built[len(built) // 2]
            values[name] = choices[built.index(near)]
        return values


def _wanted(recipe: Recipe) -> dict[str, int]:
    """The numbers of a recipe with a mobile network, under the names of the decisions that would choose them."""
    wanted = {"resolution": recipe.resolution, "stem": recipe.network.args["stem"]}
    for number, fields in enumerate(recipe.network.args["stages"], 1):
        for field in ("kernel", "expansion"):
            first, rest = fields[field]
            wanted |= {f"stage{number}.{field}": first, f"stage{number}.{field}_rest": rest}
        wanted |= {f"stage{number}.{field}": fields[field] for field in ("channels", "depth")}
    return wanted


def stage(row: Row, kernel: tuple[int, int], expansion: tuple[int, int], channels: int, depth: int) -> dict[str, Any]:
    """A stage as `training/networks/mobile.py` takes it; pairs are (first block, other blocks)."""
    if depth == 1:
        kernel, expansion = (kernel[0], kernel[0]), (expansion[0], expansion[0])
    return {
        "kernel": kernel,
        "expansion": expansion,
        "channels": round_channels(channels),
        "depth": depth,
        "stride": row.stride,
        "se": row.se,
    }


def write(recipe: Recipe, resolution: int, stem: int, stages: tuple[dict[str, Any], ...]) -> Recipe:
    """The recipe with this mobile network at this resolution."""
    base = recipe.network if recipe.network.kind == "mobile" else Spec("mobile")
    network = base.with_args(stem=round_channels(stem), stages=stages)
    return recipe.with_slots(network=network, resolution=resolution, auxiliary=0.0)


def round_channels(channels: int) -> int:
    """The nearest multiple of 8, halves upwards; the next one where that loses more than 5 %.

    `training/networks/mobile.py`, which is exported and knows torch alone, has the same rule; a test holds them together.
    """
    nearest = (channels + 4) // 8 * 8
    return nearest if 100 * nearest >= 95 * channels else nearest + 8


def _choices(inclusive: bool, kernel_pairs: bool, resolution: Range) -> dict[str, tuple[int, ...]]:
    """Name -> choices of everything in the table, searched or not, in the order of the network."""
    choices = {"resolution": _values(resolution, inclusive), "stem": _values(STEM, inclusive)}
    for number, row in enumerate(STAGES, 1):
        choices[f"stage{number}.kernel"] = KERNELS
        if kernel_pairs and row.depth != 1:
            choices[f"stage{number}.kernel_rest"] = KERNELS
        choices[f"stage{number}.expansion"] = _values(row.expansion, inclusive)
        choices[f"stage{number}.expansion_rest"] = _values(row.rest, inclusive)
        choices[f"stage{number}.channels"] = _values(row.channels, inclusive)
        choices[f"stage{number}.depth"] = _values(row.depth, inclusive)
    return choices


def _values(of: Range | int, inclusive: bool) -> tuple[int, ...]:
    if isinstance(of, int):
        return (of,)
    low, high, step = of
    return tuple(range(low, high + inclusive, step))
