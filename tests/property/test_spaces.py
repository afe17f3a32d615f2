"""Codes and values, recipes and keys, over the whole space."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ma2ml_env.games.make import make_game
from ma2ml_env.modules.aug import Aug
from ma2ml_env.recipe import Recipe
from ma2ml_env.testing import random_codes

GAME = make_game("cifar10-v0", "surrogate")


@st.composite
def joint_codes(draw):
    return {a: tuple(draw(st.integers(0, n - 1)) for n in nvec) for a, nvec in GAME.spec.nvec.items()}


@settings(max_examples=200, deadline=None)
@given(joint_codes())
def test_decode_and_encode_invert_each_other(codes):
    for agent, code in codes.items():
        space = GAME.modules[agent].space
        assert space.encode(space.decode(code)) == code


@settings(max_examples=200, deadline=None)
@given(joint_codes())
def test_recipes_survive_json(codes):
    recipe = GAME.recipe(codes)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again.key == recipe.key
    assert again == recipe


@settings(max_examples=200, deadline=None)
@given(joint_codes(), st.randoms(use_true_random=False))
def test_equal_pipelines_have_equal_keys(codes, random):
    aug, nas, hpo = (list(codes[a]) for a in ("aug", "nas", "hpo"))
    subs = [aug[i : i + 6] for i in range(0, 30, 6)]
    random.shuffle(subs)
    for i in range(0, 50, 5):
        if random.random() < 0.5:
            nas[i : i + 4] = [nas[i + 1], nas[i], nas[i + 3], nas[i + 2]]
    rates, decays = hpo[:10], hpo[10:]
    random.shuffle(rates)
    random.shuffle(decays)
    same = {"aug": tuple(c for sub in subs for c in sub), "nas": tuple(nas), "hpo": (*rates, *decays)}
    assert GAME.recipe(same).key == GAME.recipe(codes).key


@pytest.mark.slow
def test_different_pipelines_have_different_keys():
    codes = random_codes(GAME.spec.nvec, 5000)
    recipes = [GAME.recipe({a: tuple(c[i].tolist()) for a, c in codes.items()}) for i in range(5000)]
    contents = {json.dumps(r.to_json()) for r in recipes}
    assert len({r.key for r in recipes}) == len(contents)


def test_keys_do_not_depend_on_the_process():
    codes = {a: (0,) * len(nvec) for a, nvec in GAME.spec.nvec.items()}
    program = (
        "from ma2ml_env.games.make import make_game; g = make_game('cifar10-v0', 'surrogate');"
        "print(g.recipe({a: (0,) * len(n) for a, n in reversed(g.spec.nvec.items())}).key)"
    )
    for hash_seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert out.stdout.strip() == GAME.recipe(codes).key


def test_every_operation_can_show_in_a_policy():
    aug = Aug(1)
    seen = set()
    for code in random_codes({"aug": aug.space.nvec}, 2000)["aug"]:
        for sub in aug.apply(Recipe(), aug.space.decode(code.tolist())).augment:
            seen |= {op.name for op in sub}
            assert all(0 < op.probability <= 1 for op in sub)
    assert len(seen) == 15
    assert np.all([op in seen for op in ("cutout", "posterize")])
