"""A surrogate as a table and as a benchmark. What it is fitted to are invented trainings: see `invented_trainings.py`."""

from dataclasses import replace

import numpy as np
import pytest
import surrogate_fit
from invented_trainings import EPOCHS, GAME, IMAGE, columns, deviation, joint, large_game, trainings, truth

import ma2ml_env
from ma2ml_agents.cli.main import main
from ma2ml_env.evaluators.table import picks_of
from ma2ml_env.games.fitted import Columns
from ma2ml_env.games.make import make_game
from ma2ml_env.modules.nasnet_cost import ImageShape
from ma2ml_env.tables.fit import END, TEST, Fit
from ma2ml_env.tables.trainings import Trainings
from ma2ml_env.testing import check_env
from ma2ml_env.training.flops import network_cost
from ma2ml_env.trial import Proposal, code_of

NO_PLAN = large_game()  # for its spaces
SPACE = joint(NO_PLAN)


@pytest.fixture(scope="module")
def fit():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surrogate_fit, "TREES", {**surrogate_fit.TREES, "max_iter": 60, "learning_rate": 0.2})
        patch.setattr(surrogate_fit, "FEW_TREES", {**surrogate_fit.FEW_TREES, "max_iter": 15})
        told, table = columns(NO_PLAN), trainings(SPACE.sample(500, 1), seed=1, failing=[7])
        data = surrogate_fit.Data.of(table, told, EPOCHS, 1.0)
        several = trainings(np.repeat(SPACE.sample(150, 3), 4, axis=0), seed=3)
        noise = surrogate_fit.Noise.of(surrogate_fit.Data.of(several, told, EPOCHS, 1.0))
        return surrogate_fit.fit(data, noise, NO_PLAN, table, IMAGE, EPOCHS, told.names)


@pytest.fixture(scope="module")
def file(fit, tmp_path_factory):
    path = tmp_path_factory.mktemp("surrogate") / "surrogate.npz"
    fit.save(path)
    return path


@pytest.fixture(scope="module")
def game(file):
    return make_game(GAME, "table", data=file)


@pytest.fixture
def bench(file):
    return ma2ml_env.benchmark(GAME, data=file)


def by_agent(codes):
    ends = np.cumsum([len(sizes) for sizes in NO_PLAN.spec.nvec.values()])[:-1]
    return dict(zip(NO_PLAN.spec.nvec, np.split(codes, ends, axis=1), strict=True))


def proposals(codes):
    parts = by_agent(codes)
    return [Proposal({a: code_of(c[i].tolist(), c.shape[1]) for a, c in parts.items()}) for i in range(len(codes))]


def swapped(codes):
    """Other codes of the same pipelines: sub-policies and the halves of all blocks change places."""
    parts = {agent: each.copy() for agent, each in by_agent(codes).items()}
    parts["aug"] = parts["aug"][:, [*range(6, 12), *range(6)]]
    blocks = parts["nas"][:, :20].reshape(-1, 4, 5)[..., [1, 0, 3, 2, 4]]
    parts["nas"][:, :20] = blocks.reshape(-1, 20)
    return np.concatenate([*parts.values()], axis=1)


def test_it_is_near_what_it_was_fitted_to(game):
    """Not near enough for a release, from 500 trainings and 60 trees: near enough to see that columns are in their places."""
    codes = SPACE.sample(400, 9)
    told = columns(NO_PLAN)
    wanted = truth(told(codes)[0], told.names)
    said = game.evaluator.source.tell(codes, None, game.evaluator.source.outputs)
    logits = surrogate_fit.logit(said.accuracy)
    assert np.corrcoef(logits[:, -2], wanted)[0, 1] > 0.9
    assert np.median(logits - wanted[:, None], axis=0) == pytest.approx([-2, -1.2, -0.8, -0.5, -0.2, 0, -0.1], abs=0.2)
    assert np.corrcoef(said.seconds, said.flops)[0, 1] > 0.9


