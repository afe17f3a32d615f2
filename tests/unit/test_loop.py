"""The training loop learns, repeats itself, and notices when it cannot go on."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from ma2ml_env.recipe import Operation, Recipe, Spec, SubPolicy
from ma2ml_env.training import loop, numerics, parts
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.images import batches
from ma2ml_env.training.rate import rate
from tests.unit.test_recipe_knobs import accuracy

PLAIN = ((0, "conv_3x3", 1, "conv_3x3", "add"),)
REDUCTION = ((0, "max_pool_3x3", 1, "conv_3x3", "concat"),)
CPU = torch.device("cpu")
TINY = Recipe(
    network=Spec("nasnet", {"normal": PLAIN, "reduction": REDUCTION, "cells": 2, "reductions": (1,), "filters": 8}),
    augment=((Operation("rotate", 0.5, 4), Operation("brightness", 0.5, 4)), ()),
    crop_padding=1,
    flip=False,
    cutout=2,
    learning_rate=0.1,
    batch_size=32,
    epochs=100,
)


@cache
def digits() -> Dataset:
    return DataSource("digits").load()


def fit(recipe: Recipe = TINY, data: Dataset | None = None, seed: int = 0, fidelity: float = 0.02) -> loop.Fitted:
    return loop.fit(recipe, data or DataSource("digits", limit=200).load(), seed=seed, fidelity=fidelity)


def weights(fitted: loop.Fitted) -> list[torch.Tensor]:
    return list(fitted.network.state_dict().values())


def same(first: loop.Fitted, second: loop.Fitted) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def test_it_learns_digits_and_not_shuffled_labels() -> None:
    """Chance is 0.10; on 500 images its sd is 0.013. The control differs in nothing but the order of the labels."""
    data = digits()
    shuffled = data.train_y[torch.randperm(len(data.train_y), generator=torch.Generator().manual_seed(0))]
    learned = fit(data=data, fidelity=0.06)
    control = fit(data=replace(data, train_y=shuffled), fidelity=0.06)
    assert learned.accuracy is not None
    assert learned.accuracy > 0.7
    assert control.accuracy is not None
    assert control.accuracy < 0.25
    assert learned.accuracy == accuracy(learned.network, data, data.validation_x, data.validation_y)
    assert not learned.network.training


@pytest.mark.parametrize("drawn", ["augmentation", "order"])
def test_each_seed_trains_on_other_batches(drawn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image over and over shows the draws of the augmentation; images that are left as they are show their order."""
    data = digits()
    if drawn == "augmentation":
        recipe, data = TINY, replace(data, train_x=data.train_x[:1].expand(64, -1, -1, -1), train_y=data.train_y[:64])
    else:
        recipe, data = replace(TINY, augment=(), crop_padding=0, cutout=0), replace(data, train_x=data.train_x[:64])
    build = loop.build

    def inputs(seed: int) -> torch.Tensor:
        seen: list[torch.Tensor] = []

        def watched(recipe: Recipe, dataset: Dataset, *, final: bool) -> nn.Module:
            network = build(recipe, dataset, final=final)
            network.register_forward_pre_hook(lambda module, args: seen.append(args[0]) if module.training else None)
            return network

        monkeypatch.setattr(loop, "build", watched)
        fit(recipe, data, seed=seed)
        return torch.cat(seen)

    first = inputs(3)
    assert torch.equal(first, inputs(3))
    assert not torch.equal(first, inputs(4))


STAGE = {"kernel": (3, 3), "expansion": (2, 2), "channels": 16, "depth": 2, "stride": 2, "se": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        Spec("mobile", {"stem": 8, "stages": (STAGE, {**STAGE, "channels": 24}), "head": 64, "stem_stride": 1}),
        Spec("resnet_cifar", {"depth": 8}),
    ],
    ids=lambda spec: spec.kind,
)
def test_other_networks_learn_digits(network: Spec) -> None:
    """Chance is 0.10; 0.90 and 0.98 were measured."""
    learned = fit(replace(TINY, network=network, augment=(), cutout=0), digits(), fidelity=0.05)
    assert learned.accuracy is not None
    assert learned.accuracy > 0.7


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    torch.manual_seed(1)
    first = fit(seed=3)
    torch.manual_seed(2)  # the global state must not matter
    assert same(first, fit(seed=3))
    assert not same(first, fit(seed=4))


def test_the_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    fit()
    with pytest.raises(loop.Diverged):
        fit(replace(TINY, learning_rate=1e9, clip_norm=0.0))
    assert torch.equal(state, torch.random.get_rng_state())


def test_fidelity_is_a_share_of_the_epochs() -> None:
    assert fit(fidelity=0.03).metrics["epochs"] == 3
    assert fit(fidelity=1e-6).metrics["epochs"] == 1
    assert fit(fidelity=0.02).metrics["steps"] == 2 * 7  # 200 images: 6 batches of 32 and one of 8
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(parts.InvalidRecipe, match="fidelity"):
            fit(fidelity=wrong)


