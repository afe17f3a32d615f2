"""A batch that is still open: what is known of it can be read, retrained and exported; only the learner waits."""

import json
import shutil
from pathlib import Path

import pytest

from ma2ml_agents.after.export import export
from ma2ml_agents.after.retrain import retrain
from ma2ml_agents.cli.commands import parse
from ma2ml_agents.cli.main import main
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.forecast import Forecast
from ma2ml_agents.run.stored import build_without_evaluator, known_trials, trained_run
from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.evaluators.train import Train
from ma2ml_env.reward import FlopsReward
from ma2ml_env.store.mirror import read_mirror
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome, Proposal

SURROGATE = ["--evaluator", "surrogate", "--learner", "random", "--batch", "8", "--budget", "16"]
TINY = (
    "proxy_epochs=1",
    "final_epochs=2",
    "cells=1",
    "reductions=[]",
    "filters=2",
    "limit=64",
    "validation=60",
    "repeats=1",
)


def stopped_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The surrogate is interrupted by Ctrl-C after so many outcomes."""
    original = Surrogate.evaluate

    def evaluate(self, jobs):
        for job in jobs:
            if job.number >= count:
                raise KeyboardInterrupt
        yield from original(self, jobs)

    def one_by_one(self, jobs):
        for index, job in enumerate(jobs):
            for _, outcome in evaluate(self, [job]):
                yield index, outcome

    monkeypatch.setattr(Surrogate, "evaluate", one_by_one)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("open") / "calm"
    assert main(["search", "digits-v0", "--run", str(run), *SURROGATE, "--flops-limit", "2e6"]) == 0
    return run


@pytest.fixture(params=[7, 13])
def cut(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, int]:
    """(a run that was stopped in its first or second batch, its trials)."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopped_after(request.param, patch)
        assert main(["search", "digits-v0", "--run", str(run), *SURROGATE, "--flops-limit", "2e6"]) == 130
    return run, request.param


