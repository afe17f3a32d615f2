"""What cannot be meant is refused in one line with exit code 2, before anything is stored, whoever plays the game."""

import zipfile

import numpy as np
import pytest

from ma2ml_agents.cli import main as entry
from ma2ml_agents.cli.main import main
from ma2ml_env.evaluators.placement import Placement
from ma2ml_env.game import Protocol
from ma2ml_env.games.make import make_game
from ma2ml_env.recipe import Recipe, check_slots
from ma2ml_env.training import parts

SURROGATE = ["search", "digits-v0", "--evaluator", "surrogate", "--learner", "random", "--budget", "4"]
TRAIN = ["search", "digits-v0", "--learner", "random", "--budget", "1", "--workers", "1"]
MA2ML = ["search", "digits-v0", "--evaluator", "surrogate", "--learner", "ma2ml", "--budget", "4", "--learner-set"]
DIGITS = "9" * 400
DEEP = "[" * 3000 + "]" * 3000


@pytest.fixture
def one_line(tmp_path, capsys):
    """Run a command that is refused, and give its line back."""

    def run(*words):
        assert main([*words, "--run", str(tmp_path / "run")]) == 2
        told = capsys.readouterr().err
        assert told.startswith("ma2ml: error: ")
        assert told.count("\n") == 1
        assert "Traceback" not in told
        assert not (tmp_path / "run" / "run.sqlite").exists()  # nothing was stored
        return told

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*SURROGATE, "--size", "100000"], "at most 10,000, not 100000"),
        ([*TRAIN, "--size", "100000"], "at most 10,000, not 100000"),
        ([*SURROGATE, "--size", "0"], "at least 1"),
        ([*MA2ML, f"critic_hidden={DEEP}"], "critic_hidden: its lists or objects are nested too deeply"),
        ([*SURROGATE, "--set", f"noise={DEEP}"], "noise: its lists or objects are nested too deeply"),
        ([*MA2ML, "critic_hidden=[0]"], "layers of 1 to 10,000 units"),
        ([*MA2ML, "critic_hidden=[100000000]"], "layers of 1 to 10,000 units"),
        ([*MA2ML, "critic_hidden=[10000,10000,10000]"], "weights, more than 100,000,000"),
        ([*MA2ML, "hidden=100000000"], "hidden is at most 10,000"),
        ([*MA2ML, "ensemble=100000000"], "ensemble is at most 1,000,000"),
        ([*MA2ML, f"policy_lr={DIGITS}"], "a finite number"),
        ([*MA2ML, "policy_lr=NaN"], "a finite number"),
        ([*MA2ML, "critic_hidden=[NaN]"], "is a list"),
        ([*SURROGATE, "--set", f"noise={DIGITS}"], "a finite number"),
        ([*SURROGATE, "--set", f"seed={DIGITS}"], "a finite number"),
        ([*TRAIN, "--set", f"batch_size={DIGITS}"], "a finite number"),
        ([*TRAIN, "--set", f"seed={DIGITS}"], "a finite number"),
        ([*SURROGATE, "--seed", DIGITS], "--seed is an integer of 64 bits"),
        ([*SURROGATE, "--batch", DIGITS], "--batch is at least 1 and at most 1,000,000"),
        ([*SURROGATE[:-2], "--budget", DIGITS], "--budget is at least 1 and at most 1,000,000"),
        ([*TRAIN, "--set", "filters=100000000"], "weights, more than 1,000,000,000"),
        ([*SURROGATE, "--set", "filters=100000000"], "weights, more than 1,000,000,000"),
        ([*SURROGATE, "--set", "cells=-1"], "cells and filters are at least 1"),
        ([*SURROGATE, "--workers", "0"], "workers is at least 1"),
        ([*SURROGATE, "--workers", "-1"], "workers is at least 1"),
        ([*SURROGATE, "--workers", DIGITS], "workers is at least 1 and at most 1,000,000"),
        ([*SURROGATE, "--time-limit", "-1"], "the time limit is a positive number of seconds"),
        ([*SURROGATE, "--time-limit", "nan"], "the time limit is a positive number of seconds"),
        ([*SURROGATE, "--time-limit", "inf"], "the time limit is a positive number of seconds"),
        ([*SURROGATE, "--address", "x"], "address and gpus"),
        ([*TRAIN, "--evaluator", ""], "--evaluator is empty"),
        ([*SURROGATE, "--reward", ""], "--reward is empty"),
        ([*SURROGATE, "--metric", ""], "--metric is empty"),
        ([*SURROGATE, "--modules", ""], "--modules is empty"),
        ([*SURROGATE, "--device", "cpu:7"], "device 'cpu:7' is not supported"),
        ([*TRAIN, "--device", "cpu:7"], "device 'cpu:7' is not supported"),
        ([*SURROGATE, "--device", "cuda:99"], "is not on this machine"),
        ([*SURROGATE, "--device", "nonsense"], "unknown device"),
        ([*SURROGATE, "--set", "learning_rate=-1"], "'learning_rate' is out of its range"),
        ([*SURROGATE, "--set", "drop_path=2"], "'drop_path' is out of its range"),
        ([*SURROGATE, "--set", "resolution=100000"], "'resolution' is out of its range"),
        ([*TRAIN, "--set", "validation=0"], "validation is at least 1 image"),
    ],
)  # fmt: skip
def test_it_is_refused_in_one_line(words, message, one_line):
    assert message in one_line(*words)


