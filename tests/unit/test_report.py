"""The HTML report: whole, static, and true to the run."""

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from ma2ml_agents.cli.main import main
from ma2ml_agents.reports.chart import TOP, chart, ticks
from ma2ml_agents.reports.report import render
from ma2ml_agents.run.stored import build_without_evaluator, stored_config
from ma2ml_env.store.store import TrialStore


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("report") / "run"
    args = ["search", "digits-v0", "--evaluator", "surrogate", "--learner", "random", "--budget", "16", "--batch", "4"]
    assert main([*args, "--run", str(run)]) == 0
    return run


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_report_is_one_static_well_formed_file(run, tmp_path):
    assert main(["report", str(run)]) == 0
    text = (run / "report.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not {"script", "link", "img", "iframe"} & set(tags.seen)
    assert "http" not in text
    assert tags.seen.count("svg") == 2
    assert main(["report", str(run), "--out", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").read_text() == text


def test_report_holds_the_best_trials(run):
    with TrialStore(run) as store:
        config, trials = stored_config(store), list(store.trials())
    page = render(config, trials, build_without_evaluator(config))
    best = sorted(trials, key=lambda trial: -trial.reward)
    assert f"<tr><td>1</td><td>{best[0].number}</td><td>{best[0].reward:.4f}</td>" in page
    assert f"<td>{best[3].seed}</td>" not in page, "digits-v0 has a top 3"
    assert "16 of 16 trials: 16 ok" in page


def test_report_escapes_what_a_run_holds(run):
    with TrialStore(run) as store:
        config, trials = stored_config(store), list(store.trials())
    page = render(replace(config, learner="<script>x</script>"), trials, build_without_evaluator(config))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_report_of_nothing_is_refused(tmp_path, capsys):
    with TrialStore(tmp_path / "run") as store:
        config = {"game": "digits-v0", "learner": "random", "evaluator": "surrogate", "seed": 0}
        store.configure({**config, "batch": 4, "budget": 4, "set": {}})
    assert main(["report", str(tmp_path / "run")]) == 2
    assert "no trials yet" in capsys.readouterr().err


@pytest.mark.parametrize("values", [[0.1, 0.93], [5, 5], [0, 1e9], [-3, 2], [1e-9, 2e-9], [0.0]])
def test_ticks_enclose_the_values_evenly(values):
    made = ticks(values)
    assert made[0] <= min(values)
    assert made[-1] >= max(values)
    assert 2 <= len(made) <= 8
    steps = [b - a for a, b in itertools.pairwise(made)]
    assert max(steps) == pytest.approx(min(steps))


def test_chart_is_svg_and_higher_values_are_higher_up():
    svg = ElementTree.fromstring(chart({"a & b": [(0, 1), (10, 3)], "c": [(5, 2)]}, "x", "y", dots=("c",)))
    (line,) = svg.iter("polyline")
    (first, second) = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    assert first[0] < second[0]
    assert first[1] > second[1] >= TOP
    (dot,) = svg.iter("circle")
    assert second[1] < float(dot.get("cy")) < first[1]
    assert "a & b" in [text.text for text in svg.iter("text")]
    assert re.match(r"0 0 \d+ \d+", svg.get("viewBox"))
