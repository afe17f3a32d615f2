"""`ma2ml search` and `ma2ml resume`."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Console
from tyro.conf import Positional, arg

from ma2ml_agents.run.options import (
    GAMES_OWN,
    OptionalAmount,
    OptionalFile,
    OptionalFolder,
    OptionalNumber,
    OptionalText,
    OwnAmount,
    OwnNumber,
    Run,
    Settings,
    StoredAmount,
    StoredEngine,
    StoredFolder,
    StoredNumber,
    StoredText,
    Workers,
    settings,
)
from ma2ml_env.game import Game
from ma2ml_env.games import NamedGame
from ma2ml_env.registry import resolve


@dataclass(frozen=True)
class Search:
    """Search a game: agents propose pipelines, each is trained, its reward teaches them.

    The same command again goes on where the run stopped, however it stopped.
    """

    game: Positional[Annotated[str, arg(metavar="GAME")]]
    """id of the game; `ma2ml list` shows them"""
    run: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: runs/GAME-LEARNER-SEED)")] = None
    """folder of the run, new or of the same search"""
    learner: Annotated[str, arg(metavar="NAME")] = "hybrid"
    """who proposes; `ma2ml list` shows them"""
    budget: OwnNumber = None
    """pipelines in all"""
    batch: OwnNumber = None
    """pipelines proposed at a time"""
    seed: Annotated[int, arg(metavar="N")] = 0
    """of the learner and of every training; the split of the data has its own: --set seed=N"""
    evaluator: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=GAMES_OWN)] = None
    """`train` trains for real, `surrogate` is a synthetic landscape over the same spaces, `table` looks results up"""
    workers: Workers = None
    """processes that train; results do not depend on it"""
    device: Annotated[str, arg(metavar="NAME")] = "auto"
    """auto, cpu, cuda or cuda:N, of the trainings"""
    data: OptionalFolder = None
    """folder of the data set or table; digits need none"""
    download: bool = False
    """fetch the data set into --data if it is not there"""
    images: OptionalFolder = None
    """of own-v0 and own-small-v0: a folder with train/val/test folders of class folders, or the class folders themselves"""
    npz: OptionalFile = None
    """of own-v0 and own-small-v0: a file with x_train (uint8 N x H x W [x C]), y_train, optionally x_test, y_test"""
    size: OptionalNumber = None
    """side in pixels that images are brought to (unless told: 32 of own images, 272 of ImageNet, else none)"""
    flops_limit: OwnAmount = None
    """MACs of one image that the reward holds a pipeline to, as in 600e6"""
    reward: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=GAMES_OWN)] = None
    """accuracy, flops (accuracy x (MACs / limit)^-0.07) or hard (nothing above the limit)"""
    time_limit: OptionalAmount = None
    """seconds after which a training is ended and counts as failed; with --halving, each stretch of one"""
    halving: Annotated[tuple[float, ...], arg(metavar="X ...", help_behavior_hint="(default: none)")] = ()
    """shares of a training at which the worse half of a batch is dropped, as in 0.25 0.5; the rest goes on. The reward of what
    is dropped is that of its shorter training"""
    modules: Annotated[tuple[str, ...] | None, arg(metavar="NAME ...", help_behavior_hint=GAMES_OWN)] = None
    """the agents"""
    set: Settings = ()
    """another value of the game's protocol, recipe, network, data, surrogate or table, as in cells=5 or proxy_epochs=3"""
    learner_set: Settings = ()
    """another value of the learner's settings, as in lambda_=1.0"""
    engine: Literal["local", "ray"] = "local"
    """where trainings run: processes of this machine, or a Ray cluster"""
    address: OptionalText = None
    """of the Ray cluster, as auto or 10.0.0.1:6379; without it Ray is started on this machine"""
    gpus: OptionalAmount = None
    """GPUs of each training on Ray; 0.25 lets four share one. Unless told 1, or 0 where the cluster has none"""

    def execute(self, console: Console) -> int:
        """Search, then print what came of it."""
        config = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "run"}
        named: NamedGame = resolve("games", self.game)
        config["evaluator"] = self.evaluator or named.evaluator
        for name in ("data", "images", "npz"):  # so that the run goes on from another folder
            config[name] = None if config[name] is None else str(config[name].expanduser().absolute())
        config["modules"] = None if self.modules is None else list(self.modules)
        config["halving"] = list(self.halving) or None
        config["set"] = settings(self.set, "--set")
        config["learner_set"] = settings(self.learner_set, "--learner-set")
        folder = self.run or Path("runs") / f"{self.game}-{self.learner}-{self.seed}"
        return drive(folder, config, console)


