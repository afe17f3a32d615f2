"""F21: folders of earlier versions, stopped within a batch, and of later ones. `golden/make.py` says how one is made."""

import gzip
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from parts import comparable

import ma2ml_agents
from ma2ml_agents.cli.main import main
from ma2ml_env.store.mirror import read_mirror
from ma2ml_env.store.store import TrialStore

GOLDEN = sorted(
    path for path in (Path(__file__).parent / "golden").iterdir() if path.is_dir() and path.name[0].isdigit()
)
TRAINED = [path for path in GOLDEN if "trained" in path.name]


def unpacked(golden, target):
    shutil.copytree(golden, target)
    (target / "run.sqlite").write_bytes(gzip.decompress((target / "run.sqlite.gz").read_bytes()))
    (target / "run.sqlite.gz").unlink()
    return target


def trials(folder):
    with TrialStore(folder, create=False) as store:
        return [comparable(trial) for trial in store.trials()]


@pytest.mark.parametrize(
    "golden",
    [pytest.param(path, id=path.name, marks=pytest.mark.slow if path in TRAINED else ()) for path in GOLDEN],
)
def test_f21_a_folder_of_an_earlier_version_opens_and_goes_on_or_is_refused(golden, tmp_path, capsys):
    folder = unpacked(golden, tmp_path / "run")
    for command in ("check", "trials", "show", "pareto", "report"):
        assert main([command, str(folder)]) == 0
    old = trials(folder)
    assert len(old) == 4
    with TrialStore(folder, create=False) as store:
        known = store.outcomes(1)
    assert len(known) == 2, "it was stopped within a batch"
    capsys.readouterr()
    code = main(["resume", str(folder)])
    said = capsys.readouterr().err
    if golden.name == "0.1.0-ma2ml":  # its learner has changed: one line says so, nothing is lost
        assert code == 2
        assert said.count("\n") == 1
        assert "searched by an earlier version's MA2ML" in said
        assert "start a new run" in said
        assert trials(folder) == old
        return
    assert code == 0, said
    done = trials(folder)
    assert done[:4] == old
    assert {n: done[n]["outcome"]["accuracy"] for n in known} == {n: outcome.accuracy for n, outcome in known.items()}
    assert len(done) == 10
    assert not list(folder.glob("trials.kept-*")), "lines of before are written anew, not kept as somebody else's"
    assert main(["check", str(folder)]) == 0
    if golden.name == ma2ml_agents.__version__:
        words = ["digits-v0", "--evaluator", "surrogate", "--learner", "evolution", "--budget", "10", "--batch", "4"]
        assert main(["search", *words, "--run", str(tmp_path / "calm")]) == 0
        assert done == trials(tmp_path / "calm")


@pytest.mark.parametrize("golden", TRAINED, ids=lambda path: path.name)
def test_f21_hits_and_rungs_are_read_from_both_formats(golden, tmp_path):
    """Before they were fields of an outcome they stood among its metrics."""
    folder = unpacked(golden, tmp_path / "run")
    with TrialStore(folder, create=False) as store:
        closed = [trial.outcome for trial in store.trials()]
    (mirror, damaged) = read_mirror(folder / "trials.jsonl")
    assert ([trial.outcome for trial in mirror], damaged) == (closed, [])
    assert [outcome.cached for outcome in closed] == [False, False, False, True]
    assert {len(outcome.rungs) for outcome in closed} == {1}
    assert {outcome.batch_end for outcome in closed} == {3}
    assert all(set(outcome.metrics) == {"epochs", "steps", "train_loss"} for outcome in closed)


def test_f21_one_of_the_formats_is_the_old_one():
    texts = [(path / "trials.jsonl").read_text() for path in TRAINED]
    assert [text.count('"cached":1.0') for text in texts] == [1, 0]
    assert [text.count('"cached":true') for text in texts] == [0, 1]


def test_f21_every_release_has_its_folder():
    assert ma2ml_agents.__version__ in [path.name for path in GOLDEN]


def test_f21_a_folder_of_a_later_version_is_refused(tmp_path, capsys):
    folder = unpacked(GOLDEN[-1], tmp_path / "run")
    before = (folder / "trials.jsonl").read_bytes()
    with closing(sqlite3.connect(folder / "run.sqlite")) as db:
        db.execute("PRAGMA user_version = 3")
        db.execute("ALTER TABLE outcomes ADD COLUMN more TEXT")  # as a later one may have it
        db.commit()
    for command in ("trials", "show", "pareto", "report", "resume", "retrain"):
        assert main([command, str(folder)]) == 2
        assert "was written by a later version (format 3; this one reads up to 2)" in capsys.readouterr().err
    assert main(["check", str(folder)]) == 1
    assert (folder / "trials.jsonl").read_bytes() == before
