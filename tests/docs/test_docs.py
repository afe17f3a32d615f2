"""Every code block of the documentation runs, and every command in it exists."""

import io
import json
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
from learner_pages import NOT_PLAYED

from ma2ml_agents.cli.commands import parse
from ma2ml_agents.registry import LEARNERS

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language):
    """Of a page in order; all languages are read, so that the end of one block is not taken for the start of another."""
    for page in PAGES:
        fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(block for written_in, block in fenced if written_in == language):
            yield pytest.param(block, id=f"{page.name}-{number}")


def python_blocks():
    for block in blocks("python"):
        marks = [] if block.id.startswith("README") else [pytest.mark.slow]
        marks += [pytest.mark.extra] if block.values[0].startswith("# needs the extra") else []
        yield pytest.param(*block.values, id=block.id, marks=marks)


@pytest.mark.parametrize("code", list(python_blocks()))
def test_python_block_runs(code, tmp_path):
    """Warnings are errors, but for those of other frameworks: a block says so in its first line."""
    extra = re.match(r"# needs the extra (\w+)\n", code)
    if extra:
        pytest.importorskip(extra[1], reason=f"the extra {extra[1]} is not installed")
    strict = [] if extra else ["-W", "error"]
    done = subprocess.run(
        [sys.executable, *strict, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def commands_in_blocks(programs=("ma2ml",)):
    for block in blocks(""):
        for line in block.values[0].splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in programs:
                yield pytest.param(words, id=" ".join(words))


def commands():
    yield from commands_in_blocks(("ma2ml", "make"))
    for page in PAGES:
        for line in dict.fromkeys(re.findall(r"`(ma2ml [a-z0-9]+ [^`|]+)`", page.read_text())):
            yield pytest.param(shlex.split(line), id=f"{page.name}: {line}")


@pytest.mark.parametrize("words", list(commands()))
def test_command_exists(words):
    """Its name and every flag stand in the command's help, or its target in the Makefile."""
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    for flag in (word for word in words[2:] if word.startswith("--")):
        assert flag in help_of(words[1]), f"{flag} is not an option of ma2ml {words[1]}"
    assert help_of(words[1])


@pytest.mark.parametrize("words", list(commands_in_blocks()))
def test_command_in_a_block_is_understood(words):
    """As it stands, up to a pipe, and without the plugin, which is imported."""
    words = words[1 : words.index("|") if "|" in words else None]
    if "--plugin" in words:
        at = words.index("--plugin")
        words = words[:at] + words[at + 2 :]
    parse(words)


@cache
def help_of(command):
    text = io.StringIO()
    with redirect_stdout(text), pytest.raises(SystemExit, match=r"^0$"):
        parse([command, "--help"])
    return text.getvalue()


def test_programs_exist():
    for page in PAGES:
        for program in re.findall(r"python (benchmarks/\w+\.py)", page.read_text()):
            assert (ROOT / program).is_file(), f"{page.name} runs {program}"


def test_the_papers_page_has_the_figures_that_were_measured():
    text = (ROOT / "docs" / "paper.md").read_text()
    measured = json.loads((ROOT / "benchmarks" / "results" / "enumerable.json").read_text())
    for loss, deviation in (measured["entropy_loss"], measured["divergence_loss"]):
        assert f"{loss:.4f} +- {deviation:.4f}".replace("0.", ".") in text
    exact, entropy = measured["violations_exact"], measured["violations_entropy"]
    of_sampled = ", ".join(measured[f"violations_sampled_{n}"].split()[0] for n in (4, 16, 64))
    assert exact.replace("4800", "4,800") in text
    assert entropy in text
    assert f"with 4, 16, 64 samples, {of_sampled}" in text
    for kind in ("simultaneous", "following", "following_logits"):
        assert ", ".join(told.split()[0] for told in measured[f"violations_{kind}"].values()) in text
    losses = ", ".join(f"{loss:.3f}".lstrip("0") for loss, _ in measured["divergence_loss_of_lambda"].values())
    assert f"could still gain {losses}" in text
    below = sorted(loss for loss, _ in measured["divergence_below_best"].values())
    assert f"{below[0]:.2f} to {below[-1]:.2f}".replace("0.", ".") in text
    for suite, arms in (
        ("policies", ("without-credit", "without-replay", "without-divergence", "entropy", "single_agent",
                      "critic-sees-states", "lambda-undivided")),
        ("ablations", ("without-credit", "without-replay", "without-divergence", "untrained")),
    ):  # fmt: skip
        rows = json.loads((ROOT / "benchmarks" / "results" / f"{suite}.json").read_text())["landscapes"]["all"]
        for arm in arms:
            low, high = rows[arm]["interval"]
            told = f"{rows[arm]['geometric_mean']:.2f} ({low:.2f} to {high:.2f})"
            assert re.sub(r"(?<!\d)0\.", ".", told) in text, (suite, arm)
    letter = json.loads((ROOT / "benchmarks" / "results" / "letter.json").read_text())["landscapes"]["all"]["random"]
    assert letter["p_above"]["100%"] < 1e-4


def test_readme_is_short_and_says_first_what_a_stranger_asks():
    text = (ROOT / "README.md").read_text()
    assert len(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL).split()) <= 700
    assert text.count("![") == 1
    first = "\n".join(text.splitlines()[:10])
    for word in ("image classification", "Optuna or Ray Tune", "`ma2ml_exact`"):
        assert word in first


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_fault_table_is_true():
    """A fault is marked tested if, and only if, a test is named after it."""
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tested = {name for names in re.findall(r"def test((?:_f\d+)+)_", sources) for name in re.findall(r"f(\d+)", names)}
    rows = re.findall(r"^\| (F[^|]*) \| (yes|no) \|", (ROOT / "docs" / "faults.md").read_text(), re.MULTILINE)
    told = {"yes": set(), "no": set()}
    for faults, mark in rows:
        for first, last in re.findall(r"F(\d+)(?:-F(\d+))?", faults):
            told[mark] |= {str(n) for n in range(int(first), int(last or first) + 1)}
    assert told["yes"] == tested
    assert told["no"].isdisjoint(tested)
    assert told["yes"] | told["no"] == {str(n) for n in range(1, 31)}


def measured():
    """Every number with its interval that the suites' results hold, as the pages write them: 0.41 (0.36 to 0.45), .004 (.001 to
    .008)."""

    def ratio(value, interval):
        return f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"

    def loss(value, interval):
        return re.sub(r"(?<!\d)0\.", ".", f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})").replace(
            "-.000", ".000"
        )

    for file in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        stored = json.loads(file.read_text())
        landscapes = stored.get("landscapes", {})
        if not isinstance(landscapes, dict) or "all" not in landscapes:
            continue
        if landscapes.get("null"):
            yield ratio(landscapes["null"]["mean"], landscapes["null"]["interval"])
        for row in landscapes["all"].values():
            yield ratio(row["geometric_mean"], row["interval"])
        for part in (part for part in landscapes.values() if isinstance(part, dict) and "rivals" in part):
            for row in part["rivals"].values():
                yield from (
                    loss(at["mean"], at["interval"]) for at in row.values() if isinstance(at, dict) and at["interval"]
                )


@pytest.mark.parametrize("page", ["docs/benchmarks.md", *[f"docs/learners/{name}.md" for name in LEARNERS]])
def test_numbers_with_intervals_are_the_results(page):
    number, results, text = r"-?\d?\.\d+", set(measured()), (ROOT / page).read_text()
    told = re.findall(rf"({number} \({number} to {number})\)", text)
    assert told or NOT_PLAYED in text, "the page has none"
    assert [one for one in told if f"{one})" not in results] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_holds_what_a_merge_left(page):
    assert not re.findall(r"^(?:<{7} |={7}$|>{7} ).*", page.read_text(), re.MULTILINE)
