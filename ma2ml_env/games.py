"""What a named game is (data, modules, base recipe and protocol under one versioned id), and `make_game`.

The games stand in `image_games.py`, `paper_games.py` and `table_games.py`. A change of a reward, a space or a split bumps the
version, so that a result always says what it was measured on.
"""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from ma2ml_env.evaluators.base import Evaluator
from ma2ml_env.game import Game, Protocol
from ma2ml_env.module import Module
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import closest, resolve
from ma2ml_env.reward import Accuracy, FlopsReward, Reward
from ma2ml_env.settings import check_kind


@dataclass(frozen=True)
class NamedGame:
    """What stands behind an id."""

    id: str
    title: str
    """one line for `ma2ml list`"""
    data: str
    """data set, a name of `training/data.py`, or of a table in the registry"""
    base: Recipe
    protocol: Protocol
    modules: tuple[tuple[str, Mapping[str, Any]], ...] = (("aug", {}), ("nas_cell", {}), ("hpo_sgd", {}))
    """registry name and settings of each module"""
    flops_limit: float | None = None
    """MACs; with it the reward is accuracy x (MACs / limit)^-0.07, without it the accuracy"""
    size: int | None = None
    """side in pixels that images are brought to; None leaves them as they come"""
    source: Mapping[str, Any] = field(default_factory=dict)
    """further options of the data source, or of the table"""
    final_source: Mapping[str, Any] = field(default_factory=dict)
    """what the full training has instead of these options: ImageNet's winner is trained on all classes"""
    evaluator: str = "train"
    """who plays it unless told otherwise: `train`, or `table` where there is nothing to train"""


TRAINED = ("train", "pool", "ray_pool")
"""evaluators that train for real, here or elsewhere"""


def make_game(
    id: str,
    evaluator: str | None = None,
    *,
    data: str | Path | None = None,
    download: bool = False,
    images: str | Path | None = None,
    npz: str | Path | None = None,
    size: int | None = None,
    device: str = "auto",
    workers: int = 1,
    modules: Sequence[str | Module] | None = None,
    reward: str | Reward | None = None,
    flops_limit: float | None = None,
    seed: int = 0,
    time_limit: float | None = None,
    halving: Sequence[float] = (),
    checkpoints: str | Path | None = None,
    address: str | None = None,
    gpus: float | None = None,
    **overrides: Any,
) -> Game:
    """A named game, ready to play.

    Args:
        id: a registered name, `ma2ml list` shows them.
        evaluator: `train` trains for real, `pool` the same in a process of its own even with one worker, `ray_pool` the same
            on a Ray cluster, `surrogate` is a synthetic landscape over the same spaces, `table` looks measured results up;
            None is the game's own: `table` for a game over a table, else `train`.
        data: folder of the data set, or of the table; digits and what a package brings need none.
        download: fetch the data set into `data` if it is not there.
        images: of `own-*`: a folder with train/val/test folders of classes, or of classes, to be split by `seed`.
        npz: of `own-*`: a file with `x_train` uint8 (N, H, W[, C]), `y_train`, optionally `x_test`, `y_test`.
        size: images are brought to size x size pixels; None is the game's own: 32 of `own-*`, 272 of ImageNet-200, and none of
            data that come in one size.
        device: `auto`, `cpu` or `cuda`.
        workers: processes that train; results do not depend on it. A cluster has as many as there is room for.
        modules: agents, by their names in this game or in the registry, or as objects; None is the game's own.
        reward: `accuracy`, `flops` (soft limit), `hard` (hard limit), or an object; None is the game's own.
        flops_limit: MACs of the reward; None is the game's own.
        seed: of the data split or the synthetic landscape (not of the search).
        time_limit: seconds after which a pipeline counts as failed; None is no limit.
        halving: rising shares of a training, each in (0, 1): at each the worse half of the batch is dropped; () trains all of
            it to the end. For what is trained.
        checkpoints: folder in which halved trainings wait for their turn, and long ones leave every ten minutes what they need
            to go on after a kill; None is a temporary one for the former, and none for the latter.
        address: of the cluster of `ray_pool`; None starts Ray on this machine.
        gpus: of each training of `ray_pool`, as in 0.25; None is one if there are any.
        **overrides: fields of `Protocol`, `Recipe` or the nasnet `Spec`, and options of the data source, the surrogate or the
            table (`mean`).

    Raises:
        ValueError: unknown game, module or option (with the closest name), an impossible value, an evaluator that this game
            has not.
        FileNotFoundError: the data set or table is not where it was looked for; the message says how to get it.
        ImportError: the table comes with an extra that is not installed; it is named.
    """
    named: NamedGame = resolve("games", id)
    evaluator = _evaluator(named, evaluator)
    if halving and evaluator not in TRAINED:
        raise ValueError(f"halving is for what is trained; the evaluator {evaluator} has nothing to stop early")
    options = _route(named, evaluator, overrides)
    protocol = replace(named.protocol, **options["protocol"])
    base = replace(named.base, **options["recipe"], epochs=protocol.final_epochs)
    base = replace(base, network=base.network.with_args(**options["network"]))
    size = named.size if size is None else size
    if size is not None and named.data == "own":  # the base recipes are for 32 pixels
        scaled: dict[str, Any] = {
            name: round(getattr(named.base, name) * size / 32) for name in ("crop_padding", "cutout")
        }
        base = replace(base, **{name: value for name, value in scaled.items() if name not in overrides})
    agents = _modules(named, modules)
    limit = named.flops_limit if flops_limit is None else flops_limit
    shared = _reward(reward, limit)
    player: Evaluator
    if evaluator == "surrogate":
        scale = {"flops": limit} if limit and "flops" not in options["source"] else {}
        nvec = {module.name: module.space.nvec for module in agents}
        intervals = {module.name: len(module.space.intervals) for module in agents}
        player = resolve("evaluators", "surrogate")(nvec, intervals, seed=seed, **scale, **options["source"])
    elif evaluator in TRAINED:
        source = _source(named, data, download, images, npz, size, seed, options["source"])
        max_flops = shared.limit if isinstance(shared, FlopsReward) and shared.hard else None
        where = {"evaluator": evaluator, "workers": workers, "time_limit": time_limit, "address": address, "gpus": gpus}
        if halving:
            from ma2ml_env.evaluators.halving import check_rungs

            check_rungs(halving, protocol.proxy_epochs)
        player = _trainer(source, device, where, max_flops, halving, checkpoints)
    elif evaluator == "table":
        table = resolve("tables", named.data)(data, **named.source)
        spaces = {module.name: module.space for module in agents}
        player = resolve("evaluators", "table")(table, spaces, **options["source"])
    else:
        player = resolve("evaluators", evaluator)(**options["source"])
    return Game(agents, player, shared, base, protocol)


