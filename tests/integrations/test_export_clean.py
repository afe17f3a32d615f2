"""An exported model in a new virtual environment that holds torch and torchvision and not this project."""

import json
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version

import pytest
import torch

from ma2ml_agents.after.export import export, load_model_file
from ma2ml_agents.after.retrain import retrain
from ma2ml_agents.cli.main import main

PROGRAM = """
import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
import model
import torch
absent = [name for name in ("ma2ml_env", "ma2ml_agents") if importlib.util.find_spec(name) is None]
network = model.load()
images = torch.tensor(json.load(open(sys.argv[2])), dtype=torch.uint8)
with torch.inference_mode():
    logits = network(model.preprocess(images)).double().tolist()
print(json.dumps({"absent": absent, "logits": logits, "torch": torch.__version__}))
"""


@pytest.fixture
def clean_python(tmp_path):
    """Python of a new environment; versions and package index are those of the running interpreter."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    wanted = [f"{name}=={version(name)}" for name in ("torch", "torchvision", "safetensors", "numpy")]
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    yield python
    shutil.rmtree(tmp_path / "venv")  # some gigabytes


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_exported_model_gives_the_same_logits(clean_python, tmp_path):
    run = tmp_path / "run"
    tiny = ("proxy_epochs=1", "final_epochs=2", "repeats=1", "top_k=1")
    sets = [word for setting in tiny for word in ("--set", setting)]
    args = ["--learner", "random", "--budget", "2", "--batch", "2", "--workers", "1"]
    assert main(["search", "digits-v0", "--run", str(run), *args, *sets]) == 0
    retrain(run)
    folder, card = export(run, out=tmp_path / "exported")
    model = load_model_file(folder / "model.py")
    shape = (16, card["channels"], card["size"], card["size"])
    images = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        here = model.load()(model.preprocess(images)).double()
    (tmp_path / "images.json").write_text(json.dumps(images.tolist()))
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [clean_python, "-I", tmp_path / "program.py", folder, tmp_path / "images.json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    assert there["absent"] == ["ma2ml_env", "ma2ml_agents"]
    assert there["torch"] == torch.__version__
    assert torch.equal(torch.tensor(there["logits"], dtype=torch.float64), here)
    assert here.std() > 0, "logits that are all the same would agree with anything"
    shown = subprocess.run([clean_python, "-I", folder / "model.py"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr


def test_this_interpreter_does_hold_the_project():
    """The control: where the project is installed, the same look-up finds it."""
    code = "import importlib.util as u; print(u.find_spec('ma2ml_env') is not None)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True"
