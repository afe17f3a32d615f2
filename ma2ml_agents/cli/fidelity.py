"""`ma2ml fidelity`."""

import shlex
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from ma2ml_agents.cli.command_line import ElsewhereOptions
from ma2ml_agents.run.options import Number, Run
from ma2ml_agents.run.signals import Stopped


@dataclass(frozen=True)
class Fidelity:
    """How well a short training ranks a run's pipelines: rank correlations between numbers of epochs.

    Trains a sample of the run's pipelines for each number of epochs, each training under a seed of its own, and prints the rank
    correlations (Spearman, Kendall) of the validation accuracies with 95 % bootstrap intervals. A number named twice is trained
    under two seeds: what noise alone leaves of a ranking. For what a short training misranks it says how many of the best have
    to be retrained. Stopped, it goes on after the last finished training.
    """

    run: Run
    """folder of the run"""
    where: ElsewhereOptions
    """where trainings run"""
    epochs: Annotated[
        tuple[int, ...],
        arg(metavar="N ...", help_behavior_hint="(default: the proxy's, twice, and the final training's)"),
    ] = ()
    """epochs of each training"""
    pipelines: Number = 24
    """in the sample, drawn from the different ones of the run"""
    seed: Number = 0
    """of the sample and of the intervals"""
    accept_changed_data: bool = False
    """go on although the data are not those that the run began with; exports tell it"""

    def execute(self, console: Console) -> int:
        """Train, then print the correlations."""
        from ma2ml_agents.after.fidelity import compare
        from ma2ml_agents.reports.tables import table
        from ma2ml_agents.run.stop import stoppable
        from ma2ml_env.metrics import metric

        with stoppable() as stop:
            try:
                result = compare(
                    self.run,
                    self.epochs,
                    pipelines=self.pipelines,
                    seed=self.seed,
                    accept_changed_data=self.accept_changed_data,
                    console=console,
                    on_outcome=lambda job, outcome: stop.check(),
                    **vars(self.where),
                )
            except Stopped as stopped:
                console.print(f"stopped by {stopped.name}; finished trainings are stored. The same command goes on")
                return stopped.exit_code
        plain = result.metric == "accuracy"
        by = "validation accuracies" if plain else f"{metric(result.metric).title} on validation images"
        made = table(f"rank correlation of {by}", "one", "other", "Spearman [95 %]", "Kendall [95 %]")
        for pair in result.pairs:
            made.add_row(*pair.names, str(pair.spearman), str(pair.kendall))
        console.print(made)
        failed = f"; {result.failed} failed and are left out" if result.failed else ""
        console.print(f"{len(result.pipelines)} pipelines, sampled from the run{failed}")
        for name, place in result.places.items():
            console.print(
                f"{name}: the best of the longest training is number {place} of {len(result.pipelines)}. To have it among "
                f"those that are trained to the end: ma2ml retrain {shlex.quote(str(self.run))} --top-k {result.top_k(name)}",
                soft_wrap=True,
            )
        return 0
