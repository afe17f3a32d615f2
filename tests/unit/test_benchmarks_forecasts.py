"""The benchmark of forecasts, on invented trainings whose accuracy is a known sum of effects."""

import json
from dataclasses import replace

import forecasts
import numpy as np
import pytest
from whole_grid import GAME, trainings

from ma2ml_env.games.make import make_game


@pytest.fixture
def table(tmp_path):
    found = trainings(1, game=make_game(GAME, "surrogate"))
    told = 0.5 + 0.04 * (found.codes[:, 2] + found.codes[:, 5]) + 0.05 * (found.codes[:, 1] == 2)
    path = tmp_path / "table.npz"
    replace(found, accuracy=told.clip(0, 1)).save(path)
    return path


@pytest.mark.slow
def test_critics_are_judged_by_what_they_did_not_see(table, tmp_path, monkeypatch, capsys):
    some = ("names", "interactions", "boosting", "boosting + features")
    monkeypatch.setattr(forecasts, "FORECASTS", {name: forecasts.FORECASTS[name] for name in some})
    out = tmp_path / "out" / "forecasts.json"
    assert forecasts.main([str(table), "--sizes", "4", "60", "--draws", "2", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["pipelines"] == 2304
    for name in some:
        assert found["60"][name]["kendall"] > 0.6
    assert found["4"]["boosting"]["kendall"] == 0.0  # too few for a split: it says the same of all
    assert found["60"]["names"]["gain"] == 0.0
    assert out.with_suffix(".md").read_text().count("\n") == 2 + len(some)
    assert "boosting + features" in capsys.readouterr().out


@pytest.mark.slow
def test_forecasts_of_noise_are_worth_nothing(table):
    spec = make_game(GAME, "surrogate").spec
    _, codes, values = forecasts.pipelines([table])
    shuffled = [values[i] for i in np.random.default_rng(0).permutation(len(values))]
    found = forecasts.judged(spec, codes, shuffled, 60, 2)
    assert all(abs(row["kendall"]) < 0.15 for row in found.values())


@pytest.mark.parametrize("told", [["--draws", "1"], ["--sizes", "3000"]])
def test_what_cannot_be_drawn_is_refused(table, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        forecasts.main([str(table), *told])
    assert "2304 pipelines" in capsys.readouterr().err
