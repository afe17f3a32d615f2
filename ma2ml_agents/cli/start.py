"""`ma2ml search` and `ma2ml resume`. Their options are the fields of `RunConfig`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from ma2ml_agents.cli.command_line import ResumeOptions, SearchOptions
from ma2ml_agents.cli.drive import Limit, drive
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.options import OptionalNumber, Run
from ma2ml_agents.run.ticker import working


@dataclass(frozen=True)
class Search:
    """Search a game: agents propose pipelines, each is trained, its reward teaches them.

    The same command again goes on where the run stopped, however it stopped.
    """

    told: SearchOptions
    """what is searched, by whom, and where it is trained"""
    run: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: runs/GAME-LEARNER-SEED-DATA)")] = None
    """folder of the run, new or of the same search"""
    limit: Limit = field(default_factory=Limit)
    """of this command"""
    accept_changed_data: bool = False
    """go on although the data are not those that the run began with; exports tell it"""

    def execute(self, console: Console) -> int:
        """Search, then print what came of it."""
        from ma2ml_agents.run.data import identify, run_name

        config = RunConfig.told(vars(self.told))
        if unread := config.unread():
            console.print(
                f"the evaluator {config.evaluator} trains nothing, and reads no {', '.join(unread)}", soft_wrap=True
            )
        with working(console, "reading the data"):
            identity = identify(config.beside(self.run or Path("runs") / "any"))
        folder = self.run or Path("runs") / run_name(config, identity)
        return drive(folder, config, identity, console, self.limit, accept_changed_data=self.accept_changed_data)


@dataclass(frozen=True)
class Resume:
    """Go on with a run: only trainings without an outcome are done again."""

    run: Run
    """folder of the run"""
    told: ResumeOptions
    """what is another from here on"""
    extend: OptionalNumber = None
    """pipelines more than the run's budget"""
    retry_failed: Annotated[str | None, arg(metavar="CLASS", help_behavior_hint="(default: none)")] = None
    """play stored failures again first, each under its own seed: failed (all of them), or one kind: oom, nan, timeout, crash,
    invalid. Their earlier outcomes are kept; `ma2ml trials` tells them"""
    limit: Limit = field(default_factory=Limit)
    """of this command"""
    accept_changed_data: bool = False
    """go on although the data are not those that the run began with; exports tell it"""

    def execute(self, console: Console) -> int:
        """Resume, then print what came of it."""
        from ma2ml_agents.run.again import chosen
        from ma2ml_agents.run.data import identify
        from ma2ml_agents.run.stored import stored_config
        from ma2ml_env.store.store import TrialStore

        again = None if self.retry_failed is None else chosen(self.retry_failed)
        with TrialStore(self.run, create=False) as store:
            before = stored_config(store)
        config = before.changed(vars(self.told))
        if self.extend is not None:
            if self.told.budget is not None:
                raise ValueError("--extend N is --budget with N more than the run has: give one of them")
            if self.extend < 1:
                raise ValueError(f"--extend is at least 1, not {self.extend}")
            config = replace(config, budget=before.budget + self.extend)
        with working(console, "reading the data"):
            identity = identify(config.beside(self.run))
        accept = self.accept_changed_data
        return drive(self.run, config, identity, console, self.limit, accept_changed_data=accept, again=again)
