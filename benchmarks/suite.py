"""Suites: games x learners x seeds x budget, as TOML files in `suites/`.

title, budget, batch, top_k; reference = the arm that all others are compared with; controls = arms that are no rivals;
                siblings = rivals that have the reference's own parts; pairs = others that are compared
[[landscapes]]  name; game and options of `make_game`, or nvec and options of the synthetic landscape; budget if another
[[arms]]        learners; name if it is another; config of the learner; seeds = how many; landscapes if not all; options of
                the game beside the landscape's. A learner is also an algorithm of another library (`frameworks`), or a file
                beside the suite, my_algorithm.py, whose `train(make, pipelines, seed)` plays

With axis = "seconds", which wants games with a table of their trainings, the budget is the simulated seconds that so many whole
trainings take in the mean, and a search goes on until its own have taken as long: halved ones are more pipelines.
"""

import gzip
import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from exact import exact, surrogate_digest, truth
from frameworks import algorithm, is_algorithm
from numpy.typing import NDArray

from ma2ml_agents.registry import learner_class
from ma2ml_agents.run.loop import Playable
from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.game import Game
from ma2ml_env.games.make import make_game
from ma2ml_env.games.named import NamedGame
from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.settings import MOST
from ma2ml_env.modules.base import Module
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import closest, resolve
from ma2ml_env.space import Decision, SearchSpace

SMALL = 50_000
"""below so many pipelines a landscape is judged by its best pipeline, from there on by the mean of the top k"""
DRAWN = 200_000
"""so many pipelines stand for all of a landscape that has more"""
RUNS = 100_000
"""about so many runs a suite may have: a file of a few lines shall not fill the memory"""
HERE = Path(__file__).parent
Axis = Literal["pipelines", "seconds"]
"""what a budget is of"""


@dataclass(frozen=True)
class Slots:
    """A module of bare decisions, for spaces that nobody trains: they become arguments of the network."""

    name: str
    nvec: Sequence[int]

    @property
    def space(self) -> SearchSpace:
        return SearchSpace([Decision(f"{self.name}_{i}", tuple(range(n))) for i, n in enumerate(self.nvec)])

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        return recipe.with_slots(network=recipe.network.with_args(**values))


@dataclass(frozen=True)
class Landscape:
    """What is played."""

    name: str
    game: str = ""
    """id of a named game; or, if empty:"""
    nvec: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """agent -> choices of its decisions"""
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: int = 0
    """pipelines; 0 is the suite's"""

    def __post_init__(self) -> None:
        if not isinstance(self.game, str) or bool(self.game) == bool(self.nvec):
            raise ValueError(f"landscape {self.name!r} has either a game or nvec")
        for agent, sizes in self.nvec.items():
            for size in sizes:
                count(f"nvec of {agent}: a number of choices", size)
        if self.budget != 0 or isinstance(self.budget, bool):
            count("budget", self.budget)

    @property
    def measured(self) -> bool:
        """Whether it is a game that trains, looked up in a table of all its trainings."""
        if not self.game:
            return False
        named: NamedGame = resolve("games", self.game)
        return named.evaluator != "table" and self.options.get("evaluator", named.usual) == "table"

    def make(self, options: Mapping[str, Any] = {}) -> Game:
        """The game, ready to play, with these options beside its own."""
        told = {**self.options, **options}
        if self.game:
            return make_game(self.game, **told)
        modules: list[Module] = [Slots(agent, tuple(sizes)) for agent, sizes in self.nvec.items()]
        return Game(modules, Surrogate(self.nvec, **told))