def test_ways_of_asking_agree_to_the_bit(game, bench, file):
    codes, seeds = SPACE.sample(300, 4), np.arange(300) * 11
    noisy = ma2ml_env.benchmark(GAME, data=file, noise=True)
    for mean, asked, own in ((True, bench, None), (False, noisy, seeds)):
        each = make_game(GAME, "table", data=file, mean=mean)
        accuracy, flops = each.evaluator.score(by_agent(codes), seeds)
        answers = asked.query_batch(codes, seeds=own)
        assert answers.accuracy.tolist() == answers.reward.tolist() == accuracy.tolist()
        assert answers.flops.tolist() == flops.tolist()
        played = each.play(proposals(codes[:40]), seeds[:40].tolist())
        assert [trial.reward for trial in played] == accuracy[:40].tolist()
        assert [trial.outcome.test_accuracy for trial in played] == answers.test_accuracy[:40].tolist()
        assert [trial.outcome.seconds for trial in played] == pytest.approx(answers.seconds[:40])
        one = asked.query(each.values(played[7].proposal.codes), seed=None if mean else int(seeds[7]))
        assert (one.accuracy, one.params) == (accuracy[7], answers.params[7])
        curve = asked.curve(codes[7], seed=None if mean else int(seeds[7]))
        assert curve == dict(played[7].outcome.curve)
        assert list(curve) == list(EPOCHS)


def test_a_row_does_not_depend_on_others(game):
    """Across all that is cut into pieces; and of no row, nothing."""
    source, codes = game.evaluator.source, SPACE.sample(5000, 3)
    picks = picks_of(np.arange(5000))
    all_ = source.tell(codes, picks, source.outputs)
    for some in (slice(0, 1), slice(100, 300), slice(4090, 4100)):
        found = source.tell(codes[some], picks[some], source.outputs)
        for mine, theirs in zip(found, all_, strict=True):
            assert mine.tolist() == theirs[some].tolist()
    assert [len(each) for each in source.tell(codes[:0], None, source.outputs)] == [0] * 4


def test_macs_are_those_that_are_counted(game):
    codes = SPACE.sample(3, 8)
    outcomes = game.evaluator.source.outcomes(by_agent(codes), None, [(0.0, 1.0)] * 3)
    for outcome, proposal in zip(outcomes, proposals(codes), strict=True):
        assert (outcome.flops, outcome.params) == network_cost(game.recipe(proposal.codes), 10, 1, 8)


def test_codes_of_one_pipeline_are_answered_alike(bench, file):
    codes = SPACE.sample(100, 5)
    same = swapped(codes)
    assert (codes != same).any(axis=1).all()
    assert bench.query_batch(codes).accuracy.tolist() == bench.query_batch(same).accuracy.tolist()
    noisy = ma2ml_env.benchmark(GAME, data=file, noise=True)
    assert noisy.query_batch(codes, seeds=3).accuracy.tolist() == noisy.query_batch(same, seeds=3).accuracy.tolist()


def test_noise_is_that_of_the_repeats(fit, game):
    """Of each output at its own accuracy, correlated with the end; the same by the same seed."""
    told, source = columns(NO_PLAN), game.evaluator.source
    found = SPACE.sample(300, 6)
    level = truth(told(found)[0], told.names)
    for wanted in (-0.2, 1.2):
        code = found[np.abs(level - wanted).argmin()]
        codes, picks = np.tile(code, (4000, 1)), picks_of(np.arange(4000))
        accuracy = source.tell(codes, picks, [END, TEST, "5"]).accuracy
        middle = source.tell(codes[:1], None, [END, TEST, "5"]).accuracy[0]
        assert np.median(accuracy, axis=0) == pytest.approx(middle, abs=0.01)
        spread = surrogate_fit.logit(accuracy).std(axis=0)
        assert spread == pytest.approx(deviation(surrogate_fit.logit(middle)), rel=0.35)
        assert 0.4 < np.corrcoef(accuracy[:, 0], accuracy[:, 2])[0, 1] < 0.8
        assert source.tell(codes, picks, [END]).accuracy[:, 0].tolist() == accuracy[:, 0].tolist()
    assert fit.shared[len(EPOCHS) - 1] == 1.0


def test_nothing_is_better_than_what_was_measured(fit, file):
    low = replace(fit, largest=fit.largest * 0 + 0.5)
    path = file.with_name("low.npz")
    low.save(path)
    answers = ma2ml_env.benchmark(GAME, data=path, noise=True).query_batch(SPACE.sample(200, 0), seeds=1)
    assert answers.accuracy.max() == answers.test_accuracy.max() == 0.5
    assert len(np.unique(answers.accuracy)) > 2


