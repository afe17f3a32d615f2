"""F7: a run's folder is renamed while a search goes on in it, and another run takes its name."""

import shutil

import pytest
from parts import Light, make_game, result, run

from ma2ml_agents.cli.main import main
from ma2ml_agents.run.loop import Callback, search
from ma2ml_agents.run.tensorboard import TensorBoard
from ma2ml_env.store.mirror import Line, Mirror
from ma2ml_env.store.store import TrialStore

WORDS = "search digits-v0 --evaluator surrogate --learner random --budget 12 --batch 4 --run"


def content(folder):
    """Every file of a folder, byte for byte."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Swap(Callback):
    """Renames the run's folder after some outcomes, and puts another run there."""

    def __init__(self, folder, other, after):
        self.folder, self.other, self.left = folder, other, after
        self.put = None

    def on_outcome(self, number, outcome):
        self.left -= 1
        if not self.left:
            self.folder.rename(self.folder.with_name("moved"))
            shutil.copytree(self.other, self.folder)
            self.put = content(self.folder)


@pytest.fixture
def killed(tmp_path):
    """Another run, with a log as a kill leaves it."""

    class Copy(Callback):
        def on_outcome(self, number, outcome):
            if number == 7:
                ignore = shutil.ignore_patterns("*-shm")
                shutil.copytree(tmp_path / "killed", tmp_path / "other", ignore=ignore)

    run(tmp_path / "killed", seed=5, callbacks=[Copy()])
    assert (tmp_path / "other" / "run.sqlite-wal").stat().st_size > 0
    return tmp_path / "other"


@pytest.mark.parametrize("after", [1, 3, 5])
def test_f7_a_folder_whose_name_another_run_took_is_left_alone(tmp_path, killed, after):
    """Within a batch, and at its end: the next is a write of an outcome or of a batch."""
    run(tmp_path / "calm")
    swap = Swap(tmp_path / "run", killed, after)
    with pytest.raises(OSError, match=r"run.sqlite is not the file that this search has opened"):
        run(tmp_path / "run", callbacks=[swap])
    assert content(tmp_path / "run") == swap.put  # its log too, which SQLite would delete by its name
    run(tmp_path / "moved")
    assert result(tmp_path / "moved") == result(tmp_path / "calm")


def test_f7_the_same_with_ma2ml_is_one_line(tmp_path, monkeypatch, capsys):
    assert main([*WORDS.split(), str(tmp_path / "other"), "--seed", "1"]) == 0
    swap, write = Swap(tmp_path / "run", tmp_path / "other", 6), TrialStore.add_outcome

    def moving(self, number, outcome):
        write(self, number, outcome)
        swap.on_outcome(number, outcome)

    monkeypatch.setattr(TrialStore, "add_outcome", moving)
    capsys.readouterr()
    assert main([*WORDS.split(), str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "its folder was moved or replaced. Nothing was written to the one that is there now" in said
    assert content(tmp_path / "run") == swap.put
    monkeypatch.undo()
    assert main(["resume", str(tmp_path / "moved")]) == 0


def test_f7_a_mirror_and_curves_in_another_folder_are_left_alone(tmp_path):
    """Between the database and these somebody may be as quick."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    game = make_game()
    trial = search(game, Light(game.spec), budget=1)
    mirror = Mirror(tmp_path / "a" / "trials.jsonl", [])
    Mirror(tmp_path / "b" / "trials.jsonl", [Line(trial)])
    board = TensorBoard(tmp_path / "a" / "tensorboard", 1, str)
    board.on_start(4, [])
    before = content(tmp_path / "b")
    (tmp_path / "a").rename(tmp_path / "moved")
    (tmp_path / "b").rename(tmp_path / "a")
    with pytest.raises(OSError, match="is not the file"):
        mirror.append([Line(trial)])
    with pytest.raises(OSError, match="tensorboard"):
        board.on_batch(0, [trial], {})
    board.close()
    assert content(tmp_path / "a") == before


def test_control_without_the_check_the_other_run_is_written_to(tmp_path, killed, monkeypatch):
    """The tests above can fail: what they compare does change."""

    def append(self, lines):  # as it was before
        with open(self._path, "ab") as file:
            file.write(b"".join(str(line).encode() for line in lines))

    monkeypatch.setattr("ma2ml_env.store.database.inode", lambda path: (0, 0))
    monkeypatch.setattr(Mirror, "append", append)
    swap = Swap(tmp_path / "run", killed, 3)
    run(tmp_path / "run", callbacks=[swap])  # and not a word
    assert content(tmp_path / "run") != swap.put
