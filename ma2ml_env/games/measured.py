"""A game's own trainings as the table that it is looked up in: only where they are of this game and of nothing else."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.games.named import NamedGame
from ma2ml_env.modules.base import Module
from ma2ml_env.recipe import Recipe, Spec, content_key
from ma2ml_env.registry import resolve
from ma2ml_env.tables.measured import Measured
from ma2ml_env.tables.trainings import Trainings

PACKAGED = Path(__file__).parents[1] / "tables" / "data"
"""where the tables lie that come with the package"""
_slots = itemgetter(*(each.name for each in fields(Recipe)))
MOST = 1_000_000
"""pipelines of a table: more were not measured"""

_OF_IMAGES = {
    "download": False,
    "images": None,
    "npz": None,
    "fit": "crop",
    "background": "white",
    "cache": None,
    "skip_bad": False,
    "groups": None,
}
"""options of data that a table of trainings cannot heed, and what is as if it was not told"""


def check_options(named: NamedGame, options: Mapping[str, Any]) -> None:
    """Refuse what a table of trainings cannot heed.

    Raises:
        ValueError: if an option is of images, or brings them to another size; it is named.
    """
    if idle := [name for name, usual in _OF_IMAGES.items() if options.get(name) not in (None, False, usual)]:
        raise ValueError(
            f"{named.id} is looked up, and reads no images: leave out {idle[0]}, or take the evaluator train"
        )
    if options.get("size") not in (None, named.size):
        raise ValueError(f"{named.id} was measured at its own size: leave out size, or take the evaluator train")


def table_file(named: NamedGame, told: str | Path | None) -> Path:
    """Where the trainings of a game lie: in a file that was told, or in the one that comes with the package."""
    return PACKAGED / str(named.measured) if told is None else Path(told)


def measured(
    path: Path, named: NamedGame, agents: Sequence[Module], base: Recipe, fidelity: float, seed: int = 0
) -> Measured:
    """The trainings of a file as the table of a game.

    Args:
        path: of a file by `ma2ml table` or `ma2ml collect`.
        named: the game.
        agents: that play it.
        base: its base recipe, as it was told.
        fidelity: of its search, as it was told.
        seed: of the split of its data, as it was told.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no such file, its trainings are of another game, or a pipeline is not among them.
    """
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder, and the evaluator table takes a file of trainings, as `ma2ml table` writes it; "
            "the evaluator train takes a folder of data"
        )
    table = Trainings.load(path)
    try:
        if (size := math.prod(n for agent in agents for n in agent.space.nvec)) > MOST:
            raise ValueError(f"{named.id} has {size:.0e} pipelines, more than the {MOST:,} that a table may have")
        check_about(table.about, named, agents, base, fidelity, seed)
        epochs = max(1, round(fidelity * base.epochs))
        return Measured(table, epochs, fidelity, same_pipelines(agents, base))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_about(
    about: Mapping[str, Any], named: NamedGame, agents: Sequence[Module], base: Recipe, fidelity: float, seed: int
) -> None:
    """Refuse trainings of another game, by what a file of them tells of itself (`Trainings.about`).

    Raises:
        ValueError: what is of another game is named.
    """
    _check_spaces(about, agents)
    means = levels(agents, base)
    for source in about["sources"]:
        _check_data(source, named, seed)
        _check_source(source, means, base, fidelity)


def same_pipelines(agents: Sequence[Module], base: Recipe) -> NDArray[np.int64]:
    """(points,) number of the first joint code of the same pipeline, the last decision fastest.

    Codes are the same pipeline where their recipes have one content, as with `Recipe.key`; a digest of each whole recipe would
    take ten times as long.
    """
    contents, firsts = _Contents(), dict[tuple[int, ...], int]()
    values = [[agent.space.decode(code) for code in product(*map(range, agent.space.nvec))] for agent in agents]
    recipes = enumerate(_recipes(base, list(zip(agents, values, strict=True))))
    return np.array([firsts.setdefault(contents.of(recipe), number) for number, recipe in recipes], dtype=np.int64)


def _recipes(recipe: Recipe, agents: Sequence[tuple[Module, Sequence[Mapping[str, Any]]]]) -> Iterator[Recipe]:
    """Of all joint codes, in order; what the first agents write is written once."""
    if not agents:
        yield recipe
        return
    (agent, values), *others = agents
    for each in values:
        yield from _recipes(agent.apply(recipe, each), others)


class _Contents:
    """Numbers of what stands in the slots: equal content, equal number. Most slots share their objects with other recipes."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}  # by identity
        self._alive: list[Any] = []  # so that no identity is another's
        self._numbers: dict[str, int] = {}

    def of(self, recipe: Recipe) -> tuple[int, ...]:
        """One number a slot."""
        values = _slots(vars(recipe))
        try:
            return tuple([self._known[each] for each in map(id, values)])
        except KeyError:
            return tuple(map(self._number, values))

    def _number(self, value: Any) -> int:
        if id(value) not in self._known:
            key = content_key(asdict(value) if isinstance(value, Spec) else value)
            self._known[id(value)] = self._numbers.setdefault(key, len(self._numbers))
            self._alive.append(value)
        return self._known[id(value)]


