"""The paper's tables and pictures, from runs."""

import json
from xml.etree import ElementTree

import pytest

from ma2ml_agents.cli.main import main
from ma2ml_agents.reports import paper, published
from ma2ml_env.recipe import Recipe
from ma2ml_env.trial import Outcome

SHORT = "budget=12, batch=4"
"""what is not the paper's setting in every search here"""
SVG = "{http://www.w3.org/2000/svg}"


def search(folder, learner="random", game="digits-v0", *more):
    arguments = ["--learner", learner, "--evaluator", "surrogate", "--budget", "12", "--batch", "4"]
    assert main(["search", game, "--run", str(folder), *arguments, *more]) == 0
    return folder


def trained(folder, *, levels=(), baseline=None):
    """A retraining's summary beside a searched run, as `retrain` writes it."""

    def row(trial, accuracy, flops):
        outcome = Outcome(accuracy=accuracy, flops=flops, params=1_500_000, test_accuracy=accuracy)
        return {"trial": trial, "seed": 1, "weights": "", "outcome": outcome.to_json(), "recipe": Recipe().to_json()}

    rows = [row(i, 0.7 + i / 100, 490_000_000 + i * 100_000_000) for i in range(3)]
    summary = {
        "select": "validation", "winner": 2, "mean": 0.7444, "deviation": 0.0012, "top": rows, "repeats": rows[:2],
        "levels": [{"limit": limit, "trial": trial} for limit, trial in levels],
        "baseline": {"mean": baseline, "deviation": 0.001, "trainings": rows[:2]},
    }  # fmt: skip
    (folder / "retrain").mkdir()
    (folder / "retrain" / "summary.json").write_text(json.dumps(summary))
    return paper.read(folder)


def test_published_numbers_are_the_papers():
    assert len(published.TABLE_1) == 20
    assert len(published.TABLE_3) == 14
    best = max((row for row in published.TABLE_1), key=lambda row: row.accuracy)
    assert (best.model, best.accuracy, best.flops) == ("MA2ML-B", 79.7, 596)
    assert published.TABLE_4["HPO"] - published.TABLE_4["baseline"] == pytest.approx(0.89)  # section 4.2
    printed = {name: point for name, point in published.FIGURE_3.items() if point[1] is not None}
    assert printed == published.TABLE_2["MA2ML"], "of D, E and F only the limits are printed"
    limits = {name: limit / 1e6 for limit, name in published.LEVELS.items()}
    assert all(flops <= limits[name] for name, (_, flops) in printed.items())


def test_tables_1_and_2_put_ours_beside_theirs(tmp_path):
    run = trained(search(tmp_path / "a"), levels=[(500e6, 0), (600e6, 1), (700e6, 2)])
    ours = paper.table_2([run]).rows[-1]
    assert ours == (f"random (ours, a): digits-v0, {SHORT}", "70.0 / 71.0 / 72.0", "490 / 590 / 690", "A / B / C")
    assert paper.table_2([run]).rows[0][1] == "78.6 / 79.1 / 79.5"
    assert [row[:3] for row in paper.table_1([run]).rows[-3:]] == [
        (f"random (ours, a): digits-v0, {SHORT}-A", "70.0", "490"),
        (f"random (ours, a): digits-v0, {SHORT}-B", "71.0", "590"),
        (f"random (ours, a): digits-v0, {SHORT}-C", "72.0", "690"),
    ]


