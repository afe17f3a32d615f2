"""The exported folder: whole, verified, and usable without this project."""

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ma2ml_agents.after import export_loader
from ma2ml_agents.after.card_pixels import BEFORE
from ma2ml_agents.after.export import _logits, export, load_model_file, model_source
from ma2ml_agents.after.retrain import retrain
from ma2ml_agents.cli.main import main
from ma2ml_env.evaluators.train import save_weights
from ma2ml_env.modules.fbnetv3 import FBNETV3
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.training import parts
from ma2ml_env.training.data.own import read_image
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.images.batches import normalise, resize
from ma2ml_env.training.networks.base import BaseNetwork, Image

TINY = (
    "proxy_epochs=1",
    "final_epochs=1",
    "cells=2",
    "reductions=[1]",
    "filters=2",
    "limit=64",
    "validation=60",
    "repeats=2",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("export") / "run"
    sets = [word for setting in TINY for word in ("--set", setting)]
    args = ["--learner", "random", "--budget", "3", "--batch", "3", "--workers", "1"]
    assert main(["search", "digits-v0", "--run", str(run), *args, *sets]) == 0
    retrain(run, top_k=2)
    return run


@pytest.fixture(scope="module")
def exported(run):
    return export(run)


def test_folder_holds_all(run, exported):
    folder, card = exported
    assert folder == run / "export"
    names = {"recipe.json", "weights.safetensors", "model.py", "card.json", "card.md", "logits.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert not list(run.glob(".*partial*")), "nothing half-written is left"
    assert json.loads((folder / "card.json").read_text()) == card


@pytest.mark.parametrize("unwanted", [False, True])
def test_the_check_of_the_model_leaves_no_bytecode(tmp_path, monkeypatch, unwanted):
    """Whatever the user's own setting is, which stays as it was."""
    monkeypatch.setattr(sys, "dont_write_bytecode", unwanted)
    (tmp_path / "model.py").write_text("answer = 42\n")
    assert load_model_file(tmp_path / "model.py").answer == 42
    assert [path.name for path in tmp_path.iterdir()] == ["model.py"]
    assert sys.dont_write_bytecode is unwanted


def test_card_says_what_it_is(run, exported):
    _, card = exported
    summary = json.loads((run / "retrain" / "summary.json").read_text())
    accuracies = [row["outcome"]["accuracy"] for row in summary["repeats"]]
    assert card["game"] == "digits-v0"
    assert card["test_accuracy"] == max(accuracies)
    assert card["repeats"] == {"count": 2, "mean": summary["mean"], "deviation": summary["deviation"]}
    assert card["flops"] > 0
    assert card["params"] > 0
    assert card["seed"] == summary["repeats"][accuracies.index(max(accuracies))]["seed"]
    assert card["class_names"] == [str(i) for i in range(10)]
    assert card["version"]


def test_accuracy_on_the_card_is_that_of_the_exported_model(exported):
    folder, card = exported
    model = load_model_file(folder / "model.py")
    data = DataSource("digits", validation=60, limit=64).load()
    network = model.load()
    with torch.inference_mode():
        right = (network(model.preprocess(data.test_x)).argmax(1) == data.test_y).sum().item()
    assert right / len(data.test_y) == card["test_accuracy"]
    name, probability = model.classify(network, data.test_x[:1])[0]
    assert name in card["class_names"]
    assert 0.1 <= probability <= 1.0


def test_logits_are_those_of_the_trained_network(exported):
    folder, _ = exported
    model = load_model_file(folder / "model.py")
    recipe = Recipe.from_json(json.loads((folder / "recipe.json").read_text()))
    network = parts.network(recipe.network, Image(10, 1, 8)).eval()
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    data = DataSource("digits", validation=60, limit=64).load()
    images = data.test_x[:20]
    with torch.inference_mode():
        assert torch.equal(model.load()(model.preprocess(images)), network(normalise(images, data)))
    assert model.check() == 0.0


ISOLATED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ma2ml_env", "ma2ml_agents", "safetensors", "fvcore", "sklearn", "gymnasium"}:
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Blocked())
sys.argv = ["model.py"]
import runpy
runpy.run_path(PATH, run_name="__main__")
"""


def test_model_runs_where_this_project_is_not_installed(exported):
    code = f"PATH = {str(exported[0] / 'model.py')!r}\n{ISOLATED}"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "largest difference of logits: 0.00e+00" in done.stdout


def test_check_fails_for_other_weights(exported, tmp_path):
    folder = shutil.copytree(exported[0], tmp_path / "copy")
    tensors = load_file(folder / "weights.safetensors")
    save_file(
        {name: t * 1.5 if t.is_floating_point() else t for name, t in tensors.items()}, folder / "weights.safetensors"
    )
    done = subprocess.run([sys.executable, "-I", str(folder / "model.py")], capture_output=True, text=True)
    assert done.returncode == 1


def test_model_classifies_image_files_of_any_size(exported, tmp_path):
    from PIL import Image

    Image.new("RGB", (13, 20), (200, 180, 160)).save(tmp_path / "image.png")
    command = [sys.executable, "-I", str(exported[0] / "model.py"), str(tmp_path / "image.png")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'image.png'}: ")


def test_image_files_are_read_as_in_the_training(exported, tmp_path):
    """Phones write how they were held; the training's reader is asked for the same pixels. What has other values is refused."""
    from PIL import Image

    rng = np.random.default_rng(0)
    turned = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(rng.integers(0, 1 << 16, (8, 8), dtype=np.uint16)).save(tmp_path / "deep.png")
    model = load_model_file(exported[0] / "model.py")
    assert np.array_equal(model.read_files([tmp_path / "turned.png"])[0], read_image(tmp_path / "turned.png", 8))
    with pytest.raises(ValueError, match=r"deep\.png has values of more bits, the training had 8 bits"):
        model.read_files([tmp_path / "deep.png"])


def test_what_cannot_be_classified_does_not_keep_the_rest_waiting(exported, tmp_path):
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "whole.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    command = [sys.executable, "-I", str(exported[0] / "model.py"), *map(str, sorted(tmp_path.glob("*.png")))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{tmp_path / 'whole.png'}: ")
    assert done.stderr.startswith(f"{tmp_path / 'broken.png'} cannot be read as an image")
    assert "Traceback" not in done.stderr