@dataclass(frozen=True)
class Run:
    """One search."""

    suite: str
    landscape: Landscape
    arm: str
    learner: str
    config: Mapping[str, Any]
    seed: int
    budget: int
    batch: int
    top_k: int
    options: Mapping[str, Any] = field(default_factory=dict)
    """of the game, beside the landscape's"""
    axis: Axis = "pipelines"

    def __post_init__(self) -> None:
        for name in ("budget", "batch", "top_k"):
            count(name, vars(self)[name])
        if self.axis not in get_args(Axis):
            raise ValueError(f"axis {self.axis!r}{closest(str(self.axis), get_args(Axis))}")
        if self.axis == "seconds" and not self.landscape.measured:
            raise ValueError(
                f"landscape {self.landscape.name!r} has no simulated seconds: it is no game with a table of its trainings"
            )
        names = {"suite": self.suite, "landscape": self.landscape.name, "arm": self.arm}
        for what, name in names.items():  # they are parts of a path
            if not isinstance(name, str) or not name or name in (".", "..") or {"/", "\\", "\0"} & set(name):
                raise ValueError(f"the name of the {what} cannot be that of a file: {str(name)[:50]!r}")

    def make(self) -> Game:
        """What it plays."""
        return self.landscape.make(self.options)

    def file(self, folder: Path) -> Path:
        return folder / self.suite / self.landscape.name / self.arm / f"{self.seed}.json"

    def settings(self) -> dict[str, Any]:
        """What decides the run's numbers but for the code, defaults spelt out: a run is kept if they are the same."""
        if is_algorithm(self.learner):
            if self.config:
                raise ValueError(f"{self.learner} has no config here: its settings stand in benchmarks/frameworks")
            full = algorithm(self.learner).told
        else:
            full = asdict(learner_class(self.learner).Config(**self.config))
        later: dict[str, Any] = {"options": dict(self.options)} if self.options else {}  # earlier runs have neither
        later |= {"axis": self.axis} if self.axis != "pipelines" else {}
        return {
            "landscape": asdict(self.landscape), "learner": Path(self.learner).name, "config": full, "seed": self.seed,
            "budget": self.budget, "batch": self.batch, "top_k": self.top_k, **later,
        }  # fmt: skip

    def is_of(self, stored: Mapping[str, Any], tables: Mapping[str, str]) -> bool:
        """Whether a file's run is this one, played on the table that is there now: see `tables_of`."""
        same = stored.get("settings") == json.loads(json.dumps(self.settings()))
        return bool(same and stored.get("table") == tables.get(self.landscape.name))


def count(name: str, value: Any) -> int:
    """A number of something.

    Raises:
        ValueError: if it is none, or none that anybody means.
    """
    if type(value) is not int or not 1 <= value <= MOST:
        raise ValueError(f"{name} is a whole number, at least 1 and at most {MOST:,}, not {str(value)[:50]}")
    return value


@dataclass(frozen=True)
class Suite:
    """All runs of a file."""

    name: str
    title: str
    reference: str
    landscapes: tuple[Landscape, ...]
    runs: tuple[Run, ...]
    controls: tuple[str, ...] = ()
    """arms that nobody would pick instead: not among those of which a landscape has a best"""
    pairs: tuple[tuple[str, str], ...] = ()
    """other arms that are compared: the first is expected above the second"""
    siblings: tuple[str, ...] = ()
    """rivals that share with the reference what may carry it: a landscape's best is told without them as well"""
    axis: Axis = "pipelines"

    def arms(self) -> list[str]:
        """Names, in the file's order."""
        return list(dict.fromkeys(run.arm for run in self.runs))


