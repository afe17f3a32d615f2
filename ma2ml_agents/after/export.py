"""Exporting: a retrained model as a folder that lives without this project.

    recipe.json            the pipeline, complete
    weights.safetensors    the trained network's tensors
    model.py               the network's source, `load`, `preprocess`, `classify`; needs torch and torchvision
    card.json, card.md     what it is and how good, for programs and for people
    logits.json            logits of two fixed images; `python model.py` compares

The folder is written beside its place, checked by loading it, and renamed: a half-written export has another name.
"""

import importlib.util
import inspect
import json
import os
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ma2ml_agents.after.results import tested
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.stored import stored_config
from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.reading import expected, read_json
from ma2ml_env.recipe import Recipe
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome


def export(run: str | Path, *, out: str | Path | None = None, number: int | None = None) -> tuple[Path, dict[str, Any]]:
    """Export a retrained model of a run.

    Args:
        run: folder of a run that was retrained.
        out: folder to write; an earlier export there is replaced. None is `RUN/export`.
        number: trial whose full training on the training images is exported; None is the best repeat of the winner.

    Returns:
        (folder, card).

    Raises:
        ValueError: the run was not retrained, or not that trial; `out` holds something else; the export does not load.
        OSError: a file cannot be read or written.
    """
    run = Path(run)
    with TrialStore(run, create=False) as store:
        config = stored_config(store)
    summary, data = (_read(run, name) for name in ("summary.json", "data.json"))
    with expected(run / "retrain" / "summary.json", f"run `ma2ml retrain {run}` again"):
        row = _row(summary, number, run)
        weights = run / "retrain" / row["weights"]
        recipe = Recipe.from_json(row["recipe"])
        card = _card(config, summary, data, row, number is None and bool(summary["repeats"]))
        told = _card_text(card)
    texts = {"model.py": model_source(recipe.network.kind), "card.md": told}
    if not weights.resolve().is_relative_to((run / "retrain").resolve()):
        raise ValueError(f"{weights} is not in {run / 'retrain'}: its summary.json was not written by ma2ml")
    folder = (Path(out) if out is not None else run / "export").absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / "card.json").exists():
        raise ValueError(f"{folder} holds something else than an export; name another folder")
    if not weights.exists():
        raise ValueError(f"{weights} is not there any more: run `ma2ml retrain {run}` again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        write_atomic(partial / "recipe.json", _json(recipe.to_json()))
        write_atomic(partial / "weights.safetensors", weights.read_bytes())
        write_atomic(partial / "card.json", _json(card))
        for name, text in texts.items():
            write_atomic(partial / name, text.encode())
        write_atomic(partial / "logits.json", _json(_logits(partial, recipe)))
        _replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder, card


def model_source(kind: str) -> str:
    """Source of `model.py` for a kind of network: `base.py`, the network's own file, and `export_loader.py` behind them.

    Raises:
        ValueError: if the kind is unknown here.
    """
    from ma2ml_agents.after import export_loader
    from ma2ml_env.training import parts
    from ma2ml_env.training.networks import base

    network = parts.network_class(kind)
    sources = [inspect.getsource(module) for module in (base, sys.modules[network.__module__], export_loader)]
    shared, own, loader = (
        "".join(
            line
            for line in source.splitlines(keepends=True)
            if not line.startswith("from ma2ml_env.training.networks.")
        )
        for source in sources
    )
    head = f"# Exported by ma2ml {version('ma2ml')} (MIT licence). Needs torch and torchvision.\n"
    return f"{head}{shared}\n\n{own}\n\nNetwork = {network.__name__}\n\n{loader}"


def load_model_file(path: Path) -> Any:
    """An exported `model.py` as a module; unlike an import it leaves no `__pycache__` in the folder."""
    spec = importlib.util.spec_from_file_location("exported_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def _logits(folder: Path, recipe: Recipe) -> list[list[float]]:
    """Logits of the example images by the exported model, which must be those of the network as this project builds it."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ma2ml_env.training import parts
    from ma2ml_env.training.networks.base import Image

    model = load_model_file(folder / "model.py")
    card = json.loads((folder / "card.json").read_text())
    image = Image(card["classes"], card["channels"], recipe.resolution or card["size"])
    network = parts.network(recipe.network, image).eval()
    try:
        network.load_state_dict(load_file(folder / "weights.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"the stored weights are damaged: {error}") from None
    with torch.inference_mode():
        images = model.preprocess(model.example())
        here, there = network(images), model.load()(images)
    if not torch.equal(here, there):
        raise ValueError(
            f"the exported model gives other logits than the trained one (by up to {(here - there).abs().max()})"
        )
    logits: list[list[float]] = there.tolist()
    return logits


def _replace(partial: Path, folder: Path) -> None:
    """Put the new folder in the old one's place."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _read(run: Path, name: str) -> Any:
    path = run / "retrain" / name
    if not path.exists():
        raise ValueError(f"{run} has not been retrained to the end: run `ma2ml retrain {run}` first")
    try:
        return read_json(path.read_bytes())
    except ValueError:
        raise ValueError(f"{path} is damaged: run `ma2ml retrain {run}` again") from None


def _row(summary: Mapping[str, Any], number: int | None, run: Path) -> dict[str, Any]:
    if number is None and summary["repeats"]:
        best: dict[str, Any] = max(summary["repeats"], key=lambda row: row["outcome"]["accuracy"])
        return best
    if number is None:  # of a retraining by levels
        number = summary["winner"]
    rows = {row["trial"]: row for row in summary["top"] if row["outcome"]["status"] == "ok"}
    if number not in rows:
        raise ValueError(f"trial {number} of {run} was not trained to the end; {', '.join(map(str, rows))} were")
    found: dict[str, Any] = rows[number]
    return found


def _card(
    config: RunConfig, summary: Mapping[str, Any], data: Mapping[str, Any], row: Mapping[str, Any], repeat: bool
) -> dict[str, Any]:
    outcome = row["outcome"]
    card = {
        "game": config.game,
        "version": version("ma2ml"),
        "torch": version("torch"),
        "trial": row["trial"],
        "seed": row["seed"],
        "search_seed": config.seed,
        "test_accuracy": tested(Outcome.from_json(outcome)),
        "flops": outcome["flops"],
        "params": outcome["params"],
        "trained_on": "training and validation images" if repeat else "training images",
    }
    if repeat:
        card["repeats"] = {"count": len(summary["repeats"]), "mean": summary["mean"], "deviation": summary["deviation"]}
        if summary.get("floors"):  # earlier retrainings had none
            card |= {"floors": summary["floors"], "verdict": summary["verdict"]}
    else:
        card["validation_accuracy"] = outcome["accuracy"]
    card["winner_chosen_by"] = summary["select"]
    card["data"] = data["name"]
    return card | {name: data[name] for name in ("classes", "class_names", "channels", "size", "mean", "std")}


def _card_text(card: Mapping[str, Any]) -> str:
    lines = [
        f"# {card['game']}, trial {card['trial']}",
        "",
        f"An image classifier of {card['classes']} classes, found by ma2ml {card['version']} and trained on the "
        f"{card['trained_on']} of {card['data']}.",
        "",
        "| | |",
        "|---|---|",
        f"| test accuracy of these weights | {card['test_accuracy']:.4f} |",
    ]
    if "repeats" in card:
        repeats = card["repeats"]
        lines += [
            f"| mean and deviation of {repeats['count']} trainings | {repeats['mean']:.4f} +- {repeats['deviation']:.4f} |",
        ]
    else:
        lines += [f"| validation accuracy | {card['validation_accuracy']:.4f} |"]
    lines += [
        f"| MACs of one image | {card['flops']:,} |",
        f"| parameters | {card['params']:,} |",
        f"| seed of the training | {card['seed']} |",
        f"| input | uint8, {card['channels']} x {card['size']} x {card['size']}, 0..255 |",
        f"| classes | {', '.join(card['class_names'])} |",
        "",
    ]
    if "repeats" in card:
        lines += [
            "These weights are the best of the trainings by test accuracy; the mean says what to expect of the pipeline.",
            "",
        ]
    if "floors" in card:
        lines += ["| trained as the pipeline was, without a search | test accuracy |", "|---|---|"]
        lines += [f"| {floor['name']} | {floor['mean']:.4f} +- {floor['deviation']:.4f} |" for floor in card["floors"]]
        sentence = card["verdict"]["sentence"]
        lines += ["", f"{sentence[0].upper()}{sentence[1:]}.", ""]
    if card["winner_chosen_by"] == "test":
        lines += ["The pipeline itself was chosen by test accuracy, so all test figures are optimistic.", ""]
    lines += [
        "```python",
        "import model  # this folder's model.py; needs torch and torchvision",
        "network = model.load()",
        "model.classify(network, images)  # images: uint8 (B, channels, H, W)",
        "```",
        "",
        "`python model.py` checks the installation; `python model.py IMAGE ...` classifies files.",
        "",
    ]
    return "\n".join(lines)


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
