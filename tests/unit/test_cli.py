"""The command line as a user types it: good input, bad input, stopping and going on."""

import ast
import csv
import inspect
import io
import itertools
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from ma2ml_agents.cli import bench
from ma2ml_agents.cli.commands import COMMANDS, parse
from ma2ml_agents.cli.main import main
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.options import settings
from ma2ml_agents.run.stored import build_without_evaluator, stored_config
from ma2ml_env.evaluators.base import NoWorker
from ma2ml_env.store.store import TrialStore

SURROGATE = ["--evaluator", "surrogate", "--learner", "random", "--batch", "4"]


def search(run: Path, *more: str, budget: int = 16) -> int:
    return main(["search", "digits-v0", "--run", str(run), *SURROGATE, "--budget", str(budget), *more])


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cli") / "run"
    assert search(run) == 0
    return run


def config(**options) -> RunConfig:
    always = {
        "game": "digits-v0",
        "learner": "random",
        "evaluator": "train",
        "seed": 0,
        "batch": 4,
        "budget": 8,
        "set": {},
    }
    return RunConfig(**always | options)


def trials(run: Path) -> list[dict]:
    with TrialStore(run) as store:
        return [trial.to_json() for trial in store.trials()]


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error."""
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1, captured
    assert captured.startswith("ma2ml: error: ")
    return captured


def test_search_prints_batches_top_and_where_files_are(tmp_path, capsys):
    assert search(tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "16/16 trials" in out
    assert "first two batches" in out
    assert "top 3 of 16 pipelines" in out
    assert "16 ok, 0 infeasible, 0 failed" in out
    assert str(tmp_path / "run") in out
    assert len(trials(tmp_path / "run")) == 16


def test_budget_and_batch_are_the_games_own_unless_told(tmp_path):
    args = ["search", "digits-v0", "--run", str(tmp_path / "a"), "--evaluator", "surrogate", "--learner", "random"]
    assert main([*args, "--set", "budget=6", "--set", "batch=3"]) == 0
    with TrialStore(tmp_path / "a") as store:
        assert (store.config["budget"], store.config["batch"]) == (6, 3)
        assert len(list(store.trials())) == 6


def test_the_same_command_again_goes_on(tmp_path, capsys):
    calm, resumed = tmp_path / "calm", tmp_path / "resumed"
    assert search(calm, budget=12) == 0
    assert search(resumed, budget=8) == 0
    assert search(resumed, budget=12) == 0
    assert "going on after 8 of 12 trials" in capsys.readouterr().out
    assert trials(resumed) == trials(calm)


def test_resume_goes_on_to_a_larger_budget_and_refuses_a_smaller_one(tmp_path, capsys):
    run = tmp_path / "run"
    assert search(run, budget=8) == 0
    assert main(["resume", str(run), "--budget", "12"]) == 0
    assert len(trials(run)) == 12
    capsys.readouterr()
    assert main(["resume", str(run), "--budget", "4"]) == 2
    assert "12 trials already" in told(capsys)
    assert len(trials(run)) == 12


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["search", "digit-v0"], "did you mean 'digits-v0'?"),
        (["search", "digits-v0", "--evaluator", "surrogate", "--learner", "ma2lm"], "did you mean 'ma2ml'?"),
        (["search", "digits-v0", "--evaluator", "surogate"], "did you mean 'surrogate'?"),
        (["search", "digits-v0", "--evaluator", "pool"], "--workers"),
        (["search", "digits-v0", "--bugdet", "5"], "did you mean --budget?"),
        (["search", "digits-v0", "--budget", "many"], "--budget"),
        (["search", "digits-v0", *SURROGATE, "--budget", "0"], "at least 1"),
        (["search", "digits-v0", *SURROGATE, "--budget", "-3"], "at least 1"),
        (["search", "digits-v0", *SURROGATE, "--set", "nois=0.1"], "did you mean 'noise'?"),
        (["search", "digits-v0", *SURROGATE, "--set", "cells"], "key=value"),
        (["search", "digits-v0", *SURROGATE, "--set", "workers=2"], "--workers"),
        (["search", "digits-v0", "--set", "cels=5"], "did you mean 'cells'?"),
        (["search", "digits-v0", "--set", "cells=many"], "'cells' is a whole number, not 'many'"),
        (["search", "digits-v0", "--set", "flip=no"], "'flip' is true or false, not 'no'"),
        (["search", "digits-v0", "--set", "batch_size=32.0"], "'batch_size' is a whole number, not '32.0'"),
        (["search", "digits-v0", "--set", "limit=60.5"], "'limit' is a whole number or none, not '60.5'"),
        (["search", "digits-v0", "--set", "checkpoints=3"], "in its folder"),
        (["search", "digits-v0", *SURROGATE, "--set", "noise=loud"], "'noise' is a number, not 'loud'"),
        (["search", "digits-v0", "--set", "loss=hinge"], "loss"),
        (["search", "digits-v0", "--set", "batch_size=many"], "batch_size"),
        (["search", "digits-v0", *SURROGATE, "--modules", "aug", "nas_cel"], "did you mean 'nas_cell'?"),
        (["search", "digits-v0", *SURROGATE, "--reward", "flop"], "did you mean 'flops'?"),
        (
            ["search", "digits-v0", "--evaluator", "surrogate", "--learner", "ma2ml", "--learner-set", "lambda=1"],
            "did you mean 'lambda_'?",
        ),
        (
            ["search", "digits-v0", "--evaluator", "surrogate", "--learner", "ma2ml", "--learner-set", "hidden=1.5"],
            "a whole number, not '1.5'",
        ),
        (
            ["search", "digits-v0", "--evaluator", "surrogate", "--learner", "ma2ml", "--learner-set", "distinct=no"],
            "true or false, not 'no'",
        ),
        (["search", "digits-v0", "--workers", "0"], "workers"),
        (["search", "digits-v0", "--engine", "cloud"], "--engine"),
        (["search", "cifar10-v0"], "--data DIR"),
        (["search", "cifar10-v0", "--data", "nowhere"], "--download"),
        (["search", "own-v0"], "images"),
        (["search", "own-v0", "--npz", "nowhere.npz"], "nowhere.npz"),
        (["search"], "GAME"),
        (["bench", "smok"], "did you mean 'smoke'?"),
        (["serach", "digits-v0"], "did you mean 'search'?"),
        ([], "which command"),
        *(
            ([name, "nowhere"], "nowhere")
            for name in COMMANDS
            if name not in ("search", "list", "backup", "salvage", "study")
        ),
        (["study", "nowhere", "--out", "new.db"], "nowhere"),
        *(([name, "nowhere", "--out", "new"], "nowhere") for name in ("backup", "salvage")),
        (["backup", "nowhere"], "--out"),
    ],
    ids=lambda value: "-".join(value[-2:]) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_exit_code_2(args, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    assert message in told(capsys)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_switches_are_read_as_python_and_json_write_them():
    assert settings(["flip=False", "a=true", "b=None", "c=[1, 2]", "d=text"], "--set") == {
        "flip": False,
        "a": True,
        "b": None,
        "c": [1, 2],
        "d": "text",
    }


def test_names_of_folders_are_no_markup(tmp_path, capsys):
    for name in ("r[a]", "q[/b]c"):
        assert search(tmp_path / name, budget=4) == 0
        assert f"run: {tmp_path / name}" in capsys.readouterr().out
        assert main(["show", str(tmp_path / name), "0"]) == 0
        assert main(["check", str(tmp_path / name)]) == 0
        assert name in capsys.readouterr().out


def test_a_run_goes_on_where_its_own_data_have_moved(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.arange(60) % 2)
    options = ["--learner", "random", "--batch", "2", "--device", "cpu", "--workers", "1", "--size", "8"]
    options += ["--set", "proxy_epochs=1", "--set", "final_epochs=1", "--set", "cells=2", "--set", "reductions=[1]"]
    run = str(tmp_path / "run")
    search = ["search", "own-small-v0", "--run", run, *options]
    assert main([*search, "--npz", str(tmp_path / "a.npz"), "--budget", "2"]) == 0
    (tmp_path / "a.npz").rename(tmp_path / "b.npz")
    assert main(["resume", run, "--budget", "4"]) == 2
    assert "a.npz" in capsys.readouterr().err
    assert main(["resume", run, "--budget", "4", "--data", str(tmp_path / "b.npz")]) == 0
    assert main([*search, "--npz", str(tmp_path / "b.npz"), "--budget", "6"]) == 0
    (tmp_path / "b.npz").rename(tmp_path / "c.npz")
    retrain = ["retrain", run, "--top-k", "1", "--repeats", "0"]
    assert main([*retrain, "--data", str(tmp_path / "c.npz")]) == 0
    assert main([*retrain, "--data", str(tmp_path / "c.npz"), "--workers", "0"]) == 2


def test_a_run_of_a_cluster_goes_on_without_it():
    stored = config(engine="ray", address="10.0.0.1:6379", gpus=0.5, workers=4)
    assert stored.changed({"engine": None}) == stored.changed({"engine": "ray"}) == stored
    assert stored.changed({"engine": "local"}) == config(workers=4)
    assert parse(["resume", "RUN", "--engine", "ray", "--gpus", "0.25"]).told.gpus == 0.25
    for command in ("fidelity", "retrain"):
        assert parse([command, "RUN", "--engine", "ray", "--address", "auto"]).where.address == "auto"


@pytest.mark.parametrize("option", ["--budget", "--workers", "--gpus"])
def test_zero_is_a_number_to_resume_with(option, searched, monkeypatch):
    """It was taken for nothing; `--gpus 0` is for a cluster that has none any more."""
    told = []
    monkeypatch.setattr("ma2ml_agents.cli.start.drive", lambda run, config, *_, **more: told.append(config) or 0)
    assert main(["resume", str(searched), option, "0"]) == 0
    assert told[0].to_json()[option[2:]] == 0


def test_workers_that_cannot_start_are_one_line(tmp_path, capsys, monkeypatch):
    """As where a node of a cluster has no data."""

    def evaluate(self, jobs):
        raise NoWorker("no worker can start: FileNotFoundError: no data in /nowhere")

    monkeypatch.setattr("ma2ml_env.evaluators.surrogate.Surrogate.evaluate", evaluate)
    assert search(tmp_path / "run") == 2
    assert "no worker can start: FileNotFoundError: no data in /nowhere" in told(capsys)


def test_cuda_that_is_not_there_is_refused(tmp_path, capsys):
    import torch

    name = f"cuda:{torch.cuda.device_count()}"
    assert main(["search", "digits-v0", "--device", name, "--run", str(tmp_path / "run")]) == 2
    assert "not on this machine" in told(capsys)


def test_a_run_of_another_game_is_refused_and_kept(searched, capsys):
    before = trials(searched)
    args = ["search", "cifar10-v0", "--run", str(searched), *SURROGATE, "--budget", "16"]
    assert main(args) == 2
    assert 'game is "digits-v0" there and "cifar10-v0" here' in told(capsys)
    assert search(searched, "--seed", "1") == 2
    assert "seed" in told(capsys)
    assert trials(searched) == before


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert search(tmp_path / "file" / "run") == 2
    assert "cannot write" in told(capsys)


def test_a_corrupt_run_is_refused_by_all_and_explained_by_check(tmp_path, capsys):
    run = tmp_path / "run"
    assert search(run, budget=8) == 0
    database = run / "run.sqlite"
    database.write_bytes(database.read_bytes()[:4096] + b"\0" * 8192)
    capsys.readouterr()
    for command in ("resume", "trials", "show", "pareto", "report", "retrain", "export"):
        assert main([command, str(run)]) == 2
        assert "damaged" in told(capsys)
    assert main(["check", str(run)]) == 1
    assert "run.sqlite" in capsys.readouterr().out


def test_check_of_a_whole_run(searched, capsys):
    assert main(["check", str(searched)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_trials_json_is_one_trial_a_line(searched, capsys):
    assert main(["trials", str(searched), "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == trials(searched)
    assert main(["trials", str(searched)]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_trials_csv_is_one_row_a_trial_with_what_was_decided(searched, capsys):
    assert main(["trials", str(searched), "--csv"]) == 0
    printed = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(printed)))
    with TrialStore(searched, create=False) as store:
        game, kept = build_without_evaluator(stored_config(store)), list(store.trials())
    assert printed.count("\n") == len(kept) + 1
    for row, trial in zip(rows, kept, strict=True):
        assert (int(row["number"]), int(row["seed"])) == (trial.number, trial.seed)
        assert (row["origin"], row["status"], row["error"]) == (trial.proposal.origin, trial.outcome.status, "")
        assert float(row["reward"]) == trial.reward
        assert float(row["accuracy"]) == trial.outcome.accuracy
        assert (int(row["macs"]), int(row["params"])) == (trial.outcome.flops, trial.outcome.params)
        decided = {name: value for name, value in row.items() if "." in name}
        values = game.values(trial.proposal.codes)
        assert decided == {f"{agent}.{name}": str(v) for agent, part in values.items() for name, v in part.items()}
    assert main(["trials", str(searched), "--csv", "--json"]) == 2
    assert "give either --json or --csv" in capsys.readouterr().err


def test_show_tells_values_and_recipe(searched, capsys):
    assert main(["show", str(searched), "3", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["number"] == 3
    assert set(shown["values"]) == set(shown["proposal"]["codes"])
    assert shown["recipe"]["epochs"] == 30
    assert main(["show", str(searched)]) == 0
    best = max(trials(searched), key=lambda trial: trial["reward"])
    out = capsys.readouterr().out
    assert f"trial {best['number']}: reward" in out
    assert "seed 0" in " ".join(out.split("best one")[0].split())
    assert main(["show", str(searched), "99"]) == 2
    assert "no trial 99" in told(capsys)


def test_pareto_front_is_not_dominated(searched, capsys):
    assert main(["pareto", str(searched), "--json"]) == 0
    front = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    known = {trial["number"]: trial["outcome"] for trial in trials(searched)}
    members = {row["number"] for row in front}
    for number, outcome in known.items():
        beaten = any(
            other["flops"] <= outcome["flops"] and other["accuracy"] > outcome["accuracy"] for other in known.values()
        )
        assert (number in members) == (not beaten)


def test_list_names_games_learners_and_sizes(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for expected in ("cifar10-v0", "5016", "32.17", "36.72", "12.04", "ma2ml_lite", "surrogate"):
        assert expected in out
    assert main(["list", "--json"]) == 0
    assert {"games", "modules", "learners"} <= set(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_a_line_on_each_option(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "usage: ma2ml" in capsys.readouterr().out
    (node,) = ast.parse(
        textwrap.dedent(inspect.getsource(COMMANDS[command]))
    ).body  # those of RunConfig have no other place
    for field, after in itertools.pairwise(node.body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(after, ast.Expr), f"{command}: option {field.target.id} has no docstring"


def test_help_needs_no_torch():
    code = (
        "import sys; from ma2ml_agents.cli.main import main\n"
        "try: main(['search', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'ma2ml_agents.run.loop' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_settings_are_json_or_text():
    assert settings(["cells=5", "noise=1e-2", "flip=false", "kind=raw", "reductions=[1, 2]"], "--set") == {
        "cells": 5,
        "noise": 0.01,
        "flip": False,
        "kind": "raw",
        "reductions": [1, 2],
    }
    with pytest.raises(ValueError, match="twice"):
        settings(["cells=5", "cells=6"], "--set")


def test_a_programming_error_keeps_its_traceback(searched, monkeypatch):
    monkeypatch.setattr(COMMANDS["check"], "execute", lambda self, console: {}["missing"])
    with pytest.raises(KeyError):
        main(["check", str(searched)])


def test_a_reader_that_leaves_early_is_no_error(searched):
    command = f"{sys.executable} -m ma2ml_agents.cli.main trials {searched} --json | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True)
    assert done.returncode == 0
    assert done.stderr == b""


def test_a_program_of_bench_that_is_killed_gives_128_and_its_signal(tmp_path, monkeypatch):
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "some.toml").write_text("")
    (tmp_path / "run.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    assert main(["bench", "some", "--out", str(tmp_path / "runs")]) == 137
