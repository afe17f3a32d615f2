"""`ma2ml verify` trains a table's winners again: what is true is equal to the bit, and what is not is told."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from whole_grid import AGENTS, GAME, SUITE, all_codes, pipelines, small_game, split, trainings

import ma2ml_env
from ma2ml_agents.after import verify as verification
from ma2ml_agents.after.verify import Again, verify
from ma2ml_agents.cli.main import main
from ma2ml_env.evaluators.train import Train
from ma2ml_env.games import trio
from ma2ml_env.games.make import make_game
from ma2ml_env.registry import TABLE
from ma2ml_env.tables.trainings import Trainings
from ma2ml_env.trial import Outcome

DIGITS = "the digest of these digits"


class Trained(Train):
    """Instead of a training: what the table has under its seed, and something near it under any other."""

    table = None
    shift = 0.0
    calls = 0

    def evaluate(self, jobs):
        for index, job in enumerate(jobs):
            type(self).calls += 1
            row = np.flatnonzero(self.table.seeds == np.uint64(job.seed))
            accuracy = float(self.table.accuracy[row[0]]) if len(row) else 0.5
            test = float(self.table.test_accuracy[row[0]]) if len(row) else 0.5
            if accuracy + self.shift > 1.0:
                yield index, Outcome("failed", error="NAN")
            else:
                yield index, Outcome(accuracy=accuracy + self.shift, test_accuracy=test)


def searched(folder, table, *words):
    folder.mkdir(exist_ok=True)
    table.save(folder / "whole.npz")
    told = ["search", GAME, "--evaluator", "table", "--modules", *AGENTS, "--data", str(folder / "whole.npz")]
    assert (
        main([*told, "--learner", "random", "--budget", "40", "--batch", "20", "--run", str(folder / "run"), *words])
        == 0
    )
    return folder / "run"


@pytest.fixture
def whole():
    """Trainings of the digits that are there, by what is here."""
    table = trainings()
    made = verification.made_with("cpu")
    digest = ma2ml_env.make_game(GAME, "train", device="cpu").evaluator.inner.source.identity().digest
    source = {**table.about["sources"][0], "data": digest, "made": made}
    return replace(table, about={**table.about, "sources": [source]})


@pytest.fixture
def fake(whole, monkeypatch):
    monkeypatch.setattr(verification, "Train", Trained)
    monkeypatch.setattr(Trained, "table", whole)
    monkeypatch.setattr(Trained, "calls", 0)
    monkeypatch.setattr(Trained, "shift", 0.0)
    return Trained


WHERE = {"workers": 1, "device": "cpu"}


@pytest.mark.parametrize("mean", [False, True])
def test_winners_are_trained_under_the_seed_that_the_search_was_told(whole, fake, tmp_path, capsys, mean):
    run = searched(tmp_path, whole, "--set", f"mean={json.dumps(mean)}")
    assert f"next: ma2ml verify {run}" in capsys.readouterr().out.replace("\n", "")
    found = verify(run, top=4, **WHERE)
    game = small_game("table", data=tmp_path / "whole.npz", mean=mean)
    config = json.loads((run / "verify" / "summary.json").read_text())
    assert [each["verdict"] for each in config] == ["equal"] * 4
    best = sorted({game.recipe(split(game, row)).key: row for row in all_codes(game)}.items())
    assert len(best) > 40
    means = [each.mean for each in found]
    assert means == sorted(means, reverse=True) or not mean
    for each in found:
        assert each.verdict == "equal"
        row = int(np.flatnonzero(whole.seeds == np.uint64(each.seed))[0])
        assert each.table == whole.accuracy[row] == each.live.accuracy
        assert each.table_test == whole.test_accuracy[row]
        assert (each.difference, each.same_make, each.agrees) == (0.0, True, True)
        point = int(np.flatnonzero((game.evaluator.source.seeds == np.uint64(each.seed)).any(1))[0])
        others = game.evaluator.source.values[point][game.evaluator.source.seeds[point] != np.uint64(each.seed)]
        assert each.expected == pytest.approx(others.mean())
        assert each.deviations == pytest.approx((each.live.accuracy - others.mean()) / each.deviation)
    calls = fake.calls
    verify(run, top=5, **WHERE)
    assert (calls, fake.calls) == (4, 5), "what is done is not trained again"


def test_what_something_else_trained_is_trained_again(whole, fake, tmp_path, monkeypatch):
    """Another torch or another device: what is stored of before says nothing of it, and is still there afterwards."""
    run, real = searched(tmp_path, whole), verification.made_with
    assert [each.same_make for each in verify(run, top=2, **WHERE)] == [True, True]
    for other in ({"torch": "9.9"}, {"device": "NVIDIA H200"}):
        monkeypatch.setattr(verification, "made_with", lambda told, other=other: {**real(told), **other})
        calls = fake.calls
        assert [each.same_make for each in verify(run, top=2, **WHERE)] == [False, False]
        assert fake.calls == calls + 2
    monkeypatch.setattr(verification, "made_with", real)
    assert [each.same_make for each in verify(run, top=2, **WHERE)] == [True, True]
    assert fake.calls == calls + 2


def test_bits_are_demanded_of_a_table_that_says_that_it_is_of_a_cpu(whole, fake, tmp_path):
    made = {name: value for name, value in whole.about["sources"][0]["made"].items() if name != "device"}
    for device, same in (({}, False), ({"device": "NVIDIA H200"}, False), ({"device": "cpu"}, True)):
        source = {**whole.about["sources"][0], "made": {**made, **device}}
        run = searched(tmp_path / str(device), replace(whole, about={**whole.about, "sources": [source]}))
        assert [each.same_make for each in verify(run, top=1, **WHERE)] == [same]


def test_what_is_not_true_is_told(whole, fake, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run = searched(tmp_path, whole)
    monkeypatch.setattr(fake, "shift", -0.005)
    assert main(["verify", str(run), "--top", "2", "--workers", "1", "--device", "cpu"]) == 1
    told = capsys.readouterr().out
    assert "NOT EQUAL" in told
    assert "0 of 2 agree" in told
    other = {**whole.about["sources"][0], "made": {"torch": "1.0"}}
    run = searched(tmp_path / "else", replace(whole, about={**whole.about, "sources": [other]}))
    near = verify(run, top=2, **WHERE)
    assert [each.verdict for each in near] == ["within noise"] * 2
    noise = np.sqrt(np.nanvar(whole.accuracy.reshape(3, -1), axis=0, ddof=1).mean() * 1.5)
    assert near[0].deviation == pytest.approx(noise, rel=0.5)
    (run / "verify" / "results.jsonl").unlink()
    monkeypatch.setattr(fake, "shift", -0.3)
    assert [each.verdict for each in verify(run, top=2, **WHERE)] == ["TOO FAR"] * 2
    (run / "verify" / "results.jsonl").unlink()
    monkeypatch.setattr(fake, "shift", 2.0)
    assert [each.verdict for each in verify(run, top=2, **WHERE)] == ["FAILED NAN"] * 2


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_honest_trainings_are_hardly_ever_called_too_far(repeats, spread):
    """Winners of noisy searches, trained again elsewhere: their table's value was lucky, and theirs is another draw."""
    rng, sigma, verdicts = np.random.default_rng(0), 0.02, []
    for _ in range(40):
        level = 0.8 - np.abs(rng.normal(0, spread, 1000))  # many good pipelines near the top
        values = level[:, None] + rng.normal(0, sigma, (1000, 3))
        single = rng.random(1000) < 0.9 if repeats == 1 else np.zeros(1000, dtype=bool)
        values[single, 1:] = np.nan  # the others tell the noise
        best = np.argsort(-values[:, 0] + ~single * (repeats == 1))[:5]
        table = SimpleNamespace(
            values=values, errors=np.zeros(values.shape, dtype=int), same=np.arange(1000), tests=None, mean_tests=None,
            mean_curves=np.nanmean(values, 1)[:, None], sources=np.zeros(values.shape, dtype=int),
            about={"sources": [{"made": {"torch": "1.0"}}]},
        )  # fmt: skip
        for point in best.tolist():
            winner = verification._Winner(SimpleNamespace(number=0, seed=1), point, 0)
            live = Outcome(accuracy=float(np.clip(level[point] + rng.normal(0, sigma), 0.0, 1.0)))
            verdicts.append(verification._again(table, winner, live, {}).verdict)
    assert verdicts.count("TOO FAR") <= 0.01 * len(verdicts)


