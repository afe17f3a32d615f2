"""The HTML report: whole, static, true to the run, and never empty without a word."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from reported import HOSTILE, Parsed, failed, good, identity_of, make_run, retrain

from ma2ml_agents.cli.main import main
from ma2ml_agents.reports.page import page as pages
from ma2ml_agents.reports.page.answer import schedule
from ma2ml_agents.reports.page.choices import OWN, choices, label
from ma2ml_agents.reports.page.facts import gather
from ma2ml_agents.reports.page.importance import importance, parts_of
from ma2ml_agents.reports.page.page import inert, write_report
from ma2ml_agents.reports.page.progress import reached, still_rising
from ma2ml_agents.run.standing import Standing
from ma2ml_env.recipe import Recipe
from ma2ml_env.store.store import TrialStore
from ma2ml_env.training.rate import rate
from ma2ml_env.trial import Outcome

TEN = [str(digit) for digit in range(10)]
FIVE = ("aug", "nas_cell", "hpo_sgd", "loss", "precision")


@pytest.fixture
def quick(monkeypatch):
    """Without the plotting library, whose bundling takes seconds; the browser's tests have it."""
    monkeypatch.setattr(pages, "library", lambda: "/* the library */")


def facts_of(run):
    with TrialStore(run, create=False) as store:
        return gather(store)


def written(run, **options):
    return write_report([run], run / "report.html", images=False, **options).html


def without_macs(number, rng):
    return Outcome(accuracy=float(rng.uniform(0.5, 0.9)))


RUNS = {
    "no trial": {"count": 0},
    "1 trial": {"count": 1},
    "23 trials": {"count": 23, "opened": 7},
    "24 trials": {"count": 24},
    "all failed": {"count": 12, "outcome": failed},
    "no MACs": {"count": 12, "outcome": without_macs},
    "intervals": {"count": 24, "game": "digits-continuous-v0"},
    "five agents": {"count": 24, "modules": FIVE},
    "100 decisions": {"count": 24, "game": "cifar10-v0"},
    "surrogate": {"count": 24, "evaluator": "surrogate"},
}


@pytest.mark.parametrize("told", RUNS.values(), ids=RUNS)
def test_every_run_has_a_page_and_nothing_is_empty_without_a_word(told, tmp_path, quick):
    run = make_run(tmp_path / "run", **told)
    page = Parsed(written(run))
    assert page.open == []
    assert page.scripts == 3
    assert all(place.startswith(("#", "data:")) for place in page.places)
    assert len([heading for heading in page.said if heading[0].isdigit()]) == 5
    assert [heading for heading, text in page.said.items() if not text] == []
    assert not re.search(r"\b(None|nan|undefined)\b", " ".join(page.said.values()))


@pytest.mark.parametrize(("classes", "confusion"), [(1, True), (10, True), (80, True), (1000, False)])
def test_winner_of_few_or_many_classes(classes, confusion, tmp_path, quick):
    names = [f"class {i}" for i in range(classes)]
    run = make_run(tmp_path / "run", 24, identity=identity_of(names))
    retrain(run, names, confusion)
    html = written(run)
    page = Parsed(html)
    assert [heading for heading, text in page.said.items() if not text] == []
    assert "Trial 2 won: its test accuracy is 0.8100\u00a0±\u00a00.0100" in html
    assert "The winner is better than its best floor, the base recipe: +0.0300\u00a0±\u00a00.0100." in html
    assert "95 % interval by its" in html
    assert "3 retrained pipelines are too few for a rank correlation." in html
    assert f"ma2ml export {run}" in html
    assert f"ma2ml resume {run} --budget 48" not in html
    assert ('data-chart="confusion"' in html) == (classes <= 60)
    if classes == 1000:
        assert "200 classes of lowest F1, of 1000" in html


def test_a_search_that_was_still_rising_is_offered_more(tmp_path, quick):
    run = make_run(tmp_path / "run", 24, lambda n, _: Outcome(accuracy=0.5 + n / 100))
    html = written(run)
    assert "The search was still rising when it ended" in html
    assert f"<code>ma2ml resume {run} --budget 48</code>" in html
    assert html.index("ma2ml retrain") < html.index("ma2ml resume")