def test_an_npz_whose_header_is_nested_9000_deep(tmp_path, one_line):
    header = b"(" * 9000 + b"\n"
    with zipfile.ZipFile(tmp_path / "nested.npz", "w") as file:
        for name in ("x_train.npy", "y_train.npy"):
            file.writestr(name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    told = one_line("search", "own-small-v0", "--npz", str(tmp_path / "nested.npz"), "--learner", "random")
    assert "is not an npz file that can be read" in told


@pytest.mark.parametrize("error", [MemoryError("2 TB"), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_memory_that_is_full_is_one_line(error, monkeypatch, capsys):
    from ma2ml_agents.cli.look import List

    def execute(self, console):
        raise error

    monkeypatch.setattr(List, "execute", execute)
    assert main(["list"]) == 2
    assert capsys.readouterr().err.startswith("ma2ml: error: the memory is not enough")


def test_another_error_of_that_class_keeps_its_traceback(monkeypatch):
    from ma2ml_agents.cli.look import List

    def execute(self, console):
        raise RuntimeError("of the program")

    monkeypatch.setattr(List, "execute", execute)
    with pytest.raises(RuntimeError, match="of the program"):
        main(["list"])
    assert not entry._full(RuntimeError("of the program"))


@pytest.mark.parametrize("classes", [8, 5, 4])
def test_as_many_classes_as_images_is_a_warning(classes, tmp_path, capsys):
    labels = np.arange(8) % classes
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8), dtype=np.uint8)
    np.savez(
        tmp_path / "a.npz", x_train=images, y_train=labels, x_val=images, y_val=labels, x_test=images, y_test=labels
    )
    make_game("own-small-v0", npz=str(tmp_path / "a.npz"), size=8, filters=2, cells=3)
    assert ("Are these the labels?" in capsys.readouterr().err) == (classes > 4)


def test_the_surrogate_tells_what_it_does_not_read(tmp_path, capsys):
    words = [*SURROGATE, "--batch", "2", "--run", str(tmp_path / "run")]
    assert main([*words, "--fit", "pad", "--groups", "nowhere.csv", "--time-limit", "9"]) == 0
    assert "trains nothing, and reads no --fit, --groups, --time-limit" in capsys.readouterr().out
    assert main([*SURROGATE, "--batch", "2", "--run", str(tmp_path / "other")]) == 0
    assert "reads no" not in capsys.readouterr().out


def test_python_is_refused_the_same(tmp_path):
    for make in (
        lambda: Placement(workers=10**30),
        lambda: Placement(time_limit=float("nan")),
        lambda: Protocol(budget=True),
        lambda: Protocol(budget=10**30),
        lambda: make_game("digits-v0", "surrogate", reward=""),
        lambda: make_game("digits-v0", ""),
        lambda: make_game("digits-v0", "surrogate", seed=float("nan")),
        lambda: check_slots(Recipe(learning_rate=float("nan"))),
        lambda: parts.check_network(Recipe().network.with_args(filters=10**8)),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            make()
    parts.check_network(Recipe().network)
