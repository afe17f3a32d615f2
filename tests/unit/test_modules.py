"""What makes two codes the same pipeline shows in the recipe, and nothing else does."""

import itertools
import math

import numpy as np
import pytest

from ma2ml_env.modules.aug import OPERATIONS, Aug, canonical_operation, canonical_policy
from ma2ml_env.modules.hpo_sgd import LEARNING_RATES, WEIGHT_DECAYS, HpoSgd, digits
from ma2ml_env.modules.nas_cell import NasCell
from ma2ml_env.recipe import Operation, Recipe
from ma2ml_env.testing import check_module


def test_an_operation_without_effect_is_not_there():
    assert len(OPERATIONS) == 15
    assert canonical_operation("rotate", 0.0, 5) is None
    assert canonical_operation("rotate", 0.5, 0) is None
    assert canonical_operation("posterize", 0.5, 1) is None  # 8 bits
    assert canonical_operation("posterize", 0.5, 5) == canonical_operation("posterize", 0.5, 4)
    assert canonical_operation("posterize", 0.5, 6) != canonical_operation("posterize", 0.5, 4)
    assert canonical_operation("invert", 0.5, 3) == canonical_operation("invert", 0.5, 7) == ("invert", 0.5, None)
    assert canonical_operation("invert", 0.5, 0) is not None
    assert canonical_operation("solarize", 0.5, 0) is not None  # threshold 255 inverts white
    assert canonical_operation("rotate", 0.5, 3) != canonical_operation("rotate", 0.5, 4)


def test_order_and_multiplicity_of_sub_policies_do_not_show():
    a, b = (Operation("rotate", 0.5, 3),), (Operation("invert", 0.1, None), Operation("rotate", 0.5, 3))
    assert canonical_policy([a, b, a, b]) == canonical_policy([b, a])
    assert canonical_policy([a, a, b]) != canonical_policy([a, b])  # shares differ
    assert canonical_policy([a, ()]) != canonical_policy([a])  # half of the images are left alone
    assert canonical_policy([(), ()]) == ()
    assert canonical_policy([b]) != canonical_policy([b[::-1]])  # order within a sub-policy does matter


def test_aug_writes_the_policy_and_nothing_else():
    aug = Aug(sub_policies=1)
    values = aug.space.decode((4, 10, 9, 6, 5, 2))
    recipe = aug.apply(Recipe(), values)
    assert recipe.augment == ((Operation("rotate", 1.0, 9), Operation("invert", 0.5, None)),)
    assert recipe.with_slots(augment=()) == Recipe()


def test_halves_of_a_block_have_one_order():
    nas = NasCell(blocks=1)
    one = nas.apply(Recipe(), nas.space.decode((0, 1, 3, 5, 0, 0, 0, 0, 0, 1)))
    other = nas.apply(Recipe(), nas.space.decode((1, 0, 5, 3, 0, 0, 0, 0, 0, 1)))
    different = nas.apply(Recipe(), nas.space.decode((1, 0, 3, 5, 0, 0, 0, 0, 0, 1)))
    assert one.key == other.key != different.key
    assert one.network.args["normal"] == ((0, "dil_conv_3x3", 1, "max_pool_3x3", "add"),)
    assert one.network.args["cells"] == 17


def test_rates_are_means_whose_order_does_not_show():
    hpo = HpoSgd()
    one = hpo.apply(Recipe(), hpo.space.decode((0, 1, 2, 3, 0, 1, 2, 3, 0, 0, *[3] * 9, 0)))
    other = hpo.apply(Recipe(), hpo.space.decode((3, 3, 2, 2, 1, 1, 0, 0, 0, 0, 0, *[3] * 9)))
    assert one.key == other.key
    assert one.learning_rate == pytest.approx((4 * 0.0125 + 2 * 0.025 + 2 * 0.05 + 2 * 0.1) / 10)
    assert one.weight_decay == pytest.approx((9 * 1e-3 + 1e-4) / 10)


def test_digits_reach_the_ends_and_each_code_is_a_recipe_of_its_own():
    """10^12 codes, and two neighbours differ; the means of the same codes have 66 rates."""
    hpo, old = HpoSgd(decoding="digits"), HpoSgd()
    assert hpo.space.nvec == old.space.nvec

    def both(module, *picks):
        recipe = module.apply(Recipe(), module.space.decode(picks))
        assert recipe == Recipe().with_slots(learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay)
        return recipe.learning_rate, recipe.weight_decay

    assert both(hpo, *[0] * 20) == both(old, *[0] * 20) == (0.0125, 1e-4)
    assert both(hpo, *[3] * 20) == (0.1, 1e-3)
    first, last = [1, *[0] * 9], [0] * 9 + [1]
    assert both(hpo, *first, *last)[0] == pytest.approx(0.0125 * 8**0.25, rel=1e-5)  # the first digit is the largest
    assert both(hpo, *last, *first)[0] == pytest.approx(0.0125 * 8 ** (1 / (4**10 - 1)), rel=1e-9)
    assert both(hpo, *last, *first)[1] == pytest.approx(3e-4**0.75 * 1e-4**0.25, rel=1e-5)  # a quarter of the way
    small = HpoSgd(picks=5, decoding="digits")
    rates = [digits(LEARNING_RATES, code) for code in itertools.product(range(4), repeat=5)]
    assert rates == sorted(set(rates))
    assert set(LEARNING_RATES) <= set(rates), "thirds of the way are places of their own"
    assert small.space.log10_size == pytest.approx(10 * math.log10(4))
    uniform = np.quantile(
        [digits(LEARNING_RATES, code) for code in np.random.default_rng(0).integers(0, 4, (4000, 10)).tolist()],
        [0.05, 0.95],
    )
    assert uniform == pytest.approx([0.0139, 0.0901], rel=0.02)


def test_means_gather_in_the_middle():
    """What the module and docs/paper.md say of the default, counted over multisets of picks."""
    counts = {}
    for choices in (LEARNING_RATES, WEIGHT_DECAYS):
        whole = [round(choice / choices[0]) for choice in choices]  # in units of the lowest: sums of these are exact
        shares = {}
        for picks in itertools.combinations_with_replacement(range(4), 10):
            orders = math.factorial(10) // math.prod(math.factorial(picks.count(i)) for i in range(4))
            value = sum(whole[i] for i in picks) * choices[0] / 10
            shares[value] = shares.get(value, 0) + orders / 4**10
        counts[choices] = shares
    assert [len(counts[choices]) for choices in (LEARNING_RATES, WEIGHT_DECAYS)] == [66, 79]
    rates = sorted(counts[LEARNING_RATES])
    below = np.cumsum([counts[LEARNING_RATES][rate] for rate in rates])
    assert [rates[int(np.searchsorted(below, share))] for share in (0.05, 0.95)] == pytest.approx([0.030, 0.065])


@pytest.mark.parametrize("picks", [1, 10])
def test_digits_pass_the_check_of_modules(picks):
    check_module(HpoSgd(picks, decoding="digits"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoding": "median"}, "known are mean, digits"),
        ({"decoding": "digits", "learning_rates": (0.1, 0.05)}, "learning_rate.*not positive and rising"),
        ({"decoding": "digits", "weight_decays": (0.0, 1e-4)}, "weight_decay.*not positive and rising"),
    ],
)
def test_impossible_decodings(settings, message):
    with pytest.raises(ValueError, match=message):
        HpoSgd(**settings)
