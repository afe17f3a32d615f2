"""`ma2ml export --onnx`: the same logits without torch, or no export."""

import json

import pytest
import torch
from torch import nn

from ma2ml_agents.after import onnx
from ma2ml_agents.after.export import export, load_model_file
from ma2ml_agents.after.retrain import retrain
from ma2ml_agents.cli.main import main
from tests.unit.test_export import TINY


def needs_onnx():
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("onnx") / "run"
    sets = [word for setting in TINY for word in ("--set", setting)]
    args = ["--learner", "random", "--budget", "1", "--batch", "1", "--workers", "1"]
    assert main(["search", "digits-v0", "--run", str(run), *args, *sets]) == 0
    retrain(run, top_k=1)
    return run


def test_without_the_extra_nothing_is_touched_and_it_is_named(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert main(["export", str(run), "--out", str(tmp_path / "out"), "--onnx"]) == 2
    assert "--onnx needs onnxruntime: pip install 'ma2ml[onnx]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_program_gives_the_models_logits_in_batches_of_any_size(run, tmp_path, capsys):
    needs_onnx()
    import onnxruntime

    assert main(["export", str(run), "--out", str(tmp_path / "out"), "--onnx"]) == 0
    assert "model.onnx gives the same logits to within" in capsys.readouterr().out
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["onnx"]["largest_difference"] < 1e-4
    assert "needs no torch" in (tmp_path / "out" / "card.md").read_text()
    model = load_model_file(tmp_path / "out" / "model.py")
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 3, 17):
        images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
        with torch.inference_mode():
            wanted = model.load()(model.preprocess(images))
        (found,) = session.run(["logits"], {"images": images.numpy()})
        assert found == pytest.approx(wanted.numpy(), abs=1e-4)


class Model:
    """What a `model.py` has, of colour images of 10 pixels that a recipe brings to 14."""

    def __init__(self):
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5)]
        self.network = torch.nn.Sequential(*layers).eval()

    def load(self, folder):
        return self.network

    def example(self, folder):
        return torch.arange(600).remainder(251).to(torch.uint8).view(2, 3, 10, 10)

    def preprocess(self, images, folder):
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([125.0, 120.0, 110.0], [60.0, 62.0, 66.0]))
        images = (images.float() - mean) / std
        return torch.nn.functional.interpolate(images, (14, 14), mode="bilinear", antialias=True)


@pytest.mark.slow
def test_a_resolution_of_the_recipes_own_is_part_of_the_program(tmp_path):
    needs_onnx()
    told = onnx.write_onnx(Model(), tmp_path)
    assert told["input"] == "images: uint8 (B, 3, 10, 10) in 0..255"
    assert told["largest_difference"] < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"], "one file, with its weights"


@pytest.mark.slow
def test_other_logits_are_refused_and_the_earlier_export_stays(run, tmp_path, monkeypatch):
    needs_onnx()
    folder, _ = export(run, out=tmp_path / "out")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    whole = onnx._whole

    class Wrong(nn.Module):
        def __init__(self, *args):
            super().__init__()
            self.right = whole(*args)

        def forward(self, images):
            return self.right(images) + 0.01

    monkeypatch.setattr(onnx, "_whole", Wrong)
    with pytest.raises(ValueError, match="gives other logits than the exported model"):
        export(run, out=tmp_path / "out", onnx=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_what_torch_cannot_write_is_one_line(tmp_path):
    needs_onnx()

    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x).flatten(1)  # ONNX has none

    model = Model()
    model.network = Odd().eval()
    with pytest.raises(ValueError, match="torch cannot write this network as ONNX") as caught:
        onnx.write_onnx(model, tmp_path)
    assert "\n" not in str(caught.value)
