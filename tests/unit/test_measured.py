"""A game that was trained whole is looked up by default and trained on request, and its table is what the trainings say."""

from dataclasses import fields, replace

import numpy as np
import pytest
from whole_grid import AGENTS, GAME, all_codes, pipelines, small_game, split, trainings

from ma2ml_agents.cli.main import main
from ma2ml_agents.run.data import KEY
from ma2ml_agents.run.stored import stored_config
from ma2ml_env import registry
from ma2ml_env.env import AutoMLEnv
from ma2ml_env.evaluators.table import Table, picks_of
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.games import trio
from ma2ml_env.games.make import make_game
from ma2ml_env.games.measured import check_options, same_pipelines
from ma2ml_env.games.options import DATA
from ma2ml_env.games.settings import settings_of
from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.store.store import TrialStore
from ma2ml_env.tables.trainings import Trainings
from ma2ml_env.testing import check_env, check_evaluator
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.flops import network_cost
from ma2ml_env.trial import ERRORS, trial_seed

FAILING = [(3, 1, "NAN"), (4, 0, "NAN"), (4, 1, "NAN"), (4, 2, "INVALID"), (5, 0, "CRASH")]
"""one of three failed by itself, all of them did, and one that the machine may have failed"""


@pytest.fixture(scope="module")
def table():
    return trainings(failing=FAILING)


