"""The tables of docs/learners: settings from a learner's `Config`, results from the kept reports of the suites.

`python tests/docs/learner_pages.py` writes them into the pages, each as the first paragraph below its heading.
"""

import json
import re
import tomllib
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from ma2ml_agents.registry import LEARNERS, learner_class
from ma2ml_env.games.settings import meanings

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "docs" / "learners"
RESULTS = ROOT / "benchmarks" / "results"
NOT_PLAYED = "No suite has played it yet."


def settings_table(name: str) -> str:
    """Every setting of a learner, with its default as `--learner-set` takes it."""
    config = learner_class(name).Config
    said = meanings(config)
    rows = [[f"`{each.name}`", f"`{_default(each)}`", said[each.name]] for each in fields(config)]
    return _table(["setting", "default", "what it is"], rows) if rows else "There are none."


def results_table(name: str) -> str:
    """What a learner came to in every suite that played it under its own name."""
    rows = []
    for file in sorted(RESULTS.glob("*.json")):
        landscapes = json.loads(file.read_text()).get("landscapes")
        if isinstance(landscapes, dict) and "all" in landscapes:
            rows += _row(file.stem, landscapes, name)
    head = ["suite", "games", "seeds", "level", "level of the reference", "ratio", "ratio of an equal"]
    return _table(head, rows) if rows else NOT_PLAYED


def _row(suite: str, landscapes: dict[str, Any], name: str) -> list[list[str]]:
    """The row of a suite; none if the learner is not in it."""
    games = [part for part in landscapes.values() if isinstance(part, dict) and name in part.get("levels", {})]
    if not games:
        return []
    reference = tomllib.loads((ROOT / "benchmarks" / "suites" / f"{suite}.toml").read_text())["reference"]
    seeds = sorted({game["levels"][name]["seeds"] for game in games})
    equal, own = landscapes.get("null"), name == reference
    return [
        [
            f"`{suite}`",
            str(len(games)),
            " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))),
            _level(games, name),
            "" if own else f"`{reference}` {_level(games, reference)}",
            "the reference" if own else _ratio(landscapes["all"][name], "geometric_mean"),
            _ratio(equal, "mean") if equal else "",
        ]
    ]


def _level(games: list[dict[str, Any]], name: str) -> str:
    """Mean over the games at the end of the budget."""
    ends = [game["levels"][name][f"{game['judged_by']}_at_100%"] for game in games]
    return f"{sum(ends) / len(ends):.4f}".removeprefix("0")


def _ratio(row: dict[str, Any], mean: str) -> str:
    low, high = row["interval"]
    return f"{row[mean]:.2f} ({low:.2f} to {high:.2f})"


def _default(field: Field[Any]) -> str:
    value = field.default if field.default_factory is MISSING else field.default_factory()
    return value if isinstance(value, str) else json.dumps(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in (head, *rows)]
    first, *others = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in escaped]
    return "\n".join([first, "|---" * len(head) + "|", *others])


TABLES = {"Settings": settings_table, "Results": results_table}


def below(heading: str, page: str) -> re.Match[str]:
    """The first paragraph below a heading of a page.

    Raises:
        ValueError: if the page has no such heading, or nothing below it.
    """
    found = re.search(rf"(?<=^## {heading}\n\n).+?(?=\n\n|\n?\Z)", page, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"nothing stands below a heading '## {heading}'")
    return found


def main() -> None:
    """Write all tables."""
    for name in LEARNERS:
        path = PAGES / f"{name}.md"
        text = path.read_text()
        for heading, table in TABLES.items():
            old = below(heading, text)
            text = text[: old.start()] + table(name) + text[old.end() :]
        path.write_text(text)


if __name__ == "__main__":
    main()
