"""From a run's stored config to its game, with its evaluator or without."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ma2ml_agents.run.options import default_workers
from ma2ml_env.game import Game, Protocol
from ma2ml_env.games import NamedGame, make_game
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import resolve
from ma2ml_env.store import TrialStore
from ma2ml_env.trial import Trial

GAME_OPTIONS = (
    "data", "download", "images", "npz", "size", "device", "workers", "modules", "reward", "flops_limit", "time_limit",
    "address", "gpus",
)  # fmt: skip
"""of `make_game`, under the same names in a run's config"""


_KINDS: dict[str, Any] = {
    **dict.fromkeys(("game", "learner", "evaluator"), str),
    **dict.fromkeys(("seed", "batch", "budget"), int),
    "set": dict,
}
_MAY_LACK: dict[str, Any] = {
    **dict.fromkeys(("data", "images", "npz", "device", "reward", "engine", "address"), str),
    **dict.fromkeys(("size", "workers"), int),
    **dict.fromkeys(("flops_limit", "time_limit", "gpus"), int | float),
    "download": bool,
    "learner_set": dict,
}
_LISTS: dict[str, Any] = {"modules": str, "halving": int | float}
"""of a run's config: what stands under a name, if anything, and in a list if any"""

HERE = {"engine": "local", "address": None, "gpus": None, "halving": None, "time_limit": None}
"""what makes a run's config one whose trainings run on this machine, each to its end"""


def stored_config(store: TrialStore) -> dict[str, Any]:
    """What `ma2ml search` was told.

    Raises:
        ValueError: if the run was not made by `ma2ml search`; what is missing or of another kind is named.
    """
    config = store.config
    missing = [name for name in _KINDS if name not in config]
    if missing:
        raise ValueError(f"{store.folder} was not made by `ma2ml search`: its config has no {', '.join(missing)}")
    for name, value in config.items():
        if not _fits(name, value):
            raise ValueError(
                f"{store.folder} was not made by `ma2ml search`: the {name} of its config is {json.dumps(value)}"
            )
    return {**config, "learner_set": config.get("learner_set") or {}}


def _fits(name: str, value: Any) -> bool:
    if name in _LISTS:
        return value is None or (isinstance(value, list) and all(isinstance(item, _LISTS[name]) for item in value))
    return isinstance(value, _KINDS.get(name, _MAY_LACK.get(name, object) | None))


def trained_run(
    run: Path, *, workers: int | None, device: str | None, data: str | Path | None
) -> tuple[dict[str, Any], list[Trial]]:
    """(config, trials) of a run whose pipelines are to be trained again.

    Args:
        run: its folder.
        workers: processes; None as the run has it, or what suits the device where it has none.
        device: None as the run has it.
        data: where the data lie, the folder or file, if they have moved.

    Raises:
        ValueError: there is no such run, it was not trained for real, or a number is impossible.
    """
    with TrialStore(run, create=False) as store:
        config, trials = stored_config(store), list(store.trials())
    if config["evaluator"] != "train":
        raise ValueError(f"{run} was searched with the evaluator {config['evaluator']!r}: there is nothing to train")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is at least 1, not {workers}")
    told = {"workers": workers, "device": device}
    config |= {name: value for name, value in told.items() if value is not None}
    if data is not None:
        config |= at(config, data)
    config["workers"] = config["workers"] or default_workers(config["device"])
    return config, trials


def at(config: Mapping[str, Any], place: str | Path) -> dict[str, str]:
    """The option of a run under which its data lie, which have moved to another place."""
    name = next((name for name in ("images", "npz") if config.get(name)), "data")
    return {name: str(Path(place).expanduser().absolute())}


def on_engine(config: Mapping[str, Any], engine: str | None) -> dict[str, Any]:
    """A stored config on another engine, None: on its own. What belongs to a cluster stays behind on this machine."""
    if engine is None:
        return dict(config)
    left = {"address": None, "gpus": None} if engine == "local" else {}
    return {**config, **left, "engine": engine}


def build(config: Mapping[str, Any], checkpoints: Path | None = None) -> Game:
    """The game of a config, ready to play. One pipeline is built, so that nonsense shows before a search and not in each trial.

    Args:
        config: as stored.
        checkpoints: folder in which trainings leave what they need to go on, so that whoever resumes finds it; None as of
            `make_game`.

    Raises:
        ValueError: unknown name or option, impossible value, device that is not there.
        FileNotFoundError: the data are not there.
    """
    options: dict[str, Any] = {name: config.get(name) for name in GAME_OPTIONS}
    options["download"] = bool(options["download"])
    options["device"] = options["device"] or "auto"
    options |= {"halving": config.get("halving") or (), "checkpoints": checkpoints}
    overrides = {name: _tuples(value) for name, value in config["set"].items()}
    taken = sorted(overrides.keys() & options.keys())
    if taken:
        own = f"it has an option of its own, --{taken[0].replace('_', '-')}"
        raise ValueError(f"--set {taken[0]}: {'a run keeps them in its folder' if taken[0] == 'checkpoints' else own}")
    if config["evaluator"] in ("pool", "ray_pool"):
        raise ValueError("a pool is chosen by --workers and --engine: --evaluator train --workers 2 --engine ray")
    evaluator = "ray_pool" if config.get("engine") == "ray" else config["evaluator"]
    if config["evaluator"] != "train" and evaluator == "ray_pool":
        raise ValueError("--engine ray is for what is trained; leave --evaluator out or say train")
    if config["evaluator"] != "train":
        options["workers"] = 1
    elif options["workers"] is None:
        options["workers"] = default_workers(options["device"])
    try:
        game = make_game(config["game"], evaluator, **options, **overrides)
        if config["evaluator"] == "train":
            _try_one(game)
    except (TypeError, AttributeError) as error:  # a text where a number belongs
        if not overrides:
            raise
        told = " ".join(f"{name}={json.dumps(value)}" for name, value in overrides.items())
        raise ValueError(f"--set {told} cannot be used: {error}") from None
    return game


def build_without_evaluator(config: Mapping[str, Any]) -> Game:
    """The game for who asks for recipes and values alone: needs no data, no device and no torch."""
    named: NamedGame = resolve("games", config["game"])
    known = {f.name for f in (*fields(Protocol), *fields(Recipe))} | set(named.base.network.args)
    overrides = {name: _tuples(value) for name, value in config["set"].items() if name in known}
    options: dict[str, Any] = {name: config.get(name) for name in ("size", "modules", "reward", "flops_limit")}
    try:
        return make_game(config["game"], "surrogate", **options, **overrides)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"the run's config cannot be used: {error}") from error


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


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