@dataclass(frozen=True)
class Resume:
    """Go on with a run: only trainings without an outcome are done again."""

    run: Run
    """folder of the run"""
    budget: StoredNumber = None
    """pipelines in all, those that are done included"""
    workers: StoredNumber = None
    """processes that train; results do not depend on it"""
    device: StoredText = None
    """auto, cpu, cuda or cuda:N"""
    data: StoredFolder = None
    """where the data lie, if they have moved: the folder, or the file of --npz"""
    download: bool = False
    """fetch the data set into --data if it is not there"""
    engine: StoredEngine = None
    """where trainings run: processes of this machine, or a Ray cluster"""
    address: StoredText = None
    """of the Ray cluster"""
    gpus: StoredAmount = None
    """of each training on Ray"""
    time_limit: StoredAmount = None
    """seconds after which a training is ended and counts as failed, from here on"""

    def execute(self, console: Console) -> int:
        """Resume, then print what came of it."""
        from ma2ml_agents.run.stored import at, on_engine, stored_config
        from ma2ml_env.store import TrialStore

        with TrialStore(self.run, create=False) as store:
            config = on_engine(stored_config(store), self.engine)
        for name in ("budget", "workers", "device", "download", "address", "gpus", "time_limit"):
            value = getattr(self, name)
            if value is not None and value is not False:
                config[name] = value
        if self.data is not None:
            config |= at(config, self.data)
        return drive(self.run, config, console)


def drive(folder: Path, config: Mapping[str, Any], console: Console) -> int:
    """Search or resume what `config` says in `folder`; a signal stops it cleanly."""
    import torch

    from ma2ml_agents.registry import learner_title, make_learner
    from ma2ml_agents.run.search import refuse_earlier_learner, search
    from ma2ml_agents.run.standing import recipe_key
    from ma2ml_agents.run.stop import Interruptible, Stopped, stoppable
    from ma2ml_agents.run.stored import build
    from ma2ml_agents.run.tables import print_summary
    from ma2ml_agents.run.tracking import SearchProgress, TensorBoard
    from ma2ml_env.store import TrialStore

    torch.set_num_threads(1)  # networks here are small; threads would only wait for each other
    with stoppable() as stop, TrialStore(folder) as store:
        game = None
        try:
            game = build(config, checkpoints=folder / "checkpoints")
            game.evaluator = Interruptible(game.evaluator, stop)
            refuse_earlier_learner(store)
            try:
                learner = make_learner(config["learner"], game.spec, seed=config["seed"], **config["learner_set"])
            except TypeError as error:  # a text where a number belongs
                if not config["learner_set"]:
                    raise
                told = " ".join(f"{name}={value}" for name, value in config["learner_set"].items())
                raise ValueError(f"--learner-set {told} cannot be used: {error}") from None
            config = with_protocol(config, game)
            done = sum(1 for _ in store.trials())
            if config["budget"] < done:
                raise ValueError(f"{folder} has {done} trials already; a budget of {config['budget']} is too small")
            store.configure(config)
            key, top_k = recipe_key(game), game.protocol.top_k
            title = learner_title(config["learner"])
            console.print(f"{config['game']}, learner {config['learner']} ({title}), in {folder}", soft_wrap=True)
            tensorboard = TensorBoard(folder / "tensorboard", top_k, key)
            try:
                with SearchProgress(console, top_k, key, game.reward) as progress:
                    search(
                        game,
                        learner,
                        budget=config["budget"],
                        batch=config["batch"],
                        seed=config["seed"],
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
    print_summary(console, progress.standing, game, config["batch"])
    name = shlex.quote(str(folder))
    console.print(f"run: {folder}   curves: tensorboard --logdir {name}", soft_wrap=True)
    if config["evaluator"] == "train":
        console.print(f"next: ma2ml retrain {name}", soft_wrap=True)
    return 0


def with_protocol(config: Mapping[str, Any], game: Game) -> dict[str, Any]:
    """The config with the game's own budget and batch where it names none."""
    full = dict(config)
    for name in ("budget", "batch"):
        full[name] = getattr(game.protocol, name) if full[name] is None else full[name]
        if full[name] < 1:
            raise ValueError(f"--{name} is at least 1, not {full[name]}")
    return full
