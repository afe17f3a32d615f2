"""Every key of `ma2ml search GAME --set`, with what it takes, its value in that game, and its meaning.

The keys are those by which `options.sort_options` sorts, the meanings the docstrings of the code that has them: nothing stands
here a second time.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any

from ma2ml_env.games.named import NamedGame
from ma2ml_env.games.options import TRAINED, option_kinds
from ma2ml_env.io.settings import words
from ma2ml_env.recipe import Recipe, Spec

_LONG = 24
"""letters of a value that a table shows"""


@dataclass(frozen=True)
class Setting:
    """A key of `--set`."""

    name: str
    home: str
    """what has it: protocol, recipe, network, data, trainer, table or surrogate"""
    kind: str
    """what it takes, in words"""
    value: str
    """in this game unless told, as `--set` writes it: JSON"""
    meaning: str

    @property
    def short(self) -> str:
        """The value, not longer than a table bears."""
        return self.value if len(self.value) <= _LONG else f"{self.value[: _LONG - 3]}..."


def settings_of(named: NamedGame) -> list[Setting]:
    """All keys of a game, by the evaluator that plays it and then by the surrogate.

    Raises:
        ImportError: if what trains or holds a table cannot be imported.
    """
    found = _settings(named, named.evaluator)
    if named.usual != named.evaluator:
        found += [each for each in _settings(named, named.usual) if each.home == named.usual]
    known = {each.name for each in found}
    return found + [
        each for each in _settings(named, "surrogate") if each.home == "surrogate" or each.name not in known
    ]


def _settings(named: NamedGame, evaluator: str) -> list[Setting]:
    kinds = option_kinds(named, evaluator)
    homes: dict[str, tuple[str, Mapping[str, Any], Mapping[str, str]]] = {
        "protocol": ("protocol", vars(named.protocol), meanings(type(named.protocol))),
        "recipe": ("recipe", named.base.to_json(), meanings(Recipe)),
    }
    if evaluator == "surrogate":
        from ma2ml_env.evaluators.landscape import Landscape

        usual = (
            defaults(Landscape) | ({"flops": named.flops_limit} if named.flops_limit else {}) | dict(named.landscape)
        )
        homes["player"] = ("surrogate", usual, meanings(Landscape))
        kinds["player"] = {"seed": int, **kinds["player"]}
    elif evaluator in TRAINED:
        from ma2ml_env.evaluators.train import Train
        from ma2ml_env.training import parts
        from ma2ml_env.training.data.source import DataSource

        network = named.base.network
        homes["network"] = ("network", network.args, meanings(parts.network_class(network.kind)))
        homes["source"] = ("data", defaults(DataSource) | dict(named.source), meanings(DataSource))
        homes["trainer"] = ("trainer", defaults(Train.__init__), meanings(Train))
        kinds["source"] = {"seed": int, **kinds["source"]}
        del kinds["source"]["digest"]  # a run's own to say
    elif evaluator == "table":
        from ma2ml_env.evaluators.table import Table

        homes["player"] = ("table", defaults(Table.__init__), meanings(Table))
    return [
        Setting(name, title, words(kind), json.dumps(usual[name]), said.get(name, ""))
        for home, (title, usual, said) in homes.items()
        for name, kind in kinds[home].items()
        if kind is not Spec  # no text of `--set` is one
    ]


def defaults(of: Any) -> dict[str, Any]:
    """Name -> default of the fields of a dataclass, or of the parameters of a function, that have one."""
    if is_dataclass(of):
        return {each.name: each.default for each in fields(of) if each.default is not MISSING}
    parameters = inspect.signature(of).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def meanings(of: Any) -> dict[str, str]:
    """Name -> what is said of it, on one line: by the text under a field, or under `Args:` of the docstring.

    A dataclass has the fields of its parents, too.
    """
    dataclasses = [each for each in reversed(getattr(of, "__mro__", ())) if is_dataclass(each)]
    return {name: text for home in dataclasses or [of] for name, text in _meanings(home).items()}


def _meanings(of: Any) -> dict[str, str]:
    """As `meanings`, without parents."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(of)))
    said = _arguments(inspect.getdoc(of) or "")
    (definition,) = tree.body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for line, below in pairwise(body):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value.value if isinstance(below.value, ast.Constant) else ""
            said[line.target.id] = " ".join(str(text).split())
    return said


def _arguments(docstring: str) -> dict[str, str]:
    """Name -> text of the section `Args:`, whose lines are indented by four, and by more where a text goes on."""
    _, _, section = docstring.partition("\nArgs:\n")
    said: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        text = line.strip()
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = text.partition(":")
        if name:
            said[name] = f"{said.get(name, '')} {text.strip()}".strip()
    return said