@pytest.fixture(scope="module")
def file(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "whole.npz"
    table.save(path)
    return path


def rows_of(game, table, code):
    """By brute force: the rows of all codes with the same recipe, without what the machine failed."""
    rows = [i for same in pipelines(game).values() if tuple(code) in same for i in np.flatnonzero(own(table, same))]
    return [i for i in rows if ERRORS[table.error[i]] in ("", "NAN", "INVALID")]


def own(table, codes):
    """Which rows have one of these codes."""
    return (table.codes[:, None] == np.array(codes)).all(2).any(1)


def test_a_table_says_what_the_trainings_say(table, file):
    """Of every code, those without rows of their own too: mean, repeats, curve, test accuracy, seconds, MACs, seeds."""
    game = small_game("table", data=file)
    source = game.evaluator.source
    codes = all_codes(game)
    assert len(pipelines(game)) < len(codes), "some codes are the same pipeline"
    assert source.epochs == (1, 2, 5, 10, 20)
    for point, code in enumerate(codes):
        rows = rows_of(game, table, code)
        n = len(rows)
        assert n == (2 if len(table) // 3 + 5 in rows else 3)
        ok = table.status[rows] == 0
        assert source.values[point, :n].tolist() == table.accuracy[rows].tolist()
        assert np.isnan(source.values[point, n:]).all()
        assert source.seeds[point, :n].tolist() == table.seeds[rows].tolist()
        assert source.seconds[point, :n].tolist() == table.seconds[rows].tolist()
        assert source.mean_seconds[point] == np.median(table.seconds[rows])
        assert source.tests[point, :n].tolist() == np.where(ok, table.test_accuracy[rows], 0.0).tolist()
        curve = np.where(ok[:, None], np.column_stack([table.curve[rows], table.accuracy[rows]]), 0.0)
        assert source.curves[point, :n].tolist() == curve.tolist()
        assert source.mean_curves[point] == pytest.approx(curve.mean(0))
        joint = {agent: np.array([part]) for agent, part in split(game, code).items()}
        mean, macs = game.evaluator.noise_free(joint)
        assert mean[0] == pytest.approx(table.accuracy[rows].mean())
        assert source.mean_curves[point, -1] == mean[0]
        assert macs[0] == (table.flops[rows].max() if ok.any() else 0)
    best, value = game.evaluator.optimum()
    means = [table.accuracy[rows_of(game, table, code)].mean() for code in codes]
    assert value == pytest.approx(max(means))
    assert best == split(game, codes[int(np.argmax(means))])


def test_it_is_an_evaluator_and_an_environment(table, file):
    for how in ({}, {"mean": True}):
        game = small_game("table", data=file, **how)
        jobs = [game.job(i, split(game, code), trial_seed(0, i)) for i, code in enumerate(all_codes(game))]
        outcomes = check_evaluator(game.evaluator, jobs)
        failed = {outcome.status for outcome in outcomes.values()}
        assert failed == {"ok", "failed"}
        for job in jobs:
            outcome, rows = outcomes[job.number], rows_of(game, table, sum(job.codes.values(), ()))
            picked = int(picks_of(np.array([job.seed]))[0] % np.uint64(len(rows)))
            all_failed = bool(table.error[rows].all())
            if how:
                assert outcome.accuracy == pytest.approx(table.accuracy[rows].mean())
                assert (outcome.status == "failed") == all_failed
            else:
                row = rows[picked]
                assert outcome.accuracy == table.accuracy[row]
                assert (outcome.status == "failed") == bool(table.error[row])
                assert outcome.seconds == table.seconds[row]
                if outcome.status == "ok":
                    assert outcome.test_accuracy == table.test_accuracy[row]
                    assert list(outcome.curve.values()) == [*table.curve[row].tolist(), table.accuracy[row]]
            assert (outcome.attempts, outcome.fidelity) == (0, 1.0)
        check_env(AutoMLEnv(game), episodes=50)


def test_a_measured_game_is_looked_up_unless_told_and_trains_on_request(file, monkeypatch, tmp_path, capsys):
    """One id: the spaces, the base recipe and the protocol are the same."""
    named = replace(trio.TRIO_DIGITS, measured=str(file), modules=(("aug_trio", {}), ("hpo_trio", {})))
    monkeypatch.setattr(trio, "TRIO_DIGITS", named)
    looked_up, trained = make_game(GAME), make_game(GAME, "train", device="cpu")
    assert isinstance(looked_up.evaluator, Table)
    assert isinstance(trained.evaluator.inner, Train)
    assert (looked_up.spec, looked_up.base.key) == (trained.spec, trained.base.key)
    assert looked_up.protocol == trained.protocol
    assert isinstance(make_game(GAME, "pool", device="cpu").evaluator.inner, Pool)
    homes = {(each.name, each.home) for each in settings_of(named)}
    assert {("mean", "table"), ("curve", "trainer"), ("limit", "data")} <= homes
    words = ["search", GAME, "--learner", "random", "--budget", "30", "--batch", "10", "--run", str(tmp_path / "run")]
    assert main(words) == 0
    assert main(words) == 0  # goes on
    with TrialStore(tmp_path / "run", create=False) as store:
        config, trials = stored_config(store), list(store.trials())
    assert (config.evaluator, config.start) == ("table", None)
    codes = {agent: np.array([t.proposal.codes[agent] for t in trials]) for agent in AGENTS}
    seeds = np.array([trial.seed for trial in trials])
    assert [trial.reward for trial in trials] == looked_up.score(codes, seeds).tolist()
    assert "mean" not in capsys.readouterr().err
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    assert main(["search", GAME, "--learner", "random", "--budget", "10", "--set", "mean=true"]) == 0
    assert [each.name for each in (tmp_path / "again" / "runs").iterdir()] == ["trio-digits-v0-random-0"]
    assert main(["list", "--json"]) == 0
    assert f'"id": "{GAME}"' in capsys.readouterr().out


def test_a_run_goes_on_with_its_own_table_alone(table, tmp_path, capsys):
    """Equal trainings in another file are the same; the old run, which knows no table, takes what is there."""
    words = ["search", GAME, "--evaluator", "table", "--modules", *AGENTS, "--data", str(tmp_path / "t.npz")]
    words += ["--learner", "random", "--batch", "10", "--run", str(tmp_path / "run"), "--budget"]
    table.save(tmp_path / "t.npz")
    assert main([*words, "10"]) == 0
    table.save(tmp_path / "copy.npz")
    assert main(["resume", str(tmp_path / "run"), "--extend", "10", "--data", str(tmp_path / "copy.npz")]) == 0
    capsys.readouterr()
    replace(table, accuracy=table.accuracy * 0.5).save(tmp_path / "copy.npz")
    for more in (["resume", str(tmp_path / "run"), "--extend", "10"], [*words[:-1], "--budget", "30"]):
        replace(table, accuracy=table.accuracy * 0.5).save(tmp_path / "t.npz")
        assert main(more) == 2
        told = capsys.readouterr().err
        assert "the data are not those of this run: digest " in told
        assert len(told.splitlines()) == 1
    with TrialStore(tmp_path / "run") as store:
        assert len(list(store.trials())) == 20
        config = {name: value for name, value in store.config.items() if name != KEY}
        store.configure(config, safe=(KEY,))
        assert KEY not in store.config
    assert main(["resume", str(tmp_path / "run"), "--extend", "10"]) == 0
    assert "unverified" in capsys.readouterr().out


def test_repeats_may_differ_in_number_and_equal_seeds_are_one_training(table, tmp_path):
    """As of learners whose searches were joined to a grid: another code of a pipeline under the same seed is the same."""
    game = small_game()
    same = same_pipelines(list(game.modules.values()), game.base)
    twin = next(i for i, first in enumerate(same) if first != i)
    first = all_codes(game)[same[twin]].tolist()
    old = next(i for i, row in enumerate(table.codes.tolist()) if row == first)
    codes, more = all_codes(game)[[twin, twin]], [old, old]
    arrays = {name: np.concatenate([array, array[more]]) for name, array in table._arrays().items() if name != "epochs"}
    arrays["codes"] = np.concatenate([table.codes, codes])
    arrays["seeds"][-1] = 10**6
    Trainings(table.about, epochs=table.epochs, **arrays).save(tmp_path / "more.npz")
    source = small_game("table", data=tmp_path / "more.npz").evaluator.source
    counts = (~np.isnan(source.values)).sum(1)
    assert counts[twin] == counts[same[twin]] == 4
    assert source.seeds[twin, 3] == 10**6
    assert counts.max() == 4


def test_what_a_halving_dropped_and_what_the_machine_failed_is_no_measurement(table, tmp_path):
    fidelity = table.fidelity.copy()
    fidelity[0] = 0.25
    replace(table, fidelity=fidelity).save(tmp_path / "some.npz")
    source = small_game("table", data=tmp_path / "some.npz").evaluator.source
    assert (~np.isnan(source.values[0])).sum() == 2
    assert 1 not in source.seeds[0]


def without(table, rows):
    kept = np.setdiff1d(np.arange(len(table)), rows)
    arrays = {name: array[kept] for name, array in table._arrays().items() if name != "epochs"}
    return Trainings(table.about, epochs=table.epochs, **arrays)


def changed(table, **source):
    return replace(table, about={**table.about, "sources": [{**table.about["sources"][0], **source}]})


def decided(table, choices):
    """The first decision has other choices."""
    (agent, name, _), *others = table.about["decisions"]
    return replace(table, about={**table.about, "decisions": [[agent, name, choices], *others]})


SPLIT = {"limit": 150, "validation": 1000, "size": None, "seed": 0}
WRONG = {
    r"2 of \d+ pipelines were not measured, the first of them aug family shift, aug strength": lambda t: without(
        t, [i for i, row in enumerate(t.codes.tolist()) if row in t.codes[[0, 7]].tolist()]
    ),
    "trio-fashion-v0, which has other data": lambda t: changed(t, game="trio-fashion-v0"),
    "other data than trio-digits-v0 has: digest 00000000, not 443886fd": lambda t: changed(t, data="0" * 32),
    "on data with limit 100, and the game's have 150": lambda t: changed(t, split={**SPLIT, "limit": 100}),
    "on data with fit pad, and the game's have None": lambda t: changed(t, split={**SPLIT, "fit": "pad"}),
    "on data with seed 5, and the game's have 0": lambda t: changed(t, split={**SPLIT, "seed": 5}),
    "unknown game 'None'": lambda t: changed(t, game=None),
    "another base recipe": lambda t: changed(t, trains={**t.about["sources"][0]["trains"], "base": "0" * 32}),
    "had other epochs": lambda t: changed(t, trains={**t.about["sources"][0]["trains"], "fidelity": 0.5}),
    "does not say how it was trained": lambda t: changed(t, trains=None),
    "loss of these trainings is weighted": lambda t: changed(
        t, trains={**t.about["sources"][0]["trains"], "class_weights": "balanced"}
    ),
    "earlier levels": lambda t: changed(t, levels="0" * 32),
    "decision 'family': the trainings chose among .*'tint'.*, this game among .*'erase'": lambda t: decided(
        t, ["shift", "warp", "colour", "tint"]
    ),
    "epochs of a curve rise": lambda t: replace(t, epochs=t.epochs[::-1].copy()),
    "seconds are finite": lambda t: replace(t, seconds=np.where(np.arange(len(t)) == 3, np.nan, t.seconds)),
    "flops are finite and not negative": lambda t: replace(t, flops=t.flops - 10**7),
    "with intervals": lambda t: replace(
        t, about={**t.about, "intervals": [["hpo", "x", 0, 1]]}, positions=t.codes[:, :1] / 9
    ),
    "several numbers of MACs": lambda t: replace(t, flops=np.arange(1, len(t) + 1)),
}


@pytest.mark.parametrize("message", WRONG)
def test_trainings_of_something_else_are_refused_in_a_line(table, tmp_path, capsys, message):
    WRONG[message](table).save(tmp_path / "wrong.npz")
    with pytest.raises(ValueError, match=f"wrong.npz: .*{message}"):
        small_game("table", data=tmp_path / "wrong.npz")
    words = ["search", GAME, "--evaluator", "table", "--modules", *AGENTS, "--data", str(tmp_path / "wrong.npz")]
    assert main([*words, "--learner", "random", "--run", str(tmp_path / "run")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 64}, "another base recipe"),
        ({"proxy_epochs": 5}, "other epochs"),
        ({"size": 16}, "measured at its own size"),
        ({"modules": ["aug"]}, "agent 'hpo', decision 'learning_rate' is one of the trainings, and this game has none"),
        (
            {"modules": [*AGENTS, "nas"]},
            "agent 'nas', decision 'operation' is one of this game, and the trainings have none",
        ),
        ({"modules": ["hpo", "aug"]}, r"in the order aug\.family, .*, this game's in hpo\.learning_rate"),
        ({"metric": "macro_f1"}, "for what is trained"),
        ({"limit": 10}, "unknown option 'limit'"),
        ({"mean": "no"}, "mean"),
        ({"images": "/nowhere"}, "reads no images: leave out images"),
        ({"npz": "/nowhere.npz"}, "leave out npz"),
        ({"download": True}, "leave out download"),
        ({"fit": "pad"}, "leave out fit"),
        ({"background": "nonsense"}, "leave out background"),
        ({"cache": "/nowhere"}, "leave out cache"),
        ({"skip_bad": True}, "leave out skip_bad"),
        ({"groups": "/nowhere.csv"}, "leave out groups"),
        ({"seed": 5}, "on data with seed 0, and the game's have 5"),
    ],
)
def test_settings_that_the_table_was_not_measured_with_are_refused(file, options, message):
    with pytest.raises(ValueError, match=message):
        make_game(GAME, "table", **{"data": file, "modules": AGENTS, **options})