def _evaluator(named: NamedGame, wanted: str | None) -> str:
    """The one that plays; a table is not trained, and what is trained has no table."""
    evaluator = wanted or named.evaluator
    if named.evaluator == "table" and evaluator in TRAINED:
        raise ValueError(
            f"{named.id} looks results up, there is nothing to train: its evaluators are table and surrogate"
        )
    if evaluator == "table" and named.evaluator != "table":
        raise ValueError(f"{named.id} has no table of results: its evaluators are train and surrogate")
    return evaluator


def _trainer(
    source: Any,
    device: str,
    where: Mapping[str, Any],
    max_flops: float | None,
    halving: Sequence[float],
    checkpoints: str | Path | None,
) -> Evaluator:
    """Train, never twice the same, and not what is above a hard limit; halved, if that is wanted."""
    from ma2ml_env.evaluators.halving import Halving
    from ma2ml_env.evaluators.train import Train  # torch is imported by those who train
    from ma2ml_env.evaluators.wrap import Cached, Feasible

    temporary = Path(tempfile.mkdtemp(prefix="ma2ml-")) if halving and checkpoints is None else None
    folder = temporary if checkpoints is None else Path(checkpoints)
    trainer = Train(source, device=device, checkpoints=None if folder is None else str(folder.absolute()))
    trainer.check()
    player = _pooled(trainer, **where)
    if halving:
        player = Halving(player, halving, folder=folder)
    if temporary is not None:
        weakref.finalize(player, shutil.rmtree, temporary, ignore_errors=True)
    if max_flops is not None:
        player = Feasible(player, max_flops, trainer.flops)
    return Cached(player)


