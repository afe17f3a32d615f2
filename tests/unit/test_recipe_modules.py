"""The agents of the training recipe, the loss and the precision: their spaces, what they write, and a game of five agents."""

from dataclasses import replace

import pytest

from ma2ml_agents.registry import make_learner
from ma2ml_agents.run.loop import search
from ma2ml_env.game import Game
from ma2ml_env.games.make import make_game
from ma2ml_env.modules.hpo_recipe import OPTIMIZERS, HpoRecipe
from ma2ml_env.modules.loss import LOSSES, STRENGTHS, Loss
from ma2ml_env.modules.precision import Precision
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.training import parts
from ma2ml_env.trial import Proposal


def test_the_recipe_space_has_the_papers_size() -> None:
    assert HpoRecipe().space.nvec == (2, 10, 14, 41, 30, 21, 2)
    assert HpoRecipe(inclusive=True).space.nvec == (2, 11, 15, 42, 31, 22, 2)
    assert HpoRecipe().space.log10_size == pytest.approx(7.16, abs=0.005)
    assert HpoRecipe(inclusive=True).space.log10_size == pytest.approx(7.28, abs=0.005)


def test_the_recipe_is_written_whole_and_nothing_else_is() -> None:
    hpo, base = HpoRecipe(), Recipe()
    lowest = hpo.apply(base, hpo.space.decode((0, 0, 0, 0, 0, 0, 0)))
    assert lowest == replace(
        base,
        optimizer=Spec("rmsprop", {"alpha": 0.9, "momentum": 0.9, "eps": 1e-3}),
        learning_rate=0.02,
        weight_decay=7e-6,
        mixup=0.0,
        dropout=0.01,
        stochastic_depth=0.1,
        ema=0.0,
        drop_path=0.0,
    )
    highest = hpo.apply(base, hpo.space.decode((1, 9, 13, 40, 29, 20, 1)))
    assert highest.optimizer == OPTIMIZERS["sgd"] == base.optimizer
    assert highest.learning_rate == pytest.approx(0.4 * 0.029)
    assert (highest.weight_decay, highest.mixup, highest.dropout) == (20e-6, 0.4, 0.3)
    assert (highest.stochastic_depth, highest.ema) == (0.3, 0.9999)
    inclusive = HpoRecipe(inclusive=True)
    top = inclusive.apply(base, inclusive.space.decode((0, 10, 14, 41, 30, 21, 0)))
    assert (top.learning_rate, top.mixup, top.dropout, top.stochastic_depth) == (0.03, 0.41, 0.31, 0.31)
    assert HpoRecipe(sgd_factor=5.0, ema=0.9).apply(base, hpo.space.decode((1, 0, 0, 0, 0, 0, 1))).ema == 0.9


@pytest.mark.parametrize("decision", range(7))
def test_every_decision_shows_in_the_key(decision: int) -> None:
    hpo = HpoRecipe()
    code = [1] * 7
    other = code.copy()
    other[decision] = 0
    keys = {hpo.apply(Recipe(), hpo.space.decode(c)).key for c in (code, other)}
    assert len(keys) == 2


@pytest.mark.parametrize("settings", [{"sgd_factor": 0.0}, {"sgd_factor": float("nan")}, {"ema": 1.0}, {"ema": 0.0}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        HpoRecipe(**settings)  # type: ignore[arg-type]


def test_a_loss_without_strength_shows_none() -> None:
    loss = Loss()
    keys = {
        kind: {loss.apply(Recipe(), {"loss": kind, "strength": strength}).key for strength in STRENGTHS}
        for kind in LOSSES
    }
    assert keys["cross_entropy"] == {Recipe().key}
    assert [len(keys[kind]) for kind in LOSSES] == [1, 3, 3, 3]
    assert len(set().union(*keys.values())) == 10


@pytest.mark.parametrize("specs", LOSSES.values(), ids=LOSSES)
def test_every_loss_can_be_built(specs: list[Spec]) -> None:
    for spec in specs:
        parts.loss(spec)


def test_precisions_are_those_of_the_training() -> None:
    module = Precision()
    written = [module.apply(Recipe(), module.space.decode((i,))).precision for i in range(3)]
    assert written == list(parts.PRECISIONS)
    for precision in written:
        parts.check(replace(Recipe(), precision=precision))


def five_agents(evaluator: str, hpo: str = "hpo_recipe") -> Game:
    options = {"final_epochs": 4, "proxy_epochs": 1, "limit": 100} if evaluator == "train" else {}
    return make_game("digits-v0", evaluator, modules=["aug", "nas", hpo, "loss", "precision"], **options)


@pytest.mark.slow
@pytest.mark.parametrize("hpo", ["hpo", "hpo_recipe"])
def test_a_game_of_five_agents_trains(hpo: str) -> None:
    """Three pipelines of all losses and precisions; a fourth differs from the first in its precision alone."""
    game = five_agents("train", hpo)
    assert list(game.spec.nvec) == ["aug", "nas", "hpo", "loss", "precision"]
    codes = [
        {agent: tuple((i + j) % n for j, n in enumerate(nvec)) for agent, nvec in game.spec.nvec.items()}
        for i in range(3)
    ]
    codes.append({**codes[0], "precision": (1,)})
    recipes = [game.recipe(code) for code in codes]
    assert [recipe.precision for recipe in recipes] == ["float32", "bfloat16", "float16", "bfloat16"]
    trials = game.play([Proposal(code) for code in codes], seeds=[1, 1, 1, 1])
    assert [trial.outcome.status for trial in trials] == ["ok"] * 4
    losses = [trial.outcome.metrics["train_loss"] for trial in trials]
    assert len(set(losses)) == 4
    assert losses[0] == pytest.approx(losses[3], rel=0.1)


@pytest.mark.slow
def test_five_agents_search_together() -> None:
    """The learner is told nothing of loss or precision but how many choices they have."""
    game = five_agents("train")
    assert {agent: len(nvec) for agent, nvec in game.spec.nvec.items()}.items() >= {"loss": 2, "precision": 1}.items()
    best = search(game, make_learner("ma2ml", game.spec, seed=0), budget=6, batch=3)
    assert best.outcome.status == "ok"
    assert best.proposal.codes.keys() == {"aug", "nas", "hpo", "loss", "precision"}
