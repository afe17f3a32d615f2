"""The page: one HTML file with the plotting library, the data, and the sections in the order in which people ask.

All texts pass through Jinja's escaping, and data stand in a script element as JSON in which no character can end it.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ma2ml_agents.reports.page.about import about
from ma2ml_agents.reports.page.answer import answer
from ma2ml_agents.reports.page.charts import Chart, Row, theme
from ma2ml_agents.reports.page.choices import choices
from ma2ml_agents.reports.page.classes import classes
from ma2ml_agents.reports.page.comparison import compare
from ma2ml_agents.reports.page.facts import Facts, gather
from ma2ml_agents.reports.page.importance import weights
from ma2ml_agents.reports.page.learning import learning
from ma2ml_agents.reports.page.listing import listing
from ma2ml_agents.reports.page.progress import ORIGINS, progress, trial_rows
from ma2ml_agents.reports.page.running import running
from ma2ml_agents.reports.tables import amount
from ma2ml_env.io.files import write_atomic
from ma2ml_env.store.store import TrialStore

PAUSE = 15.0
"""seconds between two looks at a run that is watched"""


@dataclass(frozen=True)
class Page:
    """A report, drawn."""

    html: str
    charts: Sequence[Chart]


def write_report(runs: Sequence[Path], path: Path, *, images: bool = True, refresh: int = 0) -> Page:
    """Write the report of one run, or of several beside each other.

    Args:
        runs: their folders.
        path: of the HTML file.
        images: whether to read the run's images, and show some.
        refresh: seconds after which a browser is to read the page anew; 0 is never.

    Raises:
        ValueError: if a run is damaged, or was not made by `ma2ml search`.
        OSError: if the file cannot be written.
    """
    found = []
    for run in runs:
        with TrialStore(run, create=False) as store:
            found.append(gather(store))
    page = (
        render(found[0], images=images, refresh=refresh) if len(found) == 1 else render_several(found, refresh=refresh)
    )
    write_atomic(path, page.html.encode())
    return page


def watch(run: Path, path: Path, said: Callable[[str], None], *, images: bool = True, pause: float = PAUSE) -> None:
    """Write a run's report anew each time that it has more outcomes, until its budget is spent.

    Args:
        run: its folder.
        path: of the HTML file.
        said: told of each page that was written.
        images: as of `write_report`.
        pause: seconds between two looks.
    """
    seen: tuple[int, int] | None = None
    while True:
        with TrialStore(run, create=False) as store:
            numbers, budget = len(store.numbers()), int(store.config.get("budget", 0))
            now, done = (numbers, len(store.unclosed())), numbers >= budget and not store.unclosed()
        if now != seen:
            seen = now
            write_report([run], path, images=images, refresh=0 if done else round(2 * pause))
            said(f"written: {path}, {numbers} of {budget} trials")
        if done:
            return
        time.sleep(pause)


def render(facts: Facts, *, images: bool = True, refresh: int = 0) -> Page:
    """The page of one run."""
    rows = trial_rows(facts)
    heavy, went = weights(facts), progress(facts, rows)
    parts: dict[str, Any] = {
        "answer": answer(facts, went.still),
        "progress": went,
        "origins": ORIGINS,
        "weights": heavy,
        "choices": choices(facts, heavy.order, bool(heavy.charts)),
        "learning": learning(facts),
        "listing": listing(facts, rows),
        "running": running(facts),
        "about": about(facts),
        "classes": classes(facts),
    }
    shown = None
    if facts.trained and images:
        from ma2ml_agents.reports.page.pictures import pictures

        shown = pictures(facts, facts.recipes[facts.winner.number] if facts.winner else None)
    drawn = [chart for part in parts.values() for chart in getattr(part, "charts", ())]
    table = {
        "decisions": parts["listing"].decisions,
        "codes": parts["listing"].codes,
        "metric": facts.config.metric,
        "accuracy": f"accuracy after {facts.search_epochs}" if facts.trained else "accuracy",
        **_columns(rows),
    }
    title = f"{facts.config.game}, learner {facts.config.learner}"
    told = {**parts, "facts": facts, "shown": shown, "no_images": not images, "title": title, "refresh": refresh}
    return Page(_fill("run.html", told, drawn, table), drawn)


def render_several(runs: Sequence[Facts], *, refresh: int = 0) -> Page:
    """The page of several runs."""
    found = compare(runs)
    told = {
        "comparison": found,
        "answers": [(row, answer(facts, rising=False)) for row, facts in zip(found.runs, runs, strict=True)],
        "title": f"{len(runs)} runs",
        "refresh": refresh,
    }
    return Page(_fill("several.html", told, found.charts, None), found.charts)


def _fill(template: str, told: Mapping[str, Any], charts: Sequence[Chart], table: Mapping[str, Any] | None) -> str:
    environment = Environment(
        loader=PackageLoader("ma2ml_agents.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["amount"] = amount
    environment.filters["typeset"] = typeset
    data = {
        "charts": {
            chart.name: {"spec": chart.spec, "height": chart.height, **_columns(chart.rows)} for chart in charts
        },
        "themes": {"light": theme(False), "dark": theme(True)},
        "trials": table,
    }
    return environment.get_template(template).render(
        told,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=version("ma2ml"),
        library=Markup(library() if charts else ""),
        style=Markup(_asset("report.css")),
        program=Markup(_asset("report.js")),
        data=Markup(inert(data)),
    )


def typeset(text: str) -> str:
    """A sentence of the command line as a page has it: the sign, and no line that begins or ends with it."""
    return text.replace(" +- ", "\u00a0±\u00a0")


@lru_cache(maxsize=1)
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script: it takes seconds to bundle."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")


def inert(data: Any) -> str:
    """JSON that can stand in a script element: in ASCII, without a character that HTML reads."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _columns(rows: Sequence[Row]) -> dict[str, Any]:
    """Rows without their keys, which would be most of the page."""
    keys = list(rows[0]) if rows else []
    return {"keys": keys, "rows": [[row[key] for key in keys] for row in rows]}


def _asset(name: str) -> str:
    return (files("ma2ml_agents.reports.page") / "templates" / name).read_text(encoding="utf-8")
