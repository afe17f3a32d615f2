"""`make_game`: from a game's id and what users wrote beside it to the game.

`named.py` says what a named game is, `options.py` which options it takes.
"""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ma2ml_env.evaluators.base import Evaluator
from ma2ml_env.evaluators.placement import Placement, place
from ma2ml_env.game import Game, kinds_of
from ma2ml_env.games.named import NamedGame
from ma2ml_env.games.options import TRAINED, Told, evaluator_of, sort_options
from ma2ml_env.io.settings import check_kind
from ma2ml_env.metrics import check
from ma2ml_env.modules.base import Module
from ma2ml_env.registry import resolve
from ma2ml_env.reward import Accuracy, FlopsReward, Reward
from ma2ml_env.tables.base import TableSource


def make_game(
    id: str,
    evaluator: str | None = None,
    *,
    source: Any = None,
    placement: Placement = Placement(),  # noqa: B008 (frozen)
    device: str = "auto",
    modules: Sequence[str | Module] | None = None,
    reward: str | Reward | None = None,
    flops_limit: float | None = None,
    seed: int = 0,
    metric: str = "accuracy",
    halving: Sequence[float] = (),
    checkpoints: str | Path | None = None,
    **options: Any,
) -> Game:
    """Make a named game, ready to play.

    Args:
        id: a registered name, `ma2ml list` shows them.
        evaluator: `train` trains for real, `pool` the same in a process of its own even with one worker, `ray_pool` the same
            on a Ray cluster, `surrogate` is a synthetic landscape over the same spaces, `table` looks measured results up;
            None is the game's own: `table` for a game over a table or with one of all its trainings, else `train`.
        source: the data of what is trained, a `training.data.DataSource`; None makes it of the game's own and the options
            below.
        placement: where trainings run; or the options below.
        device: `auto`, `cpu` or `cuda`.
        modules: agents, by their names in this game or in the registry, or as objects; None is the game's own.
        reward: `accuracy`, `flops` (soft limit), `hard` (hard limit), or an object; None is the game's own.
        flops_limit: MACs of the reward; None is the game's own.
        seed: of the data split or the synthetic landscape (not of the search); a `source` has its own, and so has a table of
            a game's own trainings, which is refused with another one; other tables have none.
        metric: that the reward and a halving go by, of what is trained: a registered name, see `metrics.py`.
        halving: rising shares of a training, each in (0, 1): at each the worse half of the batch is dropped; () trains all of
            it to the end. For what is trained, or looked up in a table with curves.
        checkpoints: folder in which halved trainings wait for their turn, and long ones leave every ten minutes what they need
            to go on after a kill; None is a temporary one for the former, and none for the latter.
        **options: of the data, of the placement, or the game's own.

            Data: `data`, folder of the data set, or of the table (digits and what a package brings need none), or with the
            evaluator `table` a file of all trainings of a game that trains, as `ma2ml table` writes it; `download` fetches the
            data set into its folder; `images` of `own-*`, a folder with train/val/test folders of classes, or of classes, to be
            split by `seed`; `npz` of `own-*`, a file with `x_train` (N, H, W[, C]), `y_train`, optionally the same of
            `val` and `test`; `fit`, `background`, `skip_bad` and `cache` of these, see `DataSource`; `groups` of `own-*`, a CSV
            file with a line `name,group` for each image: an equal group stays in one part; `size` brings images to size x size
            pixels (unless told 32 of `own-*`, 272 of ImageNet-200, and none of data
            that come in one size); and fields of `DataSource`, as in `limit=4000`.

            Placement: `workers`, `engine`, `address`, `gpus`, `time_limit`, see `Placement`.

            The game's own: fields of `Protocol`, `Recipe` or the nasnet `Spec`, parameters of `Train` (`deterministic`), of the
            surrogate (`main=.4`) or of the table (`mean`).

    Raises:
        ValueError: unknown game, module or option (with the closest name), an impossible value, an evaluator that this game
            has not, or an object and an option that belongs into it.
        FileNotFoundError: the data set or table is not where it was looked for; the message says how to get it.
        ImportError: the table comes with an extra that is not installed, or Ray is not; the extra is named.
    """
    named: NamedGame = resolve("games", id)
    evaluator = evaluator_of(named, evaluator, own_table=options.get("data") is not None)
    check_kind("seed", seed, int, "option")
    if halving and evaluator not in (*TRAINED, "table"):
        raise ValueError(f"halving is for what is trained; the evaluator {evaluator} has nothing to stop early")
    if metric != "accuracy" and evaluator in ("surrogate", "table"):
        raise ValueError(f"metric {metric} is for what is trained; the evaluator {evaluator} gives accuracies alone")
    told = sort_options(named, evaluator, options, source=source, placement=placement, seed=seed)
    agents = _modules(named, modules)
    limit = named.flops_limit if flops_limit is None else flops_limit
    shared = _reward(reward, limit, metric, told=flops_limit is not None)
    player: Evaluator
    if evaluator == "surrogate":
        scale = {"flops": limit} if limit and "flops" not in told.player else {}
        nvec = {module.name: module.space.nvec for module in agents}
        intervals = {module.name: len(module.space.intervals) for module in agents}
        kinds, ordered = kinds_of(agents)
        landscape = {**named.landscape, **scale, **told.player}
        player = resolve("evaluators", "surrogate")(nvec, intervals, kinds, ordered, seed=seed, **landscape)
    elif evaluator in TRAINED:
        max_flops = shared.limit if isinstance(shared, FlopsReward) and shared.hard else None
        if halving:
            from ma2ml_env.evaluators.halving import check_rungs

            check_rungs(halving, told.protocol.proxy_epochs)
        player = _trainer(told, device, max_flops, metric, halving, checkpoints)
    elif evaluator == "table":
        spaces = {module.name: module.space for module in agents}
        table = _table(named, told, agents, options, seed)
        player = resolve("evaluators", "table")(table, spaces, **told.player)
        if halving:
            player = _halved(player, halving, table.epochs)
    else:
        player = resolve("evaluators", evaluator)(**told.player)
    return Game(agents, player, shared, told.base, told.protocol)


