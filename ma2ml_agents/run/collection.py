"""What `ma2ml collect` trains: a suite's pipelines, each so often, in parts that are ordinary runs.

A suite is a TOML file:

    name = "trio-digits"          # of folders and tables
    game = "trio-digits-v0"
    repeats = 3                   # trainings of each pipeline, each under its own seed
    seed = 0
    [set]                         # as --set of a search
    curve = [1, 2, 3, 5, 8, 12, 16, 20]
    [[pipelines]]
    of = "grid"                   # all of the game
    [[pipelines]]
    of = "random"
    number = 1000
    seed = 1
    [[pipelines]]
    of = "file"                   # JSON as of --start; relative to the suite
    file = "good.json"

Codes of one pipeline are trained once a repeat. What a learner proposes is a search of its own: `ma2ml search`, then
`ma2ml table` joins them.
"""

import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from ma2ml_agents.registry import make_learner
from ma2ml_agents.run.known import pipeline_key
from ma2ml_env.game import Game
from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.reading import check_fields, read_json
from ma2ml_env.recipe import content_key
from ma2ml_env.trial import Code, split_row

MOST = 1_000_000
"""pipelines of a suite: more are a slip"""
_NEEDS: dict[str, dict[str, type]] = {"grid": {}, "random": {"number": int, "seed": int}, "file": {"file": str}}
"""what an entry is told, by what it is of"""


@dataclass(frozen=True)
class Suite:
    """What a suite's file says."""

    name: str = ""
    game: str = ""
    repeats: int = 1
    seed: int = 0
    set: Mapping[str, Any] = field(default_factory=dict)
    pipelines: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def read(cls, path: Path) -> "Suite":
        """Read the file.

        Raises:
            ValueError: if something in it is not as described; it is named.
            OSError: if it cannot be read.
        """
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
            check_fields(cls(), told, "a suite to collect")
            suite = cls(**told)
            if not suite.name or not suite.game or not suite.pipelines:
                raise ValueError("a suite needs a name, a game and [[pipelines]]")
            if not suite.name.replace("-", "").isalnum():
                raise ValueError(f"name: letters, digits and dashes, as it names folders; not {suite.name!r}")
            if not isinstance(suite.repeats, int) or not 1 <= suite.repeats <= 1000:
                raise ValueError(f"repeats is at least 1 and at most 1,000, a whole number, not {suite.repeats}")
            if not isinstance(suite.seed, int) or suite.seed < 0:
                raise ValueError(f"seed is a whole number of at least 0, not {suite.seed}")
            if not all(isinstance(each, Mapping) for each in suite.pipelines):
                raise ValueError("[[pipelines]] are tables")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: {error}") from None
        return suite

    @property
    def texts(self) -> tuple[str, ...]:
        """`set` as `--set` reads it."""
        return tuple(f"{name}={json.dumps(value)}" for name, value in self.set.items())


@dataclass(frozen=True)
class Part:
    """One run of a part: some pipelines, once each."""

    name: str
    """of its folder"""
    seed: int
    """of the run, from which its trainings have theirs"""
    pipelines: Sequence[Mapping[str, Code]]


def listed(suite: Suite, game: Game, beside: Path) -> list[Mapping[str, Code]]:
    """A suite's pipelines in order, each once.

    Args:
        suite: what is listed.
        game: whose codes they are.
        beside: folder that files are relative to.

    Raises:
        ValueError: if an entry cannot be understood, or there are more than a million.
        OSError: if a file cannot be read.
    """
    found: dict[str, Mapping[str, Code]] = {}
    for number, entry in enumerate(suite.pipelines):
        try:
            for codes in _codes(entry, game, beside):
                found.setdefault(pipeline_key(game, codes), codes)
                _check_number(len(found))
        except ValueError as error:
            raise ValueError(f"{suite.name}: [[pipelines]] number {number}: {error}") from None
    return list(found.values())


def parts(suite: Suite, pipelines: Sequence[Mapping[str, Code]], part: int, of: int) -> list[Part]:
    """The runs of part `part` of `of`, one a repeat. Parts hold all pipelines once, and each run has a seed of its own.

    Raises:
        ValueError: if there is no such part, or nothing in it.
    """
    if not 1 <= part <= of:
        raise ValueError(f"--part k/n: k is 1 to n, not {part}/{of}")
    ends = [len(pipelines) * k // of for k in (part - 1, part)]
    some = pipelines[ends[0] : ends[1]]
    if not some:
        raise ValueError(f"--part {part}/{of}: there are only {len(pipelines)} pipelines, and none in this part")
    seeds = [suite.seed + repeat * of + part - 1 for repeat in range(suite.repeats)]
    return [Part(f"{suite.name}-{part}-of-{of}-seed-{seed}", seed, some) for seed in seeds]


def write_list(folder: Path, part: Part, game: Game) -> Path:
    """Write a part's pipelines as `--start` reads them; the file.

    Its name tells its content. So a run that was begun with other pipelines is refused, as any run whose options have changed.
    """
    rows = [game.values(codes) for codes in part.pipelines]
    path = folder / f"{part.name}-{content_key(rows)[:8]}.json"
    write_atomic(path, (json.dumps(rows) + "\n").encode())
    return path


def _codes(entry: Mapping[str, Any], game: Game, beside: Path) -> Iterator[Mapping[str, Code]]:
    told = dict(entry)
    kind, nvec = told.pop("of", None), game.spec.nvec
    needs = _NEEDS.get(str(kind))
    if needs is None:
        raise ValueError(f"of is grid, random or file, not {kind!r}")
    if told.keys() != needs.keys() or not all(type(told[name]) is needs[name] for name in needs):
        raise ValueError(f"{kind} takes {', '.join(needs) or 'nothing'}, not {dict(told)}")
    if kind == "grid":
        if game.spec.intervals:
            raise ValueError("a game with intervals has no grid")
        sizes = [size for each in nvec.values() for size in each]
        _check_number(math.prod(sizes))
        for joint in product(*map(range, sizes)):
            yield split_row(joint, nvec)
    elif kind == "random":
        _check_number(told["number"])
        for proposal in make_learner("random", game.spec, seed=told["seed"]).ask(told["number"]):
            yield proposal.codes
    else:
        rows = read_json((beside / told["file"]).read_bytes())
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{told['file']} holds no list of pipelines")
        yield from (game.codes(row) for row in rows)


def _check_number(number: int) -> None:
    if not 1 <= number <= MOST:
        raise ValueError(f"from 1 to {MOST:,} pipelines, not {number:,}")
