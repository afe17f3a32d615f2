"""The card of an exported model: what it is and how good, as `card.json` for programs and `card.md` for people."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ma2ml_agents.after import card_pixels
from ma2ml_agents.after.per_class import PerClass, wilson
from ma2ml_agents.after.results import tested
from ma2ml_agents.after.retrained import plus_minus
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.data import KEY, KnownData
from ma2ml_env.metrics import metric, value
from ma2ml_env.registry import names
from ma2ml_env.trial import Outcome

_OWN = {"images": "your folder", "npz": "your arrays"}
"""what stands in place of a data set's name"""
USE = """
```python
import model  # this folder's model.py; needs torch and torchvision
network = model.load()
images = model.read_files(["cat.jpg"])  # or images that are decoded: uint8 (B, channels, H, W)
model.classify(network, images)
```

`python model.py` checks the installation; `python model.py IMAGE ...` classifies files.

To take it out of Python, trace it; `preprocess` is not part of the program, so its input is `preprocess`ed images:

```python
import model, torch
images = model.preprocess(model.example())
program = torch.export.export(model.load(), (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
torch.export.save(program, "model.pt2")  # torch.export.load("model.pt2").module()(images)
```

ONNX is written by `ma2ml export --onnx`, or here with the packages `onnx` and `onnxscript` (`pip install onnx onnxscript`):

```python
import model, torch
images = model.preprocess(model.example())
torch.onnx.export(model.load(), (images,), "model.onnx", dynamo=True, input_names=["images"], output_names=["logits"],
                  dynamic_shapes=({0: torch.export.Dim("batch")},))
```
"""

BY_HAND = "ONNX is written"
"""so begins what `USE` says of ONNX"""