def test_a_winner_that_does_not_pay_is_told_so(tmp_path, quick):
    run = make_run(tmp_path / "run", 24, identity=identity_of(TEN))
    verdict = {
        "against": "a plain network",
        "difference": -0.03,
        "interval": 0.01,
        "better": False,
        "sentence": "THE SEARCH DID NOT PAY: the winner is worse",
    }
    retrain(run, TEN, verdict=verdict)
    html = written(run)
    assert "No gain: the winner" in html
    assert "The winner is worse." in html
    assert "No gain: the winner, trial 2, has a test accuracy of 0.8100" in html
    assert "; a plain network, which needs no search, has 0.8400." in html
    steps = [
        html.index(f"<code>ma2ml {step}") for step in (f"fidelity {run}", f"resume {run} --budget 48", f"export {run}")
    ]
    assert steps == sorted(steps)
    assert "although a plain network is as good or better" in html


def test_a_run_that_was_not_retrained_says_who_leads_and_what_to_do(tmp_path, quick):
    run = make_run(tmp_path / "run", 24, identity=identity_of(TEN))
    html = written(run)
    facts = facts_of(run)
    best = max(facts.ok, key=lambda trial: trial.reward)
    assert (
        f"Trial {best.number} is the best of 24 trials: accuracy {best.outcome.accuracy:.4f} on 20 validation" in html
    )
    assert f"ma2ml retrain {run}" in html
    assert "Classes of the winner are not known until" in html
    assert "No pipeline was trained to its end yet" in html


def test_the_margin_over_the_base_recipe_has_an_interval(tmp_path, quick):
    names = [str(i) for i in range(10)]
    run = make_run(
        tmp_path / "run", 8, lambda n, _: Outcome(accuracy=0.5 + n / 100), identity=identity_of(names), origin="start"
    )
    assert "The base recipe, trial 0, has 0.5000: the difference is +0.0700\u00a0±\u00a0" in written(run)
    assert "not more than chance would give" in written(run)


def test_hostile_texts_are_shown_as_texts(tmp_path, quick):
    def note(number, rng):
        return failed(number, rng) if number else good(number, rng)

    def hostile(number, rng):
        made = note(number, rng)
        return Outcome(**{**vars(made), "note": HOSTILE})

    names = [HOSTILE, "b", f"{HOSTILE}2"]
    run = make_run(
        tmp_path / "a<b>&'\"", 8, hostile, identity=identity_of(names), origin=HOSTILE, learner_set=("x=" + HOSTILE,)
    )
    retrain(run, names, select=HOSTILE, top=(0, 1, 2))
    html = written(run)
    page = Parsed(html)
    assert page.scripts == 3
    assert "<script>alert" not in html
    assert "alert(1)" in "".join(page.said.values()), "it is shown"
    (data,) = re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', html, re.DOTALL)
    assert data.isascii()
    rows = json.loads(data)["trials"]
    assert rows["rows"][0][rows["keys"].index("origin")] == HOSTILE


def test_data_cannot_end_their_element():
    told = inert({HOSTILE: [HOSTILE]})
    assert not set("<>&\u2028\u2029") & set(told)
    assert json.loads(told) == {HOSTILE: [HOSTILE]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        inert(float("nan"))


def test_a_report_of_what_was_not_trained_needs_no_torch(tmp_path):
    run = make_run(tmp_path / "run", 3, evaluator="surrogate")
    program = (
        "import sys; from ma2ml_agents.cli.main import main; from ma2ml_agents.reports.page import page;"
        f"page.library = lambda: ''; main(['report', {str(run)!r}]); print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "False"


def test_reached_is_the_standings(tmp_path):
    facts = facts_of(make_run(tmp_path / "run", 24, game="trio-digits-v0"))
    sofar = reached(facts.trials, facts.keys, 3)
    assert sofar.top[:2] == [None, None], "there are no three yet"
    for count in (5, 24):
        standing = Standing(3, lambda trial: facts.keys[trial.number])
        standing.add(facts.trials[:count])
        assert sofar.top[count - 1] == pytest.approx(standing.top_mean)
        assert sofar.best[count - 1] == standing.best.reward


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ([0.5 + 0.01 * i for i in range(40)], "was still rising"),
        ([*(0.5 + 0.02 * i for i in range(20)), *[0.88] * 20], "had levelled off"),
        ([0.5] * 40, "did not rise"),
        ([0.5, 0.6, 0.7], "too few"),
        ([], "too few"),
        ([None] * 9, "too few"),
    ],
)
def test_still_rising(top, said):
    still, sentence = still_rising(top, 3)
    assert said in sentence
    assert still == (said == "was still rising")


