"""What a search shows while it runs: live line, log lines, curves."""

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from ma2ml_agents.reports.tables import amount, batch_table
from ma2ml_agents.run.loop import search
from ma2ml_agents.run.standing import Standing, curve, first_and_last, pareto, recipe_key
from ma2ml_agents.run.tensorboard import TensorBoard
from ma2ml_agents.run.tracking import SearchProgress
from ma2ml_env.games.make import make_game
from ma2ml_env.reward import Accuracy
from ma2ml_env.trial import Outcome, Proposal, Trial


def trial(number: int, reward: float, *, code: int | None = None, **outcome) -> Trial:
    proposal = Proposal({"a": (number if code is None else code,)})
    return Trial(number, number, proposal, Outcome(**{"accuracy": reward, **outcome}), reward)


def by_code(one: Trial) -> str:
    return str(one.proposal.codes["a"])


def test_top_k_is_of_distinct_pipelines():
    standing = Standing(2, by_code)
    standing.add([trial(0, 0.9, code=7), trial(1, 0.95, code=7), trial(2, 0.5), trial(3, 0.7)])
    assert [one.number for one in standing.top] == [1, 3], "the repeated pipeline counts once, with its best trial"
    assert standing.top_mean == pytest.approx((0.95 + 0.7) / 2)
    assert [one.number for one in standing.distinct] == [1, 3, 2]


def test_ties_go_to_the_lower_number():
    standing = Standing(1, by_code)
    standing.add([trial(0, 0.5), trial(1, 0.9), trial(2, 0.9)])
    assert standing.best is not None
    assert standing.best.number == 1


def test_counts_and_nothing():
    standing = Standing(3, by_code)
    assert (standing.best, standing.top, standing.top_mean) == (None, [], 0.0)
    standing.add([trial(0, 0.0, status="failed", error="NAN"), trial(1, 0.0, status="infeasible"), trial(2, 0.4)])
    assert standing.counts == {"ok": 1, "infeasible": 1, "failed": 1}


def test_curve_is_the_papers():
    trials = [trial(i, reward) for i, reward in enumerate([0.1, 0.3, 0.5, 0.1, 0.9])]
    expected = [(2, 0.2, 0.2), (4, 0.3, 0.4), (5, 0.9, 0.7)]
    for point, wanted in zip(curve(trials, 2, 2, by_code), expected, strict=True):
        assert point == pytest.approx(wanted)


def test_first_and_last_need_four_batches():
    trials = [trial(i, i / 10) for i in range(8)]
    assert first_and_last(trials, 2) == pytest.approx((0.15, 0.55))
    assert first_and_last(trials[:6], 2) is None


def test_pareto():
    trials = [
        trial(0, 0.5, flops=100),
        trial(1, 0.4, flops=200),  # beaten by 0
        trial(2, 0.6, flops=200),
        trial(3, 0.6, flops=300),  # as good as 2 with more MACs
        trial(4, 0.0, flops=10, status="infeasible"),
        trial(5, 0.9),  # MACs unknown
        trial(6, 0.5, flops=100),  # equal to 0, which came first
    ]
    assert [one.number for one in pareto(trials)] == [0, 2]
    losses = [replace(one, outcome=replace(one.outcome, metrics={"log_loss": one.outcome.accuracy})) for one in trials]
    assert [one.number for one in pareto(losses, "log_loss")] == [0, 1], "what loses less is better"


def test_amounts():
    assert [amount(n) for n in (0, 999, 8022, 1.234e6, 600e6, 2e9)] == ["-", "999", "8.02k", "1.23M", "600M", "2G"]
    assert [amount(n) for n in (999_400, 999_600, 999.6e6)] == ["999k", "1M", "1G"]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 209])
def test_batch_table_covers_all_batches_in_few_rows(count):
    trials = [trial(i, 0.5, code=0) for i in range(24 * count)]
    made = batch_table(trials, 24, 3, by_code)
    assert 1 <= made.row_count <= 11
    cells = list(made.columns[0].cells)
    assert cells[0].partition("-")[0] == "1"
    assert cells[-1].rpartition("-")[2] == str(count)


@pytest.fixture(scope="module")
def game():
    return make_game("digits-v0", "surrogate")


def played(game, *callbacks, budget=12, store=None, learner="random"):
    from ma2ml_agents.registry import make_learner

    learner = make_learner(learner, game.spec, seed=0)
    return search(game, learner, budget=budget, batch=4, store=store, callbacks=callbacks)


