"""One search from the command line: the run is set up or gone on with, said, played, and said again."""

import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import arg

from ma2ml_agents.learner import Learner
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.data import KnownData
from ma2ml_agents.run.signals import Loading, Signals, Stopped
from ma2ml_agents.run.ticker import working
from ma2ml_env.evaluators.base import NoWorker
from ma2ml_env.store.store import TrialStore
from ma2ml_env.training.data.identity import Identity
from ma2ml_env.trial import GameSpec, Outcome


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


def drive(
    folder: Path,
    config: RunConfig,
    identity: Identity | None,
    console: Console,
    limit: Limit = Limit(),
    *,
    accept_changed_data: bool = False,
    again: Callable[[Outcome], bool] | None = None,
) -> int:
    """Search or resume what `config` says in `folder`; a signal stops it cleanly, the limit on time does.

    Args:
        folder: of the run.
        config: what it was told.
        identity: of the data as they are now; None where nothing is trained.
        console: where to.
        limit: on the time of this command.
        accept_changed_data: whether other data than those of before are meant.
        again: which stored outcomes are to be played again first; None are none.
    """
    began = Signals.began or time.monotonic()  # of the command: its data were read since
    with Loading():
        import torch

        from ma2ml_agents.cli.again import play_failures
        from ma2ml_agents.reports.tables import print_summary
        from ma2ml_agents.run.data import same_data
        from ma2ml_agents.run.forecast import spoken
        from ma2ml_agents.run.loop import refuse_earlier_learner, search
        from ma2ml_agents.run.made import note_made
        from ma2ml_agents.run.sources import beginning_of
        from ma2ml_agents.run.standing import Standing, recipe_key
        from ma2ml_agents.run.stop import Interruptible, stoppable
        from ma2ml_agents.run.stored import build, game_trains, known_trials, same_plugins
        from ma2ml_agents.run.tensorboard import TensorBoard
        from ma2ml_agents.run.trackers import parameters, tracked
        from ma2ml_agents.run.tracking import SearchProgress
        from ma2ml_env.evaluators.deadline import Deadline, NoTime

    may_retrain, trackers = _check(config, limit), tracked(folder, config)
    torch.set_num_threads(1)  # networks here are small; threads would only wait for each other
    with stoppable() as stop, TrialStore(folder) as store:
        game = None
        try:
            same_plugins(store)
            data = None if identity is None else same_data(store, identity, accept_changed_data)
            checkpoints = folder / "checkpoints" if data is None else data.checkpoints(folder)
            with working(console, "reading the data"):
                digest = None if identity is None else identity.digest
                game = build(config.beside(folder), checkpoints=checkpoints, digest=digest)
            game.evaluator = Interruptible(game.evaluator, stop)
            refuse_earlier_learner(store)
            learner = _learner(config, game.spec)
            _check_budget(config, store)
            given = beginning_of(config, game, store)
            _set_up(config, data, store, console)
            played = () if again is None else [trial.number for trial in store.trials() if again(trial.outcome)]
            here = config.evaluator == "train" and config.engine != "ray"  # a cluster's machines may have others
            note_made(store, config.device if here else None, played)
            for note in given.notes:
                console.print(note, soft_wrap=True)
            if again is not None:
                play_failures(game, store, again, stop, console, None if limit.hours is None else (limit.hours, began))
            key, top_k = recipe_key(game), game.protocol.top_k
            tensorboard = TensorBoard(folder / "tensorboard", top_k, key, parameters(config))
            try:
                workers, protocol = config.placement().workers, game.protocol if may_retrain else None
                told_again = known_trials(store).open
                about: dict[str, Any] = {"workers": workers, "retraining": protocol, "told_again": told_again}
                with SearchProgress(console, top_k, key, game.reward, **about) as progress:
                    deadline = None
                    if limit.hours is not None:
                        room = progress.room if limit.room_for_retrain else lambda: 0.0
                        deadline = Deadline(3600 * limit.hours, began=began, room=room)
                    options: dict[str, Any] = {**config.of("search"), "start": given.start, "learned": given.learned}
                    hear = (*trackers, progress, tensorboard, stop)
                    with suppress(NoTime):  # then nothing is known yet
                        search(game, learner, **options, store=store, callbacks=hear, seconds=deadline)
            finally:
                tensorboard.close()
                for tracker in trackers:
                    tracker.close()
            found = known_trials(store)
        except Stopped as stopped:
            console.print(
                f"stopped by {stopped.name} at {known_trials(store).count(config.budget)}; every outcome is stored. "
                f"Go on with:\n  ma2ml resume {shlex.quote(str(folder))}",
                soft_wrap=True,
            )
            return stopped.exit_code
        except NoWorker as error:
            raise NoWorker(
                f"{error}. Every outcome is stored; go on with: ma2ml resume {shlex.quote(str(folder))}"
            ) from error
        finally:
            if game is not None:
                game.evaluator.close()
    standing = Standing(top_k, key)
    standing.add(found.trials)
    print_summary(console, standing, game, config.batch, config.metric)
    name = shlex.quote(str(folder))
    if len(found.trials) < config.budget:
        console.print(
            f"the time is up at {found.count(config.budget)}; every outcome is stored. Go on with:\n"
            f"  ma2ml resume {name}",
            soft_wrap=True,
        )
    console.print(f"run: {folder}   curves: tensorboard --logdir {name}", soft_wrap=True)
    if config.evaluator == "train" and standing.counts["ok"]:
        seconds = progress.retraining()
        takes = "" if seconds is None else f" (about {spoken(seconds)})"
        console.print(f"next: ma2ml retrain {name}{takes}", soft_wrap=True)
    elif config.evaluator == "table" and game_trains(config.game):
        console.print(f"next: ma2ml verify {name}", soft_wrap=True)
    return 0


