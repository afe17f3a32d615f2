"""The options of the commands, made from the fields of `RunConfig`."""

from collections.abc import Sequence
from dataclasses import fields, make_dataclass, replace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from tyro.conf import Positional, arg

from ma2ml_agents.run.config import ELSEWHERE, Option, RunConfig, said
from ma2ml_agents.run.options import STORED

_KINDS = get_type_hints(RunConfig)


def _search() -> type:
    """All options, as `RunConfig.told` reads them."""
    made: list[Any] = []
    for each in fields(RunConfig):
        option = said(each)
        if option.default is ...:
            made.append((each.name, Annotated[_typed(each.name, option, option.help, None), Positional]))
        else:
            made.append((each.name, _typed(each.name, option, option.help, option.hint), option.default))
    return make_dataclass("SearchOptions", made, frozen=True)


def _some(names: Sequence[str]) -> type:
    """Some of them, as `ma2ml search` has them."""
    made = [(name, _typed(name, option, option.help, option.hint), option.default) for name, option in _options(names)]
    return make_dataclass("SomeOptions", made, frozen=True)


def _options(names: Sequence[str]) -> list[tuple[str, Option]]:
    return [(each.name, said(each)) for each in fields(RunConfig) if each.name in names]


def _later(names: Sequence[str], shortens: bool) -> type:
    """Options that may change, as `RunConfig.changed` reads them: without one, it is as the run has it."""
    made: list[Any] = []
    for each in fields(RunConfig):
        option = said(each)
        if each.name in names and option.later is not None and (shortens or not option.shortens):
            switch = _KINDS[each.name] is bool
            unless = replace(option, default=False if switch else None)
            kind = _typed(each.name, unless, option.later or option.help, None if switch else STORED)
            made.append((each.name, kind, unless.default))
    return make_dataclass("LaterOptions", made, frozen=True)


def _typed(name: str, option: Option, help: str, hint: str | None) -> Any:
    kind = option.kind or _KINDS[name]
    optional = kind | None if option.default is None else kind
    choices = [each for each in get_args(kind) if each is not None] if get_origin(kind) is Literal else []
    metavar = option.metavar or ("{" + ",".join(choices) + "}" if choices else None)
    return Annotated[optional, arg(metavar=metavar, help=help, help_behavior_hint=hint)]


DataOptions = Annotated[
    Any, arg(name="", constructor=_some(["size", "fit", "background", "skip_bad", "cache", "groups"]))
]
"""of `data`: how images are read"""
SearchOptions = Annotated[Any, arg(name="", constructor=_search())]
ResumeOptions = Annotated[Any, arg(name="", constructor=_later(RunConfig.names(safe=True), shortens=True))]
ElsewhereOptions = Annotated[
    Any, arg(name="", constructor=_later(RunConfig.names(*ELSEWHERE, safe=True), shortens=False))
]
"""of `retrain` and `fidelity`: where trainings run, which go to their ends"""