def test_a_rise_of_less_than_chance_is_none():
    top = [0.5 + 0.01 * min(i, 20) + 0.003 * max(i - 20, 0) for i in range(40)]
    assert still_rising(top, 3, images=100_000)[0]
    still, sentence = still_rising(top, 3, images=200)
    assert not still
    assert "with 200 validation images chance alone moves such a mean by" in sentence


def test_importance_finds_what_matters():
    rng = np.random.default_rng(0)
    codes = rng.integers(4, size=(200, 4)).astype(float)
    rewards = codes[:, 1] + 0.3 * codes[:, 2] + 0.1 * rng.standard_normal(200)
    parts = [("a", "x"), ("a", "y"), ("b", "z"), ("b", "w")]
    found = importance(codes, rewards, [str(i) for i in range(200)], parts)
    assert found.explained > 0.8
    assert max(found.decisions, key=lambda part: found.decisions[part][0]) == ("a", "y")
    assert found.agents["a"][0] > found.agents["b"][0] > found.decisions["b", "w"][0]


def test_importance_of_noise_is_not_claimed(tmp_path, quick):
    run = make_run(tmp_path / "run", 60, game="cifar10-v0")
    assert "Nobody can say what mattered" in written(run)


def test_schedule_is_the_trainers():
    recipe = Recipe(learning_rate=0.1, warmup=0.1, epochs=10)
    rows = schedule(recipe).rows
    assert len(rows) == 200
    assert [row["rate"] for row in rows] == pytest.approx([rate(recipe, 5 * n, 1000) for n in range(200)], rel=1e-5)
    assert max(row["rate"] for row in rows) == pytest.approx(0.1, rel=1e-3)
    assert rows[20]["epoch"] == 1.0  # the warm-up ends with the first of ten epochs
    assert rows[0]["rate"] < rows[10]["rate"] < rows[20]["rate"] > rows[100]["rate"] > rows[199]["rate"]


