"""From a run's stored config to its game, with its evaluator or without, and to its trainer."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ma2ml_agents.run.config import RunConfig
from ma2ml_env.game import Game, Protocol
from ma2ml_env.games.make import make_game
from ma2ml_env.games.named import NamedGame
from ma2ml_env.games.options import Told, evaluator_of, sort_options
from ma2ml_env.plugins import loaded
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import resolve
from ma2ml_env.reward import Accuracy, FlopsReward
from ma2ml_env.store.earlier import Earlier
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome, Trial

_log = logging.getLogger(__name__)
PLUGINS = "plugins"
"""section of a run: name -> digest of each plugin with which it was made"""


def stored_config(store: TrialStore) -> RunConfig:
    """What `ma2ml search` was told.

    Raises:
        ValueError: if the run was not made by `ma2ml search`, or its database has lost that; what is missing or of another kind
            is named. If it was made with a plugin that is not loaded, or has changed.
    """
    if not store.config:
        store.examine().refuse(store.folder)
    same_plugins(store)
    return RunConfig.read(store.config, store.folder)


def same_plugins(store: TrialStore) -> None:
    """Make sure that the plugins with which a run was made are loaded.

    Raises:
        ValueError: if one is not, or has changed; it is named.
    """
    here = loaded()
    for name, digest in store.section(PLUGINS).items():
        if name not in here:
            raise ValueError(f"{store.folder} was made with the plugin {name}: say --plugin and where it is")
        if here[name] != digest:
            raise ValueError(
                f"the plugin {name} is not as it was when {store.folder} was made (digest {digest}, now {here[name]}): give "
                "the file of then, or begin another run"
            )


def run_metric(store: TrialStore) -> str:
    """The metric that a run goes by; accuracy where `ma2ml search` did not make it.

    Raises:
        ValueError: as `stored_config`.
    """
    return stored_config(store).metric if store.config else "accuracy"


@dataclass(frozen=True)
class KnownTrials:
    """All trials of a run that have an outcome.

    The learner hears of a batch when it closes. Whoever looks at a run, or trains on from it, need not wait for that: an
    outcome is stored when it is final, also where halving dropped the pipeline (`Outcome.fidelity` tells how far it came).
    """

    trials: list[Trial]
    """of closed batches and of the open one, in order"""
    open: frozenset[int]
    """numbers of those of the open batch"""
    earlier: Mapping[int, Sequence[Earlier]] = field(default_factory=dict)
    """number -> what had come of a trial before it was played again, oldest first"""

    def to_json(self, trial: Trial) -> dict[str, Any]:
        """A JSON object of one of the trials."""
        return trial.to_json() | self.said(trial)

    def said(self, trial: Trial) -> dict[str, Any]:
        """What JSON says of a trial of the open batch, and of one that was played again; nothing of others."""
        earlier = [each.to_json() for each in self.earlier.get(trial.number, ())]
        return ({"open": True} if trial.number in self.open else {}) | ({"earlier": earlier} if earlier else {})

    def played_again(self, number: int) -> list[str]:
        """A line for people on each earlier outcome of a trial."""
        return [
            f"trial {number} was played again; before it was {each.outcome.status} {each.outcome.error}".rstrip()
            + (
                ", in an open batch"
                if each.reward is None
                else f", and the learner was told a reward of {each.reward:.4f}"
            )
            + (f": {each.outcome.note}" if each.outcome.note else "")
            for each in self.earlier.get(number, ())
        ]

    def count(self, budget: int) -> str:
        """How many there are, for people."""
        of_them = f", {len(self.open)} of them in the open batch" if self.open else ""
        return f"{len(self.trials)} of {budget} trials{of_them}"


def known_trials(store: TrialStore) -> KnownTrials:
    """What is known of a run now; works while a search is going on.

    A run that was not made by `ma2ml search` does not tell the reward of an outcome: of such a one, closed batches are known.

    Raises:
        ValueError: if the run is damaged.
    """
    if not store.config:
        return KnownTrials(list(store.trials()), frozenset(), store.earlier())
    game: list[Game] = []  # is built where a batch is open

    def reward(outcome: Outcome) -> float:
        if not game:
            game.append(build_without_evaluator(stored_config(store)))
        return game[0].reward(outcome)

    closed, unclosed = store.known_trials(reward)
    return KnownTrials(closed + unclosed, frozenset(trial.number for trial in unclosed), store.earlier())


def trained_run(run: Path, where: Mapping[str, Any]) -> tuple[RunConfig, list[Trial]]:
    """(config, trials) of a run whose pipelines are to be trained again, each to its end; those of the open batch too.

    Args:
        run: its folder.
        where: options of `RunConfig` that say where trainings run, by name; None is as the run has it.

    Raises:
        ValueError: there is no such run, or it was not trained for real.
        TypeError: there is no such option.
    """
    with TrialStore(run, create=False) as store:
        config = stored_config(store)
        if config.evaluator != "train":
            looked_up = config.evaluator == "table" and game_trains(config.game)
            hint = f"; `ma2ml verify {run}` trains its winners again" if looked_up else ""
            raise ValueError(
                f"{run} was searched with the evaluator {config.evaluator!r}: there is nothing to train{hint}"
            )
        found = known_trials(store)
    if config.halving and found.open:
        _log.warning(
            "%s: its open batch is being halved: the %d of it that have an outcome were dropped early or failed, unless all "
            "have one; better ones are still in training, and are not known here",
            run,
            len(found.open),
        )
    return config.whole().changed(where).beside(run), found.trials


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
    if config.evaluator != "train" and config.class_weights != "none":
        raise ValueError("--class-weights is for what is trained; leave --evaluator out or say train")
    options = {**config.of("game", "source"), "checkpoints": checkpoints}
    if config.evaluator == "train":
        options |= {**config.of("trainer"), "placement": config.placement(), "digest": digest}
    try:
        game = make_game(config.game, config.evaluator, **{**options, **overrides})
        if game_trains(config.game):
            _try_one(game, config)
    except (TypeError, AttributeError) as error:  # a text where a number belongs
        if not overrides:
            raise
        told = " ".join(f"{name}={json.dumps(value)}" for name, value in overrides.items())
        raise ValueError(f"--set {told} cannot be used: {error}") from None
    return game


def build_without_evaluator(config: RunConfig) -> Game:
    """The game for who asks for recipes, values and rewards of what is stored: needs no data, no device and no torch."""
    named: NamedGame = resolve("games", config.game)
    known = {each.name for each in (*fields(Protocol), *fields(Recipe))} | set(named.base.network.args)
    overrides = {name: value for name, value in config.overrides().items() if name in known}
    try:
        options = {**config.whole().of("game"), "metric": "accuracy"}  # the surrogate has no other
        game = make_game(config.game, "surrogate", size=config.size, **options, **overrides)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"the run's config cannot be used: {error}") from error
    if isinstance(game.reward, (Accuracy, FlopsReward)):  # outcomes that are stored have it
        game.reward = replace(game.reward, metric=config.metric)
    return game


def training_options(config: RunConfig) -> tuple[Any, dict[str, Any]]:
    """(`DataSource`, further arguments of `Train`) of a run that was trained.

    Raises:
        ValueError: an option that cannot be used.
    """
    overrides = config.overrides()
    seed = overrides.pop("seed", 0)  # of the split
    named: NamedGame = resolve("games", config.game)
    told: Told = sort_options(named, evaluator_of(named, "train"), {**config.of("source"), **overrides}, seed=seed)
    return told.source, {**config.of("trainer"), **told.trainer}


def game_trains(id: str) -> bool:
    """Whether a game's pipelines can be trained: those of a table cannot."""
    named: NamedGame = resolve("games", id)
    return named.evaluator == "train"


def _try_one(game: Game, config: RunConfig) -> None:
    """Where a landscape stands for the training, only what needs no memory: its pipelines shall make sense as well."""
    import torch

    from ma2ml_env.training import parts
    from ma2ml_env.training.networks.base import Image

    recipe = game.recipe(
        {agent: (0,) * (len(sizes) + game.spec.intervals.get(agent, 0)) for agent, sizes in game.spec.nvec.items()}
    )
    parts.check(recipe)
    parts.loss(recipe.loss, None if config.class_weights == "none" else torch.ones(10))
    parts.check_network(recipe.network)
    if config.evaluator != "train":
        return
    network = parts.network(recipe.network, Image(10))
    parts.optimizer(recipe, network.parameters())