def _check_spaces(about: Mapping[str, Any], agents: Sequence[Module]) -> None:
    """Refuse trainings of other decisions or other choices."""
    there = {(agent, name): _listed(choices) for agent, name, choices in about["decisions"]}
    here = {(agent.name, each.name): _listed(each.choices) for agent in agents for each in agent.space.decisions}
    if any(agent.space.intervals for agent in agents):
        raise ValueError("a game with intervals has no table")
    for agent, name in [*here, *there]:
        if there.get((agent, name)) != here.get((agent, name)):
            what = f"trainings of another game: agent {agent!r}, decision {name!r}"
            if (agent, name) not in there:
                raise ValueError(f"{what} is one of this game, and the trainings have none")
            if (agent, name) not in here:
                raise ValueError(f"{what} is one of the trainings, and this game has none")
            raise ValueError(
                f"{what}: the trainings chose among {there[agent, name]}, this game among {here[agent, name]}"
            )
    if list(there) != list(here):
        was, own = (", ".join(map(".".join, each)) for each in (there, here))
        raise ValueError(f"trainings of another game: their decisions are in the order {was}, this game's in {own}")


def levels(agents: Sequence[Module], base: Recipe) -> str:
    """Digest of what the choices mean: the recipes of each choice beside the first ones of all others."""
    keys = []
    for agent in agents:
        usual = [0] * len(agent.space.nvec)
        codes = [(*usual[:i], each, *usual[i + 1 :]) for i, n in enumerate(agent.space.nvec) for each in range(n)]
        keys += [agent.apply(base, agent.space.decode(code)).key for code in codes]
    return content_key(keys)


def _check_data(source: Mapping[str, Any], named: NamedGame, seed: int) -> None:
    """Refuse trainings on other data than the game's, or on others of its images."""
    other: NamedGame = resolve("games", str(source.get("game")))
    if (other.data, other.size, dict(other.source)) != (named.data, named.size, dict(named.source)):
        raise ValueError(f"these are trainings of {other.id}, which has other data")
    own = {**named.source, "size": named.size, "seed": seed}
    split = source.get("split", None if named.digest is None else {**own, "seed": 0})
    if split is None:
        raise ValueError("nobody knows on which images these were trained: make the table again, by `ma2ml table`")
    for name in [*own, *split]:
        if split.get(name) != own.get(name):
            raise ValueError(
                f"these are trainings on data with {name} {split.get(name)}, and the game's have {own.get(name)}"
            )
    if named.digest is not None and source.get("data") != named.digest and seed == 0:
        told = str(source.get("data"))[:8]
        raise ValueError(
            f"these are trainings on other data than {named.id} has: digest {told}, not {named.digest[:8]}"
        )


def _check_source(source: Mapping[str, Any], means: str, base: Recipe, fidelity: float) -> None:
    """Refuse trainings of other choices, from another base recipe, or of another length."""
    trains = source.get("trains")
    if not isinstance(trains, dict):
        raise ValueError("this table does not say how it was trained: make it again, by `ma2ml table`")
    if trains.get("class_weights") != "none":
        raise ValueError("the loss of these trainings is weighted by classes, and that of a looked-up game is not")
    if trains.get("fidelity") != fidelity or trains.get("base") != base.key:
        raise ValueError(
            "these trainings began from another base recipe or had other epochs than this game as it was told: leave its "
            "settings as they are, or take the evaluator train"
        )
    if "levels" in source and source["levels"] != means:
        raise ValueError("these are trainings of earlier levels: what a choice of an agent means has changed since")


def _listed(choices: Any) -> Any:
    """As JSON has it."""
    return [_listed(each) for each in choices] if isinstance(choices, (list, tuple)) else choices