def test_levels_without_a_letter_and_folders_of_one_name_keep_their_rows(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    levels = [(40e6, 0), (50e6, 1), (600e6, 2)]
    game = "imagenet200-600m-v0"
    runs = [trained(search(tmp_path / name / "run", "random", game), levels=levels) for name in "xy"]
    rows = paper.table_2(runs).rows[2:]
    assert [row[0] for row in rows] == [f"random (ours, run): {SHORT}"] * 2
    assert [row[3] for row in rows] == ["40M / 50M / B"] * 2
    assert len(paper.table_1(runs).rows) == 20 + 6
    svg = ElementTree.fromstring(paper.figure_3(runs))
    assert len(list(svg.iter(f"{SVG}polyline"))) == 3


def test_a_level_that_nothing_fits_has_no_row(tmp_path):
    run = trained(search(tmp_path / "a"), levels=[(400e6, None), (600e6, 1)])
    assert [letter for letter, _, _ in run.levels()] == ["B"]


def test_table_3_says_which_data(tmp_path):
    cifar10 = trained(search(tmp_path / "c10", "random", "cifar10-small-v0"))
    cifar100 = trained(search(tmp_path / "c100", "random", "cifar100-small-v0"))
    other = trained(search(tmp_path / "d"))
    rows = paper.table_3([cifar10, cifar100, other]).rows[-3:]
    assert rows[0][:5] == (f"random (ours, c10): cifar10-small-v0, {SHORT}", "74.44+-0.12", "1.5", "-", "-")
    assert rows[1][1:5] == ("-", "-", "74.44+-0.12", "1.5")
    assert rows[2][0] == f"random (ours, d): digits-v0, {SHORT}"


def test_table_3_of_a_run_without_repeats_shows_its_winner(tmp_path):
    run = trained(search(tmp_path / "c10", "random", "cifar10-small-v0"))
    run.retrained["repeats"] = []
    run.retrained["top"][2]["outcome"]["params"] = 2_500_000  # the winner's
    assert paper.table_3([run]).rows[-1][1:3] == ("74.44", "2.5"), "one training has no deviation"


def test_table_4_is_by_the_modules_that_are_searched(tmp_path):
    runs = [
        trained(search(tmp_path / name, "random", "digits-v0", "--modules", *modules), baseline=0.7)
        for name, modules in {"h": ["hpo"], "ah": ["aug", "hpo"], "nah": ["aug", "nas", "hpo"]}.items()
    ]
    (theirs, fixed, searched) = paper.table_4(runs).rows
    assert theirs == ("paper", "73.50", "74.39", "77.37", "85.08")
    assert fixed == (
        f"random (ours): digits-v0, {SHORT}, network nasnet",
        "70.00+-0.10",
        "74.44+-0.12",
        "74.44+-0.12",
        "-",
    )
    assert searched == (f"random (ours): digits-v0, {SHORT}", "-", "-", "-", "74.44+-0.12")
    for name, modules in {"a": ["aug"], "l": ["aug", "hpo", "loss"]}.items():
        other = trained(search(tmp_path / name, "random", "digits-v0", "--modules", *modules))
        with pytest.raises(ValueError, match="no column of Table 4"):
            paper.table_4([other])


def test_table_4_of_the_papers_own_games_is_one_row(tmp_path):
    games = {"h": "cifar100-resnet56-hpo-v0", "ah": "cifar100-resnet56-aug-hpo-v0", "nah": "cifar100-v0"}
    runs = [trained(search(tmp_path / name, "random", game), baseline=0.7) for name, game in games.items()]
    registered = ["--modules", "aug", "nas_cell", "hpo_sgd"]  # the registry's names of the same agents
    runs[2] = trained(search(tmp_path / "again", "random", "cifar100-v0", *registered))
    assert paper.table_4(runs).rows[1:] == [(f"random (ours): {SHORT}", "70.00+-0.10", *["74.44+-0.12"] * 3)]
    told = trained(search(tmp_path / "told", "random", "cifar100-v0", "--set", "filters=4"))
    assert paper.table_4([told]).rows[1][0] == f"random (ours): {SHORT}, filters=4"


def test_table_4_mixes_no_learners_and_drops_no_run(tmp_path):
    game = "cifar100-resnet56-hpo-v0"
    runs = [trained(search(tmp_path / name, name.rstrip("2"), game)) for name in ("random", "evolution", "evolution2")]
    names = [row[0] for row in paper.table_4(runs).rows[1:]]
    assert names == [f"random (ours): {SHORT}", f"evolution (ours): {SHORT}", f"evolution (ours): {SHORT}, evolution2"]


def test_a_setting_that_is_not_the_papers_is_told(tmp_path):
    options = ["--flops-limit", "5e8", "--learner-set", "population=7"]
    run = trained(search(tmp_path / "a", "evolution", "cifar10-v0", *options))
    assert run.unlike(published.CIFAR) == ["budget=12", "batch=4", "flops_limit=500000000.0", "population=7"]


def test_figure_3_draws_what_was_published_and_ours(tmp_path):
    run = trained(search(tmp_path / "a"), levels=[(500e6, 0), (600e6, 1)])
    svg = ElementTree.fromstring(paper.figure_3([run]))
    assert len(list(svg.iter(f"{SVG}circle"))) == 17 + 3  # Table 1 without DHA, whose MACs are not known; D to F
    assert len(list(svg.iter(f"{SVG}polyline"))) == 2
    names = [text.text for text in svg.iter(f"{SVG}text")]
    assert "MA2ML (paper)" in names
    assert "MA2ML (paper), at most" in names, "of D, E and F the limit is drawn, and called so"


def test_learning_curves_average_the_runs_of_a_learner(tmp_path):
    runs = [search(tmp_path / f"r{seed}", "random", "digits-v0", "--seed", str(seed)) for seed in range(2)]
    runs.append(search(tmp_path / "e", "evolution"))
    svg = ElementTree.fromstring(paper.learning_curves(runs, 3))
    names = [text.text for text in svg.iter(f"{SVG}text")]
    assert names.count("random (mean of 2)") == names.count("evolution") == 2
    assert len(list(svg.iter(f"{SVG}polyline"))) == 2  # the running means
    assert len(list(svg.iter(f"{SVG}circle"))) == 6  # two learners, three batches


def test_command_prints_a_table_and_writes_it(tmp_path, capsys):
    assert main(["paper", "table4", "--out", str(tmp_path / "t.md")]) == 0
    assert "85.08" in capsys.readouterr().out
    assert "| paper | 73.50 | 74.39 | 77.37 | 85.08 |" in (tmp_path / "t.md").read_text()
    run = search(tmp_path / "run")
    assert main(["paper", "figure5", str(run), "--out", str(tmp_path / "f.svg")]) == 0
    ElementTree.parse(tmp_path / "f.svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure5"], "drawn from runs"),
        (["table2", "{run}"], "has not been retrained"),
        (["figure4", "{run}", "--top-k", "0"], "at least 1"),
        (["figure4", "{none}"], "none"),
        (["figure4", "{run}", "{other}"], 'do not compare: game is "digits-v0" there and "cifar10-small-v0" here'),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, message, capsys):
    run = search(tmp_path / "run")
    other = search(tmp_path / "other", "random", "cifar10-small-v0") if "{other}" in arguments else run
    places = {"run": run, "none": tmp_path / "none", "other": other}
    assert main(["paper", *(argument.format(**places) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_levels_need_a_retraining_by_levels(tmp_path):
    run = trained(search(tmp_path / "a"))
    with pytest.raises(ValueError, match="--levels 500m"):
        paper.table_2([run])