def test_drop_path_and_auxiliary_head_act_at_full_fidelity_only() -> None:
    recipe = replace(TINY, epochs=2, drop_path=0.5, auxiliary=0.4)
    proxy, final = fit(recipe, fidelity=0.5), fit(recipe, fidelity=1.0)
    assert not any(name.startswith("auxiliary") for name, _ in proxy.network.named_parameters())
    assert any(name.startswith("auxiliary") for name, _ in final.network.named_parameters())
    assert proxy.network.drops.drop_path == 0.0  # type: ignore[union-attr]
    assert final.network.drops.drop_path == 0.5  # type: ignore[union-attr]
    assert 0.0 < final.network.progress < 1.0  # type: ignore[operator]
    assert same(final, fit(recipe, fidelity=1.0))  # drop path draws from the seed, too


def test_rate_warms_up_and_falls_to_zero() -> None:
    rates = [rate(replace(TINY, warmup=0.1), step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.01 * step for step in range(1, 11)])
    assert max(rates) == rates[9] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-4
    assert rate(replace(TINY, warmup=0.0), 0, 10) == 0.1


@pytest.mark.parametrize(("side", "policy"), [(4, ()), (0, ((Operation("cutout", 1.0, 9),),))], ids=["fixed", "policy"])
def test_what_is_cut_out_is_the_data_sets_mean(side: int, policy: tuple[SubPolicy, ...]) -> None:
    """White images: what is left of them is far above 0 after normalisation, the mean is 0 but for its rounding to a byte."""
    white = torch.full((32, 3, 8, 8), 255, dtype=torch.uint8)
    data = replace(digits(), train_x=white, train_y=digits().train_y[:32], mean=(0.2, 0.5, 0.8), std=(0.25,) * 3)
    recipe = replace(TINY, augment=policy, crop_padding=0, cutout=side)
    [(images, _)] = batches.epoch(recipe, data, 32, torch.Generator().manual_seed(0), CPU)
    kept = images > 0.5
    assert kept.any()
    assert not kept.all()
    assert float(images[~kept].abs().max()) <= 0.5 / 255 / 0.25 + 1e-6


@pytest.mark.parametrize(("count", "expected"), [(9, [4, 4]), (10, [4, 4, 2]), (3, [3])])
def test_a_single_left_over_image_is_left_out(count: int, expected: list[int]) -> None:
    data = replace(digits(), train_x=digits().train_x[:count], train_y=digits().train_y[:count])
    sizes = [len(y) for _, y in batches.epoch(TINY, data, min(4, count), torch.Generator(), CPU)]
    assert sizes == expected
    assert fit(replace(TINY, batch_size=4), data).metrics["steps"] == 2 * len(expected)


def test_each_epoch_sees_every_image_once_in_a_new_order() -> None:
    plain = replace(TINY, augment=(), crop_padding=0, cutout=0)
    draws = torch.Generator().manual_seed(0)
    epochs = [torch.cat([x for x, _ in batches.epoch(plain, digits(), 50, draws, CPU)]) for _ in range(2)]
    assert not torch.equal(epochs[0], epochs[1])
    original = batches.normalise(digits().train_x, digits()).flatten(1)
    for epoch in epochs:
        assert torch.equal(torch.unique(epoch.flatten(1), dim=0), torch.unique(original, dim=0))
    assert original.mean().item() == pytest.approx(0.0, abs=1e-4)
    assert original.std().item() == pytest.approx(1.0, abs=1e-3)


def test_gradients_are_clipped_and_decay_acts_on_all_weights() -> None:
    free = fit(replace(TINY, clip_norm=0.0))
    assert not same(free, fit(replace(TINY, clip_norm=1e-3)))
    network = nn.BatchNorm2d(2)
    optimizer = parts.optimizer(replace(TINY, weight_decay=0.5, learning_rate=1.0), network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert network.weight.tolist() == pytest.approx([1.0 - 0.5 * 1.9] * 2)  # Nesterov's first step counts 1 + momentum


def test_divergence_is_noticed() -> None:
    with pytest.raises(loop.Diverged, match="epoch 1 of 2"):
        fit(replace(TINY, learning_rate=1e9, clip_norm=0.0))


def test_epochs_are_reported() -> None:
    seen: list[tuple[int, float]] = []
    result = loop.fit(TINY, digits(), seed=0, fidelity=0.02, on_epoch=lambda epoch, loss: seen.append((epoch, loss)))
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert seen[1][1] == result.metrics["train_loss"] < seen[0][1]


def test_without_validation_images_there_is_no_accuracy() -> None:
    assert fit(data=DataSource("digits", limit=100, validation=50).load().merged()).accuracy is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": Spec("transformer")}, "unknown network 'transformer'; known are nasnet"),
        ({"network": TINY.network.with_args(depth=3)}, "recipe field 'network'.*depth"),
        ({"network": TINY.network.with_args(normal=((0, "warp", 0, "warp", "add"),))}, "unknown operation 'warp'"),
        ({"optimizer": Spec("lion")}, "unknown optimizer 'lion'; known are sgd, rmsprop"),
        ({"loss": Spec("hinge")}, "unknown loss 'hinge'; known are cross_entropy, focal, poly"),
        ({"resolution": -1}, "'resolution' is out of its range: -1"),
        ({"resolution": 16.0}, "'resolution' is out of its range: 16.0"),
        ({"resolution": True}, "'resolution' is out of its range: True"),
        ({"learning_rate": float("nan")}, "'learning_rate' is out of its range"),
        ({"batch_size": 1}, "'batch_size' is out of its range"),
        ({"warmup": 1.0}, "'warmup' is out of its range"),
        ({"augment": ((Operation("blur", 1.0, 0),),)}, "'augment': unknown augmentation operation 'blur'"),
    ],
)
def test_recipes_that_cannot_be_trained_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(parts.InvalidRecipe, match=words):
        fit(replace(TINY, **changes))  # type: ignore[arg-type]


