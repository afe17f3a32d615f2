"""Every learner has a page: the same headings, tables that are made from the code and the kept results, its own command."""

import re

import pytest
from learner_pages import NOT_PLAYED, PAGES, TABLES, below, results_table, settings_table

from ma2ml_agents.registry import LEARNERS, learner_class

HEADINGS = ["How it works", "Where it departs from the ", "Settings", "Results", "Command"]


def page(name):
    return (PAGES / f"{name}.md").read_text()


def extra(name):
    """The extra that a learner needs, by the docstring of its class; none if it needs none."""
    return re.findall(r"it is the extra `(\w+)`", learner_class(name).__doc__)


def test_every_learner_has_a_page_and_the_index_lists_exactly_those():
    assert {path.stem for path in PAGES.glob("*.md")} == {*LEARNERS, "index"}
    listed = re.findall(r"^\| \[`(\w+)`\]\((\w+)\.md\) \|", page("index"), re.MULTILINE)
    assert listed == [(name, name) for name in LEARNERS]


@pytest.mark.parametrize("name", LEARNERS)
def test_a_page_has_the_headings_of_all_pages(name):
    text = page(name)
    assert text.startswith(f"# {name}\n\n")
    told = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [each.removesuffix("paper").removesuffix("original") for each in told] == HEADINGS


@pytest.mark.parametrize("heading", TABLES)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_table_is_what_code_and_results_say(name, heading):
    told, true = below(heading, page(name))[0], TABLES[heading](name)
    assert told == true, f"{heading} of docs/learners/{name}.md are of before: run `python tests/docs/learner_pages.py`"


def test_tables_are_made_from_the_fields_of_parents_too():
    rows = settings_table("ma2ml_paper").splitlines()
    assert "| `hidden` | `100` | LSTM units of a controller (NASNet, AutoAugment) |" in rows  # of MA2MLConfig
    assert any(row.startswith("| `ensemble` | `1` |") for row in rows)  # its own; MA2ML has four
    assert r"KL(pi_old \|\| pi)" in settings_table("ppo")  # a line would end the cell
    assert results_table("no learner") == NOT_PLAYED


def test_control_a_page_without_a_table_is_refused():
    with pytest.raises(ValueError, match="Settings"):
        below("Settings", "# x\n\n## Settings\n")


@pytest.mark.parametrize("name", LEARNERS)
def test_a_page_has_its_own_command_and_the_extra_that_it_needs(name):
    block = re.search(r"^## Command\n\n```\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)[1]
    assert f"ma2ml search digits-v0 --learner {name} --run runs/" in block
    assert re.findall(r'pip install -e "\.\[(\w+)\]"', block) == extra(name)
    row = re.search(rf"^\| \[`{name}`\].*$", page("index"), re.MULTILINE)[0]
    assert row.split("|")[4].strip("` ") == "".join(extra(name))
