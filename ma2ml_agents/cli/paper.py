"""`ma2ml paper`: the paper's tables and pictures from runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from tyro.conf import Positional, arg

from ma2ml_agents.run.options import OptionalFile, OptionalNumber
from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.reading import expected


@dataclass(frozen=True)
class Paper:
    """Make a table or picture of the paper from your runs, its published numbers beside them; docs/paper.md lists all."""

    item: Positional[
        Annotated[Literal["table1", "table2", "table3", "table4", "figure3", "figure4", "figure5"], arg(metavar="ITEM")]
    ]
    """table1, table2, figure3 (retrained with --levels), table3 (retrained), table4 (retrained, one of them with --baseline),
    figure4, figure5 (searched)"""
    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN...", help_behavior_hint="")]] = ()
    """folders of the runs; without any, a table holds the paper's numbers alone"""
    out: OptionalFile = None
    """file to write: Markdown of a table, SVG of a picture; ITEM.svg for a picture unless told"""
    top_k: OptionalNumber = None
    """of figure4 and figure5: pipelines in the running mean; the game's own unless told"""

    def execute(self, console: Console) -> int:
        """Make it."""
        from ma2ml_agents.reports import paper
        from ma2ml_agents.reports.tables import table

        if self.item in ("figure4", "figure5"):
            if not self.runs:
                raise ValueError(f"{self.item} is drawn from runs: ma2ml paper {self.item} RUN...")
            if self.top_k is not None and self.top_k < 1:
                raise ValueError(f"--top-k is at least 1, not {self.top_k}")
            return self._write(console, paper.learning_curves(self.runs, self.top_k))
        runs = [paper.read(run) for run in self.runs]
        tables = {"table1": paper.table_1, "table2": paper.table_2, "table3": paper.table_3, "table4": paper.table_4}
        with expected("summary.json of a run", "run `ma2ml retrain` again"):
            if self.item == "figure3":
                return self._write(console, paper.figure_3(runs))
            made = tables[self.item](runs)
        shown = table(made.title, *made.columns)
        for row in made.rows:
            shown.add_row(*row)
        console.print(shown)
        return 0 if self.out is None else self._write(console, made.markdown())

    def _write(self, console: Console, text: str) -> int:
        file = self.out or Path(f"{self.item}.svg")
        write_atomic(file, (text + "\n").encode())
        console.print(f"written: {file}")
        return 0