def test_a_log_gets_a_line_a_batch(game):
    out = io.StringIO()
    with SearchProgress(Console(file=out, width=200), 3, recipe_key(game), game.reward) as progress:
        best = played(game, progress)
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[-1].startswith("12/12 trials  batch 3, ")
    assert f"best {best.reward:.4f} (trial {best.number})" in lines[-1]
    mean = math.fsum(one.reward for one in progress.standing.trials[-4:]) / 4
    assert f"mean of batch {mean:.4f}" in lines[-1]
    assert f"mean of top 3 {progress.standing.top_mean:.4f}" in lines[-1]


def test_a_terminal_gets_a_bar_and_a_live_line(game):
    out = io.StringIO()
    with SearchProgress(
        Console(file=out, width=120, force_terminal=True), 3, recipe_key(game), game.reward
    ) as progress:
        best = played(game, progress)
    assert "12/12" in out.getvalue()
    assert f"best {best.reward:.4f} (trial {best.number})" in out.getvalue()


def test_failures_of_the_running_batch_show_at_once():
    progress = SearchProgress(Console(file=io.StringIO()), 3, by_code, Accuracy())
    progress.on_start(8, [])
    progress.on_outcome(0, Outcome(status="failed", error="NAN"))
    progress.on_outcome(1, Outcome(accuracy=0.5))
    assert progress.line() == "mean of batch 0.2500  failed 1"
    progress.on_batch(0, [trial(0, 0.0, status="failed", error="NAN"), trial(1, 0.5)], {"seconds": 1.0})
    assert "failed 1" in progress.line(), "counted once when the batch closes"


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_curves_hold_rewards_and_what_the_learner_measures(tmp_path):
    game = make_game("digits-v0", "surrogate", modules=["hpo_sgd", "aug"])
    board = TensorBoard(tmp_path, 3, recipe_key(game))
    progress = SearchProgress(Console(file=io.StringIO()), 3, recipe_key(game), game.reward)
    played(game, board, progress, budget=8, learner="ma2ml")
    board.close()
    curves = scalars(tmp_path)
    expected = curve(progress.standing.trials, 4, 3, recipe_key(game))
    assert [step for step, _ in curves["reward/batch"]] == [4, 8]
    assert [value for _, value in curves["reward/batch"]] == pytest.approx([mean for _, mean, _ in expected])
    assert [value for _, value in curves["reward/top_3"]] == pytest.approx([top for _, _, top in expected])
    agents = [f"{kind}/{agent}" for kind in ("entropy", "kl", "credit") for agent in game.spec.nvec]
    assert {*agents, "learner/critic_loss", "seconds", "failed"} <= set(curves)


def test_hparams_hold_the_settings_of_the_search(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    game = make_game("digits-v0", "surrogate", modules=["hpo_sgd", "aug"])
    board = TensorBoard(
        tmp_path,
        3,
        recipe_key(game),
        {"learner": "ma2ml", "seed": 4, "start": ["base"], "learner_set.credit": "shared"},
    )
    played(game, board, budget=8, learner="random")
    board.close()
    assert list(tmp_path.iterdir()) == list(tmp_path.glob("events.*")), "no folder of its own"
    events = EventAccumulator(str(tmp_path)).Reload()
    told = {
        tag: HParamsPluginData.FromString(events.SummaryMetadata(tag).plugin_data.content)
        for tag in events.PluginTagToContent("hparams")
    }
    start = told["_hparams_/session_start_info"].session_start_info.hparams
    assert (start["learner"].string_value, start["seed"].number_value) == ("ma2ml", 4.0)
    assert start["learner_set.credit"].string_value == "shared"
    assert start["start"].string_value == "['base']"
    metrics = told["_hparams_/experiment"].experiment.metric_infos
    assert {each.name.tag for each in metrics} == {"reward/best", "reward/top_3"} <= set(scalars(tmp_path))
    assert told["_hparams_/session_end_info"].session_end_info.status == 1, "success"


def test_curves_of_a_resumed_search_go_on(tmp_path, game):
    from ma2ml_env.store.store import TrialStore

    for budget in (8, 16):
        with TrialStore(tmp_path / "run") as store:
            board = TensorBoard(tmp_path / "board", 3, recipe_key(game))
            played(game, board, budget=budget, store=store)
            board.close()
    assert [step for step, _ in scalars(tmp_path / "board")["reward/best"]] == [4, 8, 12, 16]
