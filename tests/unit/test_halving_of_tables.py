"""Halving on a table of trainings: the rungs read the stored curves, and what comes out is what trainings would have given."""

import math
from dataclasses import replace

import numpy as np
import pytest
from whole_grid import AGENTS, GAME, SUITE, all_codes, pipelines, small_game, split, trainings

from ma2ml_agents.cli.main import main
from ma2ml_env.evaluators.halving import Halving
from ma2ml_env.evaluators.table import Table
from ma2ml_env.evaluators.train import Train
from ma2ml_env.games.make import make_game
from ma2ml_env.registry import TABLE
from ma2ml_env.store.store import TrialStore
from ma2ml_env.tables.base import Grid
from ma2ml_env.tables.trainings import Trainings
from ma2ml_env.testing import check_evaluator
from ma2ml_env.trial import trial_seed

RUNGS = (0.25, 0.5)
"""of 20 epochs: 5 and 10"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "whole.npz"
    trainings(failing=[(3, 1, "NAN"), *((4, repeat, "INVALID") for repeat in range(3))]).save(path)
    return path


def jobs_of(game, n, seed=0):
    codes = np.random.default_rng(seed).permutation(all_codes(game))[:n]
    return [game.job(i, split(game, code), trial_seed(seed, i)) for i, code in enumerate(codes)]


@pytest.mark.parametrize("mean", [False, True])
def test_a_batch_is_halved_as_its_trainings_would_have_been(file, mean):
    """By brute force over what each pipeline has without halving."""
    whole, halved = (small_game("table", data=file, mean=mean, halving=rungs) for rungs in ((), RUNGS))
    assert isinstance(halved.evaluator, Halving)
    for seed in range(5):
        jobs = jobs_of(whole, 23, seed)
        ends, found = dict(whole.evaluator.evaluate(jobs)), dict(halved.evaluator.evaluate(jobs))
        alive, reached, spent = list(range(23)), {i: () for i in range(23)}, {}
        for epoch in (5, 10):
            ok = [i for i in alive if ends[i].status == "ok"]
            for i in alive:
                spent[i] = ends[i].seconds * (epoch / 20 if i in ok else 1.0)
            for i in ok:
                reached[i] += (ends[i].curve[epoch],)
            passed = sorted(ok, key=lambda i, epoch=epoch: (-ends[i].curve[epoch], i))[: math.ceil(len(alive) / 2)]
            for i in set(alive) - set(passed):
                assert found[i].seconds == pytest.approx(spent[i])
                assert found[i].rungs == reached[i]
                if i in ok:
                    assert (found[i].accuracy, found[i].fidelity) == (ends[i].curve[epoch], epoch / 20)
                    assert found[i].test_accuracy is None
                    assert found[i].curve == {e: a for e, a in ends[i].curve.items() if e <= epoch}
                else:
                    assert (found[i].status, found[i].error) == ("failed", ends[i].error)
            alive = sorted(passed)
        for i in alive:
            assert found[i] == replace(ends[i], rungs=reached[i], batch_end=23, seconds=found[i].seconds)
            assert found[i].seconds == pytest.approx(ends[i].seconds), "of all stretches together"
        assert {outcome.batch_end for outcome in found.values()} == {23}
        check_evaluator(halved.evaluator, jobs)


def test_a_resumed_batch_comes_out_as_an_undisturbed_one(file):
    game = small_game("table", data=file, halving=RUNGS)
    jobs = jobs_of(game, 16)
    told = [(i, outcome) for i, outcome in game.evaluator.evaluate(jobs)]
    for known in range(17):
        again = small_game("table", data=file, halving=RUNGS).evaluator
        for i, outcome in told[:known]:
            again.remember(jobs[i], outcome)
        before = dict(told[:known])
        waiting = [job for job in jobs if job.number not in before]
        assert before | {waiting[i].number: outcome for i, outcome in again.evaluate(waiting)} == dict(told)


def test_a_search_is_halved_and_goes_on(file, tmp_path, capsys):
    words = ["search", GAME, "--evaluator", "table", "--modules", *AGENTS, "--data", str(file), "--learner", "random"]
    words += ["--batch", "12", "--run", str(tmp_path / "run"), "--halving", "0.25", "0.5"]
    assert main([*words, "--budget", "24"]) == 0
    assert main([*words, "--budget", "36"]) == 0
    with TrialStore(tmp_path / "run", create=False) as store:
        outcomes = [trial.outcome for trial in store.trials()]
    assert sorted({outcome.fidelity for outcome in outcomes if outcome.status == "ok"}) == [0.25, 0.5, 1.0]
    assert [outcome.batch_end for outcome in outcomes] == [12] * 12 + [24] * 12 + [36] * 12
    whole = sum(outcome.seconds for outcome in outcomes)
    assert whole < 0.6 * 36 * 2.0, "simulated seconds: half of a batch stops at a quarter, a quarter at half"


@pytest.mark.parametrize(
    ("halving", "message"),
    [
        (
            "0.3",
            r"halving at 0\.3 of 20 epochs would look at epoch 6, and accuracies were measured after 1, 2, 5, 10, 20",
        ),
        ("0.99", "each needs an epoch of its own before the last"),
        ("1.5", r"rising shares of a training, each in \(0, 1\)"),
    ],
)
def test_rungs_that_were_not_measured_are_refused(file, tmp_path, capsys, halving, message):
    words = ["search", GAME, "--evaluator", "table", "--modules", *AGENTS, "--data", str(file), "--learner", "random"]
    with pytest.raises(ValueError, match=message):
        small_game("table", data=file, halving=[float(halving)])
    assert main([*words, "--run", str(tmp_path / "run"), "--halving", halving]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_table_without_curves_is_refused(tmp_path, monkeypatch):
    trainings(epochs=()).save(tmp_path / "bare.npz")
    with pytest.raises(ValueError, match="this table has those of whole trainings alone"):
        small_game("table", data=tmp_path / "bare.npz", halving=[0.5])
    spaces = {agent: module.space for agent, module in make_game("hpobench-car-v0", "surrogate").modules.items()}
    grid = Grid(spaces, np.full((30000, 1), 0.5), np.zeros(30000, dtype=np.int64))
    monkeypatch.setitem(TABLE["tables"], "hpobench", "test_halving_of_tables:grid")
    monkeypatch.setitem(globals(), "grid", lambda data, dataset: grid)
    assert isinstance(make_game("hpobench-car-v0").evaluator, Table)
    with pytest.raises(ValueError, match="this table has those of whole trainings alone"):
        make_game("hpobench-car-v0", halving=[0.5])


@pytest.mark.slow
def test_real_trainings_are_halved_alike(tmp_path, monkeypatch):
    """The same seeds trained and halved for real: status, accuracy, curve, rungs, fidelity, MACs, batch, to the bit."""
    monkeypatch.setitem(TABLE["games"], "tiny-v0", "whole_grid:TINY")
    (tmp_path / "suite.toml").write_text(SUITE.replace("repeats = 2", "repeats = 1"))
    words = ["collect", str(tmp_path / "suite.toml"), "--out", str(tmp_path), "--workers", "1", "--device", "cpu"]
    assert main(words) == 0
    table = Trainings.load(tmp_path / "tiny-1-of-1.npz")
    looked_up = make_game("tiny-v0", "table", data=tmp_path / "tiny-1-of-1.npz", halving=[0.5])
    own = [codes[0] for codes in pipelines(looked_up).values()]
    assert [tuple(row) for row in table.codes.tolist()] == own
    jobs = [looked_up.job(i, split(looked_up, code), int(table.seeds[i])) for i, code in enumerate(own)]
    source = make_game("tiny-v0", "train", device="cpu").evaluator.inner.source
    kept = tmp_path / "checkpoints"
    live = Halving(Train(source, device="cpu", curve=(1, 2), test=True, checkpoints=str(kept)), [0.5], folder=kept)
    found, real = dict(looked_up.evaluator.evaluate(jobs)), dict(live.evaluate(jobs))
    same = ("status", "accuracy", "flops", "params", "fidelity", "curve", "rungs", "batch_end")
    for i in range(len(jobs)):
        assert {name: vars(found[i])[name] for name in same} == {name: vars(real[i])[name] for name in same}
        if real[i].fidelity == 1.0:
            assert found[i].test_accuracy == real[i].test_accuracy
    assert len({outcome.fidelity for outcome in real.values()}) == 2
