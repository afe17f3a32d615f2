"""What is known of a run, read from its folder once: all that the sections of its report go by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ma2ml_agents.reports.page.curves import Curves, read_curves
from ma2ml_agents.reports.page.finals import Retraining, read_retraining
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.data import KnownData, known_data
from ma2ml_agents.run.known import START
from ma2ml_agents.run.made import sessions
from ma2ml_agents.run.standing import by_reward
from ma2ml_agents.run.stored import build_without_evaluator, known_trials, stored_config
from ma2ml_env.game import Game
from ma2ml_env.recipe import Recipe
from ma2ml_env.reward import FlopsReward
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Trial


@dataclass(frozen=True)
class Facts:
    """A run as it stands."""

    folder: Path
    config: RunConfig
    game: Game
    """for recipes, values and limits; its evaluator is not used"""
    trials: Sequence[Trial]
    """those of the open batch too, in order"""
    open: frozenset[int]
    """numbers of those of the open batch"""
    data: KnownData | None
    """None where nothing is trained, and of early runs"""
    sessions: Sequence[Mapping[str, Any]]
    """versions and machine, each time that they were others"""
    retraining: Retraining | None
    curves: Curves

    @cached_property
    def ok(self) -> list[Trial]:
        """Trials that have a reward of their own."""
        return [trial for trial in self.trials if trial.outcome.status == "ok"]

    @cached_property
    def recipes(self) -> dict[int, Recipe]:
        """Number -> what was trained."""
        return {trial.number: self.game.recipe(trial.proposal.codes) for trial in self.trials}

    @cached_property
    def keys(self) -> dict[int, str]:
        """Number -> what makes two trials the same pipeline."""
        return {number: recipe.key for number, recipe in self.recipes.items()}

    @cached_property
    def winner(self) -> Trial | None:
        """The retraining's choice, or else the best so far; None if no trial succeeded."""
        if self.retraining is not None:
            for trial in self.trials:
                if trial.number == self.retraining.winner:
                    return trial
        return min(self.ok, key=by_reward, default=None)

    @cached_property
    def base(self) -> Trial | None:
        """The trial of the game's base recipe, if the search began with it and it succeeded."""
        key = self.game.base.key
        given = [trial for trial in self.ok if trial.proposal.origin == START]
        return next((trial for trial in given if self.keys[trial.number] == key), given[0] if given else None)

    @property
    def limit(self) -> float | None:
        """On MACs, of the reward."""
        return self.game.reward.limit if isinstance(self.game.reward, FlopsReward) else None

    @property
    def search_epochs(self) -> str:
        """How long the search trains a pipeline."""
        told = self.game.protocol
        return f"{told.proxy_epochs} of {told.final_epochs} epochs"

    @property
    def trained(self) -> bool:
        """Whether pipelines were trained on images, and not looked up."""
        return self.config.evaluator == "train"

    def images(self, part: str) -> int:
        """How many there are for `train`, `validation` or `test`; 0 if nobody knows."""
        return 0 if self.data is None else sum(self.data.identity.counts.get(part, ()))


def gather(store: TrialStore) -> Facts:
    """Read a run.

    Raises:
        ValueError: if it is damaged, or was not made by `ma2ml search`.
    """
    config, found = stored_config(store), known_trials(store)
    return Facts(
        folder=store.folder,
        config=config,
        game=build_without_evaluator(config),
        trials=found.trials,
        open=found.open,
        data=known_data(store),
        sessions=sessions(store),
        retraining=read_retraining(store.folder),
        curves=read_curves(store.folder),
    )
