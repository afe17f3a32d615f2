"""A network as a picture: a cell as a graph of its operations, other networks as a chain of their parts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from ma2ml_env.recipe import Spec

WIDTH, TOP, ROW, HIGH = 348, 34, 58, 26
"""of the picture; height of the inputs' row, distance of two blocks, height of an operation's box"""
LEFT = 44
"""where the boxes begin; left of them run the inputs, right of them the blocks' sums"""
BOX, GAP = 96, 8
COMBINE = LEFT + 2 * (BOX + GAP) + 16
COLOURS = ("#8b95a1", "#5f7388", "#2f81d8", "#e07b1a", "#2aa876", "#c2519c", "#8a6fd1", "#b8a11b")
"""of the states: both inputs, then the blocks in order"""
MOST_BLOCKS = 24

Block = tuple[int, str, int, str, str]
"""(input, operation, input, operation, how both are combined); input 0 is the cell before the previous one, 1 the previous"""


@dataclass(frozen=True)
class Part:
    """A link of a chain."""

    title: str
    more: str = ""


@dataclass(frozen=True)
class Picture:
    """What is shown of a network."""

    kind: str
    cells: Sequence[tuple[str, Markup]] = ()
    """title and SVG"""
    parts: Sequence[Part] = ()
    """in the order in which an image meets them"""
    told: Sequence[tuple[str, str]] = ()
    """arguments that no picture shows"""


def picture(network: Spec) -> Picture:
    """Draw a network by its kind; what is of no kind that is known is told by its arguments."""
    args = dict(network.args)
    if network.kind == "nasnet" and all(_is_cell(args.get(name)) for name in ("normal", "reduction")):
        cells = [(f"{name} cell", draw_cell(args.pop(name), f"{name} cell")) for name in ("normal", "reduction")]
        return Picture(network.kind, cells, _stack(args), _rest(args, ("cells", "reductions")))
    if network.kind == "plain" and "widths" in args:
        return Picture(network.kind, (), _plain(args), _rest(args, ("widths", "residual", "pool", "head")))
    if network.kind == "mobile" and all(isinstance(stage, Mapping) for stage in args.get("stages", "?")):
        return Picture(network.kind, (), _mobile(args), _rest(args, ("stages",)))
    return Picture(network.kind, (), (), _rest(args, ()))


def loose(blocks: Sequence[Block]) -> list[int]:
    """States that no block reads: they are joined to the cell's output."""
    read = {state for block in blocks for state in (block[0], block[2])}
    return [state for state in range(len(blocks) + 2) if state not in read]


def draw_cell(blocks: Sequence[Block], title: str) -> Markup:
    """An SVG element: a row for each block, lines of one colour for all that reads the same state.

    Inputs run down on the left, sums of blocks on the right; each reader has a line into the top of its operation.
    """
    height = TOP + ROW * len(blocks) + 52
    ends = loose(blocks)
    parts = [
        _box(LEFT, 2, BOX, "before last", COLOURS[0]),
        _box(LEFT + BOX + GAP, 2, BOX, "last cell", COLOURS[1]),
    ]
    bottom = TOP + ROW * len(blocks) + 14
    last = {state: _reach(state, blocks, ends, bottom) for state in range(len(blocks) + 2)}
    second = LEFT + BOX + GAP + BOX / 2
    begun = [[(LEFT, 15.0), (_lane(0, blocks), 15.0)], [(second, HIGH + 2.0), (second, 33.0), (_lane(1, blocks), 33.0)]]
    for state, points in enumerate(begun):
        if last[state]:
            parts.append(_line([*points, (_lane(state, blocks), last[state])], state))
    for number, block in enumerate(blocks):
        parts += _block(number, block, blocks, last[number + 2])
    middle = LEFT + BOX + GAP / 2
    parts += [
        _line([(_lane(state, blocks), bottom), (middle, bottom), (middle, bottom + 8)], state, True) for state in ends
    ]
    output = "output" if len(ends) == 1 else f"output: {len(ends)} states joined"
    parts.append(_box(LEFT, bottom + 9, 2 * BOX + GAP, output, "#56606b"))
    svg = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" class="cell">'
    return Markup(svg + "".join(parts) + "</svg>")


