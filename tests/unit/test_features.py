"""Features of modules: what the recipe says that `apply` writes, computed slowly from there."""

import math

import numpy as np
import pytest

from ma2ml_env.modules.aug import OPERATIONS as AUGMENTATIONS
from ma2ml_env.modules.base import NamesFeatures
from ma2ml_env.modules.nas_cell import OPERATIONS
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import names, resolve
from ma2ml_env.testing import random_codes


def rates(policy):
    told = {}
    for sub in policy:
        for op in sub:
            told[f"rate.{op.name}"] = told.get(f"rate.{op.name}", 0.0) + op.probability / len(policy)
            told[f"dose.{op.name}"] = told.get(f"dose.{op.name}", 0.0) + op.probability * (op.level or 0) / len(policy)
    return told


def of_aug(recipe):
    policy = recipe.augment
    told = rates(policy)
    if policy:
        told["untouched"] = sum(math.prod(1 - op.probability for op in sub) for sub in policy) / len(policy)
        told["operations"] = sum(map(len, policy)) / len(policy)
    else:
        told["untouched"] = 1.0
    return told | {"sub_policies": len(set(policy))}


def of_cells(recipe):
    told = {}
    for cell in ("normal", "reduction"):
        blocks = recipe.network.args[cell]
        reads = [state for a, _, b, _, _ in blocks for state in (a, b)]
        depths = [0, 0]
        for a, _, b, _, _ in blocks:
            depths.append(1 + max(depths[a], depths[b]))
        loose = [state for state in range(len(depths)) if state not in reads]
        widths = [1, 1] + [1 + (how == "concat") for *_, how in blocks]
        for operation in OPERATIONS:
            told[f"{cell}.{operation}"] = sum((f == operation) + (g == operation) for _, f, _, g, _ in blocks)
        graph = {
            "concats": sum(how == "concat" for *_, how in blocks), "reads_before": reads.count(0),
            "reads_previous": reads.count(1), "loose_ends": len(loose), "depth": max(depths[state] for state in loose),
            "mean_depth": sum(depths[state] for state in loose) / len(loose), "width": sum(widths[s] for s in loose),
        }  # fmt: skip
        told |= {f"{cell}.{name}": value for name, value in graph.items()}
    return told | {name: recipe.network.args[name] for name in ("cells", "filters")}


def of_hpo(recipe):
    step = recipe.learning_rate / (1 - recipe.optimizer.args["momentum"])
    return {
        "log10_step": math.log10(step),
        "log10_learning_rate": math.log10(recipe.learning_rate), "log10_weight_decay": math.log10(recipe.weight_decay),
        "mixup": recipe.mixup, "dropout": recipe.dropout, "label_smoothing": recipe.loss.args.get("label_smoothing", 0.0),
    }  # fmt: skip


def of_aug_small(recipe):
    numbers = {name: getattr(recipe, name) for name in ("crop_padding", "cutout", "mixup")}
    return rates(recipe.augment) | numbers


def of_nas_trio(recipe):
    args = recipe.network.args
    return {args["normal"][0][1]: 1.0, "cells": args["cells"], "filters": args["filters"]}


def of_nas_small(recipe):
    args = recipe.network.args
    told = {"average_pool": args["pool"] == "average", "mean_head": args["head"] == "mean"}
    return told | {"width": args["widths"][0], "residual": args["residual"]}


TOLD = [
    ("aug", {}, of_aug), ("aug", {"sub_policies": 2}, of_aug), ("aug_trio", {}, lambda recipe: rates(recipe.augment)),
    ("aug_small", {}, of_aug_small), ("nas_cell", {}, of_cells), ("nas_cell", {"blocks": 2}, of_cells),
    ("nas_trio", {}, of_nas_trio), ("nas_small", {}, of_nas_small), ("hpo_sgd", {}, of_hpo),
    ("hpo_sgd", {"decoding": "digits"}, of_hpo), ("hpo_trio", {}, of_hpo), ("hpo_small", {}, of_hpo),
    ("nas_trio_large", {}, of_cells), ("hpo_trio_large", {}, of_hpo),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "told"), TOLD, ids=[f"{name}-{settings}" for name, settings, _ in TOLD])
def test_features_are_what_the_recipe_says(name, settings, told):
    module = resolve("modules", name)(**settings)
    codes = random_codes({"": module.space.nvec}, 300, seed=3)[""]
    codes[:20] = codes[0] // 2  # some that are alike
    for features, code in zip(module.features(codes.astype(float)), codes.tolist(), strict=True):
        slow = told(module.apply(Recipe(), module.space.decode(code)))
        wanted = [float(slow.get(each, 0.0)) for each in module.feature_names]
        assert features == pytest.approx(wanted, rel=0, abs=1e-8), (code, slow)


@pytest.mark.parametrize("sub_policies", [2, 5])
def test_codes_of_one_policy_have_the_same_features_to_the_bit(sub_policies):
    """Sub-policies in another order; what does nothing, written otherwise."""
    module = resolve("modules", "aug")(sub_policies)
    nothing = [AUGMENTATIONS.index("rotate"), 7, 0]
    without_level = [AUGMENTATIONS.index("invert"), 3, 8]
    rng = np.random.default_rng(0)
    subs = rng.integers((15, 11, 10, 15, 11, 10), size=(200, sub_policies, 6))
    subs[:, 0] = [*nothing, *without_level]
    other = subs[:, ::-1].copy()
    other[:, -1] = [without_level[0], 3, 2, AUGMENTATIONS.index("color"), 0, 9]
    rows = [each.reshape(200, -1).astype(float) for each in (subs, other)]
    for one, same in zip(*rows, strict=True):
        keys = {module.apply(Recipe(), module.space.decode(row.astype(int).tolist())).key for row in (one, same)}
        assert len(keys) == 1
    assert np.array_equal(module.features(rows[0]), module.features(rows[1]))
    assert np.array_equal(*(module.canonical(row.astype(int)) for row in rows))


@pytest.mark.parametrize(
    ("name", "settings"), [("aug", {"sub_policies": 2}), ("nas_cell", {"blocks": 2}), ("nas_trio_large", {})]
)
def test_there_are_as_many_canonical_codes_as_pipelines(name, settings):
    """Among codes of few choices, most of which are of one pipeline with others."""
    module = resolve("modules", name)(**settings)
    codes = np.random.default_rng(1).integers(np.minimum(module.space.nvec, 2), size=(2000, len(module.space.nvec)))
    keys = {module.apply(Recipe(), module.space.decode(code)).key for code in codes.tolist()}
    canonical = np.unique(module.canonical(codes), axis=0)
    assert len(keys) == len(canonical) < len(np.unique(codes, axis=0))


@pytest.mark.parametrize("name", [name for name in names("modules") if "_trio" in name or "_small" in name])
def test_no_feature_is_the_same_for_all_codes(name):
    module = resolve("modules", name)()
    assert isinstance(module, NamesFeatures)
    features = module.features(random_codes({"": module.space.nvec}, 500)[""].astype(float))
    assert features.shape[1] == len(set(module.feature_names)) == len(module.feature_names)
    assert (features.std(axis=0) > 0).all()
