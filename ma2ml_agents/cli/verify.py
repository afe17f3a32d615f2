"""`ma2ml verify`."""

import math
from dataclasses import dataclass

from rich.console import Console

from ma2ml_agents.cli.command_line import ElsewhereOptions
from ma2ml_agents.run.options import Number, Run
from ma2ml_agents.run.signals import Stopped


@dataclass(frozen=True)
class Verify:
    """Train the winners of a search on measured trainings again, and put what comes of it beside the table.

    Each is trained under the seed of the measurement that the search was told. On the same torch and kind of processor the
    numbers are equal to the last bit, elsewhere within the noise of a training, which the table tells. Exit code 1 if one
    is further off or fails. Stopped, it goes on after the last finished training.
    """

    run: Run
    """folder of the run"""
    where: ElsewhereOptions
    """where trainings run"""
    top: Number = 5
    """winners: the best different pipelines"""
    fresh: bool = False
    """train under seeds that were not measured, and compare with the mean: was the winner lucky?"""

    def execute(self, console: Console) -> int:
        """Train, then print the table."""
        from ma2ml_agents.after.verify import FAR, verify
        from ma2ml_agents.reports.tables import table
        from ma2ml_agents.run.stop import stoppable

        with stoppable() as stop:
            try:
                found = verify(
                    self.run,
                    top=self.top,
                    fresh=self.fresh,
                    console=console,
                    on_outcome=lambda job, outcome: stop.check(),
                    **vars(self.where),
                )
            except Stopped as stopped:
                console.print(f"stopped by {stopped.name}; finished trainings are stored. The same command goes on")
                return stopped.exit_code
        made = table(
            "winners trained again", "trial", "mean", "table", "live", "difference", "noise", "test", "verdict"
        )
        for each in found:
            tests = (each.table_test, math.nan if each.live.test_accuracy is None else each.live.test_accuracy)
            made.add_row(
                str(each.trial),
                *(f"{value:.4f}" for value in (each.mean, each.table, each.live.accuracy)),
                f"{each.difference:+.4f}",
                "-" if math.isnan(each.deviations) else f"{each.deviations:+.2f}",
                "-" if math.isnan(sum(tests)) else f"{tests[1] - tests[0]:+.4f}",
                each.verdict,
            )
        console.print(made)
        agree, unknown = sum(each.agrees for each in found), sum(each.open for each in found)
        console.print(
            f"{agree} of {len(found)} agree with the table: equal to the last bit, or within {FAR:g} noise deviations "
            "where torch, processor or seed are others (noise: how far from the mean of its other trainings; test: difference "
            "on test images)",
            soft_wrap=True,
        )
        if unknown:
            console.print(
                f"of {unknown} nobody can say: the noise is unknown, as no pipeline of the table was trained twice",
                soft_wrap=True,
            )
        return 0 if agree + unknown == len(found) else 1