def _check(config: RunConfig, limit: Limit) -> bool:
    """Refuse what makes no search, whoever plays, before anything is stored; whether the time of a retraining is known.

    Raises:
        ValueError: if one is impossible.
    """
    from ma2ml_agents.registry import learner_class, make_config
    from ma2ml_env.evaluators.train import device_named
    from ma2ml_env.games.named import NamedGame
    from ma2ml_env.io.settings import MOST, fits
    from ma2ml_env.plugins import loaded
    from ma2ml_env.registry import resolve
    from ma2ml_env.training.data.source import check_size

    named: NamedGame = resolve("games", config.game)
    for name, value in (("budget", config.budget), ("batch", config.batch)):
        if not 1 <= value <= MOST:
            raise ValueError(f"--{name} is at least 1 and at most {MOST:,}, not {str(value)[:50]}")
    if not fits(config.seed, int):
        raise ValueError(f"--seed is an integer of 64 bits, not {str(config.seed)[:50]}")
    config.placement()
    if config.engine == "ray" and (plugins := loaded()):
        raise ValueError(
            f"--plugin {next(iter(plugins))}: a plugin is a file of this machine; on Ray, install a package with entry points"
        )
    device_named(config.device)
    check_size(config.size)
    make_config(learner_class(config.learner).Config, config.learner_set, config.learner)
    # Another data set takes another time.
    may_retrain = config.evaluator == "train" and not named.final_source
    if limit.room_for_retrain and not may_retrain:
        raise ValueError(
            f"--room-for-retrain: how long retraining takes is not known of {config.game} with the evaluator "
            f"{config.evaluator}: nothing is trained, or on other data than in the search. Take less --hours instead"
        )
    return may_retrain


def _learner(config: RunConfig, spec: GameSpec) -> Learner:
    """As the config says.

    Raises:
        ValueError: if a setting cannot be used.
    """
    from ma2ml_agents.registry import make_learner

    try:
        return make_learner(config.learner, spec, seed=config.seed, **config.learner_set)
    except TypeError as error:  # a text where a number belongs
        if not config.learner_set:
            raise
        values = " ".join(f"{name}={value}" for name, value in config.learner_set.items())
        raise ValueError(f"--learner-set {values} cannot be used: {error}") from None


def _check_budget(config: RunConfig, store: TrialStore) -> None:
    """Before the new budget is stored: a run keeps none that it cannot go on with."""
    done = store.proposed()
    if config.budget < done:
        raise ValueError(
            f"{store.folder} has {done} trials already, those of its open batch included; a budget of {config.budget} is too "
            "small"
        )


def _set_up(config: RunConfig, data: KnownData | None, store: TrialStore, console: Console) -> None:
    """Store what the run is, or make sure that it is still the same; say it, and what its data look like."""
    from ma2ml_agents.registry import learner_title
    from ma2ml_agents.run.data import KEY, known_data, looked_up, write_split
    from ma2ml_agents.run.stored import PLUGINS
    from ma2ml_env.plugins import loaded

    folder, before = store.folder, known_data(store)
    told = config.to_json() | ({} if data is None else {KEY: data.to_json()})
    store.configure(told, safe=[*RunConfig.names(safe=True), KEY], usual=RunConfig.usual())
    if plugins := loaded():
        store.configure(plugins, section=PLUGINS, safe=plugins)
    title = learner_title(config.learner)
    console.print(f"{config.game}, learner {config.learner} ({title}), in {folder}", soft_wrap=True)
    if data is None:
        return
    console.print(f"data: {data.told()}", soft_wrap=True)
    if not looked_up(config) and (data != before or not (folder / "split.csv").exists()):
        for line in write_split(folder, config.beside(folder)):
            console.print(line, soft_wrap=True)