def test_the_data_of_a_game_have_their_digest():
    source = make_game(GAME, "train", device="cpu").evaluator.inner.source
    assert source.identity().digest == trio.TRIO_DIGITS.digest == trio.TRIO_DIGITS_MACS.digest


def test_a_table_of_another_split_is_played_by_who_says_it(table, tmp_path):
    changed(table, split={**SPLIT, "seed": 5}, data="0" * 32).save(tmp_path / "five.npz")
    assert isinstance(small_game("table", data=tmp_path / "five.npz", seed=5).evaluator, Table)


def test_a_game_without_a_digest_has_tables_that_say_their_data(table, tmp_path, monkeypatch):
    """As games of users are, whose data nobody knows here."""
    monkeypatch.setattr(trio, "TRIO_DIGITS", replace(trio.TRIO_DIGITS, digest=None))
    table.save(tmp_path / "old.npz")
    with pytest.raises(ValueError, match=r"nobody knows on which images these were trained: .* `ma2ml table`"):
        small_game("table", data=tmp_path / "old.npz")
    changed(table, split=SPLIT, data="0" * 32).save(tmp_path / "new.npz")
    assert isinstance(small_game("table", data=tmp_path / "new.npz").evaluator, Table)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no table"):
        small_game("table", data=tmp_path / "none.npz")
    with pytest.raises(ValueError, match="is a folder"):
        small_game("table", data=tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="no table of trainings"):
        small_game("table", data=tmp_path / "bad.npz")
    trainings().save(tmp_path / "t.npz")
    with pytest.raises(ValueError, match="pipelines, more than"):
        make_game("digits-v0", "table", data=tmp_path / "t.npz")
    with pytest.raises(ValueError, match=r"digits-v0 has no table .* --data FILE.npz"):
        make_game("digits-v0", "table")


