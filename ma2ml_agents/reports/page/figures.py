"""The figures of a page as files: PNG, drawn without a browser, and CSV with the data."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ma2ml_agents.reports.page.charts import Chart
from ma2ml_env.io.files import write_atomic


def write_figures(charts: Sequence[Chart], folder: Path) -> list[Path]:
    """Write NAME.png and NAME.csv of each chart; the paths of all files.

    Raises:
        OSError: if the folder cannot be written.
    """
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for chart in charts:
        image = vl_convert.vegalite_to_png(chart.whole(), scale=2.0)
        for name, data in ((f"{chart.name}.png", image), (f"{chart.name}.csv", sheet(chart).encode())):
            write_atomic(folder / name, data)
            written.append(folder / name)
    return written


def sheet(chart: Chart) -> str:
    """A chart's data as comma-separated text, one row a row."""
    text = io.StringIO()
    if chart.rows:
        writer = csv.DictWriter(text, list(chart.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(chart.rows)
    return text.getvalue()
