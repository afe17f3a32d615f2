"""`ma2ml report` and `ma2ml study`: a run as a page, and as a study of Optuna. They work while a search is running."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from ma2ml_agents.run.options import OptionalFile, OptionalFolder, Run
from ma2ml_agents.run.ticker import working


@dataclass(frozen=True)
class Report:
    """Write a report of a run as one HTML file that needs nothing else; of several runs, what they say beside each other."""

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN [RUN ...]")]]
    """folders of runs"""
    out: OptionalFile = None
    """where to; RUN/report.html of the first run unless told"""
    watch: bool = False
    """of one run: write it anew while the search runs, until its budget is spent; a browser that shows it follows"""
    figures: OptionalFolder = None
    """also write each chart as PNG and its data as CSV into this folder"""
    no_images: bool = False
    """do not read the run's images, and show none"""

    def execute(self, console: Console) -> int:
        """Write it."""
        from ma2ml_agents.reports.page.figures import write_figures
        from ma2ml_agents.reports.page.page import watch, write_report

        if not self.runs:
            raise ValueError("which run? `ma2ml report RUN` takes the folder of one, or of several")
        path = self.out or self.runs[0] / "report.html"
        if self.watch:
            if len(self.runs) > 1 or self.figures is not None:
                raise ValueError("--watch is for the page of one run: leave out the others, and --figures")
            watch(self.runs[0], path, lambda line: console.print(line, soft_wrap=True), images=not self.no_images)
            return 0
        with working(console, "writing the report"):
            page = write_report(self.runs, path, images=not self.no_images)
        console.print(f"written: {path}", soft_wrap=True)
        if self.figures is not None:
            count = len(write_figures(page.charts, self.figures))
            console.print(f"written: {count} files of {len(page.charts)} figures in {self.figures}", soft_wrap=True)
        return 0


@dataclass(frozen=True)
class Study:
    """Write a run as a study of Optuna, which optuna-dashboard shows. It needs the extra optuna."""

    run: Run
    """folder of the run"""
    out: Annotated[Path, arg(metavar="FILE")]
    """a new file: SQLite if its name ends in .db or .sqlite, a journal of Optuna if it ends in .log or .journal"""

    def execute(self, console: Console) -> int:
        """Write it."""
        from ma2ml_agents.reports.study import write_study

        url = write_study(self.run, self.out)
        console.print(f"written: {self.out}; show it with: optuna-dashboard {url}", soft_wrap=True)
        return 0
