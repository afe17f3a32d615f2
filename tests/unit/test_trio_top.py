"""The list of the best pipelines, which are trained more often."""

import json

import trio_top

import ma2ml_env
from ma2ml_env.games.make import make_game

GAME = "trio-digits-v0"


def test_the_best_are_different_pipelines_in_their_order(tmp_path):
    out = tmp_path / "top.json"
    assert trio_top.main([GAME, "--number", "100", "--out", str(out)]) == 0
    rows, bench, game = json.loads(out.read_text()), ma2ml_env.benchmark(GAME), make_game(GAME, "train")
    codes = [bench.space.code(row) for row in rows]
    accuracies = bench.query_batch(codes).accuracy
    assert (accuracies[:-1] >= accuracies[1:]).all()
    assert accuracies[0] == bench.optimum()[1]
    others = bench.query_batch(bench.sample(3000, seed=0)).accuracy
    assert (others > accuracies[-1]).mean() < 0.06  # 100 of 2,304
    recipes = {game.recipe(game.codes(row)).key for row in rows}
    assert len(recipes) == 100
