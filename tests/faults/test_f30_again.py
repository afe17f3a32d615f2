"""F30: what an outage of the machine has made fail is played again, and nothing of it is forgotten."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from parts import result

from ma2ml_agents.cli.main import main
from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.recipe import content_key
from ma2ml_env.store.mirror import Mirror, canonical, read_mirror
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome

RUN = ["digits-v0", "--evaluator", "surrogate", "--batch", "8"]
ORIGINAL = Surrogate.evaluate


@pytest.fixture
def outage(monkeypatch):
    """Says which trials fail, and before which one the machine stops; nothing and nowhere ends the outage."""

    def begin(failing=(), stop_at=None):
        def evaluate(self, jobs):
            for index, job in enumerate(jobs):
                if job.number == stop_at:
                    raise KeyboardInterrupt
                if job.number in failing:
                    yield (
                        index,
                        Outcome("failed", error=failing[job.number], note="no space left", fidelity=job.fidelity),
                    )
                else:
                    ((_, outcome),) = ORIGINAL(self, [job])
                    yield index, outcome

        monkeypatch.setattr(Surrogate, "evaluate", evaluate)

    return begin


def search(folder, learner="random", budget=16):
    return main(["search", *RUN, "--learner", learner, "--budget", str(budget), "--run", str(folder)])


def resume(folder, *words):
    return main(["resume", str(folder), *words])


def trials(folder):
    with TrialStore(folder, create=False) as store:
        return list(store.trials())


def earlier(folder):
    """Number -> errors and rewards of what was before."""
    with TrialStore(folder, create=False) as store:
        return {number: [(e.outcome.error, e.reward) for e in rows] for number, rows in store.earlier().items()}


def test_f30_failures_of_closed_batches_get_their_numbers_and_can_win(tmp_path, outage, capsys):
    calm, broken = tmp_path / "calm", tmp_path / "broken"
    assert search(calm) == 0
    best = json.loads((calm / "best.json").read_text())["number"]
    outage({best: "CRASH", (best + 3) % 16: "TIMEOUT"})
    assert search(broken) == 0
    failed, learner = trials(broken), result(broken)[1]
    assert json.loads((broken / "best.json").read_text())["number"] != best
    outage()
    assert resume(broken, "--retry-failed", "timeout") == 0
    assert [t.outcome.error for t in trials(broken) if t.outcome.error] == ["CRASH"]
    capsys.readouterr()
    assert resume(broken, "--retry-failed", "failed") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "of 1 trials 1 were played, and 1 have another outcome now" in told
    assert result(broken) == result(calm)
    assert read_mirror(broken / "trials.jsonl") == read_mirror(calm / "trials.jsonl")
    assert result(broken)[1] == learner
    assert earlier(broken) == {best: [("CRASH", 0.0)], (best + 3) % 16: [("TIMEOUT", 0.0)]}
    assert failed != trials(broken)
    assert main(["trials", str(broken), "--json"]) == 0
    lines = {row["number"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert [each["outcome"]["note"] for each in lines[best]["earlier"]] == ["no space left"]
    assert sum("earlier" in row for row in lines.values()) == 2
    for words in (["trials", str(broken)], ["show", str(broken), str(best)]):
        assert main(words) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert (
            f"trial {best} was played again; before it was failed CRASH, and the learner was told a reward of 0.0000"
            in told
        )


def test_f30_in_the_open_batch_the_learner_hears_of_the_new_outcome_alone(tmp_path, outage):
    calm, broken = tmp_path / "calm", tmp_path / "broken"
    assert search(calm, "evolution", 24) == 0
    outage({9: "OOM", 10: "CRASH"}, stop_at=13)
    assert search(broken, "evolution", 24) == 130
    outage()
    assert resume(broken, "--retry-failed", "failed") == 0
    assert result(broken) == result(calm)
    assert earlier(broken) == {9: [("OOM", None)], 10: [("CRASH", None)]}


def test_f30_without_being_asked_nothing_is_played_again(tmp_path, outage):
    """The control: a failure is final."""
    outage({9: "CRASH"}, stop_at=13)
    assert search(tmp_path / "run") == 130
    outage()
    assert resume(tmp_path / "run") == 0
    assert trials(tmp_path / "run")[9].outcome.note == "no space left"


def test_f30_a_learner_that_is_rebuilt_is_told_what_it_was(tmp_path, outage):
    run = tmp_path / "run"
    outage({2: "CRASH", 5: "CRASH"})
    assert search(run, "evolution") == 0
    outage()
    assert resume(run, "--retry-failed", "crash", "--budget", "32") == 0
    before = result(run)
    with TrialStore(run) as store:
        store.forget_learner()
    assert resume(run) == 0
    assert result(run) == before
    assert not any(trial.outcome.error for trial in trials(run))


def test_f30_stopped_in_between_it_goes_on_and_what_fails_again_is_kept_too(tmp_path, outage, capsys):
    run, failing = tmp_path / "run", {2: "CRASH", 5: "NAN", 11: "CRASH"}
    outage(failing)
    assert search(run) == 0
    outage({2: "OOM"}, stop_at=5)
    assert resume(run, "--retry-failed", "failed") == 130
    with TrialStore(run, create=False) as store:
        assert store.check() == []
    assert [trials(run)[n].outcome.error for n in failing] == ["OOM", "NAN", "CRASH"]
    outage({2: "OOM"})
    assert resume(run, "--retry-failed", "failed") == 0
    assert [trials(run)[n].outcome.error for n in failing] == ["OOM", "", ""]
    assert [error for error, _ in earlier(run)[2]] == ["CRASH", "OOM"]
    assert "of 3 trials 3 were played, and 2 have another outcome now" in " ".join(capsys.readouterr().out.split())
    outage()
    assert resume(run, "--retry-failed", "failed") == 0
    assert search(tmp_path / "calm") == 0
    assert result(run) == result(tmp_path / "calm")


@pytest.mark.parametrize("nth", [1, 2])
def test_f30_killed_before_the_mirror_is_rewritten_there_is_no_second_copy(tmp_path, outage, monkeypatch, nth):
    """The database has the new outcome then, and the mirror the one of before, which `earlier` knows."""
    run, calm = tmp_path / "run", tmp_path / "calm"
    assert search(calm) == 0
    outage({2: "CRASH", 5: "NAN"})
    assert search(run) == 0
    outage()
    before, replaced = (run / "trials.jsonl").read_bytes(), []
    rewrite, replaces = Mirror.rewrite, TrialStore.replace_outcome

    def replacing(self, number, *what):
        replaced.append(number)
        replaces(self, number, *what)

    def dies(self, lines):
        if len(replaced) == nth:
            raise KeyboardInterrupt
        rewrite(self, lines)

    with monkeypatch.context() as killed:
        killed.setattr(TrialStore, "replace_outcome", replacing)
        killed.setattr(Mirror, "rewrite", dies)
        assert resume(run, "--retry-failed", "failed") == 130
    assert ((run / "trials.jsonl").read_bytes() == before) == (nth == 1)
    assert list(earlier(run)) == [2, 5][:nth]
    assert resume(run) == 0
    assert not [path for path in run.iterdir() if "kept" in path.name]
    assert main(["check", str(run)]) == 0
    assert read_mirror(run / "trials.jsonl") == (trials(run), [])
    assert resume(run, "--retry-failed", "failed") == 0
    assert result(run) == result(calm)
    assert read_mirror(run / "trials.jsonl") == read_mirror(calm / "trials.jsonl")


def test_f30_a_mirror_that_holds_what_never_was_is_still_kept(tmp_path, outage):
    """The control: another reward than that of before."""
    run = tmp_path / "run"
    outage({2: "CRASH"})
    assert search(run) == 0
    with TrialStore(run) as store:
        store.restore()
        lines = store._lines()
    failed = lines[2]
    outage()
    assert resume(run, "--retry-failed", "failed") == 0
    lines[2] = failed._replace(trial=replace(failed.trial, reward=0.25))
    forged = "".join(canonical({**each.to_json(), "digest": content_key(each.to_json())}) + "\n" for each in lines)
    (run / "trials.jsonl").write_text(forged)
    assert resume(run) == 0
    (kept,) = run.glob("trials.kept-*.jsonl")
    assert kept.read_text() == forged


@pytest.mark.parametrize("word", ["crashed", "infeasible", ""])
def test_f30_a_class_that_there_is_not_is_refused(tmp_path, outage, capsys, word):
    outage({2: "CRASH"})
    assert search(tmp_path / "run") == 0
    before = (tmp_path / "run" / "run.sqlite").read_bytes()
    capsys.readouterr()
    assert resume(tmp_path / "run", "--retry-failed", word) == 2
    assert "--retry-failed takes one of failed, oom, nan, timeout, crash, invalid" in capsys.readouterr().err
    assert (tmp_path / "run" / "run.sqlite").read_bytes() == before


def test_f30_a_run_of_before_can_be_played_again_and_read_by_its_version(tmp_path, outage):
    """The tables of a run are what they were: an earlier outcome is a row of `meta`."""
    outage({2: "CRASH"})
    assert search(tmp_path / "run") == 0

    def tables():
        with TrialStore(tmp_path / "run") as store:
            return store._drive().connection.execute("SELECT sql FROM sqlite_master").fetchall()

    before = tables()
    outage()
    assert resume(tmp_path / "run", "--retry-failed", "crash") == 0
    assert tables() == before


@pytest.mark.slow
def test_f30_real_trainings_that_ran_over_their_limit(tmp_path):
    sizes = ["limit=100", "validation=60", "proxy_epochs=1", "final_epochs=2", "cells=1", "reductions=[]", "filters=4"]
    words = ["digits-v0", "--learner", "random", "--budget", "2", "--batch", "2", "--workers", "1", "--device", "cpu"]
    words += [word for size in sizes for word in ("--set", size)]
    calm, broken = tmp_path / "calm", tmp_path / "broken"
    assert main(["search", *words, "--run", str(calm)]) == 0
    assert main(["search", *words, "--run", str(broken), "--time-limit", "0.001"]) == 0
    assert {trial.outcome.error for trial in trials(broken)} == {"TIMEOUT"}
    assert resume(broken, "--retry-failed", "timeout", "--time-limit", "300") == 0
    assert result(broken) == result(calm)


def after_an_outage(tmp_path, outage, number):
    """A calm run, one in which a trial has crashed, and a place for what is salvaged of it."""
    calm, broken = tmp_path / "calm", tmp_path / "broken"
    assert search(calm) == 0
    outage({number: "CRASH"})
    assert search(broken) == 0
    outage()
    return calm, broken, tmp_path / "saved"


def lose(folder, number):
    """A trial's outcome, in the database and in the mirror."""
    with closing(sqlite3.connect(folder / "run.sqlite")) as db:
        db.execute("UPDATE outcomes SET json = '{}' WHERE number = ?", (number,))
        db.commit()
    lines = (folder / "trials.jsonl").read_text().splitlines()
    (folder / "trials.jsonl").write_text("\n".join(lines[:number] + lines[number + 1 :]) + "\n")


