"""F4, F5: a file of a run is taken away, cut off, or another run's. It is found and named, and what is whole goes on."""

import random
import shutil
from pathlib import Path

import pytest
from parts import result

from ma2ml_agents.cli.main import main
from ma2ml_env.store import store
from ma2ml_env.store.check import check
from ma2ml_env.store.store import TrialStore

FILES = ("run.sqlite", "run.sqlite-wal", "trials.jsonl", "run.json")
STOPS = (3, 13, 18, 24)
"""outcomes after which a folder is copied, as a kill leaves it: in the first batch, in a later one, at the ends of batches"""


WORDS = "search digits-v0 --evaluator surrogate --learner random --budget 30 --batch 6"


def search(folder, seed):
    assert main([*WORDS.split(), "--seed", str(seed), "--run", str(folder)]) == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, each killed at every stop and finished: (run, stop) -> folder."""
    base = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate("ab"):
        add, count = TrialStore.add_outcome, []

        def copying(self, number, outcome, add=add, count=count, name=name):
            add(self, number, outcome)
            count.append(number)
            if len(count) in STOPS:
                shutil.copytree(self.folder, base / f"{name}{len(count)}", ignore=shutil.ignore_patterns("*-shm"))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrialStore, "add_outcome", copying)
            patch.setattr(store, "OPEN_LOG", float("inf"))  # what the log holds must not depend on the machine's speed
            search(base / f"{name}30", seed)
    return base


@pytest.fixture
def said_by(capfd, caplog):
    return capfd, caplog


def held(folder):
    """What a run hands out: its trials, the outcomes of its open batch, and its config."""
    with TrialStore(folder, create=False) as store:
        outcomes = [store.outcomes(batch) for batch in range(5)]
        return list(store.trials()), outcomes, store.config


def hurt(folder, other, file, action, rng):
    """Do it; whether there was something to do."""
    path, theirs = folder / file, other / file
    before = path.read_bytes() if path.exists() else None
    if action == "swapped" and theirs.exists():
        shutil.copy(theirs, path)
    elif action == "gone" and before is not None:
        path.unlink()
    elif action == "cut" and before:
        path.write_bytes(before[: rng.choice([0, rng.randrange(len(before)), len(before) - 1])])
    return (path.read_bytes() if path.exists() else None) != before


def go_on(folder, new, said_by):
    """Resume, through a salvage if need be: (folder that went on, None if nobody can tell whose it is; what was said)."""
    capfd, caplog = said_by
    capfd.readouterr()
    caplog.clear()
    if main(["resume", str(folder)]) == 0:
        return folder, caplog.text
    said = capfd.readouterr().err
    assert said.count("\n") == 1, said
    assert f"ma2ml salvage {folder} --out NEW" in said
    if main(["salvage", str(folder), "--out", str(new)]):
        assert "its files are of different runs" in capfd.readouterr().err
        return None, said
    told = capfd.readouterr().out
    assert "configuration from" in told, told
    assert main(["resume", str(new)]) == 0
    return new, said + told


def places(runs, tmp_path, said_by, number, actions):
    """Hurt a run at as many places; every loss was told, and each went on to the calm end."""
    rng, done, losses, salvaged = random.Random(0), 0, 0, 0
    calm = result(runs / "a30")
    while done < number:
        stop, file, action = rng.choice([*STOPS, 30]), rng.choice(FILES), rng.choice(actions)
        folder, new = (shutil.rmtree(tmp_path / name, ignore_errors=True) or tmp_path / name for name in ("run", "new"))
        shutil.copytree(runs / f"a{stop}", folder)
        truth = held(folder)
        if not hurt(folder, runs / f"b{rng.choice([*STOPS, 30])}", file, action, rng):
            continue
        done += 1
        place = f"{file} {action} after {stop}"
        found = check(folder)
        try:
            lost = held(folder) != truth
        except (ValueError, OSError):
            lost = True
        there, said = go_on(folder, new, said_by)
        assert not lost or (found and said), place
        if there is None:  # no trial is in the mirror yet: it is one file against another
            assert (stop, action) == (3, "swapped")
            assert file in ("run.sqlite", "run.json")
            if file == "run.sqlite":
                continue  # and none of this run's was left
            (folder / file).unlink()  # as the message says
            there, _ = go_on(folder, new, said_by)
        assert result(there) == calm, place
        losses, salvaged = losses + lost, salvaged + (there == new)
    return losses, salvaged


@pytest.mark.slow
def test_f4_files_taken_away_and_cut_are_named_and_salvaged(runs, tmp_path, said_by):
    losses, salvaged = places(runs, tmp_path, said_by, 12, ["gone", "cut"])
    assert losses >= 3
    assert salvaged >= 3


@pytest.mark.slow
def test_f5_files_of_another_run_are_named_and_salvaged(runs, tmp_path, said_by):
    losses, salvaged = places(runs, tmp_path, said_by, 10, ["swapped"])
    assert losses >= 2
    assert salvaged >= 4


@pytest.mark.slow
@pytest.mark.timeout(2400)  # 1,270 s with sixteen others on two cores
def test_f4_f5_two_hundred_places(runs, tmp_path, said_by):
    losses, salvaged = places(runs, tmp_path, said_by, 200, ["gone", "cut", "swapped"])
    assert losses >= 60
    assert salvaged >= 60


def test_f4_a_plain_copy_of_the_database_between_batches_is_whole(tmp_path, monkeypatch, capsys):
    """Its log is closed with each batch and with the configuration."""
    propose, copies = TrialStore.propose, []

    def copying(self, batch, *args):
        copies.append(tmp_path / f"copy{batch}")
        copies[-1].mkdir()
        shutil.copy(self.folder / "run.sqlite", copies[-1])
        propose(self, batch, *args)

    monkeypatch.setattr(TrialStore, "propose", copying)
    search(tmp_path / "run", 0)
    monkeypatch.undo()
    assert len(copies) == 5
    for batch, copy in enumerate(copies):
        trials, _, config = held(copy)
        assert len(trials) == 6 * batch
        assert config["budget"] == 30
        assert main(["resume", str(copy)]) == 0
        assert result(copy) == result(tmp_path / "run")
        assert not list(copy.glob("*.kept-*"))
    capsys.readouterr()


def test_f4_a_search_does_not_train_again_what_its_database_has_lost(runs, tmp_path, capsys):
    """Of a run of before the log was closed: its database, copied without the log, has no configuration."""
    folder = shutil.copytree(runs / "a13", tmp_path / "run")
    for path in folder.glob("run.sqlite*"):
        path.unlink()
    with TrialStore(tmp_path / "empty") as store:
        store.restore()
    shutil.copy(tmp_path / "empty" / "run.sqlite", folder)
    (folder / "run.json").unlink()
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for command in ([*WORDS.split(), "--run", str(folder)], ["resume", str(folder)]):
        capsys.readouterr()
        assert main(command) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"ma2ml salvage {folder} --out NEW" in said
    assert {path: path.read_bytes() for path in before if path.name != "run.lock"} == {
        path: data for path, data in before.items() if path.name != "run.lock"
    }
    shutil.rmtree(tmp_path / "empty")


def test_f4_trials_without_any_configuration_go_on_by_the_search_of_before(runs, tmp_path, capsys):
    folder = shutil.copytree(runs / "a13", tmp_path / "run")
    for path in [*folder.glob("run.sqlite*"), folder / "run.json"]:
        path.unlink()
    assert main(["resume", str(folder)]) == 2
    assert "has lost its run.sqlite" in capsys.readouterr().err
    assert main(["salvage", str(folder), "--out", str(tmp_path / "new")]) == 0
    told = capsys.readouterr().out
    assert "0 trials from run.sqlite, 12 from trials.jsonl, 1 lost; the configuration is lost" in told
    search(tmp_path / "new", 0)
    assert result(tmp_path / "new") == result(runs / "a30")


def test_f5_some_rows_are_gone_in_the_middle_and_the_rest_is_not_trained_again(runs, tmp_path, capsys, monkeypatch):
    """Of trial 7 nothing is left: its batch and those behind it keep what they have."""
    import sqlite3
    from contextlib import closing

    folder = shutil.copytree(runs / "a24", tmp_path / "run")
    with closing(sqlite3.connect(folder / "run.sqlite")) as db:
        db.execute("UPDATE proposals SET json = '{}' WHERE number = 7")
        db.commit()
    lines = (folder / "trials.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "trials.jsonl").write_bytes(b"".join(line for n, line in enumerate(lines) if n != 7))
    assert main(["resume", str(folder)]) == 2
    assert "run.sqlite is damaged (row 7 is not as it was written" in capsys.readouterr().err
    assert main(["salvage", str(folder), "--out", str(tmp_path / "new")]) == 0
    assert "23 trials from run.sqlite, 0 from trials.jsonl, 1 lost; the configuration from run.sqlite" in (
        told := capsys.readouterr().out
    )
    assert "the learner's state is lost" in told
    from ma2ml_env.evaluators.surrogate import Surrogate

    seen = []
    evaluate = Surrogate.evaluate
    monkeypatch.setattr(
        Surrogate, "evaluate", lambda self, jobs: seen.extend(job.number for job in jobs) or evaluate(self, jobs)
    )
    assert main(["resume", str(tmp_path / "new")]) == 0
    assert sorted(seen) == [7, *range(24, 30)]
    assert result(tmp_path / "new") == result(runs / "a30")


def test_f4_files_of_two_runs_that_nobody_can_tell_apart_are_refused(runs, tmp_path, capsys):
    folder = shutil.copytree(runs / "a24", tmp_path / "run")
    (folder / "run.json").unlink()
    shutil.copy(runs / "b24" / "trials.jsonl", folder)
    assert main(["salvage", str(folder), "--out", str(tmp_path / "new")]) == 2
    assert "its files are of different runs" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_control_places_are_hurt(runs, tmp_path):
    """The tests above can fail: what is taken away is missed in what the run hands out."""
    folder = shutil.copytree(runs / "a13", tmp_path / "run")
    truth = held(folder)
    assert (len(truth[0]), sum(map(len, truth[1]))) == (12, 13)
    assert hurt(folder, Path(), "run.sqlite-wal", "gone", random.Random(0))
    assert held(folder) != truth