def _block(number: int, block: Block, blocks: Sequence[Block], reach: float) -> list[str]:
    """Both operations of a block, how they are combined, and the lines into them and out."""
    state, top = number + 2, TOP + ROW * number + 24
    parts = []
    for place, (source, operation) in enumerate(((block[0], block[1]), (block[2], block[3]))):
        left = LEFT + place * (BOX + GAP)
        enter, level = left + BOX * (0.35 + 0.3 * place), top - 14 + 7 * place
        parts.append(_line([(_lane(source, blocks), level), (enter, level), (enter, top)], source, True))
        parts.append(_box(left, top, BOX, words(operation), COLOURS[state % len(COLOURS)]))
    middle = top + HIGH / 2
    out = [(LEFT + 2 * BOX + GAP, middle), (COMBINE, middle)]
    parts.append(_line(out, state))
    if reach:
        parts.append(_line([(COMBINE, middle), (_lane(state, blocks), middle), (_lane(state, blocks), reach)], state))
    colour = COLOURS[state % len(COLOURS)]
    sign = "+" if block[4] == "add" else "&#8741;"
    parts.append(f'<circle cx="{COMBINE}" cy="{middle:g}" r="9" fill="{colour}"/>')
    parts.append(f'<text x="{COMBINE}" y="{middle + 4:g}" class="on">{sign}</text>')
    return parts


def _lane(state: int, blocks: Sequence[Block]) -> float:
    """Where a state's line runs down."""
    if state < 2:
        return 10 + 14 * state
    first = COMBINE + 18
    return first + (state - 2) * min(12.0, (WIDTH - 6 - first) / max(1, len(blocks) - 1))


def _reach(state: int, blocks: Sequence[Block], ends: Sequence[int], bottom: float) -> float:
    """How far down a state is read; 0.0 if nobody reads it."""
    if state in ends:
        return bottom
    levels = [
        TOP + ROW * number + 10 + 7 * place
        for number, block in enumerate(blocks)
        for place, source in enumerate((block[0], block[2]))
        if source == state
    ]
    return max(levels, default=0.0)


def words(operation: str) -> str:
    """An operation as people write it: `sep_conv_3x3` is `sep conv 3×3`."""
    return re.sub(r"(\d)x(\d)", r"\1×\2", operation.replace("_3x1", ", 3x1").replace("_", " "))


def _box(x: float, y: float, width: float, text: str, colour: str) -> str:
    size = 12 if len(text) <= 15 or width > BOX else max(8.0, 12 * 15 / len(text))
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{HIGH}" rx="4" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        f'<text x="{x + width / 2:g}" y="{y + HIGH / 2 + 4:g}" font-size="{size:.3g}">{escape(text)}</text>'
    )


def _line(points: Sequence[tuple[float, float]], state: int, arrow: bool = False) -> str:
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    colour = COLOURS[state % len(COLOURS)]
    drawn = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
    if arrow:
        x, y = points[-1]
        drawn += f'<path d="M{x - 4:g} {y - 6:g}L{x + 4:g} {y - 6:g}L{x:g} {y:g}Z" fill="{colour}"/>'
    return drawn


def _is_cell(blocks: Any) -> bool:
    """Whether it is blocks that can be drawn."""
    return (
        isinstance(blocks, (list, tuple))
        and 0 < len(blocks) <= MOST_BLOCKS
        and all(
            isinstance(block, (list, tuple))
            and len(block) == 5
            and all(isinstance(block[i], int) and 0 <= block[i] < number + 2 for i in (0, 2))
            for number, block in enumerate(blocks)
        )
    )


def _stack(args: Mapping[str, Any]) -> list[Part]:
    """Cells in order, equal neighbours as one part."""
    count, at = args.get("cells"), args.get("reductions", ())
    if not isinstance(count, int) or not 0 < count <= 1000:
        return []
    parts, begun = [Part("stem")], 0
    for position in range(count + 1):
        if position == count or position in at:
            if position > begun:
                parts.append(Part(f"{position - begun} × normal"))
            if position < count:
                parts.append(Part("reduction", "half the side"))
            begun = position + 1
    return [*parts, Part("classifier")]


def _plain(args: Mapping[str, Any]) -> list[Part]:
    widths, residual = list(args["widths"]), int(args.get("residual", 0))
    blocks = [
        Part(
            f"conv 3×3, {width}",
            f"{args.get('pool', 'max')} pool" + (", residual pair" if i >= len(widths) - residual else ""),
        )
        for i, width in enumerate(widths)
    ]
    return [*blocks, Part("classifier", str(args.get("head", "flat")))]


def _mobile(args: Mapping[str, Any]) -> list[Part]:
    stages = [
        Part(
            f"{stage.get('depth')} × {stage.get('channels')} channels",
            f"kernel {_either(stage.get('kernel'))}, ×{_either(stage.get('expansion'))}, stride {stage.get('stride')}"
            + (", SE" if stage.get("se") else ""),
        )
        for stage in args["stages"]
    ]
    return [Part("stem"), *stages, Part("head")]


def _either(pair: Any) -> str:
    """A pair of first block and others as one word."""
    return "/".join(dict.fromkeys(map(str, pair))) if isinstance(pair, (list, tuple)) else str(pair)


def _rest(args: Mapping[str, Any], shown: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in args.items() if name not in shown]
