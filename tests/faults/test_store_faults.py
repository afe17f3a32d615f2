"""F4 torn files, F5 flipped bits, F6 full disk, F7 no folder, F16 twice, F17 two drivers, F18 stale lock, F22 config."""

import logging
import os
import random
import resource
import shutil
import signal
import subprocess

import numpy as np
import pytest
from parts import comparable, python, result, run

from ma2ml_env.evaluators.base import Evaluator
from ma2ml_env.io.files import FolderLock
from ma2ml_env.store.database import Database
from ma2ml_env.store.mirror import best_is_whole, read_mirror
from ma2ml_env.store.salvage import Salvaged, salvage
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome, Proposal

FILES = ("run.sqlite", "run.sqlite-wal", "trials.jsonl", "run.json", "run.lock", "best.json")


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calm") / "run"
    run(folder)
    return folder


@pytest.fixture(scope="module")
def torn(tmp_path_factory):
    """(a folder as a power cut leaves it in the third batch, (number, size of its log) when each outcome was acknowledged).

    Its log was never closed, as it was not in versions of before, and is not while somebody reads.
    """
    folder = tmp_path_factory.mktemp("torn")
    sizes = []

    class Cut:
        def on_start(self, budget, trials): ...
        def on_batch(self, batch, trials, metrics): ...
        def on_outcome(self, number, outcome):
            sizes.append((number, (folder / "run" / "run.sqlite-wal").stat().st_size))
            if len(sizes) == 12:
                (folder / "cut").mkdir()
                for name in FILES:
                    shutil.copy(folder / "run" / name, folder / "cut" / name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "fold", lambda self, after=0.0: None)
        run(folder / "run", callbacks=[Cut()])
    return folder / "cut", sizes


def copy(source, target):
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(source, target)


def test_f4_write_ahead_log_cut_anywhere(calm, torn, tmp_path):
    folder, sizes = torn
    assert [size for _, size in sizes] == sorted(size for _, size in sizes)  # one log, not started anew in between
    rng = random.Random(0)
    whole = (folder / "run.sqlite-wal").stat().st_size
    for offset in [0, 31, 32, 33, *rng.sample(range(whole), 12), whole - 1, whole]:
        broken = copy(folder, tmp_path / "broken")
        os.truncate(broken / "run.sqlite-wal", offset)
        acknowledged = {number for number, size in sizes if size <= offset}
        with TrialStore(broken) as store:
            there = {n for batch in range(3) for n in store.outcomes(batch)}
            closed = len(list(store.trials()))
        assert acknowledged <= there
        if closed < 10:  # the mirror has the others
            with pytest.raises(ValueError, match=r"`ma2ml salvage .*broken --out NEW`"):
                run(broken, evaluator=Never())
            shutil.rmtree(tmp_path / "new", ignore_errors=True)
            found = salvage(broken, tmp_path / "new")
            assert found.database + found.mirror >= 10
            assert found.database + found.mirror + found.lost == 12
            broken = tmp_path / "new"
        run(broken)
        assert result(broken) == result(calm)


def test_f4_mirror_cut_at_every_offset_of_its_end_is_whole_again(calm, tmp_path, caplog):
    data = (calm / "trials.jsonl").read_bytes()
    broken = copy(calm, tmp_path / "broken")
    for offset in [0, *range(len(data) - 5, len(data)), *random.Random(1).sample(range(len(data)), 10)]:
        (broken / "trials.jsonl").write_bytes(data[:offset])
        trials, _ = read_mirror(broken / "trials.jsonl")
        assert len(trials) == data[:offset].count(b"\n") + (offset == len(data) - 1)
        with caplog.at_level(logging.WARNING):
            run(broken)
        assert (broken / "trials.jsonl").read_bytes() == data
    assert "whole again" in caplog.text
    assert not list(broken.glob("trials.kept-*"))