def test_a_trial_of_the_top_can_be_exported(run, tmp_path, capsys):
    top = json.loads((run / "retrain" / "summary.json").read_text())["top"]
    assert main(["export", str(run), "--number", str(top[1]["trial"]), "--out", str(tmp_path / "out")]) == 0
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["trial"] == top[1]["trial"]
    assert card["validation_accuracy"] == top[1]["outcome"]["accuracy"]
    assert card["trained_on"] == "training images"
    assert main(["export", str(run), "--number", "99"]) == 2
    assert "was not trained to the end" in capsys.readouterr().err


def test_an_export_may_be_the_folder_that_one_stands_in(run, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["export", str(run), "--out", "."]) == 0
    assert (tmp_path / "here" / "model.py").exists()


def test_a_network_that_nobody_knows_here_is_named(run, tmp_path, capsys):
    """Of a package that is not installed any more, say; the retraining is whole."""
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "retrain" / "summary.json"
    path.write_text(path.read_text().replace('"nasnet"', '"mynet"'))
    assert main(["export", str(copy)]) == 2
    told = capsys.readouterr().err
    assert "unknown network 'mynet'; known are nasnet" in told
    assert "damaged" not in told


def test_an_export_is_replaced_and_another_folder_is_not(run, exported, tmp_path, capsys):
    assert main(["export", str(run)]) == 0
    assert not list(run.glob(".export*"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main(["export", str(run), "--out", str(tmp_path / "mine")]) == 2
    assert "something else" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_damaged_weight_file_leaves_the_old_export(run, exported, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    before = (copy / "export" / "card.json").read_bytes()
    for path in copy.glob("retrain/repeats-*/*.safetensors"):
        path.write_bytes(path.read_bytes()[:-100])
    assert main(["export", str(copy)]) == 2
    assert (copy / "export" / "card.json").read_bytes() == before
    assert not list(copy.glob(".export*"))


def test_without_retraining_there_is_nothing_to_export(tmp_path, capsys):
    args = ["--evaluator", "surrogate", "--learner", "random", "--budget", "2", "--batch", "2"]
    assert main(["search", "digits-v0", "--run", str(tmp_path / "run"), *args]) == 0
    assert main(["export", str(tmp_path / "run")]) == 2
    assert "ma2ml retrain" in capsys.readouterr().err


def test_a_model_with_a_resolution_resizes_its_images(tmp_path):
    run = tmp_path / "run"
    sets = [word for setting in (*TINY, "resolution=12") for word in ("--set", setting)]
    args = ["--learner", "random", "--budget", "1", "--batch", "1", "--workers", "1"]
    assert main(["search", "digits-v0", "--run", str(run), *args, *sets]) == 0
    retrain(run, top_k=1, repeats=1)
    folder, card = export(run)
    assert card["size"] == 8, "images come as they are"
    data = DataSource("digits", validation=60, limit=64).load()

    def accuracy():
        model = load_model_file(folder / "model.py")
        seen = model.preprocess(data.test_x)
        with torch.inference_mode():
            right = (model.load()(seen).argmax(1) == data.test_y).sum().item()
        return right / len(data.test_y), seen

    share, seen = accuracy()
    assert seen.shape == (len(data.test_x), 1, 12, 12)
    assert torch.equal(seen, resize(normalise(data.test_x, data), 12))
    assert share == card["test_accuracy"]
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps({**recipe, "resolution": 0}))
    assert accuracy()[0] != share, "without it the same weights are another classifier"


@pytest.mark.parametrize("kind", parts.NETWORKS)
def test_source_of_every_network_stands_alone(kind):
    source = model_source(kind)
    compile(source, "model.py", "exec")
    assert "ma2ml_env" not in source
    assert "ma2ml_agents" not in source


OWN = """
import torch

from ma2ml_env.training.networks.base import BaseNetwork, Drops, Image


class Plain(BaseNetwork):
    def __init__(self, width, *, image: Image, drops: Drops = Drops(), auxiliary=False):
        super().__init__(drops)
        self.stem = torch.nn.Conv2d(image.channels, width, 3)
        self.head = torch.nn.Linear(width, image.classes)

    def forward(self, x):
        return self.head(self.stem(x).mean(dim=(2, 3)))
"""


def test_a_network_with_a_name_of_the_loaders_is_refused(tmp_path, monkeypatch):
    """In one file the later one would be called in both places."""
    (tmp_path / "clashing_network.py").write_text(OWN + "\n\ndef square(x):\n    return x * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(parts.NETWORKS, "clash", importlib.import_module("clashing_network").Plain)
    with pytest.raises(ValueError, match=r"clashing_network and ma2ml_env\.training\.data\.pixels both define square"):
        model_source("clash")


def test_a_network_of_somebody_elses_is_exported_with_its_base(tmp_path, monkeypatch):
    (tmp_path / "plain_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(parts.NETWORKS, "plain", importlib.import_module("plain_network").Plain)
    source = model_source("plain")
    assert "ma2ml_env" not in source
    (tmp_path / "model.py").write_text(source)
    network = load_model_file(tmp_path / "model.py").Network
    assert network.__name__ == "Plain"
    assert not issubclass(network, BaseNetwork), "the folder has a base of its own"


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [FBNETV3["A"].with_slots(resolution=40), Recipe(network=Spec("resnet_cifar", {"depth": 8}))],
    ids=lambda recipe: recipe.network.kind,
)  # fmt: skip
def test_other_networks_come_back_from_their_folder(recipe, tmp_path):
    card = {"classes": 5, "channels": 3, "size": 32, "mean": [0.5] * 3, "std": [0.2] * 3, "pixels": BEFORE}
    network = parts.network(recipe.network, Image(5, size=recipe.resolution or 32)).eval()
    save_weights(network, tmp_path / "weights.safetensors")
    (tmp_path / "model.py").write_text(model_source(recipe.network.kind))
    (tmp_path / "card.json").write_text(json.dumps(card))
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_json()))
    logits = _logits(tmp_path, recipe)  # refuses a model that differs from the network as this project builds it
    (tmp_path / "logits.json").write_text(json.dumps(logits))
    isolated = ISOLATED.replace('"sklearn", ', "")  # torchvision makes torch ask whether there is one
    code = f"PATH = {str(tmp_path / 'model.py')!r}\n{isolated}"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.rpartition(" ")[2]) < 1e-6


def test_reader_of_weights_agrees_with_safetensors(tmp_path):
    tensors = {
        "a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
        "b": torch.arange(5),
        "c": torch.tensor(7),
        "d": torch.zeros(0, 3),
        "e": torch.randn(2, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16),
        "f": torch.tensor([True, False]),
        "g": torch.randn(3, generator=torch.Generator().manual_seed(2)).double(),
    }
    save_file(tensors, tmp_path / "t.safetensors", metadata={"format": "pt"})
    read = export_loader.read_safetensors(tmp_path / "t.safetensors")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_what_a_killed_export_left_is_removed_and_what_one_under_way_has_is_not(run, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host, folder = socket.gethostname(), tmp_path / "out"
    left = [tmp_path / f".out.{host}.{gone.pid}.{what}" for what in ("partial", "old")]
    others = [
        tmp_path / name for name in (f".out.{host}.{os.getppid()}.partial", f".out.elsewhere.{gone.pid}.old", "x")
    ]
    for path in (*left, *others):
        path.mkdir()
        (path / "card.json").touch()
    export(run, out=folder)
    assert sorted(tmp_path.iterdir()) == sorted([folder, *others])