class Mode:
    """Another agent: `off` undoes what the first ones wrote, so that all their codes become one pipeline."""

    name = "mode"
    space = SearchSpace([Decision("mode", ("on", "off", "also off"))])

    def apply(self, recipe, values):
        return recipe if values["mode"] == "on" else recipe.with_slots(augment=())


class Doubled(Mode):
    """What it writes matters only after a choice of another agent."""

    def apply(self, recipe, values):
        return recipe if values["mode"] == "on" else recipe.with_slots(mixup=recipe.mixup * 2.0)


@pytest.mark.parametrize("agents", [["aug", Mode(), "hpo"], ["hpo", Mode(), "aug"], ["aug", "hpo", Doubled()]])
def test_codes_of_one_pipeline(agents):
    """All that have one recipe, whoever made them equal, and no others."""
    game = make_game(GAME, "surrogate", modules=agents)
    same, firsts = same_pipelines(list(game.modules.values()), game.base), {}
    keys = [game.recipe(split(game, code)).key for code in all_codes(game)]
    assert same.tolist() == [firsts.setdefault(key, number) for number, key in enumerate(keys)]
    assert len(firsts) < len(same) / 1.3


def test_an_agent_that_reads_another_one_keeps_its_codes():
    class Reads(Mode):
        def apply(self, recipe, values):
            rate = recipe.learning_rate * (2.0 if values["mode"] == "off" and recipe.augment else 1.0)
            return recipe.with_slots(learning_rate=rate)

    base = Recipe()
    agents = [make_game(GAME, "surrogate").modules["aug"], Reads()]
    same = same_pipelines(agents, base).reshape(4, 3, 3)
    assert (same[:, 1:, 1] != same[:, 1:, 0]).all(), "on and off differ after a policy, though not on the base recipe"
    assert (same[:, 0] == 0).all(), "without one, all are the base recipe"