def _table(
    named: NamedGame, told: Told, agents: Sequence[Module], options: Mapping[str, Any], seed: int
) -> TableSource:
    """That of others, or of a game's own trainings, which had images of its own size: of all, or a surrogate."""
    if named.evaluator == "table":
        made: TableSource = resolve("tables", named.data)(told.folder, **named.source)
        return made
    from ma2ml_env.games.fitted import fitted
    from ma2ml_env.games.measured import check_options, measured, table_file
    from ma2ml_env.tables.fit import Fit

    check_options(named, options)
    path = table_file(named, told.folder)
    read = fitted if Fit.is_in(path) else measured
    return read(path, named, agents, told.base, told.protocol.fidelity, seed)


def _halved(table: Evaluator, rungs: Sequence[float], known: Sequence[int]) -> Evaluator:
    """A table whose batches are halved by what was measured along the trainings."""
    from ma2ml_env.evaluators.halving import Halving, check_rungs

    if len(known) < 2:
        raise ValueError(
            "halving goes by accuracies along a training, and this table has those of whole trainings alone"
        )
    check_rungs(rungs, known[-1], known)
    return Halving(table, rungs)


def _trainer(
    told: Told,
    device: str,
    max_flops: float | None,
    metric: str,
    halving: Sequence[float],
    checkpoints: str | Path | None,
) -> Evaluator:
    """Train, never twice the same, and not what is above a hard limit; halved, if that is wanted."""
    from ma2ml_env.evaluators.halving import Halving
    from ma2ml_env.evaluators.train import Train
    from ma2ml_env.evaluators.wrap import Cached, Feasible

    temporary = Path(tempfile.mkdtemp(prefix="ma2ml-")) if halving and checkpoints is None else None
    folder = temporary if checkpoints is None else Path(checkpoints)
    kept = None if folder is None else str(folder.absolute())
    trainer = Train(told.source, device=device, checkpoints=kept, **told.trainer)
    trainer.check()
    check(metric, trainer.dataset().classes)
    player = place(trainer, told.placement)
    if halving:
        player = Halving(player, halving, folder=folder, metric=metric)
    if temporary is not None:
        weakref.finalize(player, shutil.rmtree, temporary, ignore_errors=True)
    if max_flops is not None:
        player = Feasible(player, max_flops, trainer.flops)
    return Cached(player)


def _modules(named: NamedGame, wanted: Sequence[str | Module] | None) -> list[Module]:
    own = {module.name: module for name, settings in named.modules for module in [resolve("modules", name)(**settings)]}
    if wanted is None:
        return list(own.values())
    if isinstance(wanted, str):
        raise ValueError(f"modules is a list of modules, as in [{wanted!r}], not {wanted!r}")
    chosen: list[Module] = []
    for item in wanted:
        if not isinstance(item, str):
            chosen.append(item)
        else:
            chosen.append(own[item] if item in own else resolve("modules", item)())
    return chosen


def _reward(reward: str | Reward | None, limit: float | None, metric: str, *, told: bool) -> Reward:
    """The reward; `told` says that the limit is no game's own."""
    resolve("metrics", metric)  # an unknown one is an error here, with the closest name
    if told and reward not in (None, "flops", "hard"):
        raise ValueError(f"flops_limit is for the rewards flops and hard, and the reward is {reward!r}")
    if metric != "accuracy" and reward not in (None, "accuracy", "flops", "hard"):
        raise ValueError(
            f"metric {metric} is for the rewards accuracy, flops and hard; {reward} reads an outcome itself"
        )
    if reward is not None and not isinstance(reward, str):
        return reward
    name = ("accuracy" if limit is None else "flops") if reward is None else reward
    if name == "accuracy":
        return Accuracy(metric)
    if name in ("flops", "hard"):
        if limit is None:
            raise ValueError(f"the reward {name!r} needs a limit on MACs: give flops_limit")
        return FlopsReward(limit, hard=name == "hard", metric=metric)
    made: Reward = resolve("rewards", name)()
    return made