def test_a_training_goes_on(game):
    """In two spans as in one; what is known after an epoch is that of the whole."""
    codes = by_agent(SPACE.sample(20, 2))
    source = game.evaluator.source
    whole = source.outcomes(codes, None, [(0.0, 1.0)] * 20)
    first = source.outcomes(codes, None, [(0.0, 0.25)] * 20)
    rest = source.outcomes(codes, None, [(0.25, 1.0)] * 20)
    for a, b, all_ in zip(first, rest, whole, strict=True):
        assert a.seconds + b.seconds == pytest.approx(all_.seconds)
        assert (a.fidelity, a.test_accuracy, a.attempts) == (0.25, None, 0)
        assert a.accuracy == all_.curve[5]
        assert b == replace(all_, seconds=b.seconds)
    with pytest.raises(ValueError, match="after 1, 3, 5, 8, 12, 20 epochs, not after 10; the closest is 8"):
        source.outcomes(codes, None, [(0.0, 0.5)] * 20)


def test_it_can_be_halved(file):
    game = make_game(GAME, "table", data=file, halving=(0.25, 0.6))
    trials = game.play(proposals(SPACE.sample(8, 1)), list(range(8)))
    assert sorted(trial.outcome.fidelity for trial in trials) == [0.25] * 4 + [0.6] * 2 + [1.0] * 2
    with pytest.raises(ValueError, match="halves nothing"):
        ma2ml_env.views.fitted.FittedBenchmark(game)


def test_the_views_play_it(file):
    check_env(ma2ml_env.parallel_env(GAME, "table", data=str(file)))


def test_the_clock(bench, file):
    codes = SPACE.sample(5, 1)
    early = bench.query_batch(codes, epochs=5)
    assert bench.seconds == pytest.approx(early.seconds.sum())
    late = bench.query_batch(codes)
    assert late.seconds == pytest.approx(early.seconds * 4)
    bench.query_batch(swapped(codes), epochs=8)
    assert bench.seconds == pytest.approx(late.seconds.sum())
    bench.restart()
    assert bench.seconds == 0.0
    noisy = ma2ml_env.benchmark(GAME, data=file, noise=True)
    for seed in (1, 2, 2):
        noisy.query_batch(codes, seeds=seed)
    assert noisy.seconds == pytest.approx(2 * late.seconds.sum())


def test_what_nobody_knows_is_refused(bench, game, file):
    code = SPACE.sample(1, 0)[0]
    for ask in (bench.optimum, lambda: bench.regret(code), lambda: bench.regret_batch(code[None], test=True)):
        with pytest.raises(ValueError, match=r"the optimum of 10\^31 pipelines is not known"):
            ask()
    with pytest.raises(ValueError, match="the optimum of Fitted is not known"):
        game.evaluator.optimum()
    with pytest.raises(ValueError, match="closest is 8"):
        bench.query(code, epochs=9)
    with pytest.raises(ValueError, match="noise=True"):
        bench.query(code, seed=1)
    with pytest.raises(ValueError, match="as many seeds"):
        ma2ml_env.benchmark(GAME, data=file, noise=True).query(code)
    with pytest.raises(ValueError, match=r"did you mean 'hpo\.momentum'"):
        bench.query({"hpo.momentun": 0.9})


def test_there_is_none_yet():
    with pytest.raises(ValueError, match="has no table of results"):
        ma2ml_env.benchmark(GAME)


def test_it_survives_its_file(fit, file, tmp_path):
    read = Fit.load(file)
    assert read.digest == fit.digest
    with np.load(file, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)
    assert replace(fit, shared=fit.shared * 0.5).digest != fit.digest
    assert replace(fit, about={**fit.about, "trainings": 1}).digest != fit.digest