def test_figures_are_written_as_png_and_csv(tmp_path, quick):
    run = make_run(tmp_path / "run", 8, evaluator="surrogate")
    assert main(["report", str(run), "--figures", str(tmp_path / "figures")]) == 0
    with open(tmp_path / "figures" / "search-by-trial.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(8))
    image = (tmp_path / "figures" / "search-by-trial.png").read_bytes()
    assert image.startswith(b"\x89PNG")
    assert len(image) > 5000


def test_watching_ends_with_the_search(tmp_path, quick, capsys):
    run = make_run(tmp_path / "run", 24)
    assert main(["report", str(run), "--watch", "--no-images"]) == 0
    assert "24 of 24 trials" in capsys.readouterr().out
    assert 'http-equiv="refresh"' not in (run / "report.html").read_text()
    assert main(["report", str(run), str(run), "--watch"]) == 2
    assert "--watch is for the page of one run" in capsys.readouterr().err


def test_watching_writes_anew_when_there_is_more(tmp_path, quick, monkeypatch):
    run, said = make_run(tmp_path / "run", 16, budget=24, evaluator="surrogate"), []

    def more(seconds):
        assert 'content="0.' not in (run / "report.html").read_text()
        assert 'http-equiv="refresh"' in (run / "report.html").read_text()
        assert main(["search", "digits-v0", "--evaluator", "surrogate", "--learner", "random", "--budget", "16", "--batch", "8",
                     "--run", str(tmp_path / "other")]) == 0  # fmt: skip
        make_run(run, 24, budget=24, evaluator="surrogate")

    monkeypatch.setattr(pages.time, "sleep", more)
    pages.watch(run, run / "report.html", said.append)
    assert [line.rpartition(", ")[2] for line in said] == ["16 of 24 trials", "24 of 24 trials"]


def test_several_runs_have_bands_ratios_and_tests(tmp_path, quick):
    runs = []
    for learner, lift in (("random", 0.0), ("evolution", 0.08)):
        for seed in range(3):
            rng = np.random.default_rng(seed)

            def outcome(number, _, rng=rng, lift=lift):
                return Outcome(accuracy=float(0.5 + lift + 0.05 * rng.random()), flops=1000)

            runs.append(
                make_run(tmp_path / f"{learner}-{seed}", 24, outcome, learner=learner, seed=seed, evaluator="surrogate")
            )
    assert main(["report", *map(str, runs), "--out", str(tmp_path / "all.html")]) == 0
    html = (tmp_path / "all.html").read_text()
    page = Parsed(html)
    assert page.open == []
    assert "evolution has the highest mean of the top" in html
    assert "with 95 % bands" in html
    assert "(not reached)" in html, "random never gets there"
    row = re.search(
        r"<td>evolution</td><td>random</td><td>(.*?) \((.*?) to (.*?)\)</td><td>(.*?)</td><td>(.*?)</td>", html
    )
    difference, low, high, p, ratio = map(float, row.groups())
    assert 0 < low < difference < high
    assert p < 0.01
    assert ratio < 1.0


def test_runs_of_other_games_are_not_tested(tmp_path, quick):
    runs = [make_run(tmp_path / game, 8, game=game) for game in ("digits-v0", "trio-digits-v0")]
    html = write_report(runs, tmp_path / "all.html").html
    assert "their rewards do not compare" in html


def test_report_of_no_run_is_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_rank_correlation_is_told_of_five_pipelines_and_a_limit_that_the_winner_breaks(tmp_path, quick):
    run = make_run(tmp_path / "run", 24, flops_limit=500.0, identity=identity_of(["a", "b"]))
    retrain(run, ["a", "b"], top=(0, 1, 2, 3, 4))
    html = written(run)
    assert "Rank correlation (Spearman)" in html
    assert (
        "times the limit of 500: the reward weighs that, accuracy does not. ma2ml retrain --max-flops 500 keeps" in html
    )
    assert "A reward is the validation accuracy after 2 of 30 epochs, times (MACs / 500) to the power of -0.07" in html
    assert (
        "Broken lines are limits on MACs: 500, 5k. The reward&#39;s is soft: it costs, and nothing is refused." in html
    )
    (tmp_path / "run" / "retrain" / "summary.json").unlink()
    hard = make_run(tmp_path / "hard", 24, flops_limit=500.0, reward="hard", identity=identity_of(["a", "b"]))
    assert "after 2 of 30 epochs, and 0 above 500 MACs." in written(hard)
    plain = make_run(tmp_path / "plain", 24, reward="accuracy", identity=identity_of(["a", "b"]))
    assert "A reward is the validation accuracy after 2 of 30 epochs.<" in written(plain)


def test_the_winners_own_choice_is_marked_in_each_chart_of_choices(tmp_path, quick):
    run = make_run(tmp_path / "run", 24)
    with TrialStore(run, create=False) as store:
        facts = gather(store)
    for chart in choices(facts, parts_of(facts), ranked=False).charts:
        (own,) = [row["choice"] for row in chart.rows if row["choice"].startswith(OWN)]
        agent, _, name = chart.title.partition(", the")[0].partition(": ")
        values = facts.game.modules[agent].space.decode(facts.winner.proposal.codes[agent])
        assert own.startswith(OWN + label(values[name]))


def test_a_table_has_no_noise_of_a_landscape_and_its_trainings_are_of_before(tmp_path, quick):
    looked_up = written(make_run(tmp_path / "table", 48, game="trio-digits-v0", evaluator="table"))
    assert "Each reward has noise" not in looked_up
    assert "When it was trained for the table, a pipeline took" in looked_up
    assert "ma2ml verify" in looked_up
    synthetic = written(make_run(tmp_path / "surrogate", 48, evaluator="surrogate"))
    assert "Each reward has noise of deviation 0.003" in synthetic
    assert "ma2ml verify" not in synthetic
    others = written(make_run(tmp_path / "others", 48, game="nasbench201-cifar10-v0", evaluator="table"))
    assert "ma2ml verify" not in others, "nobody can train what others measured"
