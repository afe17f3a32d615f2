"""What users write beside a game's id: which options there are, and where each belongs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from ma2ml_env.evaluators.placement import Engine, Placement
from ma2ml_env.game import Protocol
from ma2ml_env.games.named import NamedGame
from ma2ml_env.io.settings import check_kind
from ma2ml_env.recipe import Recipe, check_slots
from ma2ml_env.registry import closest, resolve

TRAINED: dict[str, Engine | None] = {"train": None, "pool": "pool", "ray_pool": "ray"}
"""evaluators that train for real, and the engine that the name asks for"""
DATA: dict[str, Any] = {
    "data": str | Path | None,
    "download": bool,
    "images": str | Path | None,
    "npz": str | Path | None,
    "size": int | None,
    "fit": Literal["crop", "pad", "squash"],
    "background": str,
    "cache": str | Path | None,
    "skip_bad": bool,
    "groups": str | Path | None,
}
"""what users write of the data, and its kind; the source's own options stand beside these"""
_GAMES_TO_SAY = {"source", "device", "train_on_validation", "weights", "checkpoints", "progress", "return"}
"""parameters of `Train` that are no option under their name"""


@dataclass(frozen=True)
class Told:
    """What users wrote beside a game's id, each thing in its place."""

    protocol: Protocol
    base: Recipe
    placement: Placement
    source: Any
    """the `DataSource` of an evaluator that trains; None of one that does not"""
    trainer: Mapping[str, Any]
    """further options of `Train`"""
    player: Mapping[str, Any]
    """of the surrogate, of the table, or of somebody's own evaluator"""
    folder: str | Path | None
    """of the table"""


def evaluator_of(named: NamedGame, wanted: str | None, *, own_table: bool = False) -> str:
    """The one that plays; a table of others is not trained, and what is trained may have no table.

    Raises:
        ValueError: if the game has not the one that is wanted.
    """
    evaluator = named.usual if wanted is None else wanted
    if named.evaluator == "table" and evaluator in TRAINED:
        raise ValueError(
            f"{named.id} looks results up, there is nothing to train: its evaluators are table and surrogate"
        )
    if evaluator == "table" and named.usual != "table" and not own_table:
        raise ValueError(
            f"{named.id} has no table of results: its evaluators are train and surrogate. Your own trainings of all its "
            "pipelines, as `ma2ml table` writes them, or a surrogate that was fitted to some of them, are looked up with "
            "--data FILE.npz (data=FILE.npz)"
        )
    return evaluator


def sort_options(
    named: NamedGame,
    evaluator: str,
    options: Mapping[str, Any],
    *,
    source: Any = None,
    placement: Placement = Placement(),  # noqa: B008 (frozen)
    seed: int = 0,
) -> Told:
    """Bring each option to the one place that has it, where it has to be of the right kind. Nobody else knows their names.

    Args:
        named: the game.
        evaluator: who plays it.
        options: name -> value, as `make_game` takes them.
        source: as of `make_game`.
        placement: as of `make_game`.
        seed: of the source's split, if it is made here.

    Raises:
        ValueError: see `make_game`.
    """
    trains, kinds = evaluator in TRAINED, option_kinds(named, evaluator)
    routed: dict[str, dict[str, Any]] = {home: {} for home in kinds}
    for option, value in options.items():
        home = next((home for home, names in kinds.items() if option in names), None)
        if home is None:
            raise ValueError(f"unknown option {option!r} of a game{closest(option, set().union(*kinds.values()))}")
        check_kind(option, value, kinds[home][option], "option")
        routed[home][option] = value
    data = {name: value for name, value in routed["data"].items() if value is not None and value is not False}
    if engine := TRAINED.get(evaluator):
        routed["placement"]["engine"] = engine
    _one_of("placement", placement != Placement(), routed["placement"])
    if source is not None:
        if not trains:
            raise ValueError(f"a source is for what is trained; the evaluator {evaluator} needs none")
        _one_of("source", True, {**data, **routed["source"]})
    size = data.get("size", named.size) if source is None else source.size
    protocol = replace(named.protocol, **routed["protocol"])
    base = replace(named.base, **routed["recipe"], epochs=protocol.final_epochs)
    base = replace(base, network=base.network.with_args(**routed["network"]))
    check_slots(base)
    if size is not None and named.data == "own":  # the base recipes are for 32 pixels
        scaled: dict[str, Any] = {
            name: round(usual * size / 32)
            for name, usual in (("crop_padding", named.base.crop_padding), ("cutout", named.base.cutout))
        }
        base = replace(base, **{name: value for name, value in scaled.items() if name not in routed["recipe"]})
    if trains and source is None:
        source = _source(named, data, size, seed, routed["source"])
    return Told(
        protocol,
        base,
        replace(placement, **routed["placement"]),
        source,
        routed["trainer"],
        routed["player"],
        data.get("data"),
    )


