"""`ma2ml backup` and `ma2ml salvage`: a copy of a whole run, and a run of what is left of a damaged one."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from ma2ml_agents.run.options import Run

New = Annotated[Path, arg(metavar="DIR")]


@dataclass(frozen=True)
class Backup:
    """Copy a run, also while a search is going on. The copy is whole, and can be gone on with."""

    run: Run
    """folder of the run"""
    out: New
    """a new or empty folder"""

    def execute(self, console: Console) -> int:
        """Copy it."""
        from ma2ml_env.store.backup import backup

        count = backup(self.run, self.out)
        console.print(f"{self.run} with {count} outcomes is copied to {self.out}", soft_wrap=True)
        return 0


@dataclass(frozen=True)
class Salvage:
    """Make a new run of what is whole of a damaged one, which stays as it is.

    Read are run.sqlite with its log, trials.jsonl and run.json.
    """

    run: Run
    """folder of the damaged run"""
    out: New
    """a new or empty folder"""

    def execute(self, console: Console) -> int:
        """Make it, and say what came of it."""
        from ma2ml_env.store.salvage import salvage

        found, name = salvage(self.run, self.out), shlex.quote(str(self.out))
        config = f"the configuration from {found.config}" if found.config else "the configuration is lost"
        console.print(
            f"{self.out}: {found.database} trials from run.sqlite, {found.mirror} from trials.jsonl, {found.lost} lost; "
            f"{config}",
            soft_wrap=True,
        )
        if not found.learner:
            console.print(
                "the learner's state is lost: who goes on asks it for all batches again, and tells it what came of them; what "
                "is stored is not trained again",
                soft_wrap=True,
            )
        go_on = f"ma2ml resume {name}" if found.config else f"the `ma2ml search` of before, with --run {name}"
        console.print(f"go on with: {go_on}", soft_wrap=True)
        return 0
