"""`ma2ml collect` and `ma2ml table`: many trainings for a table, and any stored runs as one."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from ma2ml_agents.cli.drive import Limit, drive
from ma2ml_agents.run.collection import Suite
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.options import OptionalFolder


@dataclass(frozen=True)
class Collect:
    """Train the pipelines of a suite, so many times each; the part's trainings become a table.

    Each part is some ordinary runs: the same command again goes on where it stopped, and `ma2ml trials` lists them.
    """

    suite: Positional[Annotated[Path, arg(metavar="SUITE.toml")]]
    """what to train: a game, its pipelines, how often"""
    part: Annotated[str, arg(metavar="K/N")] = "1/1"
    """the K-th of N parts of the pipelines"""
    out: Annotated[Path, arg(metavar="DIR")] = Path("runs") / "collect"
    """folder of the runs and tables"""
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the cores that may be used)")] = None
    """processes that train"""
    device: Annotated[str, arg(metavar="NAME")] = "auto"
    """auto, cpu, cuda or cuda:N"""
    data: OptionalFolder = None
    """folder of the game's data set; digits need none"""
    limit: Limit = field(default_factory=Limit)
    """of this command"""

    def execute(self, console: Console) -> int:
        """Train what is left of the part, then write its table."""
        from ma2ml_agents.reports.trainings import table_of
        from ma2ml_agents.run.collection import listed, parts, write_list
        from ma2ml_agents.run.data import identify
        from ma2ml_agents.run.stored import build_without_evaluator

        began = time.monotonic()
        part, of = _part(self.part)
        suite = Suite.read(self.suite)
        game = build_without_evaluator(self._config(suite, 1, 0, Path("none")))
        pipelines = listed(suite, game, self.suite.parent)
        runs = parts(suite, pipelines, part, of)
        self.out.mkdir(parents=True, exist_ok=True)
        console.print(
            f"{suite.name}: {len(pipelines):,} pipelines, {suite.repeats} times each; part {part} of {of} has "
            f"{len(runs) * len(runs[0].pipelines):,} trainings in {len(runs)} runs"
        )
        for run in runs:
            limit = self._left(began)
            if limit is None:
                break
            budget, begins = len(run.pipelines), write_list(self.out, run, game)
            told = self._config(suite, budget, run.seed, begins)
            if code := drive(self.out / run.name, told, identify(told), console, limit):
                return code
            if not _whole(self.out / run.name):
                break
        folders = [self.out / run.name for run in runs]
        if not all(_whole(folder) for folder in folders):
            console.print("the time is up: the same command goes on, and writes the table when the part is whole")
            return 0
        table, found = self.out / f"{suite.name}-{part}-of-{of}.npz", table_of(folders)
        found.save(table)
        console.print(f"table: {table}, {len(found):,} trainings", soft_wrap=True)
        return 0

    def _config(self, suite: Suite, budget: int, seed: int, start: Path) -> RunConfig:
        """Of a run that trains a list and nothing else: its budget is the list, so the learner proposes nothing."""
        return RunConfig.told(RunConfig.unsaid() | {
            "game": suite.game, "learner": "random", "evaluator": "train", "budget": budget, "seed": seed,
            "start": (str(start),), "set": suite.texts, "workers": self.workers, "device": self.device, "data": self.data,
        })  # fmt: skip

    def _left(self, began: float) -> Limit | None:
        """What is left of the limit on time; None if nothing is."""
        if self.limit.hours is None:
            return self.limit
        hours = self.limit.hours - (time.monotonic() - began) / 3600
        return replace(self.limit, hours=hours) if hours > 0.0 else None


def _whole(folder: Path) -> bool:
    """Whether all trials of a run are there."""
    from ma2ml_agents.run.stored import known_trials, stored_config
    from ma2ml_env.store.store import TrialStore

    if not folder.exists():
        return False
    with TrialStore(folder, create=False) as store:
        return len(known_trials(store).trials) >= stored_config(store).budget


def _part(text: str) -> tuple[int, int]:
    """K and N of `K/N`.

    Raises:
        ValueError: if it is something else.
    """
    k, slash, n = text.partition("/")
    if not slash or not (k.isdecimal() and n.isdecimal()) or len(text) > 20:
        raise ValueError(f"--part is K/N, as in 1/4, not {text!r}")
    return int(k), int(n)


@dataclass(frozen=True)
class Table:
    """Write all that stored runs trained as one table: codes, seeds, curves, accuracies, MACs, seconds, versions."""

    runs: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN|TABLE ...")]]
    """folders of runs of one space, and tables of such"""
    out: Annotated[Path, arg(metavar="FILE.npz")] = Path("table.npz")
    """file to write"""
    mixed: bool = False
    """join trainings by several versions of torch or of ma2ml, which may differ in their bits"""

    def execute(self, console: Console) -> int:
        """Write it."""
        from ma2ml_agents.reports.trainings import table_of

        if not self.runs:
            raise ValueError("name at least one run")
        found = table_of(self.runs, mixed=self.mixed)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        found.save(self.out)
        failed = int((found.status != 0).sum())
        console.print(f"{self.out}: {len(found):,} trainings, {failed:,} of them failed", soft_wrap=True)
        return 0
