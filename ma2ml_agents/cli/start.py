"""`ma2ml search` and `ma2ml resume`. Their options are the fields of `RunConfig`."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from ma2ml_agents.cli.command_line import ResumeOptions, SearchOptions
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.options import AcceptChangedData, Run
from ma2ml_env.training.data.identity import Identity


@dataclass(frozen=True)
class Search:
    """Search a game: agents propose pipelines, each is trained, its reward teaches them.

    The same command again goes on where the run stopped, however it stopped.
    """

    told: SearchOptions
    """what is searched, by whom, and where it is trained"""
    run: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: runs/GAME-LEARNER-SEED-DATA)")] = None
    """folder of the run, new or of the same search"""
    accept_changed_data: AcceptChangedData = False

    def execute(self, console: Console) -> int:
        """Search, then print what came of it."""
        from ma2ml_agents.run.data import identify, run_name

        config = RunConfig.told(vars(self.told))
        identity = identify(config)
        folder = self.run or Path("runs") / run_name(config, identity)
        return drive(folder, config, identity, console, accept_changed_data=self.accept_changed_data)


@dataclass(frozen=True)
class Resume:
    """Go on with a run: only trainings without an outcome are done again."""

    run: Run
    """folder of the run"""
    told: ResumeOptions
    """what is another from here on"""
    accept_changed_data: AcceptChangedData = False

    def execute(self, console: Console) -> int:
        """Resume, then print what came of it."""
        from ma2ml_agents.run.data import identify
        from ma2ml_agents.run.stored import stored_config
        from ma2ml_env.store.store import TrialStore

        with TrialStore(self.run, create=False) as store:
            config = stored_config(store).changed(vars(self.told))
        return drive(self.run, config, identify(config), console, accept_changed_data=self.accept_changed_data)


def drive(
    folder: Path, config: RunConfig, identity: Identity | None, console: Console, *, accept_changed_data: bool
) -> int:
    """Search or resume what `config` says in `folder`; a signal stops it cleanly.

    Args:
        folder: of the run.
        config: what it was told.
        identity: of the data as they are now; None where nothing is trained.
        console: where to.
        accept_changed_data: whether other data than those of before are meant.
    """
    import torch

    from ma2ml_agents.registry import learner_title, make_learner
    from ma2ml_agents.reports.tables import print_summary
    from ma2ml_agents.run.data import KEY, known_data, same_data, write_split
    from ma2ml_agents.run.loop import refuse_earlier_learner, search
    from ma2ml_agents.run.sources import known
    from ma2ml_agents.run.standing import recipe_key
    from ma2ml_agents.run.stop import Interruptible, Stopped, stoppable
    from ma2ml_agents.run.stored import build
    from ma2ml_agents.run.tracking import SearchProgress, TensorBoard
    from ma2ml_env.store.store import TrialStore

    for name, value in (("budget", config.budget), ("batch", config.batch)):
        if value < 1:
            raise ValueError(f"--{name} is at least 1, not {value}")
    torch.set_num_threads(1)  # networks here are small; threads would only wait for each other
    with stoppable() as stop, TrialStore(folder) as store:
        game = None
        try:
            data = None if identity is None else same_data(store, identity, accept_changed_data)
            checkpoints = folder / "checkpoints" if data is None else data.checkpoints(folder)
            game = build(config, checkpoints=checkpoints, digest=None if identity is None else identity.digest)
            game.evaluator = Interruptible(game.evaluator, stop)
            refuse_earlier_learner(store)
            try:
                learner = make_learner(config.learner, game.spec, seed=config.seed, **config.learner_set)
            except TypeError as error:  # a text where a number belongs
                if not config.learner_set:
                    raise
                values = " ".join(f"{name}={value}" for name, value in config.learner_set.items())
                raise ValueError(f"--learner-set {values} cannot be used: {error}") from None
            done = sum(1 for _ in store.trials())
            if config.budget < done:
                raise ValueError(f"{folder} has {done} trials already; a budget of {config.budget} is too small")
            found, before = known(config, game, store), known_data(store)
            told = config.to_json() | ({} if data is None else {KEY: data.to_json()})
            store.configure(told, safe=[*RunConfig.names(safe=True), KEY], usual=RunConfig.usual())
            key, top_k = recipe_key(game), game.protocol.top_k
            title = learner_title(config.learner)
            console.print(f"{config.game}, learner {config.learner} ({title}), in {folder}", soft_wrap=True)
            if data is not None:
                console.print(f"data: {data.told()}", soft_wrap=True)
                if data != before or not (folder / "split.csv").exists():
                    write_split(folder, config)
            for note in found.notes:
                console.print(note, soft_wrap=True)
            tensorboard = TensorBoard(folder / "tensorboard", top_k, key)
            try:
                with SearchProgress(console, top_k, key, game.reward) as progress:
                    search(
                        game,
                        learner,
                        **config.of("search"),
                        start=found.start,
                        learned=found.learned,
                        store=store,
                        callbacks=(progress, tensorboard, stop),
                    )
            finally:
                tensorboard.close()
        except Stopped as stopped:
            done = sum(1 for _ in store.trials())
            console.print(
                f"stopped by {stopped.name}; {done} trials are closed and every outcome is stored. Go on with:\n"
                f"  ma2ml resume {shlex.quote(str(folder))}",
                soft_wrap=True,
            )
            return stopped.exit_code
        finally:
            if game is not None:
                game.evaluator.close()
    print_summary(console, progress.standing, game, config.batch)
    name = shlex.quote(str(folder))
    console.print(f"run: {folder}   curves: tensorboard --logdir {name}", soft_wrap=True)
    if config.evaluator == "train":
        console.print(f"next: ma2ml retrain {name}", soft_wrap=True)
    return 0