def test_f30_what_was_played_again_keeps_its_number_through_a_salvage(tmp_path, outage):
    """The gap lies before it, so its batch is opened again, and closed by what the learner was told then."""
    calm, broken, saved = after_an_outage(tmp_path, outage, 12)
    assert resume(broken, "--retry-failed", "failed") == 0
    lose(broken, 3)
    assert resume(broken) == 2
    assert main(["salvage", str(broken), "--out", str(saved)]) == 0
    assert resume(saved) == 0
    assert main(["check", str(saved)]) == 0
    assert resume(saved) == 0
    assert trials(saved) == trials(calm)
    assert read_mirror(saved / "trials.jsonl") == read_mirror(calm / "trials.jsonl")
    assert earlier(saved) == {12: [("CRASH", 0.0)]}


def test_f30_failures_of_a_salvaged_run_without_its_learner_are_played_again(tmp_path, outage):
    calm, broken, saved = after_an_outage(tmp_path, outage, 1)
    with closing(sqlite3.connect(broken / "run.sqlite")) as db:
        db.execute("UPDATE learner SET json = '{}'")
        db.commit()
    assert main(["salvage", str(broken), "--out", str(saved)]) == 0
    assert resume(saved, "--retry-failed", "failed") == 0
    assert main(["check", str(saved)]) == 0
    assert [trial.outcome for trial in trials(saved)] == [trial.outcome for trial in trials(calm)]