def test_of_another_game(fit, file, tmp_path):
    with pytest.raises(ValueError, match="trainings of another game"):
        make_game("trio-digits-v0", "table", data=file)
    with pytest.raises(ValueError, match="another base recipe"):
        make_game(GAME, "table", data=file, batch_size=16)
    with pytest.raises(ValueError, match="on data with seed"):
        make_game(GAME, "table", data=file, seed=1)
    sources = [{**fit.about["sources"][0], "levels": "others"}]
    for about, message in (
        ({"features": [*fit.about["features"][:-1], "log10_flops"]}, "fitted to other features"),
        ({"sources": sources}, "earlier levels"),
    ):
        path = tmp_path / "other.npz"
        replace(fit, about={**fit.about, **about}).save(path)
        with pytest.raises(ValueError, match=message):
            make_game(GAME, "table", data=path)


def test_trainings_are_no_surrogate(tmp_path):
    trainings(SPACE.sample(20, 0)).save(tmp_path / "some.npz")
    with pytest.raises(ValueError, match="more than the 1,000,000 that a table may have"):
        make_game(GAME, "table", data=tmp_path / "some.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": np.zeros((2, 2))}, "noise are finite numbers"),
        ({"noise": None}, "noise"),
        ({"levels": np.array([0.0, np.nan])}, "levels are finite"),
        ({"shared": np.full(7, 2.0)}, "a correlation lies"),
        ({"largest": np.full(7, 2.0)}, "largest accuracies"),
        ({"trees.end.root": None}, "trees of end have left, feature, value, root, base, not"),
        ({"trees.end.root": np.array([10**6])}, "root is out of range"),
        ({"trees.seconds": None}, "no trees of seconds|is no surrogate"),
        ({"surrogate": np.frombuffer(b'{"format": 9}', np.uint8)}, "another version"),
        ({"surrogate": np.frombuffer(b"[1]", np.uint8)}, "is no surrogate"),
        ({"more": np.zeros(3)}, "is no surrogate"),
    ],
)
def test_a_damaged_file_is_refused(file, tmp_path, change, message):
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, value in change.items():
        arrays = {each: array for each, array in arrays.items() if not each.startswith(name)}
        if value is not None:
            arrays[name] = value
    path = tmp_path / "damaged.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        make_game(GAME, "table", data=path)


def test_a_game_that_has_no_costs_has_none():
    agents = [NO_PLAN.modules["aug"]]
    with pytest.raises(ValueError, match="here 0 do"):
        Columns(agents, NO_PLAN.base, ImageShape(1, 8, 10))


def test_a_search_goes_on_with_its_surrogate(fit, file, tmp_path, capsys):
    """And with no other; nothing of it can be verified, as nothing was measured."""
    words = [
        "search",
        GAME,
        "--evaluator",
        "table",
        "--learner",
        "random",
        "--batch",
        "5",
        "--run",
        str(tmp_path / "run"),
    ]
    assert main([*words, "--data", str(file), "--budget", "5"]) == 0
    assert main([*words, "--data", str(file), "--budget", "10"]) == 0
    replace(fit, largest=fit.largest * 0.9).save(tmp_path / "other.npz")
    capsys.readouterr()
    assert main([*words, "--data", str(tmp_path / "other.npz"), "--budget", "15"]) == 2
    assert "the data are not those of this run" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "run")]) == 2
    assert "searched on a surrogate" in capsys.readouterr().err


@pytest.mark.slow
def test_it_is_fitted_to_what_collect_writes(fit, tmp_path):
    """Two real trainings: their MACs are those of the formula, and a surrogate of them is one of this game."""
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f'name = "two"\ngame = "{GAME}"\n[set]\ncurve = [1, 3, 5, 8, 12, 20]\ntest = true\n'
        '[[pipelines]]\nof = "random"\nnumber = 2\nseed = 0\n'
    )
    words = ["collect", str(suite), "--out", str(tmp_path), "--workers", "1", "--device", "cpu"]
    assert main(words) == 0
    [table] = [Trainings.load(path) for path in tmp_path.glob("*.npz")]
    told = columns(NO_PLAN)
    data = surrogate_fit.Data.of(table, told, EPOCHS, 1.0)
    assert len(data) == 2
    assert data.accuracy.shape == (2, 7)
    own = replace(fit, about={**fit.about, **table.about})
    own.save(tmp_path / "surrogate.npz")
    game = make_game(GAME, "table", data=tmp_path / "surrogate.npz", mean=True)
    codes = by_agent(table.codes)
    assert game.evaluator.score(codes, np.zeros(2, dtype=int))[1].tolist() == table.flops.tolist()
