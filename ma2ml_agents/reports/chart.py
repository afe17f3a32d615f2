"""Charts as SVG text: lines and dots, two axes, a legend. No library draws a self-contained file as small."""

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape

Point = tuple[float, float]

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf")
WIDTH, HEIGHT = 800, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 28, 44
NAMES, LINE = 3, 16
"""of a legend: names in a line, and its height"""


def chart(series: Mapping[str, Sequence[Point]], x_label: str, y_label: str, dots: Collection[str] = ()) -> str:
    """An SVG element, to stand in a page.

    Args:
        series: name -> points (x, y), drawn as a line in this order.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        dots: names of series that are drawn as dots instead.
    """
    drawn, height = _panel(series, x_label, y_label, dots)
    label = escape(f"{y_label} against {x_label}")
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{drawn}</svg>'


def panels(charts: Sequence[tuple[Mapping[str, Sequence[Point]], str, str, Collection[str]]]) -> str:
    """An SVG file of charts below each other; each is the arguments of `chart`."""
    parts, down = [], 0
    for each in charts:
        drawn, height = _panel(*each)
        parts.append(f'<g transform="translate(0 {down})">{drawn}</g>')
        down += height
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {down}">'
    return "".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>"])


def _panel(series: Mapping[str, Sequence[Point]], x_label: str, y_label: str, dots: Collection[str]) -> tuple[str, int]:
    """The elements, and their height."""
    points = [point for each in series.values() for point in each]
    x_ticks, y_ticks = ticks([x for x, _ in points]), ticks([y for _, y in points])
    top = TOP + LINE * ((len(series) - 1) // NAMES)
    height = HEIGHT - TOP + top

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), height - BOTTOM - up * (height - top - BOTTOM)

    parts = ['<g font-size="12" font-family="system-ui, sans-serif" fill="#444">']
    for tick in x_ticks:
        x, y = place(tick, y_ticks[0])
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{number(tick)}</text>')
    for tick in y_ticks:
        x, y = place(x_ticks[0], tick)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{height - 8}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text x="8" y="16">{escape(y_label)}</text>')
    for position, (name, line) in enumerate(series.items()):
        colour = COLOURS[position % len(COLOURS)]
        placed = [place(x, y) for x, y in line]
        if name in dots:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}" fill-opacity="0.5"/>' for x, y in placed
            ]
        else:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = LEFT + 180 + 185 * (position % NAMES), LINE * (1 + position // NAMES)
        parts.append(f'<text x="{x}" y="{y}" fill="{colour}">{escape(name)}</text>')
    return "".join([*parts, "</g>"]), height


def ticks(values: Sequence[float], count: int = 5) -> list[float]:
    """Some `count` round numbers, evenly spaced, of which the first and the last enclose the values."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, last + 1)]


def number(value: float) -> str:
    """Short, with a unit from a thousand on."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:.6g}"