def test_without_noise_nobody_can_say(whole, fake, tmp_path, capsys, monkeypatch):
    """A table of single trainings by another torch, and one image off: neither agreed nor failed."""
    once = trainings(1)
    source = {**whole.about["sources"][0], "made": {"torch": "1.0"}}
    once = replace(once, about={**once.about, "sources": [source]})
    monkeypatch.setattr(fake, "table", once)
    run = searched(tmp_path, once)
    monkeypatch.setattr(fake, "shift", -0.005)
    assert main(["verify", str(run), "--top", "2", "--workers", "1", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "0 of 2 agree" in told
    assert "of 2 nobody can say" in told.splitlines()[-1]


def test_a_training_that_failed_may_fail_again(tmp_path):
    """A mean's winner is trained under the seed of what did not fail, unless all did; then the same failure is equal."""
    trainings(3, failing=[(3, 0, "NAN"), (3, 1, "NAN"), *((4, i, "NAN") for i in range(3))]).save(tmp_path / "t.npz")
    game = small_game("table", data=tmp_path / "t.npz", mean=True)
    codes = [split(game, row[0]) for row in pipelines(game).values()]
    for number, repeat, error in ((3, 2, ""), (4, 0, "NAN")):
        job = game.job(0, codes[number], 1)
        ((_, outcome),) = game.evaluator.evaluate([job])
        trial = SimpleNamespace(number=0, seed=1, outcome=outcome, proposal=SimpleNamespace(codes=codes[number]))
        winner = verification._winner(game, game.evaluator.source, trial, False, True)
        assert winner.repeat == repeat
        again = verification._again(game.evaluator.source, winner, Outcome("failed", error="NAN"), {})
        assert again.error == error
        assert again.verdict == ("equal" if error else "FAILED NAN")
        assert replace(again, live=Outcome("failed", error="OOM")).verdict == "FAILED OOM"
    assert replace(again, live=Outcome(accuracy=0.0)).verdict != "equal", "it did not fail"


def test_fresh_seeds_are_compared_with_the_mean(whole, fake, tmp_path):
    run = searched(tmp_path, whole)
    for each in verify(run, top=3, fresh=True, **WHERE):
        assert np.uint64(each.seed) not in whole.seeds
        assert each.table == each.mean
        assert each.live.accuracy == 0.5
        assert not each.same_make


def test_verdicts_without_noise_or_tests():
    bare = Again(0, 1, 0.5, 0.5, float("nan"), Outcome(accuracy=0.5), float("nan"), False, 0.5)
    assert bare.verdict == "equal"
    assert np.isnan(bare.deviations)
    without = replace(bare, deviation=0.0, live=Outcome(accuracy=0.6))
    assert (without.verdict, without.deviations) == ("TOO FAR", np.inf)
    assert without.to_json()["deviations"] is None
    unknown = replace(bare, live=Outcome(accuracy=0.505))
    assert (unknown.verdict, unknown.agrees, unknown.open) == ("noise unknown", False, True)
    assert replace(bare, live=Outcome(accuracy=0.6)).to_json()["deviations"] is None
    tested = replace(bare, table_test=0.4, live=Outcome(accuracy=0.5, test_accuracy=0.41), same_make=True)
    assert tested.verdict == "NOT EQUAL"


def test_what_cannot_be_verified_is_refused_in_a_line(whole, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trio, "TRIO_DIGITS", replace(trio.TRIO_DIGITS, digest=None))  # elsewhere, nobody could search
    split = {**trio.TRIO_DIGITS.source, "size": None, "seed": 0}
    whole = replace(whole, about={**whole.about, "sources": [{**whole.about["sources"][0], "split": split}]})
    run = searched(
        tmp_path, replace(whole, about={**whole.about, "sources": [{**whole.about["sources"][0], "data": "0" * 64}]})
    )
    words = ["search", GAME, "--evaluator", "surrogate", "--learner", "random", "--budget", "4", "--batch", "4"]
    assert main([*words, "--run", str(tmp_path / "synthetic")]) == 0
    capsys.readouterr()
    changed = searched(tmp_path / "changed", whole)
    replace(whole, accuracy=whole.accuracy * 0.99).save(tmp_path / "changed" / "whole.npz")
    capsys.readouterr()
    for command, message in (
        (["verify", str(changed)], "it has changed since the search"),
        (["verify", str(run)], "the data are not those that were measured: digest "),
        (["verify", str(run), "--top", "0"], "--top is at least 1"),
        (["verify", str(run), "--data", str(tmp_path / "nowhere")], "data"),
        (["verify", str(tmp_path / "synthetic")], "only what was looked up in a table of trainings can be verified"),
        (["verify", str(tmp_path / "none")], "none"),
        (["retrain", str(run)], "`ma2ml verify"),
    ):
        assert main(command) == 2, command
        told = capsys.readouterr().err
        assert len(told.splitlines()) == 1
        assert message in told
    assert not (run / "verify").exists()


@pytest.mark.slow
def test_a_grid_is_trained_played_and_verified(tmp_path, monkeypatch, capsys):
    """For real: collected, looked up, asked; a winner's training is equal to the bit, and a changed number is found."""
    monkeypatch.setitem(TABLE["games"], "tiny-v0", "whole_grid:TINY")
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "suite.toml").write_text(SUITE)
    out, run = tmp_path / "out", tmp_path / "run"
    assert main(["collect", str(tmp_path / "suite.toml"), "--out", str(out), "--workers", "1", "--device", "cpu"]) == 0
    file = out / "tiny-1-of-1.npz"
    table = Trainings.load(file)
    game = make_game("tiny-v0", "table", data=file)
    pipelines = {game.recipe(split(game, code)).key for code in all_codes(game)}
    assert len(table) == 2 * len(pipelines) < 2 * len(all_codes(game)), "one pipeline is trained once"
    bench = ma2ml_env.benchmark("tiny-v0", data=file)
    assert bench.query_batch(all_codes(game)).accuracy.tolist() == game.evaluator.source.mean_curves[:, -1].tolist()
    words = ["search", "tiny-v0", "--evaluator", "table", "--learner", "random", "--run", str(run), "--data"]
    assert main([*words, str(file)]) == 0
    command = ["verify", str(run), "--top", "3", "--workers", "1", "--device", "cpu"]
    assert main(command) == 0
    assert "3 of 3 agree" in capsys.readouterr().out
    found = json.loads((run / "verify" / "summary.json").read_text())
    assert [each["verdict"] for each in found] == ["equal"] * 3
    assert all(each["live"]["test_accuracy"] == each["table_test"] for each in found)
    assert main([*command, "--fresh"]) in (0, 1)
    replace(table, accuracy=np.where(table.status == 0, np.maximum(table.accuracy - 0.005, 0.0), 0.0)).save(file)
    (tmp_path / "again").mkdir()
    run = tmp_path / "again" / "run"
    assert main([*words[:-2], str(run), "--data", str(file)]) == 0
    assert main(["verify", str(run), *command[2:]]) == 1
    assert "NOT EQUAL" in capsys.readouterr().out
