"""The agents of small data, their network, and the game that they play."""

from dataclasses import replace

import pytest
import torch

from ma2ml_env.games.make import make_game
from ma2ml_env.modules.small import AugSmall, HpoSmall, NasSmall
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.training import flops, loop, parts
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.networks.base import Image
from ma2ml_env.training.networks.plain import Plain, Residual

MODULES = (AugSmall, NasSmall, HpoSmall)


@pytest.mark.parametrize("make", MODULES)
def test_every_decision_shows_in_the_key(make):
    module, base = make(), Recipe()
    first = (0,) * len(module.space.nvec)
    keys = {module.apply(base, module.space.decode(first)).key}
    for place, choices in enumerate(module.space.nvec):
        for choice in range(1, choices):
            code = tuple(choice if i == place else 0 for i in range(len(first)))
            keys.add(module.apply(base, module.space.decode(code)).key)
    assert len(keys) == 1 + sum(choices - 1 for choices in module.space.nvec)


def test_the_base_recipe_is_one_of_its_pipelines():
    aug, nas, hpo = (make() for make in MODULES)
    for size, crop, cutout in ((8, 1, 2), (16, 2, 4), (32, 4, 8)):
        game = make_game("own-small-v1", "surrogate", size=size)
        codes = {
            "aug": aug.space.encode({"crop_padding": crop, "cutout": cutout, "policy": "none", "mixup": 0.0}),
            "nas": nas.space.encode({"width": 32, "residual": 0, "pool": "max", "head": "flat"}),
            "hpo": hpo.space.encode(
                {"learning_rate": 0.05, "weight_decay": 5e-4, "label_smoothing": 0.0, "dropout": 0.0}
            ),
        }
        assert game.recipe(codes) == game.base


def test_what_is_told_of_the_flip_stays():
    game = make_game("own-small-v1", "surrogate", flip=True)
    zeros = {agent: (0,) * len(sizes) for agent, sizes in game.spec.nvec.items()}
    assert game.recipe(zeros).flip is True
    assert make_game("own-small-v1", "surrogate").recipe(zeros).flip is False


@pytest.mark.parametrize("agent", ["aug", "nas"])
def test_every_choice_can_be_trained(agent):
    game = make_game("own-small-v1", "surrogate", size=8, flip=False, batch_size=32)
    data = DataSource("digits", limit=64, validation=20).load()
    zeros = {name: (0,) * len(sizes) for name, sizes in game.spec.nvec.items()}
    for choice in range(4):
        sizes = game.spec.nvec[agent]
        codes = {**zeros, agent: tuple(min(choice, size - 1) for size in sizes)}
        fitted = loop.fit(replace(game.recipe(codes), epochs=1), data, seed=0, fidelity=1.0)
        assert fitted.metrics["steps"] == 2.0


def test_residual_pairs_stand_in_the_last_blocks_after_their_pools():
    network = Plain((2, 4, 8), residual=2, image=Image(5, 1, 16))
    assert [layer.layers[0][0].in_channels for layer in network.blocks if isinstance(layer, Residual)] == [4, 8]
    less = flops.count(Plain((2, 4, 8), image=Image(5, 1, 16)), 1, 16)[0]
    assert flops.count(network, 1, 16)[0] - less == 2 * 9 * (4 * 4 * 4**2 + 8 * 8 * 2**2)


def test_a_residual_pair_adds_to_its_input():
    block = Residual(3).eval()
    torch.nn.init.zeros_(block.layers[1][0].weight)
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(block(images), images)


def test_the_mean_does_not_know_where():
    network = Plain((2,), head="mean", image=Image(5, 1, 8))
    assert network.head.in_features == 2
    assert Plain((2,), image=Image(5, 1, 8)).head.in_features == 2 * 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"residual": 4}, "residual is a number of the 3 blocks"),
        ({"pool": "median"}, "pool is max or average"),
        ({"head": "long"}, "head flat or mean"),
    ],
)
def test_what_it_cannot_be_is_refused(arguments, message):
    spec = Spec("plain", {"widths": (2, 4, 8), **arguments})
    with pytest.raises(parts.InvalidRecipe, match=message):
        parts.network(spec, Image(5))