def option_kinds(named: NamedGame, evaluator: str) -> dict[str, dict[str, Any]]:
    """Home -> option -> annotation of all that a game with this evaluator can be told; the first home that has it takes it.

    Raises:
        ValueError: if there is no such evaluator.
    """
    kinds = {
        "data": DATA,
        "placement": get_type_hints(Placement),
        "protocol": get_type_hints(Protocol),
        "recipe": get_type_hints(Recipe),
        "network": {name: type(usual) for name, usual in named.base.network.args.items()},
        **_own_options(evaluator),
    }
    del kinds["recipe"]["epochs"]  # the protocol's final_epochs
    return kinds


def _one_of(name: str, given: bool, loose: Mapping[str, Any]) -> None:
    """Refuse an object beside what belongs into it."""
    if given and loose:
        raise ValueError(
            f"{name} is given as an object, and {min(loose)} beside it: say it in the object, or leave that out"
        )


def _own_options(evaluator: str) -> dict[str, dict[str, Any]]:
    """What the data and the trainer, the landscape or the table can be told, and of which kind it is."""
    own: dict[str, dict[str, Any]] = {"source": {}, "trainer": {}, "player": {}}
    if evaluator == "surrogate":
        from ma2ml_env.evaluators.landscape import Landscape

        own["player"] = {name: kind for name, kind in get_type_hints(Landscape).items() if name != "seed"}
    elif evaluator in TRAINED:
        from ma2ml_env.evaluators.train import Train  # torch is imported by those who train
        from ma2ml_env.training.data.source import DataSource

        here = {"name", "folder", "seed", *DATA}
        own["source"] = {name: kind for name, kind in get_type_hints(DataSource).items() if name not in here}
        hints = get_type_hints(Train.__init__)
        own["trainer"] = {name: kind for name, kind in hints.items() if name not in _GAMES_TO_SAY}
    elif evaluator == "table":
        own["player"] = {"mean": bool}
    else:
        resolve("evaluators", evaluator)  # an unknown one is an error here, with the closest name
    return own


def _source(named: NamedGame, data: Mapping[str, Any], size: int | None, seed: int, options: Mapping[str, Any]) -> Any:
    from ma2ml_env.training.data.source import DataSource

    name, folder = named.data, data.get("data")
    images, npz = data.get("images"), data.get("npz")
    if name == "own":
        if (images is None) == (npz is None):
            raise ValueError(
                f"{named.id} needs your data: give either images (a folder; --images) or npz (a file; --npz)"
            )
        name, folder = ("images", images) if images is not None else ("npz", npz)
    elif images is not None or npz is not None:
        raise ValueError(f"{named.id} has its own data; your images go with own-small-v1 or own-v0")
    return DataSource(
        name=name,
        folder=None if folder is None else str(folder),
        download="download" in data,
        size=size,
        seed=seed,
        **{**named.source, **_pixels(data), **options},
    )


def _pixels(data: Mapping[str, Any]) -> dict[str, Any]:
    """What was told of how images are read, kept and split."""
    told = {name: data[name] for name in ("fit", "background", "skip_bad") if name in data}
    return told | {name: str(data[name]) for name in ("cache", "groups") if name in data}
