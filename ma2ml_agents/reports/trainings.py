"""The trials of stored runs as one table of trainings."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.data import KEY
from ma2ml_agents.run.made import session_of, sessions
from ma2ml_agents.run.stored import build_without_evaluator, known_trials, stored_config, training_options
from ma2ml_env.game import Game
from ma2ml_env.games.measured import levels
from ma2ml_env.games.named import NamedGame
from ma2ml_env.registry import resolve
from ma2ml_env.store.store import TrialStore
from ma2ml_env.tables.trainings import Trainings, joined
from ma2ml_env.trial import ERRORS, STATUSES, Trial

_PLACES = {"name", "folder", "download", "cache", "cache_limit", "verify", "digest"}
"""options of a `DataSource` that say where data lie and how they are kept"""


def table_of(runs: Sequence[Path], *, mixed: bool = False) -> Trainings:
    """One table of all that these runs trained, failures too; hits of a cache are no trainings.

    Args:
        runs: their folders, or files of tables.
        mixed: whether trainings by several versions of torch or of this project are meant.

    Raises:
        ValueError: if a run is none or damaged or trained nothing, their games, data or trainings differ, or their versions do
            and that is not meant.
    """
    return joined([Trainings.load(run) if run.is_file() else _of(run) for run in runs], mixed=mixed)


def _of(run: Path) -> Trainings:
    with TrialStore(run, create=False) as store:
        config, found, made = stored_config(store), known_trials(store).trials, sessions(store)
        if config.evaluator != "train":
            raise ValueError(f"{run} was searched with the evaluator {config.evaluator!r}: nothing was trained")
        data = store.config.get(KEY)
    game = build_without_evaluator(config)
    trials = [trial for trial in found if not trial.outcome.cached]
    about: dict[str, Any] = {
        "decisions": [
            [agent, decision.name, list(decision.choices)]
            for agent, module in game.modules.items()
            for decision in module.space.decisions
        ],
        "intervals": [
            [agent, each.name, each.low, each.high]
            for agent, module in game.modules.items()
            for each in module.space.intervals
        ],
    }
    about["sources"] = [
        {
            "game": config.game,
            "data": data["identity"]["digest"] if isinstance(data, dict) else None,
            "trains": {
                "base": game.base.key,
                "fidelity": game.protocol.fidelity,
                "class_weights": config.class_weights,
            },
            "split": _split(config),
            "levels": None if game.spec.intervals else levels([*game.modules.values()], game.base),
            "learner": config.learner,
            "seed": config.seed,
            "halving": list(config.halving),
            "made": {name: value for name, value in each.items() if name not in ("from", "has")},
        }
        for each in ({}, *made)  # what was trained before anything was noted, and the sessions
    ]
    return _table(trials, game, about, [1 + session_of(trial.number, made) for trial in trials])


def _split(config: RunConfig) -> dict[str, Any]:
    """Which images were trained and measured on, and how they are read: what differs from the usual.

    What the game says, the size and the seed are always there.
    """
    named: NamedGame = resolve("games", config.game)
    source, _ = training_options(config)
    always, told = {"size", "seed", *named.source}, vars(source)
    usual = {each.name: each.default for each in fields(source) if each.name not in _PLACES}
    return {name: told[name] for name, value in usual.items() if name in always or told[name] != value}


def _table(trials: Sequence[Trial], game: Game, about: dict[str, Any], source: Sequence[int]) -> Trainings:
    """Rows in the order of the trials, each with its source; sources without a row are left out."""
    used = sorted(set(source))
    about = {**about, "sources": [about["sources"][index] for index in used]}
    outcomes = [trial.outcome for trial in trials]
    codes, positions = [], []
    for trial in trials:
        row: list[int | float] = []
        places: list[int | float] = []
        for agent, module in game.modules.items():
            code, size = trial.proposal.codes[agent], len(module.space.nvec)
            row += code[:size]
            places += code[size:]
        codes.append(row)
        positions.append(places)
    epochs = sorted({epoch for outcome in outcomes for epoch in outcome.curve})
    n = len(trials)
    return Trainings(
        about,
        codes=np.array(codes, dtype=np.int64).reshape(n, len(about["decisions"])),
        positions=np.array(positions, dtype=np.float64).reshape(n, len(about["intervals"])),
        seeds=np.array([trial.seed for trial in trials], dtype=np.uint64),
        status=np.array([STATUSES.index(each.status) for each in outcomes], dtype=np.int64),
        error=np.array([ERRORS.index(each.error) for each in outcomes], dtype=np.int64),
        accuracy=np.array([each.accuracy for each in outcomes], dtype=np.float64),
        test_accuracy=np.array([_or_nan(each.test_accuracy) for each in outcomes], dtype=np.float64),
        epochs=np.array(epochs, dtype=np.int64),
        curve=np.array([[each.curve.get(e, np.nan) for e in epochs] for each in outcomes], dtype=np.float64).reshape(
            n, len(epochs)
        ),
        fidelity=np.array([each.fidelity for each in outcomes], dtype=np.float64),
        flops=np.array([each.flops for each in outcomes], dtype=np.int64),
        params=np.array([each.params for each in outcomes], dtype=np.int64),
        seconds=np.array([each.seconds for each in outcomes], dtype=np.float64),
        source=np.array([used.index(index) for index in source], dtype=np.int64),
    )


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
