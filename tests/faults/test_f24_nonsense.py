"""F24: settings that mean nothing are refused, they are not played in silence: of games, landscapes, learners, suites and runs.

What nonsense is, is told from a setting's kind and from its own words: a zero is fine only where the words say what it means.
"""

import json
import math
import re
import time
import tomllib
from functools import cache

import pytest
from hostile import overwrite, rows
from hypothesis import strategies as st
from suite import HERE, load
from test_f24_hostile import TRIAL, fuzz, inputs, text, toml

from ma2ml_agents.cli.main import main
from ma2ml_agents.registry import learner_class, learner_names, make_learner
from ma2ml_env.evaluators.train import Train
from ma2ml_env.games.make import make_game
from ma2ml_env.games.options import sort_options
from ma2ml_env.games.settings import Setting, defaults, meanings, settings_of
from ma2ml_env.io.settings import words
from ma2ml_env.registry import resolve
from ma2ml_env.training import parts
from ma2ml_env.trial import GameSpec, Trial

GAMES = ("digits-v0", "own-small-v1", "cifar10-small-v0")
SPEC = GameSpec({"a": (3, 4), "b": (2,)})
BELOW_ZERO = {"seed", "flops_link", "residual"}
"""settings of which a negative number means something; so does whole `seed` of any size within 64 bits"""
NO_SHARES = {"mixup", "response_spread"}
"""settings whose words speak of another share"""
NUMBERS = st.one_of(
    st.sampled_from([-1, -0.5, 1.5, 0, True, 10**12, 10**30, 10**400, 1e12, 1e308, math.nan, math.inf, -math.inf]),
    st.integers(), st.floats(),
)  # fmt: skip
VALUES = st.one_of(
    NUMBERS, st.none(), st.sampled_from(["", "3", "true", "nonsense", [], {}, [[]], [0], [-1], [math.nan], [True]]),
    st.lists(NUMBERS, max_size=3),
)  # fmt: skip


def nonsense(setting, value):
    """Why a value cannot be meant, or ""."""
    kind = setting.kind
    if isinstance(value, bool):
        return "" if "true or false" in kind else "a switch"
    if isinstance(value, str):
        return "" if "text" in kind or repr(value) in kind else "a text"
    if value is None:
        return "" if "none" in kind else "nothing"
    if isinstance(value, (list, dict)):
        if isinstance(value, dict):
            return "" if "Mapping" in kind else "an object"
        if "a list" not in kind:
            return "a list"
        return next((f"holds {each}" for each in value if number_is_nonsense(setting, each, least=1)), "")
    if "number" not in kind:
        return "a number"
    return number_is_nonsense(setting, value)


def number_is_nonsense(setting, value, least=0):
    if isinstance(value, (list, bool, str)) or value is None:
        return "no number"
    if not math.isfinite(value) if isinstance(value, float) else abs(value) >= 1 << 63:
        return "not finite"
    if setting.name == "seed":
        return "" if isinstance(value, int) else "a fraction"
    if isinstance(value, float) and "whole" in setting.kind:
        return "a fraction"
    if value < 0 and setting.name not in BELOW_ZERO:
        return "negative"
    share = re.search(r"\b(probability|share)\b|\[0, 1[\])]", setting.meaning)
    if share and value > 1 and setting.name not in NO_SHARES:
        return "a share above 1"
    zero = json.loads(setting.value) == 0 or re.search(r"\b0 (is|leaves|lets|:)|\b0: |0 stands", setting.meaning)
    if value == 0 and "whole" in setting.kind and not zero:
        return "no count"
    if value > 1e15 and setting.name not in BELOW_ZERO:
        return "too large"
    return "too small" if least and value < least and setting.name != "reductions" else ""


@cache
def settings_for(game):
    """All keys of `--set` of a game, those of files left out: another test opens files."""
    files = {"cache", "groups", "digest", "folder", "checkpoints", "progress", "weights"}
    return [each for each in settings_of(resolve("games", game)) if each.name not in files]


def told_to_game(game, setting, value):
    """Do what a search does with a key before anything is trained."""
    if setting.home == "surrogate":
        make_game(game, "surrogate", **{setting.name: value})
        return
    own = {"images": "nowhere"} if game.startswith("own") else {}
    named = resolve("games", game)
    if setting.name == "seed":  # it is an argument of make_game
        make_game(game, "surrogate", seed=value)
        return
    told = sort_options(named, "train", {**own, setting.name: value})
    told.source._check()
    Train(told.source, **told.trainer)
    parts.check(told.base)
    if setting.home == "network":
        parts.check_network(told.base.network)


def accepted(tell, *args):
    """Whether a value passes; it is refused as the command line tells it, and within five seconds.

    One that passes may take longer: its network is built. One of 54 cells took 14 seconds on a busy machine.
    """
    began = time.process_time()
    try:
        tell(*args)
    except (ValueError, TypeError, AttributeError):  # the latter two become a line that names the setting
        assert time.process_time() - began < 5.0, args
        return False
    assert time.process_time() - began < 60.0, args
    return True


