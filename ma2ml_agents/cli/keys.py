"""`ma2ml list --set GAME`: what `ma2ml search GAME --set` takes."""

import json

from rich.console import Console

from ma2ml_agents.run.config import ELSEWHERE, RunConfig
from ma2ml_env.games.settings import Setting, settings_of
from ma2ml_env.registry import resolve


def keys_of(game: str) -> list[Setting]:
    """All keys of a game but those that have an option of their own.

    Raises:
        ValueError: if there is no such game.
        ImportError: if what trains or holds a table cannot be imported.
    """
    own = RunConfig.names("game", *ELSEWHERE)
    return [each for each in settings_of(resolve("games", game)) if each.name not in own]


def print_settings(console: Console, game: str, as_json: bool) -> None:
    """Print every key with what it takes, its value in this game and its meaning: tables, or one JSON list."""
    from ma2ml_agents.reports.tables import table

    found = keys_of(game)
    if as_json:
        print(json.dumps([vars(each) for each in found]))
        return
    for home in dict.fromkeys(each.home for each in found):
        made = table(f"--set KEY=VALUE: {home}", "key", "takes", "here", "meaning")
        made.columns[-1].justify = "left"
        for each in found:
            if each.home == home:
                made.add_row(each.name, each.kind, each.short, each.meaning)
        console.print(made)