def _pooled(
    trainer: Any, evaluator: str, workers: int, time_limit: float | None, address: str | None, gpus: float | None
) -> Evaluator:
    """A trainer in this process, in several, or on a cluster."""
    from ma2ml_env.evaluators.schedule import Schedule

    if workers < 1:
        raise ValueError(f"workers is at least 1, not {workers}")
    made: Evaluator = trainer
    if evaluator == "ray_pool":
        from ma2ml_env.evaluators.ray_pool import RayPool

        gpus = 0.0 if trainer.device == "cpu" else gpus
        schedule = Schedule(trainer.cost)
        made = RayPool(trainer.twin, workers, address=address, gpus=gpus, time_limit=time_limit, schedule=schedule)
    elif address is not None or gpus is not None:
        raise ValueError("address and gpus are of the evaluator ray_pool (--engine ray)")
    elif evaluator == "pool" or workers > 1 or time_limit is not None:
        from ma2ml_env.evaluators.pool import Pool

        schedule = Schedule(trainer.cost, trainer.devices())
        made = Pool(trainer.twin, workers, time_limit=time_limit, schedule=schedule)
    return made


def _source(
    named: NamedGame,
    data: str | Path | None,
    download: bool,
    images: str | Path | None,
    npz: str | Path | None,
    size: int | None,
    seed: int,
    options: Mapping[str, Any],
) -> Any:
    from ma2ml_env.training.data import DataSource

    name, folder = named.data, data
    if name == "own":
        if (images is None) == (npz is None):
            raise ValueError(f"{named.id} needs your data: give either images (a folder) or npz (a file)")
        name, folder = ("images", images) if images is not None else ("npz", npz)
    elif images is not None or npz is not None:
        raise ValueError(f"{named.id} has its own data; your images go with own-v0 or own-small-v0")
    return DataSource(
        name=name, folder=None if folder is None else str(folder), download=download, size=size, seed=seed,
        **{**named.source, **options},
    )  # fmt: skip


def _modules(named: NamedGame, wanted: Sequence[str | Module] | None) -> list[Module]:
    own = {module.name: module for name, settings in named.modules for module in [resolve("modules", name)(**settings)]}
    if wanted is None:
        return list(own.values())
    chosen: list[Module] = []
    for item in wanted:
        if not isinstance(item, str):
            chosen.append(item)
        else:
            chosen.append(own[item] if item in own else resolve("modules", item)())
    return chosen


def _reward(reward: str | Reward | None, limit: float | None) -> Reward:
    if reward is not None and not isinstance(reward, str):
        return reward
    name = reward or ("accuracy" if limit is None else "flops")
    if name == "accuracy":
        return Accuracy()
    if name in ("flops", "hard"):
        if limit is None:
            raise ValueError(f"the reward {name!r} needs a limit on MACs: give flops_limit")
        return FlopsReward(limit, hard=name == "hard")
    made: Reward = resolve("rewards", name)()
    return made


def _route(named: NamedGame, evaluator: str, overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each override to the one dataclass that has the field, whose kind it has to be of."""
    network = named.base.network.args
    source = _source_options(evaluator)
    homes = {"protocol": get_type_hints(Protocol), "recipe": get_type_hints(Recipe)}
    del homes["recipe"]["epochs"]  # the protocol's final_epochs
    kinds = {**homes, "network": {name: type(usual) for name, usual in network.items()}, "source": source}
    routed: dict[str, dict[str, Any]] = {name: {} for name in kinds}
    for option, value in overrides.items():
        home = next((name for name, options in kinds.items() if option in options), None)
        if home is None:
            raise ValueError(f"unknown option {option!r} of a game{closest(option, set().union(*kinds.values()))}")
        check_kind(option, value, kinds[home][option], "option")
        routed[home][option] = value
    return routed


def _source_options(evaluator: str) -> dict[str, Any]:
    """What the data, the landscape or the table can be told, and of which kind it is."""
    if evaluator == "surrogate":
        from ma2ml_env.evaluators.landscape import Landscape

        return {name: kind for name, kind in get_type_hints(Landscape).items() if name != "seed"}
    if evaluator in TRAINED:
        from ma2ml_env.training.data import DataSource

        own = {"name", "folder", "download", "size", "seed"}
        return {name: kind for name, kind in get_type_hints(DataSource).items() if name not in own}
    if evaluator == "table":
        return {"mean": bool}
    resolve("evaluators", evaluator)  # an unknown one is an error here, with the closest name
    return {}