@pytest.mark.parametrize(("name", "side"), [("digits", 8), pytest.param("fashion", 14, marks=pytest.mark.slow)])
def test_half_of_all_pipelines_have_more_macs_than_the_limit(name, side):
    game = make_game(f"trio-{name}-macs-v0", "surrogate")
    nas = game.modules["nas"]
    codes = np.stack(np.unravel_index(np.arange(int(np.prod(nas.space.nvec))), nas.space.nvec), axis=1).tolist()
    macs = [network_cost(nas.apply(game.base, nas.space.decode(code)), 10, 1, side)[0] for code in codes]
    assert game.reward.limit == np.median(macs)  # no other agent has a say in them


def test_options_of_images_as_they_are_unless_told_are_no_reason_to_refuse():
    """Two places know them, as the data's own imports torch: they are to agree."""
    usual = {each.name: each.default for each in fields(DataSource) if each.name in DATA and each.name != "size"}
    assert {"fit", "background", "skip_bad", "cache"} <= usual.keys()
    check_options(trio.TRIO_DIGITS, usual)
    with pytest.raises(ValueError, match="leave out fit"):
        check_options(trio.TRIO_DIGITS, usual | {"fit": "pad"})


PACKAGED = [id for id in registry.names("games") if registry.resolve("games", id).measured]


@pytest.mark.parametrize("id", PACKAGED)
def test_the_packaged_tables_are_whole(id):
    source = make_game(id).evaluator.source
    assert source.tests is not None
    assert len(source.epochs) > 1
    assert (source.mean_curves[:, -1] <= 1.0).all()
