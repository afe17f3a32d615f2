"""The datasheet's figures are those of the table that comes with the package."""

import json
from pathlib import Path

import datasheet
import pytest
from trio_live import as_markdown, summary

ROOT = Path(__file__).parents[2]
GAME = "trio-digits-v0"


def test_the_page_has_the_figures_of_the_packaged_table():
    told = datasheet.Sheet(GAME, None).figures()
    assert datasheet.as_markdown(told) in (ROOT / "docs" / "trio.md").read_text("utf-8")
    kept = json.loads((ROOT / "benchmarks" / "results" / "trio" / f"{GAME}.json").read_text("utf-8"))
    assert datasheet.rows(kept) == datasheet.rows(told)


def test_the_page_has_the_searches_that_trained():
    folder = ROOT / "benchmarks" / "results" / "trio"
    told = json.loads((folder / "live.json").read_text("utf-8"))
    rows = as_markdown(told, {"live": 3, "table": 20})
    assert rows == (folder / "live.md").read_text("utf-8")
    assert rows.strip().replace("0.", ".") in (ROOT / "docs" / "trio.md").read_text("utf-8")
    assert summary(told["rows"]) == {"levels": tuples(told["levels"]), "tau": told["tau"]}


def tuples(levels):
    return {how: {name: [tuple(at) for at in own] for name, own in of.items()} for how, of in levels.items()}


def test_the_levels_are_those_that_the_pilots_wanted():
    """As docs/history.md has it: no agent decides alone. The noise is above the .25 that was wanted, and the page says so."""
    kept = json.loads((ROOT / "benchmarks" / "results" / "trio" / f"{GAME}.json").read_text("utf-8"))
    variance = kept["variance"]
    assert min(variance["total"].values()) >= 0.15
    assert variance["across_agents"] >= 0.10
    assert variance["no_policy_is_best"] <= 0.5
    assert kept["noise"]["over_deviation"] == pytest.approx(0.252, abs=5e-4)
    assert "noise is .252 of the deviation between pipelines" in (ROOT / "docs" / "trio.md").read_text("utf-8")
    assert kept["counts"]["below_half"] <= 0.10