def test_three_channels_train_too() -> None:
    data = digits()
    colour = {name: getattr(data, name).expand(-1, 3, -1, -1) for name in ("train_x", "validation_x", "test_x")}
    rgb = replace(data, **colour, mean=data.mean * 3, std=data.std * 3)
    recipe = replace(TINY, augment=((Operation("color", 1.0, 9), Operation("cutout", 1.0, 9)),), flip=True)
    assert fit(recipe, rgb).metrics["train_loss"] > 0.0


@pytest.mark.parametrize(("resolution", "seen"), [(0, 8), (8, 8), (5, 5), (12, 12)])
def test_networks_see_images_at_the_recipes_resolution(
    resolution: int, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: dict[bool, set[tuple[int, ...]]] = {True: set(), False: set()}
    build = loop.build

    def watched(recipe: Recipe, dataset: Dataset, *, final: bool) -> nn.Module:
        network = build(recipe, dataset, final=final)
        network.register_forward_pre_hook(lambda module, args: sides[module.training].add(tuple(args[0].shape[1:])))
        return network

    monkeypatch.setattr(loop, "build", watched)
    # At full fidelity the auxiliary head is there, which is made for one size.
    recipe = replace(TINY, resolution=resolution, epochs=1, auxiliary=0.4)
    fit(recipe, fidelity=1.0)
    assert sides == {True: {(1, seen, seen)}, False: {(1, seen, seen)}}


def test_resolution_matters_and_validation_is_resized_too() -> None:
    data = DataSource("digits", limit=400).load()
    plain, large = fit(data=data), fit(replace(TINY, resolution=16), data)
    assert not same(plain, large)
    assert same(plain, fit(replace(TINY, resolution=8), data))  # the side that the images have
    held = data.validation_x, data.validation_y
    assert accuracy(large.network, data, *held, resolution=16) == large.accuracy
    assert accuracy(large.network, data, *held) != large.accuracy


def test_resize_is_bilinear_and_antialiased() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert batches.resize(ramp, 0) is batches.resize(ramp, 8) is ramp
    assert torch.equal(batches.resize(ramp, 16)[0, 0, 3, 1:5], torch.tensor([0.25, 0.75, 1.25, 1.75]))
    stripes = (torch.arange(64) % 2 * 1.0).expand(1, 1, 64, 64)
    assert float((batches.resize(stripes, 16)[..., 2:-2] - 0.5).abs().max()) < 0.05
    aliased = nn.functional.interpolate(stripes, (17, 17), mode="bilinear")
    assert float((aliased - 0.5).abs().max()) > 0.2  # the control: without antialiasing the stripes come through


def test_large_images_are_measured_in_small_batches() -> None:
    sizes: list[int] = []
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 10)).eval()
    network.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    images = digits().train_x[:600], digits().train_y[:600]
    shares = [accuracy(network, digits(), *images, resolution=side) for side in (0, 64, 256)]
    assert sizes[:4] == [500, 100, 500, 100]
    assert set(sizes[4:-1]) == {500 // 16}
    assert sum(sizes[4:]) == 600
    assert all(share is not None and 0.0 < share < 1.0 for share in shares)
    sizes.clear()
    assert accuracy(network, digits(), *images, most=70) == shares[0]  # after a batch that was too large for the memory
    assert sizes == [70] * 8 + [40]


def test_deterministic_restores_the_setting() -> None:
    def fail() -> None:
        with numerics.deterministic():
            assert torch.are_deterministic_algorithms_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("enabled", [True, False])
def test_deterministic_leaves_a_users_own_setting(enabled: bool) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with numerics.deterministic(enabled):
            assert torch.is_deterministic_algorithms_warn_only_enabled() != enabled
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
def test_it_learns_on_cuda() -> None:
    result = loop.fit(TINY, digits(), seed=0, fidelity=0.06, device="cuda")
    assert result.accuracy is not None
    assert result.accuracy > 0.7
