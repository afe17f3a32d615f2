"""What follows a search: `ma2ml retrain` and `ma2ml export`."""

import shlex
from dataclasses import dataclass
from typing import Annotated, Literal

from rich.console import Console
from tyro.conf import arg

from ma2ml_agents.cli.command_line import ElsewhereOptions
from ma2ml_agents.run.options import (
    OptionalAmount,
    OptionalFolder,
    OptionalNumber,
    OwnNumber,
    Run,
    amounts,
)
from ma2ml_agents.run.signals import Stopped
from ma2ml_agents.run.ticker import working


@dataclass(frozen=True)
class Retrain:
    """Train a run's best pipelines to the end, choose one, and train that again several times.

    The pipelines of highest accuracy, under the limit on MACs if there is one, are trained in full on the training images. The
    winner is trained again under different seeds on training and validation images together, for a mean and a deviation of its
    test accuracy (paper, Algorithm 1, lines 14 to 16, and Table 3). Stopped, it goes on after the last finished training.
    """

    run: Run
    """folder of the run"""
    where: ElsewhereOptions
    """where trainings run"""
    top_k: OwnNumber = None
    """pipelines that are trained to the end"""
    max_flops: OptionalAmount = None
    """MACs of one image that a pipeline may have, as in 600e6"""
    levels: Annotated[str | None, arg(metavar="X,X,...", help_behavior_hint="(default: none)")] = None
    """limits on MACs, as in 500m,600m,700m: the top of each are trained, and the best of each is reported (paper, section 4.1).
    Nothing is repeated then unless --repeats says so"""
    repeats: OwnNumber = None
    """trainings of the winner"""
    baseline: bool = False
    """also train the game's base recipe, which no agent has touched, as often as the winner (paper, Table 4)"""
    floors: bool = True
    """also train what the winner has to beat, as often as the winner: a linear model and a plain convolutional network, each at
    the best of six learning rates, and the game's base recipe. Not where nothing is repeated"""
    select: Literal["validation", "test"] = "validation"
    """images that the winner is chosen by; `test` is the paper's own protocol, and optimistic: it reports the best of its own
    choice"""
    accept_changed_data: bool = False
    """go on although the data are not those that the run began with; exports tell it"""

    def execute(self, console: Console) -> int:
        """Retrain, then print the table."""
        with working(console, "loading"):
            from ma2ml_agents.after.retrain import retrain
            from ma2ml_agents.reports.finished import print_retrained
            from ma2ml_agents.run.stop import stoppable

        with stoppable() as stop:
            try:
                result = retrain(
                    self.run,
                    top_k=self.top_k,
                    max_flops=self.max_flops,
                    levels=() if self.levels is None else amounts(self.levels, "--levels"),
                    repeats=self.repeats,
                    baseline=self.baseline,
                    with_floors=self.floors,
                    select=self.select,
                    accept_changed_data=self.accept_changed_data,
                    console=console,
                    on_outcome=lambda job, outcome: stop.check(),
                    **vars(self.where),
                )
            except Stopped as stopped:
                console.print(f"stopped by {stopped.name}; finished trainings are stored. The same command goes on")
                return stopped.exit_code
        print_retrained(console, result)
        if result.failed:
            console.print(f"{result.failed} of these trainings failed and are not counted")
        console.print(f"next: ma2ml export {shlex.quote(str(self.run))}", soft_wrap=True)
        return 0


@dataclass(frozen=True)
class Export:
    """Write a retrained model as a folder that needs torch and torchvision alone, and not this project."""

    run: Run
    """folder of the run"""
    out: OptionalFolder = None
    """where to; RUN/export unless told. An export that is there is replaced"""
    number: OptionalNumber = None
    """trial whose full training is exported; the winner's best repeat unless told"""
    data: OptionalFolder = None
    """where the data lie, if they have moved: they are looked at, so that the names of the classes are right"""
    onnx: bool = False
    """also write model.onnx, which takes uint8 images and is compared with the model; needs the extra onnx"""
    accept_changed_data: bool = False
    """go on although the data are not those that the run began with; exports tell it"""

    def execute(self, console: Console) -> int:
        """Export."""
        with working(console, "exporting"):
            from ma2ml_agents.after.export import export

            folder, card = export(
                self.run,
                out=self.out,
                number=self.number,
                accept_changed_data=self.accept_changed_data,
                onnx=self.onnx,
                data=self.data,
            )
        console.print(
            f"exported trial {card['trial']}: test accuracy {card['test_accuracy']:.4f}, {card['flops']:,} MACs"
        )
        if self.onnx:
            console.print(f"model.onnx gives the same logits to within {card['onnx']['largest_difference']:.1e}")
        console.print(f"in {folder}; check it with: python {shlex.quote(str(folder / 'model.py'))}", soft_wrap=True)
        return 0
