"""The mobile space: its size, what shows in a recipe, and where the released architectures lie."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from ma2ml_env.modules.fbnetv3 import FBNETV3
from ma2ml_env.modules.nas_mobile import STAGES, NasMobile
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.space import Decision
from ma2ml_env.testing import check_module, random_codes
from ma2ml_env.training import parts
from ma2ml_env.training.networks.base import Drops, Image


@pytest.mark.parametrize(
    ("inclusive", "kernel_pairs", "size"),
    [(False, False, 17.36), (False, True, 19.17), (True, False, 19.90), (True, True, 21.70)],
)
def test_sizes(inclusive: bool, kernel_pairs: bool, size: float) -> None:
    """Only half-open ranges with one kernel a stage have the paper's floored exponent of 17."""
    module = NasMobile(inclusive, kernel_pairs)
    assert module.space.log10_size == pytest.approx(size, abs=0.005)
    assert (math.floor(module.space.log10_size) == 17) == (not inclusive and not kernel_pairs)
    check_module(module)


def test_size_by_hand() -> None:
    stem = 6 * 4  # resolutions, widths
    stages = (2 * 4 * 3, 2 * 9 * 3 * 3, 2 * 9 * 6 * 3, 2 * 9 * 7 * 4, 2 * 9 * 12 * 4, 2 * 9 * 11 * 4, 2 * 11)
    assert math.prod(NasMobile().space.nvec) == stem * math.prod(stages)


def test_widths_that_round_to_one_leave_fewer_networks_than_codes() -> None:
    """10^15.40 with their resolutions. A stage's part of the recipe depends on its own decisions, so counts multiply."""
    module = NasMobile()
    groups: dict[str, list[Decision]] = {}
    for decision in module.space.decisions:
        groups.setdefault(decision.name.partition(".")[0], []).append(decision)
    first = module.space.decode([0] * len(module.space.nvec))
    count = 1
    for decisions in groups.values():
        named = [[(decision.name, choice) for choice in decision.choices] for decision in decisions]
        count *= len({module.apply(Recipe(), {**first, **dict(some)}).key for some in itertools.product(*named)})
    assert math.log10(count) == pytest.approx(15.40, abs=0.005)


def test_what_an_upper_end_means() -> None:
    half, whole = ({d.name: d.choices for d in NasMobile(inclusive).space.decisions} for inclusive in (False, True))
    assert half["resolution"] == (224, 232, 240, 248, 256, 264)
    assert whole["resolution"] == (*half["resolution"], 272)
    assert half["stage6.expansion_rest"] == (4, 5, 6)
    assert "stage7.depth" not in half
    assert "stage1.expansion" not in half


def test_codes_of_equal_networks_have_equal_keys() -> None:
    module = NasMobile(kernel_pairs=True)
    values = module.space.decode([0] * len(module.space.nvec))
    base = module.apply(Recipe(), values)
    for same in ({"stage2.channels": 24}, {"stage1.kernel_rest": 5}):  # 20 is rounded to 24; stage 1 has one block
        assert module.apply(Recipe(), {**values, **same}).key == base.key
    for other in (
        {"stage2.channels": 28},
        {"stage2.kernel_rest": 5},
        {"resolution": 232},
        {"stage2.expansion_rest": 3},
    ):
        assert module.apply(Recipe(), {**values, **other}).key != base.key
    deeper = {**values, "stage1.depth": 2}
    assert module.apply(Recipe(), deeper).key != module.apply(Recipe(), {**deeper, "stage1.kernel_rest": 5}).key


def test_what_is_not_searched_is_the_bases() -> None:
    module = NasMobile()
    values = module.space.decode([1] * len(module.space.nvec))
    base = Recipe(network=Spec("mobile", {"stem_stride": 1, "head": 64}), auxiliary=0.4, learning_rate=0.2)
    recipe = module.apply(base, values)
    assert recipe.network.args["stem_stride"] == 1
    assert recipe.network.args["head"] == 64
    assert recipe.resolution == 232
    assert recipe.auxiliary == 0.0
    assert recipe.with_slots(network=base.network, resolution=0, auxiliary=0.4) == base
    assert set(module.apply(Recipe(), values).network.args) == {"stem", "stages"}, "nothing of another network is left"


def test_codes_build_and_learn() -> None:
    module = NasMobile(resolution=(24, 48, 8))
    for code in random_codes({"nas": module.space.nvec}, 4)["nas"].tolist():
        recipe = module.apply(Recipe(), module.space.decode(code))
        assert recipe.resolution in (24, 32, 40)
        torch.manual_seed(0)
        network = parts.network(recipe.network, Image(4), Drops(drop_path=0.2))
        widths = [stage["channels"] for stage in recipe.network.args["stages"]]
        assert all(width % 8 == 0 for width in widths)
        assert len(network.blocks) == sum(stage["depth"] for stage in recipe.network.args["stages"])  # type: ignore[arg-type]
        loss = torch.nn.functional.cross_entropy(network(torch.rand(4, 3, 32, 32)), torch.arange(4))
        loss.backward()
        assert math.isfinite(loss.detach())


@pytest.mark.parametrize("name", FBNETV3)
def test_where_the_released_architectures_lie(name: str) -> None:
    """Their stages mix kernels. C has 88 channels in stage 4, which only inclusive ranges reach; D's 240 none does."""
    recipe = FBNETV3[name]
    for inclusive in (False, True):
        with pytest.raises(ValueError, match=r"not in this space: .*stage5.kernel_rest 5 is none of \(3,\)"):
            NasMobile(inclusive).code_of(recipe)
    for inclusive, inside in ((False, "AB"), (True, "ABC")):
        module = NasMobile(inclusive, kernel_pairs=True)
        if name in inside:
            code = module.code_of(recipe)
            assert module.apply(Recipe(), module.space.decode(code)) == recipe
        else:
            reason = "stage4.channels 88" if name == "C" else "stage7.channels 240"
            with pytest.raises(ValueError, match=f"^not in this space: {reason} is none of [^;]*$"):
                module.code_of(recipe)


def test_codes_of_random_recipes() -> None:
    for module in (NasMobile(), NasMobile(inclusive=True, kernel_pairs=True)):
        for code in random_codes({"nas": module.space.nvec}, 100)["nas"].tolist():
            recipe = module.apply(Recipe(), module.space.decode(code))
            assert module.apply(Recipe(), module.space.decode(module.code_of(recipe))) == recipe


def test_other_networks_have_no_code() -> None:
    module, recipe = NasMobile(kernel_pairs=True), FBNETV3["A"]
    stages = recipe.network.args["stages"]
    with pytest.raises(ValueError, match="only mobile networks of 7 stages"):
        module.code_of(Recipe())
    with pytest.raises(ValueError, match="only mobile networks of 7 stages"):
        module.code_of(replace(recipe, network=recipe.network.with_args(stages=stages[:6])))
    with pytest.raises(ValueError, match="resolution 0 is none of"):
        module.code_of(replace(recipe, resolution=0))
    for field, value in (("stride", 2), ("se", True)):
        assert getattr(STAGES[0], field) != value
        other = ({**stages[0], field: value}, *stages[1:])
        with pytest.raises(ValueError, match="strides or squeeze and excitation"):
            module.code_of(replace(recipe, network=recipe.network.with_args(stages=other)))


@pytest.mark.parametrize("resolution", [(32, 32, 8), (48, 32, 8), (0, 32, 8), (32, 64, 0)])
def test_resolutions_that_are_no_range_are_refused(resolution: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="is no range"):
        NasMobile(resolution=resolution)