def load(name: str, own: Sequence[Path] = ()) -> Suite:
    """The suite of a name in `suites/`, or of a TOML file.

    Args:
        name: of the suite.
        own: files of algorithms that play it as well, each an arm of the file's name.

    Raises:
        FileNotFoundError: there is no such suite; those that there are are named.
        ValueError: a key or a learner is unknown.
    """
    path = Path(name) if name.endswith(".toml") else HERE / "suites" / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in (HERE / "suites").glob("*.toml")))
        raise FileNotFoundError(f"there is no suite {name!r}; there are: {known}")
    try:
        data = tomllib.loads(path.read_text())
        for file in own:
            most = max(arm["seeds"] for arm in data["arms"])
            data["arms"].append({"learners": [str(file.resolve())], "name": file.stem, "seeds": most})
        landscapes = tuple(Landscape(**entry) for entry in data["landscapes"])
        runs = tuple(_runs(path, data, landscapes))
        for run in {(run.landscape.name, run.arm, run.learner): run for run in runs}.values():
            run.settings()  # an unknown learner or setting is an error here, and not in the middle of a suite
        pairs = tuple((first, second) for first, second in data.get("pairs", ()))
        return Suite(
            path.stem,
            data["title"],
            data["reference"],
            landscapes,
            runs,
            controls=tuple(data.get("controls", ())),
            pairs=pairs,
            siblings=tuple(data.get("siblings", ())),
            axis=data.get("axis", "pipelines"),
        )
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from None
    except (TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _runs(suite: Path, data: Mapping[str, Any], landscapes: Sequence[Landscape]) -> Iterator[Run]:
    """Seed by seed, so that a suite that is stopped has something of everything."""
    arms = data["arms"]
    seeds = max(count("seeds", arm["seeds"]) for arm in arms)
    if seeds * (1 + len(landscapes)) * (1 + sum(len(arm["learners"]) for arm in arms)) > RUNS:
        raise ValueError(f"seeds, landscapes and learners make more than {RUNS:,} runs")
    for seed in range(seeds):
        for landscape in landscapes:
            for arm in arms:
                if seed >= arm["seeds"] or landscape.name not in arm.get("landscapes", [landscape.name]):
                    continue
                for learner in arm["learners"]:
                    named = Path(learner).stem if learner.endswith(".py") else learner
                    played = str(suite.parent / learner) if learner.endswith(".py") else learner
                    yield Run(
                        suite.stem, landscape, arm.get("name", named), played, arm.get("config", {}), seed,
                        landscape.budget or data["budget"], data["batch"], data["top_k"], dict(arm.get("options", {})),
                        data.get("axis", "pipelines"),
                    )  # fmt: skip


def keep(path: Path, runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Write runs, by the names of their files, into one file: what a report was made from, to go on with elsewhere."""
    lines = "".join(json.dumps({"file": name, **run}, sort_keys=True) + "\n" for name, run in sorted(runs.items()))
    write_atomic(path, gzip.compress(lines.encode(), mtime=0))


def read_kept(path: Path) -> dict[str, dict[str, Any]]:
    """Inverse of `keep`; empty if there is no such file."""
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return {row.pop("file"): row for row in rows}


def tables_of(runs: Iterable[Run]) -> dict[str, str]:
    """Landscape -> digest of its table, of measured games. Each is made in every way that a run plays it.

    Raises:
        ValueError: a table is not there, is another one to one of the arms, or does not bear its options.
    """
    found: dict[str, str] = {}
    ways: dict[tuple[str, str], Run] = {}
    for run in runs:
        if run.landscape.measured:
            ways.setdefault((run.landscape.name, repr(run.options)), run)
    for run in ways.values():
        where = f"landscape {run.landscape.name}" + (f", arm {run.arm}" if run.options else "")
        try:
            game = run.make()
            known = exact(game)
        except (OSError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None
        if known is None and run.axis == "seconds":
            raise ValueError(f"{where}: simulated seconds are of games that were measured whole, not of a surrogate")
        digest = surrogate_digest(game) if known is None else known.digest
        if digest is None or found.setdefault(run.landscape.name, digest) != digest:
            raise ValueError(f"{where}: it has another table or another reward than other arms, and cannot be compared")
    return found


def points(game: Playable) -> float:
    """Number of joint codes; intervals have no end of them."""
    if any(game.spec.intervals.values()):
        return math.inf
    return float(math.prod(n for sizes in game.spec.nvec.values() for n in sizes))


def judged_by(game: Game) -> str:
    """The curve that counts: `found` of a measured game, `best` on other small tables, else `top`."""
    if exact(game) is not None:
        return "found"
    return "best" if points(game) < SMALL else "top"


def is_known(game: Game) -> bool:
    """Whether rewards without noise can be asked for: of tables and synthetic landscapes, not of real trainings."""
    return truth(game) is not None


def elite_level(game: Game, share: float = 0.001) -> float:
    """Noise-free reward above which `share` of all pipelines lie: of all of them, or of 200,000 drawn uniformly.

    NaN where it is not known.
    """
    if not is_known(game):
        return math.nan
    sizes = [n for agent in game.spec.nvec.values() for n in agent]
    if points(game) <= DRAWN:
        rows = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)
    else:
        rng = np.random.default_rng(0)
        columns = [rng.integers(size, size=DRAWN) for size in sizes]
        rows = np.array(columns, dtype=np.int64).reshape(len(sizes), DRAWN).T
    codes: dict[str, NDArray[Any]] = {}
    positions = np.random.default_rng(1)
    for agent, own in game.spec.nvec.items():
        codes[agent], rows = rows[:, : len(own)], rows[:, len(own) :]
        if count := game.spec.intervals.get(agent, 0):
            codes[agent] = np.concatenate([codes[agent], positions.random((len(rows), count))], axis=1)
    return float(np.quantile(noise_free(game, codes), 1 - share, method="higher"))


def noise_free(game: Game, codes: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    """Rewards (n,) without noise of agent -> codes (n, L_i)."""
    known = truth(game)
    assert known is not None
    return game.reward.vector(*known.noise_free(codes))