def hold_against(number, cases, tell):
    found = []

    @fuzz(number, st.sampled_from(cases), VALUES)
    def _(case, value):
        passes = accepted(tell, *case, value)
        why = nonsense(case[-1], value)
        assert not (passes and why), f"{case[-1].name}={value!r} is accepted, {why}"
        found.append(passes)

    assert any(found)
    assert not all(found)


@inputs(60, 200)
@pytest.mark.parametrize("game", GAMES)
def test_f24_nonsense_in_set(game, number):
    hold_against(number, [(game, each) for each in settings_for(game)], told_to_game)


@pytest.mark.parametrize("game", GAMES)
def test_f24_the_usual_values_are_no_nonsense(game):
    """A control: neither the rule nor the code refuses what a game has itself."""
    for setting in settings_for(game):
        value = json.loads(setting.value)
        if not isinstance(value, list):
            assert not nonsense(setting, value), setting
        assert accepted(told_to_game, game, setting, value), setting


@cache
def settings_of_learner(name):
    config = learner_class(name).Config
    usual, said = defaults(config), meanings(config)
    hints = __import__("typing").get_type_hints(config)
    return [
        (name, Setting(key, "learner", words(hints[key]), json.dumps(value), said.get(key, "")))
        for key, value in usual.items()
    ]


@inputs(100, 3000)
def test_f24_nonsense_in_learner_set(number):
    cases = [each for name in learner_names() for each in settings_of_learner(name)]
    for _, setting in cases:  # the control
        assert not nonsense(setting, json.loads(setting.value)), setting
    hold_against(number, cases, lambda name, setting, value: make_config(name, {setting.name: value}))


def make_config(name, told):
    """Its settings alone: a learner of many units takes seconds to make, and is meant."""
    from ma2ml_agents.registry import make_config

    return make_config(learner_class(name).Config, told, name)


def test_f24_a_learner_is_made_by_these_settings():
    with pytest.raises(ValueError, match="tau"):
        make_learner("ma2ml", SPEC, tau=math.nan)


@inputs(100, 1000)
def test_f24_nonsense_in_suites(tmp_path, number):
    path, real = tmp_path / "s.toml", tomllib.loads((HERE / "suites" / "smoke.toml").read_text())
    found = []

    def put(where, value):
        data = json.loads(json.dumps(real))
        (data["arms"][0] if where == "seeds" else data)[where] = value
        path.write_text("\n".join(f"{text(key)} = {toml(each)}" for key, each in data.items()))
        return load(str(path))

    @fuzz(number, st.sampled_from(["budget", "batch", "top_k", "seeds"]), NUMBERS)
    def _(where, value):
        passes = accepted(put, where, value)
        assert not passes or (type(value) is int and 1 <= value <= 1_000_000), (where, value)
        found.append(passes)

    assert any(found)
    assert not all(found)
    assert put("budget", 48).runs[0].budget == 48


@pytest.mark.parametrize(
    ("where", "value"), [("name", "../up"), ("name", ""), ("nvec", {"a": [0]}), ("nvec", {"a": [True]})]
)
def test_f24_nonsense_in_a_suites_landscape(tmp_path, where, value):
    real = tomllib.loads((HERE / "suites" / "smoke.toml").read_text())
    (landscape,) = [each for each in real["landscapes"] if "nvec" in each][:1] or [{"name": "x", "nvec": {"a": [2]}}]
    real["landscapes"] = [{**landscape, where: value}]
    path = tmp_path / "s.toml"
    path.write_text("\n".join(f"{text(key)} = {toml(each)}" for key, each in real.items()))
    with pytest.raises(ValueError, match=r"s\.toml"):
        load(str(path))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("number",), True), (("number",), 1.5), (("number",), -1), (("seed",), "3"), (("reward",), True),
        (("proposal", "codes", "a"), [True, 1]), (("proposal", "codes", "a"), ["0", 1]),
        (("outcome", "seconds"), -1.0), (("outcome", "fidelity"), 7.0), (("outcome", "fidelity"), -0.5),
        (("outcome", "accuracy"), 1.5), (("outcome", "flops"), -3),
    ],
)  # fmt: skip
def test_f24_nonsense_in_a_trial(path, value):
    data = json.loads(json.dumps(TRIAL.to_json()))
    assert Trial.from_json(data) == TRIAL
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=r"\w"):
        Trial.from_json(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("budget", -3),
        ("batch", 0),
        ("budget", True),
        ("workers", 0),
        ("time_limit", -1.0),
        ("seed", 10**30),
        ("size", -1),
    ],
)
def test_f24_nonsense_in_a_runs_config(key, value, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["search", "digits-v0", "--evaluator", "surrogate", "--learner", "random", "--budget", "4", "--batch", "2",
                 "--run", str(run)]) == 0  # fmt: skip
    (config,) = [row for row in rows(run, "meta") if row["key"] == "run"]
    assert overwrite(run, "meta", config, "json", json.dumps({**json.loads(config["json"]), key: value}))
    capsys.readouterr()
    assert main(["resume", str(run)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