def card_of(
    config: RunConfig,
    summary: Mapping[str, Any],
    data: Mapping[str, Any],
    row: Mapping[str, Any],
    classes: PerClass | None,
    repeat: bool,
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of `card.json`.

    Args:
        config: of the run.
        summary: content of the retraining's `summary.json`.
        data: content of its `data.json`.
        row: of the training that is exported, from the summary.
        classes: what it said of the test images; None if an earlier version trained it.
        repeat: whether it is one of the winner's repeats.
        known: what is known of the data's identity, as of `data_of_export`.

    Raises:
        LookupError, TypeError, ValueError: if one of these files is damaged.
    """
    outcome = Outcome.from_json(row["outcome"])
    accuracy = tested(outcome)
    found = {name: value(name, outcome, test=True) for name in names("metrics")}
    card = {
        "game": config.game,
        "version": version("ma2ml"),
        "torch": version("torch"),
        "trial": row["trial"],
        "seed": row["seed"],
        "search_seed": config.seed,
        "test_accuracy": accuracy,
        "test_images": classes and classes.images,
        "test_accuracy_interval": classes and list(wilson(accuracy, classes.images)),
        "test_metrics": {name: each for name, each in found.items() if each is not None},
        "flops": outcome.flops,
        "params": outcome.params,
        "trained_on": "training and validation images" if repeat else "training images",
    }
    if repeat:
        count = len(summary["repeats"])
        deviation = summary["deviation"] if count > 1 else None  # an earlier version wrote 0.0 of one
        card["repeats"] = {"count": count, "mean": summary["mean"], "deviation": deviation}
        if summary.get("verdict"):  # earlier retrainings had none
            card |= {"floors": summary["floors"], "verdict": summary["verdict"]}
    else:
        card["validation_accuracy"] = outcome.accuracy
    card["winner_chosen_by"] = summary["select"]
    card["metric"] = summary.get("metric", "accuracy")
    card["data"] = data["name"]
    card["pixels"] = data.get("pixels", card_pixels.BEFORE)
    card[KEY] = known
    card |= {name: data[name] for name in ("classes", "class_names", "channels", "size", "mean", "std")}
    told = classes and classes.to_json()
    return card | {"per_class": told and told["rows"], "confusion": told and told["confusion"]}


def card_text(card: Mapping[str, Any], classes: PerClass | None) -> str:
    """The text of `card.md`; `classes` as of `card_of`."""
    chosen = metric(card["metric"]).title
    known = dict(card[KEY])
    seen = known.pop("seen_at_export")
    rows = [("test accuracy of these weights", f"{card['test_accuracy']:.4f}")]
    if card["test_images"]:
        low, high = card["test_accuracy_interval"]
        rows += [
            ("its 95 % interval (Wilson)", f"{low:.4f} to {high:.4f}"),
            ("test images", f"{card['test_images']:,}"),
        ]
    rows += [
        (f"{metric(name).title} on test images", f"{each:.4f}")
        for name, each in card["test_metrics"].items()
        if name != "accuracy"
    ]
    if "repeats" in card:
        repeats = card["repeats"]
        several = repeats["deviation"] is not None
        what = f"mean and deviation of {repeats['count']} trainings" if several else "trainings of this pipeline"
        rows += [(what, plus_minus(repeats["mean"], repeats["deviation"]) if several else "1")]
    else:
        rows += [("validation accuracy", f"{card['validation_accuracy']:.4f}")]
    rows += [
        ("MACs of one image", f"{card['flops']:,}"),
        ("parameters", f"{card['params']:,}"),
        ("seed of the training", str(card["seed"])),
        ("input", f"uint8, {card['channels']} x {card['size']} x {card['size']}, 0..255"),
        *card_pixels.rows(card["pixels"]),
        ("classes", _cell(", ".join(card["class_names"]))),
        ("data", _cell(KnownData.from_json(known).told())),
    ]
    lines = [
        f"# {card['game']}, trial {card['trial']}",
        "",
        f"An image classifier of {card['classes']} classes, found by ma2ml {card['version']} and trained on the "
        f"{card['trained_on']} of {_OWN.get(card['data'], card['data'])}.",
        "",
        *_table(("", ""), rows),
    ]
    if not seen:
        lines += ["The data were not there when this was exported, so nobody has looked whether they have changed.", ""]
    if "repeats" in card and card["repeats"]["deviation"] is not None:
        lines += [
            f"These weights are the best of the trainings by test {chosen}; the mean says what to expect of the pipeline, and "
            "the interval, which is of these weights alone, is optimistic.",
            "",
        ]
    if "verdict" in card:
        floors = [(floor["name"], plus_minus(floor["mean"], floor["deviation"])) for floor in card["floors"]]
        lines += _table(("trained as often, without a search", "test accuracy"), floors)
        sentence = card["verdict"]["sentence"]
        lines += [f"{sentence[0].upper()}{sentence[1:]}.", ""]
    if card["winner_chosen_by"] == "test":
        lines += [f"The pipeline itself was chosen by test {chosen}, so all test figures are optimistic.", ""]
    elif card["metric"] != "accuracy":
        lines += [f"The pipeline was searched and chosen by its {chosen} on validation images.", ""]
    use = USE if "onnx" not in card else USE[: USE.index(BY_HAND)] + _onnx(card["onnx"])
    return "\n".join([*lines, *_classes(classes), *card_pixels.text(card["pixels"])]) + use


def _onnx(told: Mapping[str, Any]) -> str:
    """How to use `model.onnx`, which lies beside the card."""
    return (
        f"`model.onnx` (opset {told['opset']}) needs no torch. It takes `{told['input']}` and gives `{told['output']}`; what "
        "`preprocess` does to such images is part of it. When it was written its logits differed from this folder's model by "
        f"at most {told['largest_difference']:.1e}.\n"
    )


def _classes(classes: PerClass | None) -> list[str]:
    """The classes on test images, and which were taken for which; of many, the worst."""
    if classes is None:
        return []
    what, rows = classes.shown()
    cells = [
        (_cell(row.name), str(row.images), *(f"{share:.4f}" for share in (row.precision, row.recall, row.f1)))
        for row in rows
    ]
    lines = [f"On test images, {what}:", "", *_table(("class", "images", "precision", "recall", "F1"), cells)]
    if rows is classes.rows and classes.confusion is not None:
        named = [_cell(row.name) for row in rows]
        told = [(name, *map(str, row)) for name, row in zip(named, classes.confusion, strict=True)]
        lines += [
            "Test images by what they are (rows) and what the model says (columns):",
            "",
            *_table(("", *named), told),
        ]
    return lines


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, and an empty one."""
    lines = [columns, ["---"] * len(columns), *rows]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]


def _cell(text: str) -> str:
    """A name of somebody's as one cell."""
    return " ".join(text.replace("|", "\\|").split())