def test_f4_database_cut_off_is_a_clear_error_that_names_what_can_be_salvaged(calm, tmp_path):
    whole = (calm / "run.sqlite").stat().st_size
    for offset in [0, 1, 99, 4096, 5000, whole // 2, whole - 1, whole - 4096]:
        broken = copy(calm, tmp_path / "broken")
        os.truncate(broken / "run.sqlite", offset)
        with pytest.raises(ValueError, match=r"run.sqlite.* is damaged.*`ma2ml salvage .*broken --out NEW`"):
            run(broken)
        with TrialStore(broken) as store:
            assert store.check()
        assert len(read_mirror(broken / "trials.jsonl")[0]) == 12  # and it is still there


def silent(folder, flipped, wanted):
    """Whether a flipped file gives other data without a word."""
    try:
        with TrialStore(folder) as store:
            if store.check():
                return False
            trials = [comparable(trial) for trial in store.trials()]
            state = store._rows("SELECT * FROM learner")
            configs = store.section("search")
    except (ValueError, OSError):
        return False
    return (trials, state, configs) != wanted


@pytest.mark.parametrize("block", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["run.sqlite", "trials.jsonl", "best.json"])
def test_f5_flipped_bits_and_zero_blocks_are_found(calm, tmp_path, name, block):
    flip(calm, tmp_path, name, block, times=60)


def flip(calm, tmp_path, name, block, times):
    broken = copy(calm, tmp_path / "broken")
    data = (calm / name).read_bytes()
    with TrialStore(calm) as store:
        wanted = [comparable(t) for t in store.trials()], store._rows("SELECT * FROM learner"), store.section("search")
    rng = np.random.default_rng([block, len(name)])
    found = 0
    for _ in range(times):
        flipped = bytearray(data)
        at = int(rng.integers(len(data)))
        if block:
            flipped[at : at + 512] = bytes(len(flipped[at : at + 512]))
        else:
            flipped[at] ^= 1 << int(rng.integers(8))
        for rest in broken.glob("run.sqlite-*"):
            rest.unlink()
        (broken / name).write_bytes(flipped)
        assert not silent(broken, name, wanted), at
        with TrialStore(broken) as store:
            found += bool(store.check())
    # most of a small database is free space, and JSON takes some bytes either way: that is no data
    assert found >= times * (0.1 if name == "run.sqlite" else 0.9)
    (broken / name).write_bytes(data)
    with TrialStore(broken) as store:
        assert store.check() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run.sqlite", "trials.jsonl"])
def test_f5_many_flips(calm, tmp_path, name):
    flip(calm, tmp_path, name, False, times=2000)


def test_f5_a_damaged_learner_is_refused_and_can_be_rebuilt_from_the_trials(calm, tmp_path):
    import sqlite3

    broken = copy(calm, tmp_path / "broken")
    database = sqlite3.connect(broken / "run.sqlite")
    database.execute("UPDATE learner SET blob = zeroblob(length(blob))")
    database.commit()
    database.close()
    with TrialStore(broken) as store:
        assert any("learner" in line for line in store.check())
        with pytest.raises(ValueError, match="damaged"):
            store.learner_state()
    assert salvage(broken, tmp_path / "new") == Salvaged(database=12, mirror=0, lost=0, config="", learner=False)
    run(tmp_path / "new", evaluator=Never())
    assert result(tmp_path / "new") == result(calm)


def test_a_learner_of_another_version_is_refused_and_nothing_is_lost(calm, tmp_path):
    other = copy(calm, tmp_path / "other")
    with TrialStore(other) as store:
        closed = store.learner_state()
        state = {("totals" if key == "sums" else key): value for key, value in closed.state.items()}
        store.close_batch(closed.batch, [], state)
    before = result(other)
    with pytest.raises(ValueError, match=r"other.*another version.*sums"):
        run(other, evaluator=Never())
    assert result(other) == before


class Never(Evaluator):
    """No job may come here."""

    def evaluate(self, jobs):
        assert not jobs
        yield from ()


def limited(code, limit):
    """Run code in a process that cannot write a file beyond `limit` bytes: what a full disk looks like to it."""

    def before():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return python("-c", code, preexec_fn=before, stderr=subprocess.PIPE)


def test_f6_full_disk_is_a_clear_error_and_the_run_goes_on_when_there_is_space(calm, tmp_path):
    open_log = "from ma2ml_env.store.database import Database; Database.fold = lambda self, after=0.0: None; "
    for limit, before in (
        (3_000, ""),
        (20_000, ""),
        (60_000, open_log),
        (90_000, open_log),
    ):  # while somebody reads it grows
        folder = tmp_path / str(limit)
        process = limited(f"{before}from parts import run; run({str(folder)!r})", limit)
        assert b"OSError" in process.communicate(timeout=60)[1].splitlines()[-1]
        assert not list(folder.glob(".*"))
        run(folder)
        assert result(folder) == result(calm)


def test_f7_folder_that_cannot_be_written_is_an_error_before_anything_is_evaluated(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write to the run's folder .*file/run"):
        run(tmp_path / "file" / "run", evaluator=Never())


def test_f7_folder_that_vanishes_is_an_error(tmp_path):
    class Vanish:
        def on_start(self, budget, trials): ...
        def on_batch(self, batch, trials, metrics): ...
        def on_outcome(self, number, outcome):
            if number == 3:
                shutil.rmtree(tmp_path / "run")

    with pytest.raises(OSError, match="has vanished"):
        run(tmp_path / "run", callbacks=[Vanish()])


def test_f16_an_outcome_that_arrives_twice_or_late_counts_once(tmp_path):
    proposal = Proposal({"a": (0,)})
    with TrialStore(tmp_path) as store:
        store.propose(0, 0, [proposal], [1])
        store.add_outcome(0, Outcome(accuracy=0.5))
        store.add_outcome(0, Outcome(accuracy=0.5))
        store.add_outcome(0, Outcome("failed", error="TIMEOUT"))
        assert store.outcomes(0) == {0: Outcome(accuracy=0.5)}


def test_f17_a_second_driver_is_refused_and_told_who_drives(tmp_path):
    with TrialStore(tmp_path) as store:
        store.configure({"game": "a"})
        code = f"from ma2ml_env.store.store import TrialStore; TrialStore({str(tmp_path)!r}).configure({{'game': 'b'}})"
        process = python("-c", code, stderr=subprocess.PIPE)
        last = process.communicate(timeout=60)[1].decode().splitlines()[-1]
        assert last.startswith("BlockingIOError")
        assert f"in use by another process (pid {os.getpid()} on " in last
        assert store.config == {"game": "a"}
        with pytest.raises(BlockingIOError):  # nor is one of the same process let in
            TrialStore(tmp_path).configure({"game": "a"})
    TrialStore(tmp_path).configure({"game": "a"})


def test_f18_a_lock_of_a_dead_process_holds_nobody_up(tmp_path):
    code = f"""
import os, time
from ma2ml_env.store.salvage import Salvaged, salvage
from ma2ml_env.store.store import TrialStore
store = TrialStore({str(tmp_path)!r})
store.configure({{}} | {{'game': 'a'}})
if os.fork() == 0:
    print(flush=True)
    time.sleep(30)  # a child that outlives the driver must not keep its lock
    os._exit(0)
time.sleep(30)
"""
    process = python("-c", code, stdout=subprocess.PIPE, start_new_session=True)
    process.stdout.readline()
    with pytest.raises(BlockingIOError):
        FolderLock(tmp_path / "run.lock")
    process.kill()
    process.wait()
    assert (tmp_path / "run.lock").read_text().startswith(f"pid {process.pid} ")
    with TrialStore(tmp_path) as store:
        store.configure({"game": "a"})
    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()


def test_f22_another_config_is_refused_but_for_the_safe_keys(calm, tmp_path):
    folder = copy(calm, tmp_path / "run")
    for change in ({"seed": 1}, {"batch": 6}):
        with pytest.raises(ValueError, match=f"{next(iter(change))} is . there and . here"):
            run(folder, **change)
    assert result(folder) == result(calm)
    run(folder, budget=15)
    assert best_is_whole(folder / "best.json")
    assert len(result(folder)[0]) == 15
