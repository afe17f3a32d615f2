"""`ma2ml search` and `ma2ml resume`. Their options are the fields of `RunConfig`."""

import shlex
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import arg

from ma2ml_agents.cli.command_line import ResumeOptions, SearchOptions
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.options import OptionalNumber, Run


@dataclass(frozen=True)
class Limit:
    """How long this command may take. It is no property of the run: the next command has its own, or none."""

    hours: Annotated[float | None, arg(metavar="H", help_behavior_hint="(default: none)")] = None
    """hours of this command: no pipeline starts that is predicted to end later; the run can go on after it"""
    room_for_retrain: bool = False
    """end the search so early that `ma2ml retrain` should be done within --hours as well"""

    def __post_init__(self) -> None:
        if self.hours is not None and not 0.0 < self.hours < float("inf"):
            raise ValueError(f"--hours is a positive number, not {self.hours:g}")
        if self.room_for_retrain and self.hours is None:
            raise ValueError("--room-for-retrain is for a search with a limit on time: say --hours")


@dataclass(frozen=True)
class Search:
    """Search a game: agents propose pipelines, each is trained, its reward teaches them.

    The same command again goes on where the run stopped, however it stopped.
    """

    told: SearchOptions
    """what is searched, by whom, and where it is trained"""
    run: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: runs/GAME-LEARNER-SEED)")] = None
    """folder of the run, new or of the same search"""
    limit: Limit = Limit()
    """of this command"""

    def execute(self, console: Console) -> int:
        """Search, then print what came of it."""
        config = RunConfig.told(vars(self.told))
        folder = self.run or Path("runs") / f"{config.game}-{config.learner}-{config.seed}"
        return drive(folder, config, console, self.limit)


@dataclass(frozen=True)
class Resume:
    """Go on with a run: only trainings without an outcome are done again."""

    run: Run
    """folder of the run"""
    told: ResumeOptions
    """what is another from here on"""
    extend: OptionalNumber = None
    """pipelines more than the run's budget"""
    limit: Limit = Limit()
    """of this command"""

    def execute(self, console: Console) -> int:
        """Resume, then print what came of it."""
        from ma2ml_agents.run.stored import stored_config
        from ma2ml_env.store.store import TrialStore

        with TrialStore(self.run, create=False) as store:
            before = stored_config(store)
        config = before.changed(vars(self.told))
        if self.extend is not None:
            if self.told.budget is not None:
                raise ValueError("--extend N is --budget with N more than the run has: give one of them")
            if self.extend < 1:
                raise ValueError(f"--extend is at least 1, not {self.extend}")
            config = replace(config, budget=before.budget + self.extend)
        return drive(self.run, config, console, self.limit)


def drive(folder: Path, config: RunConfig, console: Console, limit: Limit = Limit()) -> int:
    """Search or resume what `config` says in `folder`; a signal stops it cleanly, the limit on time does."""
    began = time.monotonic()
    import torch

    from ma2ml_agents.registry import learner_title, make_learner
    from ma2ml_agents.reports.tables import print_summary
    from ma2ml_agents.run.forecast import spoken
    from ma2ml_agents.run.loop import refuse_earlier_learner, search
    from ma2ml_agents.run.standing import Standing, recipe_key
    from ma2ml_agents.run.stop import Interruptible, Stopped, stoppable
    from ma2ml_agents.run.stored import build, known_trials
    from ma2ml_agents.run.ticker import working
    from ma2ml_agents.run.tracking import SearchProgress, TensorBoard
    from ma2ml_env.evaluators.deadline import Deadline, NoTime
    from ma2ml_env.registry import resolve
    from ma2ml_env.store.store import TrialStore

    for name, value in (("budget", config.budget), ("batch", config.batch)):
        if value < 1:
            raise ValueError(f"--{name} is at least 1, not {value}")
    # Another data set takes another time.
    retrained = config.evaluator == "train" and not resolve("games", config.game).final_source
    if limit.room_for_retrain and not retrained:
        raise ValueError(
            f"--room-for-retrain: how long retraining takes is not known of {config.game} with the evaluator "
            f"{config.evaluator}: nothing is trained, or on other data than in the search. Take less --hours instead"
        )
    torch.set_num_threads(1)  # networks here are small; threads would only wait for each other
    with stoppable() as stop, TrialStore(folder) as store:
        game = None
        try:
            with working(console, "reading the data"):
                game = build(config, checkpoints=folder / "checkpoints")
            game.evaluator = Interruptible(game.evaluator, stop)
            refuse_earlier_learner(store)
            try:
                learner = make_learner(config.learner, game.spec, seed=config.seed, **config.learner_set)
            except TypeError as error:  # a text where a number belongs
                if not config.learner_set:
                    raise
                told = " ".join(f"{name}={value}" for name, value in config.learner_set.items())
                raise ValueError(f"--learner-set {told} cannot be used: {error}") from None
            done = sum(1 for _ in store.trials())
            if config.budget < done:
                raise ValueError(f"{folder} has {done} trials already; a budget of {config.budget} is too small")
            store.configure(config.to_json(), safe=RunConfig.names(safe=True), usual=RunConfig.usual())
            key, top_k = recipe_key(game), game.protocol.top_k
            title = learner_title(config.learner)
            console.print(f"{config.game}, learner {config.learner} ({title}), in {folder}", soft_wrap=True)
            tensorboard = TensorBoard(folder / "tensorboard", top_k, key)
            try:
                protocol = game.protocol if retrained else None
                workers = config.placement().workers
                about: dict[str, Any] = {
                    "workers": workers,
                    "retraining": protocol,
                    "told_again": known_trials(store).open,
                }
                with SearchProgress(console, top_k, key, game.reward, **about) as progress:
                    deadline = None
                    if limit.hours is not None:
                        room = progress.room if limit.room_for_retrain else lambda: 0.0
                        deadline = Deadline(3600 * limit.hours, began=began, room=room)
                    options: dict[str, Any] = {**config.of("search"), "store": store, "seconds": deadline}
                    with suppress(NoTime):  # then nothing is known yet
                        search(game, learner, **options, callbacks=(progress, tensorboard, stop))
            finally:
                tensorboard.close()
            found = known_trials(store)
        except Stopped as stopped:
            reached = known_trials(store).count(config.budget)
            console.print(
                f"stopped by {stopped.name} at {reached}; every outcome is stored. Go on with:\n"
                f"  ma2ml resume {shlex.quote(str(folder))}",
                soft_wrap=True,
            )
            return stopped.exit_code
        finally:
            if game is not None:
                game.evaluator.close()
    standing = Standing(top_k, key)
    standing.add(found.trials)
    print_summary(console, standing, game, config.batch)
    name = shlex.quote(str(folder))
    if len(found.trials) < config.budget:
        console.print(
            f"the time is up at {found.count(config.budget)}; every outcome is stored. Go on with:\n"
            f"  ma2ml resume {name}",
            soft_wrap=True,
        )
    console.print(f"run: {folder}   curves: tensorboard --logdir {name}", soft_wrap=True)
    if config.evaluator == "train":
        seconds = progress.retraining()
        takes = "" if seconds is None else f" (about {spoken(seconds)})"
        console.print(f"next: ma2ml retrain {name}{takes}", soft_wrap=True)
    return 0
