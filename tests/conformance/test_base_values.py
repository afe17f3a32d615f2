"""Every module says what of its space comes closest to a recipe; the games of cells have their base recipe in their spaces."""

import pytest

from ma2ml_env.games.make import make_game
from ma2ml_env.modules.aug import Aug
from ma2ml_env.modules.base import Expresses
from ma2ml_env.modules.hpo_sgd import HpoSgd
from ma2ml_env.modules.nas_cell import NasCell
from ma2ml_env.recipe import Operation, Recipe
from ma2ml_env.registry import names, resolve
from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.testing import check_module, random_proposals

TRAINED = [id for id in names("games") if resolve("games", id).evaluator == "train"]
APART = {
    # FBNetV3-B has two kernels a stage, and the recipes of the table have other rates, dropout and dropped paths.
    "imagenet200": {"network", "learning_rate", "weight_decay", "dropout", "stochastic_depth"},
    # And images of 48 pixels, which the space makes smaller.
    "imagenet200-600m-small-v0": {
        "network", "resolution", "learning_rate", "weight_decay", "dropout", "stochastic_depth",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", names("modules"))
def test_every_module_says_what_comes_closest(name):
    assert isinstance(resolve("modules", name)(), Expresses)  # check_module looks at what it says


@pytest.mark.parametrize("id", TRAINED)
def test_the_base_recipe_has_a_code(id):
    game = make_game(id, "surrogate")
    found, base = game.recipe(game.codes()).to_json(), game.base.to_json()
    apart = APART.get(id) or (APART["imagenet200"] if id.startswith("imagenet200") else set())
    assert {slot for slot in base if found[slot] != base[slot]} == apart
    if not apart:
        assert game.recipe(game.codes()).key == game.base.key


@pytest.mark.parametrize(
    "name",
    [
        "aug",
        "nas_cell",
        "hpo_continuous",
        "hpo_recipe",
        "loss",
        "precision",
        "nas_mobile",
        "aug_small",
        "nas_small",
        "hpo_small",
    ],
)
def test_what_is_in_the_space_is_met_exactly(name):

    game = make_game("digits-v0", "surrogate", modules=[resolve("modules", name)(name="x")])
    for proposal in random_proposals(game.spec, 20):
        recipe = game.recipe(proposal.codes)
        assert game.recipe(game.codes(like=recipe)).key == recipe.key


@pytest.mark.parametrize(
    ("decoding", "rate", "closest"),
    [("mean", 0.03, 0.03), ("mean", 0.026, 0.025), ("mean", 1.0, 0.1), ("mean", 0.1, 0.1), ("digits", 0.03, 0.03),
     ("digits", 0.025, 0.025), ("digits", 1e-9, 0.0125), ("digits", 0.1, 0.1)],
)  # fmt: skip
def test_picks_come_closest(decoding, rate, closest):
    module = HpoSgd(decoding=decoding)
    check_module(module)
    values = module.base_values(Recipe(learning_rate=rate))
    assert module.apply(Recipe(), values).learning_rate == pytest.approx(closest, rel=1e-5)


def test_cells_of_other_sizes_begin_alike():
    known = Recipe().network.args["normal"]
    for blocks in (2, 7):
        module = NasCell(blocks=blocks)
        check_module(module)
        cell = module.apply(Recipe(), module.base_values(Recipe())).network.args["normal"]
        assert cell[:5] == known[:blocks]
        assert set(cell[5:]) <= {(0, "sep_conv_3x3", 1, "sep_conv_3x3", "add")}


@pytest.mark.slow
def test_a_policy_of_another_length_goes_in_turn():
    five, seven, ten = Aug(), Aug(sub_policies=7), Aug(sub_policies=10)
    for module in (five, seven, ten):
        check_module(module)
    policy = tuple((Operation(name, 0.5, 3),) for name in ("rotate", "color", "contrast", "solarize", "cutout"))
    recipe = five.apply(Recipe(), five.base_values(Recipe(augment=policy)))
    assert sorted(recipe.augment) == sorted(policy)
    assert ten.apply(Recipe(), ten.base_values(recipe)).augment == recipe.augment  # twice each is once each
    assert len(seven.apply(Recipe(), seven.base_values(recipe)).augment) == 7
    unknown = Recipe(augment=((Operation("trivial_augment", 1.0, None),),))
    assert five.apply(unknown, five.base_values(unknown)).augment == ()


def test_codes_by_names():
    game = make_game("digits-v0", "surrogate")
    for proposal in random_proposals(game.spec, 5):
        assert game.codes(game.values(proposal.codes)) == proposal.codes
    codes = game.codes({"hpo": {"learning_rate.0": 0.1}})
    assert game.recipe(codes).learning_rate == pytest.approx(0.0325)
    assert game.recipe(codes).network == game.base.network


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hbo": {}}, "no agent 'hbo'; did you mean 'hpo'"),
        (
            {"hpo": {"learning_rates.0": 0.1}},
            "'hpo' has no decision 'learning_rates.0'; did you mean 'learning_rate.0'",
        ),
        ({"hpo": {"learning_rate.0": 0.3}}, r"'hpo': 0.3 is not a choice of 'learning_rate.0'; it has \(0.0125, "),
    ],
)
def test_what_is_not_there_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        make_game("digits-v0", "surrogate").codes(values)


class Silent:
    """An agent that does not say what comes closest."""

    name = "mine"
    space = SearchSpace([Decision("flip", (False, True))])

    def apply(self, recipe, values):
        return recipe.with_slots(flip=values["flip"])


def test_a_module_need_not_say_it():
    check_module(Silent())
    game = make_game("digits-v0", "surrogate", modules=["hpo", Silent()])
    assert game.codes({"mine": {"flip": True}})["mine"] == (1,)
    with pytest.raises(ValueError, match=r"'mine' does not say what comes closest .* flip of its decisions"):
        game.codes()


class Wrong(Silent):
    """What check_module refuses: values that its own recipe is not closest to."""

    def base_values(self, base):
        return {"flip": not base.flip}


def test_values_that_are_not_closest_are_refused():
    with pytest.raises(AssertionError, match="not closest to their own recipe"):
        check_module(Wrong())
