"""Exporting: a retrained model as a folder that lives without this project.

    recipe.json            the pipeline, complete
    weights.safetensors    the trained network's tensors
    model.py               the network's source, `load`, `preprocess`, `classify`; needs torch and torchvision
    card.json, card.md     what it is and how good, for programs and for people
    logits.json            logits of two fixed images; `python model.py` compares
    model.onnx             if wanted: the network and what `preprocess` does to images of the data's size, as ONNX

The folder is written beside its place, checked by loading it, and renamed: a half-written export has another name.
"""

import ast
import importlib.util
import inspect
import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ma2ml_agents.after.card import card_of, card_text
from ma2ml_agents.after.onnx import check_installed, write_onnx
from ma2ml_agents.after.per_class import per_class, short_rows
from ma2ml_agents.run.data import data_of_export
from ma2ml_agents.run.stored import stored_config
from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.predictions import predictions_path
from ma2ml_env.io.reading import expected, read_json
from ma2ml_env.metrics import score
from ma2ml_env.recipe import Recipe
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome


def export(
    run: str | Path,
    *,
    out: str | Path | None = None,
    number: int | None = None,
    accept_changed_data: bool = False,
    onnx: bool = False,
    **where: Any,
) -> tuple[Path, dict[str, Any]]:
    """Export a retrained model of a run.

    Args:
        run: folder of a run that was retrained.
        out: folder to write; an earlier export there is replaced. None is `RUN/export`.
        number: trial whose full training on the training images is exported; None is the best repeat of the winner.
        accept_changed_data: export although the data are no longer those that the network was trained on; the card tells it.
        onnx: also write `model.onnx`, which has to give the same logits; the extra `onnx`.
        **where: `data`, the folder or file of the data, if they have moved. Without them the export is made all the same.

    Returns:
        (folder, card).

    Raises:
        ImportError: ONNX is wanted and a package is missing; the extra is named.
        ValueError: the run was not retrained, or not that trial; `out` holds something else; the export does not load, or
            cannot be written as ONNX; the data have changed.
        OSError: a file cannot be read or written.
    """
    run = Path(run)
    if onnx:
        check_installed()
    with TrialStore(run, create=False) as store:
        config = stored_config(store).changed(where).beside(run)
    summary, data = (_read(run, name) for name in ("summary.json", "data.json"))
    known = data_of_export(run, config, data, accept_changed_data)
    with expected(run / "retrain" / "summary.json", f"run `ma2ml retrain {run}` again"):
        row = _row(summary, number, run)
        weights = run / "retrain" / row["weights"]
        here = (run / "retrain").resolve()
        if not all(path.resolve().is_relative_to(here) for path in (weights, predictions_path(weights))):
            raise ValueError(f"{weights} is not in {run / 'retrain'}: its summary.json was not written by ma2ml")
        recipe = Recipe.from_json(row["recipe"])
        classes = per_class([weights], data["class_names"])
        card = card_of(config, summary, data, row, classes, number is None and bool(summary["repeats"]), known)
        texts = {"model.py": model_source(recipe.network.kind), "card.md": card_text(card, classes)}
    folder = (Path(out) if out is not None else run / "export").absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / "card.json").exists():
        raise ValueError(f"{folder} holds something else than an export; name another folder")
    if not weights.exists():
        raise ValueError(f"{weights} is not there any more: run `ma2ml retrain {run}` again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(folder, "partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        write_atomic(partial / "recipe.json", _json(recipe.to_json()))
        write_atomic(partial / "weights.safetensors", weights.read_bytes())
        write_atomic(partial / "card.json", _json(card))
        for name, text in texts.items():
            write_atomic(partial / name, text.encode())
        write_atomic(partial / "logits.json", _json(_logits(partial, recipe)))
        if onnx:
            card["onnx"] = write_onnx(load_model_file(partial / "model.py"), partial)
            write_atomic(partial / "card.json", _json(card))
            write_atomic(partial / "card.md", card_text(card, classes).encode())
        _replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _sweep(folder)
    return folder, card


def model_source(kind: str) -> str:
    """Source of `model.py` for a kind of network.

    It is `base.py`, the network's own file, what makes pixels of files and squares of images, and `export_loader.py`.

    Raises:
        ValueError: if the kind is unknown here, or two of the files have something of the same name.
    """
    from ma2ml_agents.after import export_loader
    from ma2ml_env.training import parts
    from ma2ml_env.training.data import pixels, squares
    from ma2ml_env.training.networks import base

    network = parts.network_class(kind)
    modules = (base, sys.modules[network.__module__], pixels, squares, export_loader)
    sources = [inspect.getsource(module) for module in modules]
    _check_names(sources, [module.__name__ for module in modules])
    shared, own, seen, squared, loader = (
        "".join(line for line in source.splitlines(keepends=True) if not line.startswith("from ma2ml_env.training."))
        for source in sources
    )
    head = f"# Exported by ma2ml {version('ma2ml')} (MIT licence). Needs torch and torchvision.\n"
    return f"{head}{shared}\n\n{own}\n\nNetwork = {network.__name__}\n\n\n{seen}\n\n{squared}\n\n{loader}"


def _check_names(sources: Sequence[str], files: Sequence[str]) -> None:
    """In one file the later of two functions of one name would be called in both places."""
    homes: dict[str, str] = {}
    for source, file in zip(sources, files, strict=True):
        for node in ast.parse(source).body:
            name = node.name if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else ""
            if name and homes.setdefault(name, file) != file:
                raise ValueError(f"{homes[name]} and {file} both define {name}: a model.py cannot hold both")


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
    old = _beside(folder, "old")
    if folder.exists():
        folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path, what: str) -> Path:
    """The name of what is not the export yet, or no more: it tells the machine and the process."""
    return folder.with_name(f".{folder.name}.{socket.gethostname()}.{os.getpid()}.{what}")


def _sweep(folder: Path) -> None:
    """Remove what exports to this place left when they were killed: their processes are gone."""
    prefix = f".{folder.name}.{socket.gethostname()}."
    for path in folder.parent.iterdir():
        pid, _, what = path.name.removeprefix(prefix).partition(".")
        if path.name.startswith(prefix) and pid.isdecimal() and what in ("partial", "old") and _gone(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # somebody else's
        return False
    return False


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
        metric = summary.get("metric", "accuracy")
        best: dict[str, Any] = max(
            summary["repeats"], key=lambda row: score(metric, Outcome.from_json(row["outcome"]), test=True)
        )
        return best
    if number is None:  # of a retraining by levels
        number = summary["winner"]
    rows = {row["trial"]: row for row in summary["top"] if row["outcome"]["status"] == "ok"}
    if number not in rows:
        raise ValueError(f"trial {number} of {run} was not trained to the end; {', '.join(map(str, rows))} were")
    found: dict[str, Any] = rows[number]
    return found


def _json(content: Any) -> bytes:
    return (short_rows(json.dumps(content, indent=2)) + "\n").encode()