def listed(run: Path, capsys: pytest.CaptureFixture[str], command: str = "trials", *more: str) -> list[dict]:
    capsys.readouterr()
    assert main([command, str(run), *more, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_its_outcomes_have_the_rewards_that_they_will_have(cut, calm, capsys):
    run, count = cut
    found, whole = listed(run, capsys), listed(calm, capsys)
    assert [trial.pop("open", False) for trial in found] == [number >= count // 8 * 8 for number in range(count)]
    assert found == whole[:count], "number by number what the undisturbed run has"
    with TrialStore(run) as store:
        assert len(list(store.trials())) == count // 8 * 8, "a learner is told of closed batches alone"


def test_all_that_read_a_run_take_it_and_mark_it(cut, capsys):
    run, count = cut
    best = max(listed(run, capsys), key=lambda trial: (trial["reward"], -trial["number"]))
    (shown,) = listed(run, capsys, "show")
    assert {name: shown[name] for name in best} == best
    assert ("open" in shown) == (best["number"] >= count // 8 * 8)
    front = listed(run, capsys, "pareto")
    assert [trial["number"] for trial in front if "open" in trial] == [
        trial["number"] for trial in front if trial["number"] >= count // 8 * 8
    ]
    assert main(["trials", str(run)]) == 0
    assert f"{count - 1} (open)" in capsys.readouterr().out
    assert main(["show", str(run), str(count - 1)]) == 0
    assert f"trial {count - 1} (open): reward" in capsys.readouterr().out
    assert main(["show", str(run)]) == 0
    assert f"{count} of 16 trials, {count % 8} of them in the open batch" in capsys.readouterr().out
    assert main(["report", str(run)]) == 0
    assert f"{count % 8} of them in the open batch" in (run / "report.html").read_text()
    assert main(["check", str(run)]) == 0


def test_best_json_is_of_what_is_known_and_ends_as_ever(cut, calm, capsys):
    run, _ = cut
    best = max(listed(run, capsys), key=lambda trial: (trial["reward"], -trial["number"]))
    told = json.loads((run / "best.json").read_text())
    assert (told["number"], told["reward"]) == (best["number"], best["reward"])
    assert main(["resume", str(run)]) == 0
    assert (run / "best.json").read_bytes() == (calm / "best.json").read_bytes()
    assert read_mirror(run / "trials.jsonl") == read_mirror(calm / "trials.jsonl")


def test_a_resumed_search_takes_its_pace_from_what_is_new(cut, monkeypatch):
    run, count = cut
    heard, original = [], Forecast.hear

    def hear(self, outcome):
        heard.append(outcome)
        original(self, outcome)

    monkeypatch.setattr(Forecast, "hear", hear)
    assert main(["resume", str(run)]) == 0
    assert len(heard) == 16 - count


def test_a_number_without_an_outcome_is_named(cut, capsys):
    run, count = cut
    capsys.readouterr()
    assert main(["show", str(run), str(count)]) == 2
    assert f"no trial {count} with an outcome" in capsys.readouterr().err


def test_a_run_of_somebodys_own_shows_its_closed_batches(tmp_path, calm, capsys):
    run = shutil.copytree(calm, tmp_path / "run")
    with TrialStore(run) as store, store._transaction() as db:
        db.execute("DELETE FROM meta WHERE key = 'run'")
    (run / "run.json").unlink()  # else it is a run that has lost its configuration
    with TrialStore(run) as store:
        found = known_trials(store)
        assert len(found.trials) == 16
        assert not found.open
    assert len(listed(run, capsys)) == 16
    assert listed(run, capsys, "pareto")
    assert main(["trials", str(run)]) == 0
    capsys.readouterr()
    assert main(["trials", str(run), "--csv"]) == 2, "the names of its decisions are not known"
    assert "was not made by `ma2ml search`" in capsys.readouterr().err


def test_a_search_stopped_in_its_first_batch_can_be_retrained_and_exported(tmp_path, monkeypatch, capsys):
    run, original = tmp_path / "run", Train._outcome

    def outcome(self, job):
        if job.number == 3:
            raise KeyboardInterrupt
        return original(self, job)

    sets = [word for setting in TINY for word in ("--set", setting)]
    with monkeypatch.context() as patch:
        patch.setattr(Train, "_outcome", outcome)
        args = ["--learner", "random", "--budget", "4", "--batch", "4", "--workers", "1"]
        assert main(["search", "digits-v0", "--run", str(run), *args, *sets]) == 130
    found = listed(run, capsys)
    assert [trial["number"] for trial in found] == [0, 1, 2]
    result = retrain(run, top_k=2)
    best = sorted(found, key=lambda trial: (-trial["outcome"]["accuracy"], trial["number"]))[:2]
    assert [one.trial.number for one in result.top] == [trial["number"] for trial in best]
    _, card = export(run)
    assert card["trial"] == result.winner.trial.number


def test_with_halving_an_outcome_is_final_and_whoever_trains_on_is_warned(tmp_path, monkeypatch, capsys, caplog):
    run, original = tmp_path / "run", Train._outcome

    def outcome(self, job):
        if job.until == 1.0:
            raise KeyboardInterrupt
        return original(self, job)

    sets = [word for setting in (*TINY, "proxy_epochs=2") if setting != "proxy_epochs=1" for word in ("--set", setting)]
    with monkeypatch.context() as patch:
        patch.setattr(Train, "_outcome", outcome)
        args = ["--learner", "random", "--budget", "4", "--batch", "4", "--workers", "1", "--halving", "0.5"]
        assert main(["search", "digits-v0", "--run", str(run), *args, *sets]) == 130
    found = listed(run, capsys)
    assert [trial["outcome"]["fidelity"] for trial in found] == [0.5, 0.5], "the two that were dropped after one epoch"
    trained_run(run, {})
    assert "the 2 of it that have an outcome were dropped early" in caplog.text
    assert main(["resume", str(run)]) == 0
    closed = {trial["number"]: trial for trial in listed(run, capsys)}
    assert [trial | {"open": True} for trial in (closed[one["number"]] for one in found)] == found
    caplog.clear()
    trained_run(run, {})
    assert not caplog.text


def test_its_rewards_go_by_the_runs_metric(tmp_path):
    words = ["search", "digits-v0", "--learner", "random", "--metric", "log_loss", "--flops-limit", "2e6"]
    config = RunConfig.told(vars(parse(words).told))
    outcome = Outcome(accuracy=0.9, flops=1_000_000, metrics={"log_loss": 0.7})
    codes = build_without_evaluator(config).codes()
    with TrialStore(tmp_path / "run") as store:
        store.configure(config.to_json())
        store.propose(0, 0, [Proposal(codes)], [0])
        store.add_outcome(0, outcome)
        (trial,) = known_trials(store).trials
    assert trial.reward == FlopsReward(2e6, metric="log_loss")(outcome)


def test_a_budget_that_its_open_batch_exceeds_is_refused_and_not_kept(cut, calm, capsys):
    run, count = cut
    assert main(["resume", str(run), "--budget", str(count)]) == 2
    assert f"a budget of {count} is too small" in capsys.readouterr().err
    assert main(["resume", str(run)]) == 0
    assert read_mirror(run / "trials.jsonl") == read_mirror(calm / "trials.jsonl")
