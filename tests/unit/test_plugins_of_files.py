"""`--plugin my_file.py`: parts of one's own without a package. A run knows a plugin's name and digest, never its place."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ma2ml_agents.cli.main import main
from ma2ml_env import plugins, registry
from ma2ml_env.registry import names, resolve

PLUGIN = """
import torch

from ma2ml_agents.baselines.random_search import RandomSearch
from ma2ml_env import Decision, SearchSpace, Spec, register


class Mine(RandomSearch):
    \"\"\"My learner.\"\"\"


class Absolute(torch.nn.Module):
    def forward(self, logits, targets):
        if not targets.is_floating_point():
            targets = torch.nn.functional.one_hot(targets, logits.shape[1])
        return (1.0 - (logits.float().softmax(1) * targets).sum(1)).mean()


class MyLoss:
    name = "loss"
    space = SearchSpace([Decision("loss", ("absolute_of_mine",))])

    def apply(self, recipe, values):
        return recipe.with_slots(loss=Spec(values["loss"]))


register("learners", "mine", "my_parts:Mine")
register("modules", "my_loss", "my_parts:MyLoss")
register("losses", "absolute_of_mine", "my_parts:Absolute")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the plugin; what it leaves in this process is taken away again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(registry, "TABLE", {kind: dict(rows) for kind, rows in registry.TABLE.items()})
    Path("my_parts.py").write_text(PLUGIN)
    yield tmp_path
    sys.modules.pop("my_parts", None)


def command(*words, ends=0):
    """The command line as its users have it, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "ma2ml_agents.cli.main", *words], capture_output=True, text=True)
    assert done.returncode == ends, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_file_is_loaded_once_and_its_parts_are_found(here):
    assert plugins.load("my_parts.py") == plugins.load(here / "my_parts.py") == "my_parts.py"
    assert "mine" in names("learners")
    assert resolve("modules", "my_loss").__name__ == "MyLoss"
    assert os.environ[plugins.VARIABLE] == str(here / "my_parts.py")
    (digest,) = plugins.loaded().values()
    assert len(digest) == 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plugin"], "--plugin takes a Python file"),
        (["--plugin="], "--plugin takes a Python file"),
        (["--plugin", "nowhere.py"], "there is no such file"),
        (["--plugin", "parts.txt"], "a Python file whose name can be imported"),
        (["--plugin", "my-parts.py"], "a Python file whose name can be imported"),
        (["--plugin", "torch.py"], "there is a module 'torch' already"),
        (["--plugin", "broken.py"], "broken.py cannot be imported: NameError: name 'x' is not defined"),
        (["--plugin", "twice.py"], "twice.py cannot be imported: ValueError: module 'aug' is already registered"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_is_no_plugin_is_one_line(here, words, message, capsys):
    for name, text in {
        "parts.txt": "",
        "my-parts.py": "",
        "torch.py": "",
        "broken.py": "x",
        "twice.py": "from ma2ml_env import register\nregister('modules', 'aug', 'twice:Other')",
    }.items():
        Path(name).write_text(text)
    assert main(["list", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert plugins.loaded() == {}, "nothing of it stays"


def test_a_learner_with_the_name_of_an_own_one_is_refused(here, capsys):
    Path("same.py").write_text("from ma2ml_env import register\nregister('learners', 'random', 'same:Other')")
    assert main(["list", "--plugin", "same.py"]) == 2
    assert "same:Other is registered as the learner 'random', which ma2ml has itself" in capsys.readouterr().err
    sys.modules.pop("same")


def test_on_ray_a_plugin_is_refused(here, capsys):
    words = ["search", "digits-v0", "--learner", "mine", "--plugin", "my_parts.py", "--engine", "ray", "--run", "r"]
    assert main(words) == 2
    assert "on Ray, install a package with entry points" in capsys.readouterr().err
    assert not Path("r").exists()


@pytest.mark.slow
def test_a_run_asks_for_its_plugin_again(here):
    """Trained in a worker process, which knows the plugin's loss."""
    tiny = ("limit=100", "proxy_epochs=1", "cells=1", "reductions=[]", "filters=2")
    sets = [word for each in tiny for word in ("--set", each)]
    search = [
        "search",
        "digits-v0",
        "--modules",
        "nas",
        "my_loss",
        "--learner",
        "mine",
        "--budget",
        "2",
        "--batch",
        "2",
    ]
    search += ["--start", "none", "--workers", "1", "--run", "r", *sets]
    told = command(*search, "--plugin", "my_parts.py")
    assert "learner mine (My learner)" in told
    assert Path("r/trials.jsonl").read_text().count('"status":"ok"') == 2
    resume = ["resume", "r", "--extend", "2"]
    assert "r was made with the plugin my_parts.py: say --plugin and where it is" in command(*resume, ends=2)
    assert "was made with the plugin" in command("show", "r", ends=2)
    Path("elsewhere").mkdir()
    Path("my_parts.py").rename("elsewhere/my_parts.py")  # the place may move
    command(*resume, "--plugin", "elsewhere/my_parts.py")
    assert Path("r/trials.jsonl").read_text().count('"status":"ok"') == 4
    Path("elsewhere/my_parts.py").write_text(PLUGIN + "# changed\n")
    assert "is not as it was when r was made" in command(*resume, "--plugin=elsewhere/my_parts.py", ends=2)
    with sqlite3.connect("r/run.sqlite") as db:
        stored = "".join(str(row) for row in db.execute("SELECT * FROM meta"))
    assert "my_parts.py" in stored
    assert str(here) not in stored.split("plugins")[1].split("}")[0], "no place"
