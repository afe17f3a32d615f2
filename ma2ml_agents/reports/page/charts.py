"""Charts as Vega-Lite specifications: what stands in the page, and what becomes a PNG.

Categories stand in the order of the rows. No name of a run's is part of a specification, where Vega makes programs of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
COLOURS = ["#2f81d8", "#e07b1a", "#2aa876", "#c2519c", "#8a6fd1", "#b8a11b", "#d1495b", "#5b9aa0"]
"""of series: legible on white and on black"""
MANY = 300
"""dots that are drawn small"""
TICKS = 8
"""about so many numbers beside an axis"""
STRONG, SOFT = "#2f81d8", "#8b95a1"


@dataclass(frozen=True)
class Chart:
    """A figure of the page."""

    name: str
    """in letters and dashes: of its file"""
    title: str
    """what it shows, in a line"""
    rows: Sequence[Row]
    """its data, all rows with the same keys; the CSV file holds them"""
    spec: Spec = field(default_factory=dict)
    """without data, title, width and theme"""
    height: int = 260
    """in pixels"""

    def whole(self, dark: bool = False, width: int = 720) -> Spec:
        """A specification that stands alone."""
        data = {"values": [dict(row) for row in self.rows]}
        size = {"width": width, "height": self.height}
        return {
            "$schema": SCHEMA,
            "title": self.title,
            "data": data,
            **size,
            **self.spec,
            "config": theme(dark) | {"background": "#111418" if dark else "#ffffff"},
        }


def theme(dark: bool) -> Spec:
    """Colours and letters of all charts."""
    ink, quiet, grid = ("#d8dee6", "#a4adb8", "#2c333b") if dark else ("#222a33", "#56606b", "#e3e7eb")
    text = {"labelColor": quiet, "titleColor": quiet, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500}
    return {
        "background": None,
        "font": "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
        "view": {"stroke": None},
        "axis": {**text, "gridColor": grid, "domainColor": grid, "tickColor": grid, "labelLimit": 260},
        "legend": {
            **text,
            "orient": "top",
            "title": None,
            "columns": 6,
            "labelLimit": 190,
            "symbolStrokeWidth": 2,
            "symbolOpacity": 1,
            "layout": {"top": {"direction": "vertical", "anchor": "start", "margin": 2}},
        },
        "title": {"color": ink, "anchor": "start", "fontSize": 13},
        "text": {"color": ink, "fontSize": 12},
        "range": {"category": COLOURS},
    }


def quantity(name: str, title: str, **scale: Any) -> Spec:
    """A channel that shows numbers."""
    usual = {} if scale.get("type") == "log" else {"zero": False, "nice": True}
    axis = {"tickCount": TICKS, **({"tickMinStep": 1, "format": ",d"} if name == "trial" else {})}
    return {"field": name, "type": "quantitative", "title": title, "scale": {**usual, **scale}, "axis": axis}


def tips(names: Mapping[str, str]) -> list[Spec]:
    """What stands beside the pointer: field -> title."""
    return [{"field": name, "title": title} for name, title in names.items()]


def lines(x: str, y: str, series: str, x_title: str, y_title: str, band: bool = False, long: bool = False) -> Spec:
    """A line for each value of `series`, over `low` and `high` of the rows if there is a band; long names stand in full."""
    colour: Spec = {"field": series, "type": "nominal", "title": None}
    if long:
        colour["legend"] = {"columns": 1, "labelLimit": 0}
    across, up = quantity(x, x_title), quantity(y, y_title)
    told = tips({series: series, x: x_title, y: y_title})
    line = {
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {"x": across, "y": up, "color": colour, "tooltip": told},
    }
    if not band:
        return {"layer": [line]}
    area = {
        "mark": {"type": "area", "opacity": 0.18},
        "encoding": {"x": across, "y": quantity("low", y_title), "y2": {"field": "high"}, "color": colour},
    }
    return {"layer": [area, line]}


def bars(label: str, value: str, title: str) -> Spec:
    """A horizontal bar for each label, in the order of the rows; from `low` to `high` there is a whisker."""
    vertical = {"field": label, "type": "nominal", "title": None, "sort": None}
    across = {**quantity(value, title, zero=True)}
    told = tips({label: label, value: title})
    return {
        "layer": [
            {
                "mark": {"type": "bar", "height": {"band": 0.6}, "cornerRadiusEnd": 2},
                "encoding": {"y": vertical, "x": across, "color": {"value": STRONG}, "tooltip": told},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": SOFT},
                "encoding": {"y": vertical, "x": quantity("low", title, zero=True), "x2": {"field": "high"}},
            },
        ]
    }


def marginal(title: str) -> Spec:
    """A dot with an interval for each choice, hollow where it was played once and has none."""
    vertical = {"field": "choice", "type": "nominal", "title": None, "sort": None}
    told = tips({"choice": "choice", "mean": "mean reward", "low": "from", "high": "to", "count": "trials"})
    return {
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": SOFT},
                "encoding": {"y": vertical, "x": quantity("low", title), "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "opacity": 1, "stroke": STRONG, "fill": STRONG, "size": 60},
                "encoding": {
                    "y": vertical,
                    "x": quantity("mean", title),
                    "fillOpacity": {"condition": {"test": "datum.count > 1", "value": 1}, "value": 0},
                    "tooltip": told,
                },
            },
        ]
    }


def trials_over(
    x: str, x_title: str, y_title: str, low: float, top: str, count: int, winner: int | None = None
) -> Spec:
    """Every trial as a dot, with the best so far and the mean of the top so far.

    Args:
        x: field of the horizontal axis.
        x_title: its title.
        y_title: of the reward.
        low: what lies below it stands on the lower edge.
        top: name of the mean of the top.
        count: of the trials: a few dots are drawn larger.
        winner: number of the trial that has a ring; None for none.
    """
    across = quantity(x, x_title, nice=False)
    scale = {"domainMin": low, "clamp": True}
    told = tips({"trial": "trial", "reward": "reward", "origin": "origin", "open": "in the open batch"})
    dots: Spec = {
        "mark": {"type": "point", "filled": True, "opacity": 0.6, "size": 26 if count > MANY else 60},
        "encoding": {
            "x": across,
            "y": quantity("reward", y_title, **scale),
            "color": {"field": "origin", "type": "nominal", "title": None},
            "tooltip": told,
        },
    }
    reached = {
        "transform": [
            {"fold": ["best", "top"], "as": ["what", "value"]},
            {"filter": "isValid(datum.value)"},
            {"calculate": f"datum.what === 'best' ? 'best so far' : '{top}'", "as": "line"},
        ],
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        "encoding": {
            "x": across,
            "y": quantity("value", y_title, **scale),
            "strokeDash": {
                "field": "line",
                "type": "nominal",
                "title": None,
                "scale": {"domain": ["best so far", top], "range": [[1, 0], [5, 3]]},
                "legend": {"symbolType": "stroke", "symbolSize": 500},
            },
            "color": {"value": COLOURS[6]},
        },
    }
    place = 0.5 if winner is None else winner / max(1, count)
    side = "left" if place < 0.1 else "right" if place > 0.9 else "center"  # of a word that shall not leave the chart
    ring = {
        "transform": [{"filter": f"datum.trial === {winner}"}],
        "encoding": {"x": across, "y": quantity("reward", y_title, **scale)},
        "layer": [
            {"mark": {"type": "point", "filled": False, "size": 200, "strokeWidth": 2, "color": COLOURS[6]}},
            {"mark": {"type": "text", "dy": 18, "align": side}, "encoding": {"text": {"value": "winner"}}},
        ],
    }
    return {"layer": [dots, reached] if winner is None else [dots, reached, ring]}


def front(y_title: str, limits: Sequence[float]) -> Spec:
    """Score against MACs with the front as a line, the limits as rules, and a ring around the winner."""
    across = {
        **quantity("macs", "MACs (logarithmic)", type="log", nice=False, padding=14),
        "axis": {"format": "~s", "tickCount": 5},
    }
    up = quantity("score", y_title)
    told = tips({"trial": "trial", "macs": "MACs", "score": y_title})
    dots: Spec = {
        "mark": {"type": "point", "filled": True, "opacity": 0.4, "size": 24, "color": SOFT},
        "encoding": {"x": across, "y": up, "tooltip": told},
    }
    line: Spec = {
        "transform": [{"filter": "datum.front"}],
        "mark": {"type": "line", "interpolate": "step-after", "point": True, "color": STRONG, "strokeWidth": 2},
        "encoding": {"x": across, "y": up, "tooltip": told},
    }
    rules: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeDash": [4, 3], "color": COLOURS[1], "strokeWidth": 1.5},
            "encoding": {"x": {"datum": limit}},
        }
        for limit in limits
    ]
    ring: Spec = {
        "transform": [{"filter": "datum.winner"}],
        "encoding": {"x": across, "y": up},
        "layer": [
            {"mark": {"type": "point", "filled": False, "size": 200, "strokeWidth": 2, "color": COLOURS[6]}},
            {"mark": {"type": "text", "dy": 18}, "encoding": {"text": {"value": "winner"}}},
        ],
    }
    return {"layer": [dots, line, *rules, ring]}


def pairs(x: str, y: str, x_title: str, y_title: str, series: str) -> Spec:
    """A dot for each row, with its number beside it."""
    at = {"x": quantity(x, x_title), "y": quantity(y, y_title)}
    colour = {"field": series, "type": "nominal", "title": None}
    told = tips({"trial": "trial", x: x_title, y: y_title})
    return {
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 70},
                "encoding": {**at, "color": colour, "tooltip": told},
            },
            {"mark": {"type": "text", "dx": 8, "align": "left"}, "encoding": {**at, "text": {"field": "trial"}}},
        ]
    }


def histogram(name: str, title: str) -> Spec:
    """How many rows have which value."""
    across = {"field": name, "type": "quantitative", "title": title, "bin": {"maxbins": 30}}
    up = {"aggregate": "count", "type": "quantitative", "title": "trials"}
    return {"mark": {"type": "bar", "color": STRONG}, "encoding": {"x": across, "y": up}}


def matrix(classes: int) -> Spec:
    """A confusion matrix: right classes are rows, predicted ones columns; labels are left out where there are many."""
    few = classes <= 30
    axis = {"labels": few, "ticks": few, "labelLimit": 90}
    x = {"field": "predicted", "type": "nominal", "sort": None, "axis": {**axis, "labelAngle": -60}}
    y = {"field": "right", "type": "nominal", "sort": None, "axis": axis}
    colour = {
        "field": "share", "type": "quantitative", "title": "share of the class", "legend": {"format": ".0%"},
        "scale": {"scheme": "blues", "domain": [0, 1]},
    }  # fmt: skip
    told = tips({"right": "right class", "predicted": "predicted", "images": "images"})
    cells: Spec = {"mark": "rect", "encoding": {"x": x, "y": y, "color": colour, "tooltip": told}}
    if classes > 12:
        return cells
    ink = {"condition": {"test": "datum.share > 0.5", "value": "#ffffff"}, "value": "#222a33"}
    numbers = {
        "mark": {"type": "text", "fontSize": 11},
        "encoding": {"x": x, "y": y, "text": {"field": "images"}, "color": ink},
    }
    return {"layer": [cells, numbers]}
