"""`ma2ml collect` trains what a suite lists, in ordinary runs; `ma2ml table` makes one table of any runs."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ma2ml_agents.cli.main import main
from ma2ml_agents.reports.trainings import table_of
from ma2ml_agents.run import collection, made
from ma2ml_agents.run.collection import Suite, listed, parts
from ma2ml_agents.run.made import session_of
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.games.make import make_game
from ma2ml_env.store.store import TrialStore
from ma2ml_env.tables.trainings import Trainings, joined
from ma2ml_env.training.data.source import DataSource

HERE = ["--workers", "1", "--device", "cpu"]
DOCS = Path(__file__).parents[2] / "docs" / "collect.md"
SUITE = """
name = "tiny"
game = "trio-digits-v0"
repeats = 2
[set]
curve = [1, 2]
test = true
proxy_epochs = 2
final_epochs = 2
[[pipelines]]
of = "file"
file = "some.json"
[[pipelines]]
of = "random"
number = 2
seed = 3
"""
SOME = [
    {"aug": {"family": family, "strength": "none"}, "nas": {"operation": "conv_3x3", "cells": 2, "filters": 5}}
    for family in ("shift", "warp")
]


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collect")
    (folder / "suite.toml").write_text(SUITE)
    (folder / "some.json").write_text(json.dumps(SOME))
    assert main(["collect", str(folder / "suite.toml"), "--out", str(folder / "out"), *HERE]) == 0
    return folder


def test_a_suite_becomes_runs_and_a_table(collected):
    """Two codes of one pipeline are trained once; each repeat has its own seeds."""
    table = Trainings.load(collected / "out" / "tiny-1-of-1.npz")
    assert len(table) == 6
    assert len(set(table.seeds.tolist())) == 6
    assert (table.codes[:3] == table.codes[3:]).all()
    assert table.epochs.tolist() == [1, 2]
    assert (table.curve[:, 1] == table.accuracy).all()
    assert (table.test_accuracy > 0).all()
    (first, second) = table.about["sources"]
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["made"]["torch"]
    assert first["made"]["device"] == "cpu"
    assert first["split"] == {"limit": 150, "validation": 1000, "size": None, "seed": 0}
    with TrialStore(collected / "out" / "tiny-1-of-1-seed-1", create=False) as store:
        assert [trial.outcome.accuracy for trial in store.trials()] == table.accuracy[3:].tolist()


def test_a_table_says_on_which_images_it_was_trained(tmp_path):
    """Those of other options are no measurements of the game."""
    words = ["search", "trio-digits-v0", "--evaluator", "train", "--learner", "random", "--budget", "1", "--batch", "1"]
    words += [
        "--set",
        "limit=50",
        "--set",
        "seed=3",
        "--set",
        "proxy_epochs=1",
        "--run",
        str(tmp_path / "run"),
        "--workers",
        "1",
    ]
    assert main(words) == 0
    (source,) = table_of([tmp_path / "run"]).about["sources"]
    assert source["split"] == {"limit": 50, "validation": 1000, "size": None, "seed": 3}


def test_an_entry_is_trained_again_to_the_bit(collected):
    table = Trainings.load(collected / "out" / "tiny-1-of-1.npz")
    game = make_game("trio-digits-v0", "surrogate", proxy_epochs=2, final_epochs=2)
    row, codes = table.codes[2].tolist(), {}
    for agent, sizes in game.spec.nvec.items():
        codes[agent], row = tuple(row[: len(sizes)]), row[len(sizes) :]
    job = game.job(0, codes, int(table.seeds[2]))
    source = DataSource("digits", limit=150, validation=1000)
    [(_, outcome)] = Train(source, device="cpu", test=True).evaluate([job])
    assert isinstance(job, Job)
    assert (outcome.accuracy, outcome.test_accuracy) == (table.accuracy[2], table.test_accuracy[2])


def test_the_same_command_goes_on_and_other_parts_are_other_runs(collected, capsys):
    command = ["collect", str(collected / "suite.toml"), "--out", str(collected / "out"), *HERE]
    before = (collected / "out" / "tiny-1-of-1.npz").read_bytes()
    assert main(command) == 0
    assert (collected / "out" / "tiny-1-of-1.npz").read_bytes() == before
    suite = Suite.read(collected / "suite.toml")
    game = make_game("trio-digits-v0", "surrogate")
    pipelines = listed(suite, game, collected)
    assert len(pipelines) == 3
    halves = [run for part in (1, 2) for run in parts(suite, pipelines, part, 2)]
    assert len({run.seed for run in halves}) == 4
    assert [codes for run in halves if run.seed < 2 for codes in run.pipelines] == pipelines


def test_a_suite_that_has_changed_does_not_go_on_with_the_pipelines_of_before(tmp_path, capsys):
    """As many pipelines in the same folder, but others: nothing is trained, and nothing is taken for what it is not."""
    few = SUITE.replace("repeats = 2", "repeats = 1").replace("number = 2", "number = 1")
    few = few.replace('of = "file"\nfile = "some.json"\n[[pipelines]]\n', "")
    words = ["collect", str(tmp_path / "suite.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]
    (tmp_path / "suite.toml").write_text(few)
    assert main(words) == 0
    before = (tmp_path / "out" / "tiny-1-of-1.npz").read_bytes()
    capsys.readouterr()
    (tmp_path / "suite.toml").write_text(few.replace("seed = 3", "seed = 4"))
    assert main(words) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "start" in told
    assert (tmp_path / "out" / "tiny-1-of-1.npz").read_bytes() == before


def test_tables_join_and_what_is_there_twice_stays_once(collected, tmp_path, capsys):
    out = collected / "out"
    words = [str(out / "tiny-1-of-1-seed-0"), str(out / "tiny-1-of-1.npz"), "--out", str(tmp_path / "all.npz")]
    assert main(["table", *words]) == 0
    table, whole = Trainings.load(tmp_path / "all.npz"), Trainings.load(out / "tiny-1-of-1.npz")
    assert (table.codes == whole.codes).all()
    assert (table.curve == whole.curve).all()
    other = replace(whole, about={**whole.about, "sources": [
        {**each, "made": {**each["made"], "torch": "1.0"}, "seed": 9} for each in whole.about["sources"]
    ]}, seeds=whole.seeds + np.uint64(1))  # fmt: skip
    with pytest.raises(ValueError, match=r"different versions of torch: 1\.0, .* --mixed"):
        joined([whole, other])
    assert len(joined([whole, other], mixed=True)) == 12
    nas = [["nas", "operation", ["conv_3x3"]], *whole.about["decisions"][1:]]
    with pytest.raises(ValueError, match="different decisions"):
        joined([whole, replace(whole, about={**whole.about, "decisions": nas}, codes=whole.codes * 0)])


def test_other_games_and_what_was_not_trained_make_no_table(collected, tmp_path, capsys):
    whole = Trainings.load(collected / "out" / "tiny-1-of-1.npz")
    other = (("game", "trio-fashion-v0"), ("data", "0" * 32), ("trains", {"base": "x"}), ("levels", "x"))
    for name, value in other:
        sources = [{**each, name: value} for each in whole.about["sources"]]
        with pytest.raises(ValueError, match=f"different {name}"):
            joined([whole, replace(whole, about={**whole.about, "sources": sources})])
    words = ["search", "trio-digits-v0", "--evaluator", "surrogate", "--learner", "random", "--budget", "3"]
    assert main([*words, "--run", str(tmp_path / "run")]) == 0
    assert main(["table", str(tmp_path / "run"), "--out", str(tmp_path / "all.npz")]) == 2
    assert "nothing was trained" in capsys.readouterr().err


def test_a_session_that_trains_nothing_does_not_show(collected, tmp_path, monkeypatch):
    """As when the same command is given again after an upgrade; what is trained then has its own source."""
    run = shutil.copytree(collected / "out" / "tiny-1-of-1-seed-0", tmp_path / "run")
    monkeypatch.setattr(made, "made_with", lambda device: {"ma2ml": "9", "torch": "9"})
    assert main(["resume", str(run)]) == 0
    assert len(table_of([run]).about["sources"]) == 1
    assert main(["resume", str(run), "--extend", "1"]) == 0
    with pytest.raises(ValueError, match="different versions of ma2ml"):
        table_of([run])
    table = table_of([run], mixed=True)
    assert [each["made"]["ma2ml"] == "9" for each in table.about["sources"]] == [False, True]
    assert table.source.tolist() == [0, 0, 0, 1]


def test_each_trial_is_of_the_last_session_that_did_not_find_it_done():
    told = [{"from": 0, "has": []}, {"from": 2, "has": [4]}, {"from": 6, "has": []}]
    assert [session_of(number, told) for number in range(8)] == [0, 0, 1, 1, 0, 1, 2, 2]
    assert session_of(0, [{"from": 3, "has": []}]) == -1, "a run of before, gone on with"


def test_curves_of_other_epochs_have_gaps(collected):
    whole = Trainings.load(collected / "out" / "tiny-1-of-1.npz")
    other = replace(whole, seeds=whole.seeds + np.uint64(1), epochs=np.array([2, 5]))
    both = joined([whole, other])
    assert both.epochs.tolist() == [1, 2, 5]
    assert np.isnan(both.curve[:6, 2]).all()
    assert (both.curve[6:, 1:] == whole.curve).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('of = "file"', 'of = "some"', "number 0: of is grid, random or file"),
        ("number = 2", "number = 0", "number 1: from 1 to 1,000,000"),
        ("number = 2", 'number = "2"', "random takes number, seed"),
        ("repeats = 2", "repeats = 0", "repeats is at least 1"),
        ("repeats = 2", "repeat = 2", "unknown|repeat"),
        ('name = "tiny"', 'name = "../tiny"', "letters, digits and dashes"),
        ('game = "trio-digits-v0"', 'game = "trio-digit-v0"', "did you mean 'trio-digits-v0'"),
        ('game = "trio-digits-v0"', "", "needs a name, a game"),
        ("[set]", "[set", r"suite\.toml"),
        ("curve = [1, 2]", "curve = [0]", "counted from 1"),
        ("curve = [1, 2]", "cruve = [1]", "did you mean 'curve'"),
    ],
)
def test_a_suite_that_is_wrong_is_refused_in_a_line(tmp_path, capsys, old, new, message):
    (tmp_path / "suite.toml").write_text(SUITE.replace(old, new, 1))
    (tmp_path / "some.json").write_text(json.dumps(SOME))
    assert main(["collect", str(tmp_path / "suite.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert re.search(message, told), told


def test_all_entries_together_have_a_limit(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(collection, "MOST", 2)
    (tmp_path / "suite.toml").write_text(SUITE)
    (tmp_path / "some.json").write_text(json.dumps(SOME))
    assert main(["collect", str(tmp_path / "suite.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
    assert "from 1 to 2 pipelines, not 3" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/9"])
def test_a_part_that_is_none_is_refused(tmp_path, capsys, part):
    (tmp_path / "suite.toml").write_text(SUITE)
    (tmp_path / "some.json").write_text(json.dumps(SOME[:1]))
    words = ["collect", str(tmp_path / "suite.toml"), "--part", part, "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "--part" in capsys.readouterr().err


def test_what_is_no_table_is_refused(collected, tmp_path, capsys):
    whole = (collected / "out" / "tiny-1-of-1.npz").read_bytes()
    for data in (b"", b"PK\x03\x04", whole[: len(whole) // 2], whole[:100] + bytes(50) + whole[150:]):
        (tmp_path / "bad.npz").write_bytes(data)
        assert main(["table", str(tmp_path / "bad.npz"), "--out", str(tmp_path / "all.npz")]) == 2
        assert not (tmp_path / "all.npz").exists()
    np.savez(tmp_path / "bad.npz", about=np.array([{"format": 1}], dtype=object))
    with pytest.raises(ValueError, match="no table of trainings"):
        Trainings.load(tmp_path / "bad.npz")


def test_the_suite_of_the_docs_is_one(tmp_path):
    (block,) = re.findall(r"^```toml\n(name = .*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "suite.toml").write_text(block)
    (tmp_path / "good.json").write_text(json.dumps(SOME))
    suite = Suite.read(tmp_path / "suite.toml")
    assert len(listed(suite, make_game(suite.game, "surrogate"), tmp_path)) == 2304  # the grid has all the others
    assert suite.texts == ("curve=[1, 2, 5, 10, 20]", "test=true")
