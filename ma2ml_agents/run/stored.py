"""From a run's stored config to its game, with its evaluator or without, and to its trainer."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ma2ml_agents.run.config import RunConfig
from ma2ml_env.game import Game, Protocol
from ma2ml_env.games.make import NamedGame, Told, make_game, sort_options
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import resolve
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Trial


def stored_config(store: TrialStore) -> RunConfig:
    """What `ma2ml search` was told.

    Raises:
        ValueError: if the run was not made by `ma2ml search`; what is missing or of another kind is named.
    """
    return RunConfig.read(store.config, store.folder)


def trained_run(run: Path, where: Mapping[str, Any]) -> tuple[RunConfig, list[Trial]]:
    """(config, trials) of a run whose pipelines are to be trained again, each to its end.

    Args:
        run: its folder.
        where: options of `RunConfig` that say where trainings run, by name; None is as the run has it.

    Raises:
        ValueError: there is no such run, or it was not trained for real.
        TypeError: there is no such option.
    """
    with TrialStore(run, create=False) as store:
        config, trials = stored_config(store), list(store.trials())
    if config.evaluator != "train":
        raise ValueError(f"{run} was searched with the evaluator {config.evaluator!r}: there is nothing to train")
    return config.whole().changed(where), trials


def build(config: RunConfig, checkpoints: Path | None = None, digest: str | None = None) -> Game:
    """The game of a config, ready to play. One pipeline is built, so that nonsense shows before a search and not in each trial.

    Args:
        config: of the run.
        checkpoints: folder in which trainings leave what they need to go on, so that whoever resumes finds it; None as of
            `make_game`.
        digest: of the data, which whoever reads them has to find; None takes them as they are.

    Raises:
        ValueError: unknown name or option, impossible value, device that is not there, other data.
        FileNotFoundError: the data are not there.
    """
    overrides = config.overrides()
    if config.evaluator in ("pool", "ray_pool"):
        raise ValueError("a pool is chosen by --workers and --engine: --evaluator train --workers 2 --engine ray")
    if config.evaluator != "train" and config.engine == "ray":
        raise ValueError("--engine ray is for what is trained; leave --evaluator out or say train")
    options = {**config.of("game", "source"), "checkpoints": checkpoints}
    if config.evaluator == "train":
        options |= {**config.of("trainer"), "placement": config.placement(), "digest": digest}
    try:
        game = make_game(config.game, config.evaluator, **options, **overrides)
        if config.evaluator == "train":
            _try_one(game)
    except (TypeError, AttributeError) as error:  # a text where a number belongs
        if not overrides:
            raise
        told = " ".join(f"{name}={json.dumps(value)}" for name, value in overrides.items())
        raise ValueError(f"--set {told} cannot be used: {error}") from None
    return game


def build_without_evaluator(config: RunConfig) -> Game:
    """The game for who asks for recipes and values alone: needs no data, no device and no torch."""
    named: NamedGame = resolve("games", config.game)
    known = {each.name for each in (*fields(Protocol), *fields(Recipe))} | set(named.base.network.args)
    overrides = {name: value for name, value in config.overrides().items() if name in known}
    try:
        return make_game(config.game, "surrogate", size=config.size, **config.whole().of("game"), **overrides)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"the run's config cannot be used: {error}") from error


def training_options(config: RunConfig) -> tuple[Any, dict[str, Any]]:
    """(`DataSource`, further arguments of `Train`) of a run that was trained.

    Raises:
        ValueError: an option that cannot be used.
    """
    overrides = config.overrides()
    seed = overrides.pop("seed", 0)  # of the split
    told: Told = sort_options(resolve("games", config.game), "train", {**config.of("source"), **overrides}, seed=seed)
    return told.source, {**config.of("trainer"), **told.trainer}


def _try_one(game: Game) -> None:
    from ma2ml_env.training import parts
    from ma2ml_env.training.networks.base import Image

    recipe = game.recipe(
        {agent: (0,) * (len(sizes) + game.spec.intervals.get(agent, 0)) for agent, sizes in game.spec.nvec.items()}
    )
    parts.check(recipe)
    parts.loss(recipe.loss)
    network = parts.network(recipe.network, Image(10))
    parts.optimizer(recipe, network.parameters())
