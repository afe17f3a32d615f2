"""`ma2ml list --set GAME`: every key that a game takes, as the code that has it says."""

import json

import pytest

from ma2ml_agents.cli.keys import keys_of
from ma2ml_agents.cli.main import main
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.options import settings
from ma2ml_env.games.options import sort_options
from ma2ml_env.games.settings import meanings, settings_of
from ma2ml_env.registry import names, resolve
from ma2ml_env.training.data.source import DataSource


@pytest.mark.parametrize("id", names("games"))
def test_every_key_is_taken_with_its_own_value_and_says_what_it_means(id):
    named = resolve("games", id)
    found = keys_of(id)
    assert len({(each.name, each.home) for each in found}) == len(found)
    for each in found:
        assert each.meaning, f"{each.home}.{each.name} says nothing"
        assert each.kind
        (value,) = settings([f"{each.name}={each.value}"], "--set").values()
        evaluator = each.home if each.home in ("surrogate", "table") else named.evaluator
        source = {"images": "somewhere"} if named.data == "own" and evaluator == "train" else {}
        if each.name != "seed":  # of `make_game` itself
            sort_options(named, evaluator, {each.name: value, **source})  # refuses what it does not know
    written = {each.name: settings([f"{each.name}={each.value}"], "--set")[each.name] for each in found}
    RunConfig(game=id, learner="random", budget=1, batch=1, seed=0, evaluator="train", set=written).overrides()


def test_the_values_are_the_games_own():
    def values(id):
        return {each.name: each.value for each in settings_of(resolve("games", id)) if each.home != "surrogate"}

    small, large = values("cifar10-small-v0"), values("cifar10-v0")
    assert (small["limit"], large["limit"]) == ("4000", "null")
    assert (small["cells"], large["cells"]) == ("4", "17")
    assert (small["proxy_epochs"], large["proxy_epochs"]) == ("3", "12")
    assert values("imagenet200-600m-small-v0")["stem_stride"] == "1"
    assert values("nasbench201-cifar10-v0")["mean"] == "false"
    by_name = {each.name: each for each in settings_of(resolve("games", "imagenet200-600m-v0"))}
    assert float(by_name["flops"].value) == 600e6
    assert by_name["validation"].meaning == meanings(DataSource)["validation"]
    assert by_name["validation"].kind == "a whole number or none"


def test_the_list_is_printed_and_as_json(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["list", "--set", "digits-v0"]) == 0
    printed = capsys.readouterr().out
    for word in ("proxy_epochs", "epochs of training in the search", "filters", "deterministic", "contested"):
        assert word in printed
    assert main(["list", "--set", "digits-v0", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"name", "home", "kind", "value", "meaning"} == set(rows[0])
    assert main(["list", "--set", "digit-v0"]) == 2
    assert "did you mean 'digits-v0'" in capsys.readouterr().err
