"""MACs and parameters by the formula: those that are counted in the networks that are built."""

import numpy as np
import pytest

from ma2ml_env.games.make import make_game
from ma2ml_env.modules.base import Costs
from ma2ml_env.modules.nas_cell import NasCell
from ma2ml_env.modules.nasnet_cost import ImageShape
from ma2ml_env.modules.trio_large import NasTrioLarge
from ma2ml_env.recipe import Recipe
from ma2ml_env.testing import random_codes
from ma2ml_env.training.flops import footprint, network_cost

DIGITS = ImageShape(1, 8, 10)


def counted(recipe, image):
    """By a dry pass, which is ten times as fast as the count that is reported."""
    found = footprint(recipe, image.classes, image.channels, image.size, final=False)
    return found.macs, found.params


def check(module, base, image, samples, seed=0):
    assert isinstance(module, Costs)
    codes = random_codes({"": module.space.nvec}, samples, seed)[""]
    macs, params = module.cost(codes, base.network, image)
    for number, (code, *found) in enumerate(zip(codes.tolist(), macs.tolist(), params.tolist(), strict=True)):
        recipe = module.apply(base, module.space.decode(code))
        assert (*found,) == counted(recipe, image), code
        if not number:
            assert (*found,) == network_cost(recipe, image.classes, image.channels, image.size), code
    return codes


def test_the_whole_space_of_nas_trio_is_counted():
    game = make_game("trio-digits-v0", "surrogate")
    module = game.modules["nas"]
    codes = np.stack(np.unravel_index(np.arange(16), module.space.nvec), axis=1)
    macs, params = module.cost(codes, game.base.network, DIGITS)
    for code, *found in zip(codes.tolist(), macs.tolist(), params.tolist(), strict=True):
        assert (*found,) == counted(module.apply(game.base, module.space.decode(code)), DIGITS)


def test_the_cells_of_digits_are_counted():
    game = make_game("digits-v0", "surrogate")
    check(game.modules["nas"], game.base, DIGITS, 15)


@pytest.mark.parametrize("reductions", [(), (0,), (0, 1), (1, 3), (4,)])
def test_wherever_the_image_is_halved(reductions):
    """Odd sides, colours, unread inputs of a reduction cell, cells that follow each other."""
    base = Recipe(network=Recipe().network.with_args(cells=5, reductions=reductions, filters=5))
    check(NasCell(blocks=2), base, ImageShape(3, 7, 6), 6, seed=len(reductions))


def test_every_operation_on_every_state():
    """Reads of inputs and of both widths of a block, in a normal and in a reduction cell."""
    base = Recipe(network=Recipe().network.with_args(cells=2, reductions=(1,), filters=4))
    module, read = NasCell(blocks=2), set()
    for code in check(module, base, DIGITS, 60, seed=7).tolist():
        for cell in (0, 10):
            for at in (0, 1):
                state, operation = code[cell + 5 + at], code[cell + 7 + at]
                read.add((cell, operation, state == 2 and 1 + code[cell + 4]))
    assert len(read) > 13 * 2 * 3 * 0.8


def test_the_large_game_is_counted():
    """Cells and filters of each row; the base recipe's network does not matter."""
    base = Recipe(network=Recipe().network.with_args(cells=1, filters=1))
    codes = check(NasTrioLarge(), base, DIGITS, 20, seed=5)
    assert len(np.unique(codes[:, -2:], axis=0)) > 6
