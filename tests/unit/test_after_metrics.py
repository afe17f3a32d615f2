"""From a search by another metric to its card: what was chosen by, what is told of each class, and what one training tells."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import classification_report, confusion_matrix

from ma2ml_agents.after.export import export, load_model_file
from ma2ml_agents.after.per_class import ClassRow, PerClass, per_class, short_rows, wilson
from ma2ml_agents.after.retrain import retrain
from ma2ml_agents.cli.main import main
from ma2ml_agents.reports.finished import class_table
from ma2ml_env.io.predictions import predictions_path, write_predictions
from ma2ml_env.metrics import Predictions
from ma2ml_env.training.data.source import DataSource

TINY = ("proxy_epochs=1", "final_epochs=2", "cells=1", "reductions=[]", "filters=2", "limit=64", "validation=60")


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    run = tmp_path_factory.mktemp("metrics") / "run"
    sets = [word for setting in TINY for word in ("--set", setting)]
    args = [
        "--learner",
        "random",
        "--budget",
        "3",
        "--batch",
        "3",
        "--workers",
        "1",
        "--metric",
        "log_loss",
        "--reward",
        "accuracy",
    ]
    assert main(["search", "digits-v0", "--run", str(run), *args, "--class-weights", "balanced", *sets]) == 0
    return run, retrain(run, top_k=2, repeats=1)


@pytest.fixture
def run(retrained, tmp_path):
    return shutil.copytree(retrained[0], tmp_path / "run")


def summary_of(run):
    return json.loads((run / "retrain" / "summary.json").read_text())


def test_a_search_by_log_loss_is_one(retrained, capsys):
    run, result = retrained
    capsys.readouterr()
    assert main(["trials", str(run), "--json"]) == 0
    trials = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    losses = {one["number"]: one["outcome"]["metrics"]["log_loss"] for one in trials}
    for one in trials:
        assert one["reward"] == pytest.approx(np.exp(-losses[one["number"]]))
    assert [one.trial.number for one in result.top] == sorted(losses, key=lambda number: losses[number])[:2]
    finals = {one.trial.number: one.outcome.metrics["log_loss"] for one in result.top}
    assert result.winner.trial.number == min(finals, key=lambda number: finals[number])
    assert main(["pareto", str(run), "--json"]) == 0
    front = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["log_loss"] for one in front] == sorted((one["log_loss"] for one in front), reverse=True)
    assert main(["trials", str(run)]) == main(["report", str(run)]) == 0
    out = capsys.readouterr().out
    assert all(f" {loss:.4f} " in out for loss in losses.values()), "the loss, and not its score"
    page = (run / "report.html").read_text()
    assert "Score by log loss against MACs" in page
    assert "chosen by validation log loss" in page


def test_class_weights_reach_the_trainings(retrained, tmp_path, capsys):
    run, result = retrained
    sets = [word for setting in TINY for word in ("--set", setting)]
    args = ["--learner", "random", "--budget", "3", "--batch", "3", "--workers", "1"]
    assert main(["search", "digits-v0", "--run", str(tmp_path / "plain"), *args, *sets]) == 0
    capsys.readouterr()
    told = []
    for folder in (run, tmp_path / "plain"):
        assert main(["trials", str(folder), "--json"]) == 0
        told.append(
            [json.loads(line)["outcome"]["metrics"]["train_loss"] for line in capsys.readouterr().out.splitlines()]
        )
    assert all(a != b for a, b in zip(*told, strict=True))
    plain = retrain(tmp_path / "plain", top_k=1, repeats=0)
    same = [one for one in result.top if one.job == plain.winner.job]
    assert same, "the learner draws at random: both have the same pipelines"
    assert same[0].outcome.metrics["train_loss"] != plain.winner.outcome.metrics["train_loss"]
    words = ["search", "digits-v0", "--run", str(tmp_path / "none"), "--evaluator", "surrogate"]
    assert main([*words, "--class-weights", "balanced"]) == 2
    assert "--class-weights is for what is trained" in capsys.readouterr().err
    assert main([*words, "--metric", "macro_f1"]) == 2
    assert capsys.readouterr().err == (
        "ma2ml: error: metric macro_f1 is for what is trained; the evaluator surrogate gives accuracies alone\n"
    )
    assert main(["search", "digits-v0", "--run", str(run), *args, "--metric", "macro_f1", *sets]) == 2
    assert "metric" in capsys.readouterr().err, "a run's metric is the run's"


def test_summary_has_all_metrics_and_one_training_has_no_deviation(retrained):
    run, result = retrained
    told, (repeat,) = summary_of(run), result.repeats
    assert told["metric"] == "log_loss"
    assert told["deviation"] is None
    assert told["metrics"] == {
        "accuracy": {"mean": repeat.outcome.test_accuracy, "deviation": None},
        **{
            name: {"mean": repeat.outcome.metrics[f"test_{name}"], "deviation": None}
            for name in ("balanced_accuracy", "macro_f1", "top5_accuracy", "log_loss")
        },
    }
    assert PerClass.from_json(told["classes"]) == result.classes
    assert "      [" in (run / "retrain" / "summary.json").read_text(), "a row of the matrix is a line"


def test_classes_are_those_of_the_exported_model(retrained):
    folder, card = export(retrained[0])
    model, data = load_model_file(folder / "model.py"), DataSource("digits", validation=60, limit=64).load()
    predicted = model.load()(model.preprocess(data.test_x)).argmax(1)
    told = classification_report(data.test_y, predicted, output_dict=True, zero_division=0)
    for row in card["per_class"]:
        theirs = told[row["name"]]
        assert row["images"] == theirs["support"]
        for ours, name in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert row[ours] == pytest.approx(theirs[name])
    assert card["confusion"] == confusion_matrix(data.test_y, predicted).tolist()
    assert card["test_images"] == 297
    right = round(card["test_accuracy"] * 297)
    interval = binomtest(right, 297).proportion_ci(method="wilson")
    assert card["test_accuracy_interval"] == pytest.approx([interval.low, interval.high])
    assert card["test_metrics"]["macro_f1"] == pytest.approx(told["macro avg"]["f1-score"])
    assert card["repeats"]["deviation"] is None
    assert json.loads((folder / "card.json").read_text()) == card
    text = (folder / "card.md").read_text()
    low, high = card["test_accuracy_interval"]
    assert f"| its 95 % interval (Wilson) | {low:.4f} to {high:.4f} |" in text
    assert "+-" not in text
    assert "chosen by its log loss on validation images" in text
    seven = card["per_class"][7]
    assert f"| 7 | {seven['images']} | {seven['precision']:.4f} | {seven['recall']:.4f} | {seven['f1']:.4f} |" in text
    assert f"| 7 | {' | '.join(map(str, card['confusion'][7]))} |" in text


def test_commands_print_the_classes(run, capsys):
    assert main(["retrain", str(run), "--top-k", "2", "--repeats", "1", "--no-floors", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "* chosen by validation log loss" in out
    assert "by all metrics" in out
    assert "+-" not in out
    assert main(["show", str(run)]) == 0
    shown = capsys.readouterr().out
    for text in (out, shown):
        assert len(re.findall(r"^│ \d +│ +\d+ │(?: +[01]\.\d{4} │){3}$", text, re.MULTILINE)) == 10
    assert main(["show", str(run), "0"]) == 0
    text = capsys.readouterr().out
    assert "balanced accuracy 0." in text
    assert "on test images" not in text


def test_what_an_earlier_version_left_is_read(run, capsys):
    """It kept no predictions, measured no other metric, and wrote 0.0 for the deviation of one training."""
    for path in run.glob("retrain/**/*.predictions.safetensors"):
        path.unlink()
    told = summary_of(run)
    for row in (*told["top"], *told["repeats"]):
        row["outcome"]["metrics"] = {"train_loss": 1.0}
    for name in ("metric", "metrics", "classes"):
        del told[name]
    (run / "retrain" / "summary.json").write_text(json.dumps(told | {"deviation": 0.0}))
    folder, card = export(run)
    assert (card["per_class"], card["confusion"], card["test_images"], card["test_accuracy_interval"]) == (None,) * 4
    assert card["test_metrics"] == {"accuracy": card["test_accuracy"]}
    assert card["repeats"]["deviation"] is None
    text = (folder / "card.md").read_text()
    assert "+-" not in text
    assert "precision" not in text
    assert main(["show", str(run)]) == main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "won: its test accuracy is" in page
    assert "deviation of" not in page
    result = retrain(run, top_k=2, repeats=1)
    assert result.classes is None, "what is trained is not trained again for its predictions"


def test_damaged_predictions_are_named_and_the_rest_is_kept(run, capsys):
    (path,) = run.glob("retrain/repeats-*/0.predictions.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    for command in ("retrain", "export"):
        words = ["--top-k", "2", "--repeats", "1", "--no-floors", "--workers", "1"] if command == "retrain" else []
        assert main([command, str(run), *words]) == 2
        told = capsys.readouterr().err
        assert f"{path.name} is damaged" in told
        assert "delete it" in told
    path.unlink()
    assert main(["export", str(run)]) == 0


@pytest.mark.parametrize(("right", "images"), [(0, 7), (7, 7), (150, 297), (9_500, 10_000), (1, 1)])
def test_wilsons_interval_is_scipys(right, images):
    theirs = binomtest(right, images).proportion_ci(method="wilson")
    assert wilson(right / images, images) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_trainings_are_pooled_and_of_many_classes_the_worst_are_shown(tmp_path):
    rng, classes = np.random.default_rng(0), 25
    for k in range(2):
        labels = np.arange(200) % classes
        predicted = np.where(labels < 12, rng.integers(0, 12, 200), labels)
        seen = Predictions(classes, labels, predicted, predicted, -np.ones(200, np.float32))
        write_predictions(predictions_path(tmp_path / f"{k}.safetensors"), seen)
    names = ["[red]", *map(str, range(1, classes))]
    found = per_class([tmp_path / "0.safetensors", tmp_path / "1.safetensors"], names)
    assert (found.trainings, found.images) == (2, 200)
    assert found.rows[0].images == 16
    assert PerClass.from_json(json.loads(json.dumps(found.to_json()))) == found
    what, rows = found.shown()
    assert what == "the 10 classes of lowest F1, of 25"
    assert len(rows) == 10
    assert max(row.f1 for row in rows) <= min(row.f1 for row in found.rows if row not in rows)
    assert class_table(found).row_count == 10
    assert per_class([tmp_path / "0.safetensors", tmp_path / "2.safetensors"], names) is None, "one is not known"
    cells = list(class_table(PerClass(1, (ClassRow("[red]", 1, 1.0, 1.0, 1.0),), ((1,),))).columns[0].cells)
    assert cells == [r"\[red]"], "a class's name is no colour"


def test_rows_of_numbers_are_short():
    content = {"a": [[1, 20], [3, 4]], "b": [0.5, 1], "c": [], "d": ["[\n 1,\n 2\n]"], "e": [7]}
    text = short_rows(json.dumps(content, indent=2))
    assert json.loads(text) == content
    assert "[1, 20]" in text


@pytest.mark.slow
def test_the_card_says_how_to_trace(retrained, tmp_path):
    """Its code runs where this project is not; the traced program takes any number of images, and gives the same logits."""
    folder, _ = export(retrained[0], out=tmp_path / "model")
    blocks = re.findall(r"^```python\n(.*?)^```$", (folder / "card.md").read_text(), re.MULTILINE | re.DOTALL)
    (trace,) = [block for block in blocks if "torch.export.save" in block]
    check = """
program = torch.export.load("model.pt2").module()
for count in (1, 2, 5):
    some = torch.randn(count, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(program(some), model.load()(some))
"""
    code = "import sys; sys.path.insert(0, '.')\n" + trace + check
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sum("torch.onnx.export" in block for block in blocks) == 1
