"""What makes two codes the same pipeline shows in the recipe, and nothing else does."""

import pytest

from ma2ml_env.modules.aug import OPERATIONS, Aug, canonical_operation, canonical_policy
from ma2ml_env.modules.hpo_sgd import HpoSgd
from ma2ml_env.modules.nas_cell import NasCell
from ma2ml_env.recipe import Operation, Recipe


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
