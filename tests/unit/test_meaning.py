"""What a spec tells of decisions beside their numbers: kinds, orders, features."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ma2ml_agents.joint import Joint
from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.game import Game
from ma2ml_env.games.make import make_game
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import names, resolve
from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial


class Told:
    """An agent with two decisions of one kind, which tells their sum."""

    name = "told"
    space = SearchSpace([Decision("a", (1, 2, 4), kind="k", ordered=True), Decision("b", (1, 2, 4), kind="k")])

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        return recipe

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(codes.sum(axis=1, keepdims=True))


class Silent:
    name = "silent"
    space = SearchSpace([Decision("c", (1, 2))])

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        return recipe


def game(*modules: Any) -> Game:
    return Game(modules, Surrogate({module.name: module.space.nvec for module in modules}))


def test_a_spec_tells_kinds_and_orders_of_agents_that_have_them() -> None:
    spec = game(Silent(), Told()).spec
    assert spec.kinds == {"told": ("k", "k")}
    assert spec.ordered == {"told": (True, False)}


def test_features_are_read_from_the_columns_of_the_agent_that_tells_them() -> None:
    spec = game(Silent(), Told()).spec
    assert spec.features is not None
    assert spec.features(np.array([[1, 0, 2], [0, 2, 2]], dtype=float)).tolist() == [[2.0], [4.0]]
    assert game(Silent()).spec.features is None


def test_specs_are_equal_whatever_their_features() -> None:
    nvec = {"a": (2, 3)}
    assert GameSpec(nvec, features=lambda codes: codes) == GameSpec(nvec)
    assert GameSpec(nvec, kinds={"a": ("x", "")}) != GameSpec(nvec)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"kinds": {"a": ("k",)}}, "kinds of agent 'a' are one for each"),
        ({"ordered": {"a": (True, True, True)}}, "ordered of agent 'a' are one for each"),
        ({"ordered": {"b": (True,)}}, "ordered of agent 'b' are one for each"),
        ({"kinds": {"a": ("k", "k")}}, "the same choices, not 2 and 3"),
        ({"nvec": {"a": (2, 0)}}, r"decisions of agent 'a' have at least 1 choice each, not \(2, 0\)"),
        ({"state_dim": -1}, "state_dim is at least 0, not -1"),
        ({"intervals": {"b": 1}}, "intervals of agent 'b'"),
        ({"intervals": {"a": 0}}, "intervals of agent 'a': at least 1"),
    ],
)
def test_a_spec_made_by_hand_is_checked(told: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GameSpec(**{"nvec": {"a": (2, 3)}, **told})


def test_a_choice_is_a_whole_number() -> None:
    trial = Trial(7, 0, Proposal({"a": (1.7,)}), Outcome(accuracy=0.5), 0.5)
    with pytest.raises(ValueError, match="trial 7: the code of 'a' does not fit its choices"):
        Joint(GameSpec({"a": (3,)})).read([trial], torch.Generator())


def test_decisions_of_one_kind_have_the_same_choices() -> None:
    with pytest.raises(ValueError, match=r"'a' and 'b' are of the kind 'k'"):
        SearchSpace([Decision("a", (1, 2), kind="k"), Decision("b", (1, 3), kind="k")])


def test_decisions_are_compared_by_name_and_choices() -> None:
    assert Decision("a", (1, 2), kind="k", ordered=True) == Decision("a", (1, 2))


@pytest.mark.parametrize("name", names("modules"))
def test_numbers_that_rise_are_said_to_be_ordered(name: str) -> None:
    """What is forgotten shows: of rising numbers that are no place in a network, each is ordered."""
    for decision in resolve("modules", name)().space.decisions:
        number = all(type(choice) in (int, float) for choice in decision.choices) and len(decision.choices) > 1
        if number and "input" not in decision.name:
            assert decision.ordered == (list(decision.choices) == sorted(decision.choices)), decision


def test_the_paper_space_says_what_is_interchangeable() -> None:
    spec = make_game("cifar10-v0", "surrogate").spec
    assert {kind: spec.kinds["aug"].count(kind) for kind in spec.kinds["aug"]} == {
        "type": 10, "probability": 10, "level": 10,
    }  # fmt: skip
    assert spec.kinds["hpo"] == ("learning_rate",) * 10 + ("weight_decay",) * 10
    assert spec.kinds["nas"].count("normal.operation") == spec.kinds["nas"].count("reduction.operation") == 10
