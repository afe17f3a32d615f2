"""`ma2ml backup` and `ma2ml salvage`: a whole copy while a search goes on, and what is refused."""

import json
import shutil

import pytest

from ma2ml_agents.cli.main import main
from ma2ml_env.store.backup import backup
from ma2ml_env.store.mirror import read_mirror
from ma2ml_env.store.salvage import salvage
from ma2ml_env.store.store import TrialStore

WORDS = "search digits-v0 --evaluator surrogate --learner random --budget 12 --batch 4 --run"


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """(a finished run, outcome -> a copy that was made after it)."""
    base = tmp_path_factory.mktemp("copied")
    add, copies = TrialStore.add_outcome, {}

    def copying(self, number, outcome):
        add(self, number, outcome)
        if number in (0, 6, 11):
            copies[number] = base / f"copy{number}"
            assert main(["backup", str(self.folder), "--out", str(copies[number])]) == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrialStore, "add_outcome", copying)
        assert main([*WORDS.split(), str(base / "run")]) == 0
    return base / "run", copies


def test_a_backup_while_a_search_goes_on_is_whole_and_goes_on(copied, tmp_path, capsys):
    run, copies = copied
    for number, copy in copies.items():
        assert main(["check", str(copy)]) == 0
        with TrialStore(copy, create=False) as store:
            assert [n for batch in range(3) for n in store.outcomes(batch)] == list(range(number + 1))
            assert len(read_mirror(copy / "trials.jsonl")[0]) == number // 4 * 4
        assert (copy / "tensorboard").is_dir()
        if number:
            assert json.loads((copy / "best.json").read_text())["number"] <= number
        again = shutil.copytree(copy, tmp_path / str(number))
        assert main(["resume", str(again)]) == 0
        for name in ("trials.jsonl", "best.json", "run.json"):
            assert (again / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize("command", ["backup", "salvage"])
def test_a_folder_with_something_in_it_is_refused_and_an_empty_one_is_not(copied, tmp_path, command, capsys):
    run, _ = copied
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    (tmp_path / "link").symlink_to(tmp_path / "full")
    for name in ("full", "link"):
        assert main([command, str(run), "--out", str(tmp_path / name)]) == 2
        assert "is there and not an empty folder; name a new one with --out" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    for name in ("empty", "a/b"):
        assert main([command, str(run), "--out", str(tmp_path / name)]) == 0
        assert main(["check", str(tmp_path / name)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty", "full", "link"]  # nothing half-written
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_copy_that_fails_leaves_nothing(copied, tmp_path, monkeypatch):
    run, _ = copied

    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("ma2ml_env.store.backup.finish", full)
    monkeypatch.setattr("ma2ml_env.store.salvage.finish", full)
    for copy in (backup, salvage):
        with pytest.raises(OSError, match="No space left"):
            copy(run, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "run.sqlite").touch()
    for command, folder, message in [
        ("backup", "empty", "is not a run: it has no run.sqlite"),
        ("backup", "made", "is not a run yet"),
        ("salvage", "nowhere", "there is no folder"),
        ("salvage", "empty", "there is nothing to salvage"),
        ("salvage", "made", "there is nothing to salvage"),
    ]:
        assert main([command, str(tmp_path / folder), "--out", str(tmp_path / "new")]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_damaged_run_is_not_backed_up_but_salvaged_and_stays_as_it_is(copied, tmp_path, capsys):
    run = shutil.copytree(copied[0], tmp_path / "run")
    data = bytearray((run / "run.sqlite").read_bytes())
    at = data.index(b'"accuracy":')
    data[at + 13] ^= 1
    (run / "run.sqlite").write_bytes(data)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["backup", str(run), "--out", str(tmp_path / "new")]) == 2
    assert f"`ma2ml salvage {run} --out NEW`" in capsys.readouterr().err
    assert main(["salvage", str(run), "--out", str(tmp_path / "new")]) == 0
    assert "11 trials from run.sqlite, 1 from trials.jsonl, 0 lost; the configuration from run.sqlite" in (
        capsys.readouterr().out
    )
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert {p: d for p, d in after.items() if p.name != "run.lock"} == {
        p: d for p, d in before.items() if p.name != "run.lock"
    }
    with TrialStore(tmp_path / "new", create=False) as new, TrialStore(copied[0], create=False) as old:
        assert list(new.trials()) == list(old.trials())


def test_a_run_that_is_driven_is_not_salvaged_and_none_is_put_into_itself(copied, tmp_path):
    run = shutil.copytree(copied[0], tmp_path / "run")
    with TrialStore(run) as store:
        store.restore()
        with pytest.raises(BlockingIOError, match="is in use by another process"):
            salvage(run, tmp_path / "new")
    for copy in (backup, salvage):
        with pytest.raises(ValueError, match="lies in"):
            copy(run, run / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
