"""The policy's operations are torchvision's, and every image draws for itself."""

import math
from typing import Any

import pytest
import torch
from torchvision.transforms import v2

from ma2ml_env.recipe import Operation
from ma2ml_env.training.images import augment
from ma2ml_env.training.images.operations import KINDS, magnitude

FILL = (125, 123, 114)
# our name -> torchvision's; Cutout is not in torchvision's table
TORCHVISION = {name: "".join(part.capitalize() for part in name.split("_")) for name in KINDS if name != "cutout"}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, channels: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Smooth blobs with noise: flat noise would make equalize and autocontrast trivial."""
    coarse = torch.rand(count, channels, 4, 4, generator=generator(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear") * 200
    noise = torch.rand(count, channels, size, size, generator=generator(seed + 1)) * 30
    return (smooth + noise).to(torch.uint8)


def reference(image: torch.Tensor, name: str, level: int, negative: bool) -> torch.Tensor:
    """torchvision's AutoAugment itself, on one image."""
    transform: Any = v2.AutoAugment()
    space, signed = transform._AUGMENTATION_SPACE[TORCHVISION[name]]
    magnitudes = space(10, image.shape[-2], image.shape[-1])
    value = 0.0 if magnitudes is None else float(magnitudes[level])
    value = -value if signed and negative else value
    return transform._apply_image_or_video_transform(
        image, TORCHVISION[name], value, interpolation=transform.interpolation, fill=transform._fill
    )


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 28), (1, 8)])
@pytest.mark.parametrize("name", TORCHVISION)
def test_equals_torchvision_image_by_image(name: str, channels: int, size: int) -> None:
    batch = images(6, channels, size)
    for level in (0, 1, 4, 9):
        policy = ((Operation(name, 1.0, level),),)
        ours = augment.augment(batch, policy, generator(level), FILL)
        for before, after in zip(batch, ours, strict=True):
            choices = [reference(before, name, level, negative) for negative in (False, True)]
            assert any(torch.equal(after, choice) for choice in choices)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", TORCHVISION)
def test_each_image_of_a_batch_has_its_own_level_and_sign(name: str, channels: int) -> None:
    """Ten levels and both signs share the calls; that several are drawn is the control."""
    batch = images(24, channels, 12, seed=5)
    signs = (False, True) if KINDS[name].signed else (False,)
    policy = tuple((Operation(name, 1.0, level),) for level in range(10))
    drawn = set()
    for before, after in zip(batch, augment.augment(batch, policy, generator(1), FILL), strict=True):
        choices = {(level, sign): reference(before, name, level, sign) for level in range(10) for sign in signs}
        same = [choice for choice, expected in choices.items() if torch.equal(after, expected)]
        assert same, "no level of torchvision's gives this image"
        drawn.add(tuple(same))
    has_levels = KINDS[name].top is not None and not (name == "color" and channels == 1)
    assert len(drawn) >= (4 if has_levels else 1)


@pytest.mark.parametrize("name", ["contrast", "color", "sharpness", "brightness"])
def test_mixtures_are_rounded_as_torchvision_rounds(name: str) -> None:
    """Values that fall on whole numbers tell one rounding from two: 300 images of pure noise, some 3 million values."""
    batch = torch.randint(256, (300, 3, 24, 24), generator=generator(8), dtype=torch.uint8)
    for level in (1, 5, 9):
        ours = augment.augment(batch, ((Operation(name, 1.0, level),),), generator(level), FILL)
        for before, after in zip(batch[::6], ours[::6], strict=True):
            assert any(torch.equal(after, reference(before, name, level, negative)) for negative in (False, True))


def test_an_image_that_is_not_square_moves_as_torchvision_moves_it() -> None:
    batch = images(40, size=24)[:, :, :16]
    for name in ("rotate", "shear_x", "translate_x", "equalize"):
        ours = augment.augment(batch, ((Operation(name, 1.0, 7),),), generator(2), FILL)
        for before, after in zip(batch, ours, strict=True):
            assert any(torch.equal(after, reference(before, name, 7, negative)) for negative in (False, True)), name


def test_images_in_channels_last_layout_are_the_same_images() -> None:
    batch = images(30)
    policy = tuple((Operation(name, 0.8, 6), Operation("rotate", 0.5, 3)) for name in KINDS)
    last = batch.contiguous(memory_format=torch.channels_last)
    assert torch.equal(
        augment.augment(batch, policy, generator(), FILL), augment.augment(last, policy, generator(), FILL)
    )
    assert augment.augment(batch[:0], policy, generator(), FILL).shape == batch[:0].shape


def test_cutout_takes_a_side_for_each_image() -> None:
    batch = torch.zeros(50, 1, 16, 16, dtype=torch.uint8)
    sides = torch.arange(50).view(-1, 1, 1, 1) % 5
    rows = (augment.cutout(batch, sides, generator(), (9,)) == 9)[:, 0].any(2).sum(1)
    assert (rows <= sides.view(-1)).all()
    assert torch.unique(rows).tolist() == [0, 1, 2, 3, 4]


def test_table_of_levels() -> None:
    assert [magnitude("posterize", level, 32) for level in range(10)] == [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]
    assert magnitude("translate_x", 9, 32) == pytest.approx(150 / 331 * 32)
    assert magnitude("shear_x", 9, 32) == pytest.approx(0.3)
    assert magnitude("solarize", 0, 32) == 1.0
    assert magnitude("invert", None, 32) == 0.0
    assert len(KINDS) == 15


def test_an_image_at_level_nine_really_changes() -> None:
    """The control of the equality tests: none of the operations is the identity."""
    batch = images(4)
    for name in KINDS:
        changed = augment.augment(batch, ((Operation(name, 1.0, 9),),), generator(), FILL)
        assert not torch.equal(changed, batch), name


def test_color_on_one_channel_is_the_identity() -> None:
    grey = images(4, channels=1)
    assert torch.equal(augment.augment(grey, ((Operation("color", 1.0, 9),),), generator(), (128,)), grey)


def test_input_is_left_alone_and_policies_may_be_empty() -> None:
    batch = images(8)
    kept = batch.clone()
    assert torch.equal(augment.augment(batch, (), generator(), FILL), kept)
    assert torch.equal(augment.augment(batch, ((),), generator(), FILL), kept)
    augment.augment(batch, ((Operation("invert", 1.0, None),),), generator(), FILL)
    assert torch.equal(batch, kept)


def test_f26_images_and_epochs_draw_differently() -> None:
    """One shared draw for the batch, or the same draw each epoch, would falsify every reward."""
    policy = tuple((Operation(name, 0.5, 7), Operation("rotate", 0.5, 9)) for name in ("invert", "solarize", "shear_x"))
    same = images(1).expand(64, -1, -1, -1)
    draws = generator()
    first, second = (augment.augment(same, policy, draws, FILL) for _ in range(2))
    assert len(torch.unique(first, dim=0)) >= 8
    assert not torch.equal(first, second)
    assert torch.equal(first, augment.augment(same, policy, generator(), FILL))


def test_frequencies_of_sub_policy_probability_and_sign() -> None:
    """20,000 images of three grey levels. Error bar: sd of a share p is sqrt(p (1 - p) / n) <= 0.0036; we allow 4 of them."""
    count = 20_000
    policy = (
        (Operation("invert", 0.3, None),),
        (Operation("brightness", 0.8, 9), Operation("invert", 0.5, None)),
    )
    batch = torch.full((count, 1, 2, 2), 100, dtype=torch.uint8)
    values = augment.augment(batch, policy, generator(3), (128,))[:, 0, 0, 0]
    up, down = 190, 10  # 100 x 1.9 and 100 x 0.1, before truncation of 10.000000...
    expected = {
        155: 0.5 * 0.3 + 0.5 * 0.2 * 0.5,
        100: 0.5 * 0.7 + 0.5 * 0.2 * 0.5,
        up: 0.5 * 0.4 * 0.5,
        255 - up: 0.5 * 0.4 * 0.5,
        down: 0.5 * 0.4 * 0.5,
        255 - down: 0.5 * 0.4 * 0.5,
    }
    for value, share in expected.items():
        near = ((values.int() - value).abs() <= 1).float().mean().item()
        assert near == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / count)), value


def test_crop_moves_each_image_and_pads_with_zeros() -> None:
    batch = images(500, channels=1, size=8).clamp(min=1)
    out = augment.crop(batch, 2, generator())
    padded = torch.nn.functional.pad(batch, (2, 2, 2, 2))
    places = torch.zeros(5, 5)
    for image, source in zip(out, padded, strict=True):
        fits = [(t, s) for t in range(5) for s in range(5) if torch.equal(source[:, t : t + 8, s : s + 8], image)]
        assert fits
        places[fits[0]] += 1
    assert places.min() > 4  # 20 on average, sd 4.4
    assert torch.equal(augment.crop(batch, 0, generator()), batch)


def test_flip_turns_about_half() -> None:
    batch = images(2000, channels=1, size=4)
    out = augment.flip(batch, generator())
    turned = (out != batch).flatten(1).any(1)
    assert torch.equal(out[turned], batch[turned].flip(3))
    assert turned.float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(2000))


@pytest.mark.parametrize("size", [32, 96])
def test_cutout_of_a_policy_has_its_levels_share_of_the_side(size: int) -> None:
    """AutoAugment's levels end at 60 of ImageNet's 331 pixels (Cubuk et al. 2019, table 6); level 0 cuts nothing."""
    for level in (0, 4, 9):
        policy = ((Operation("cutout", 1.0, level),),)
        out = augment.augment(torch.zeros(300, 1, size, size, dtype=torch.uint8), policy, generator(), (9,))
        assert int((out == 9).any(3).sum(2).max()) == round(level / 9 * 60 / 331 * size)


def test_cutout_is_a_square_clipped_at_the_border() -> None:
    batch = torch.zeros(400, 3, 16, 16, dtype=torch.uint8)
    cut = (augment.cutout(batch, 6, generator(), FILL) != 0)[:, 0]
    rows, columns = cut.any(2).sum(1), cut.any(1).sum(1)
    assert torch.equal(cut.sum((1, 2)), rows * columns)
    assert int(rows.max()) == int(columns.max()) == 6
    assert 3 <= int(rows.min()) < 6
    assert len(torch.unique(cut, dim=0)) > 100
    assert torch.equal(augment.cutout(batch, 0, generator(), FILL), batch)
    assert augment.cutout(batch, 40, generator(), FILL)[0, :, 8, 8].tolist() == list(FILL)


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (Operation("blur", 0.5, 1), "unknown augmentation operation 'blur'"),
        (Operation("rotate", 1.5, 1), "probability of rotate"),
        (Operation("rotate", 0.5, 10), "level of rotate"),
        (Operation("rotate", 0.5, None), "level of rotate"),
    ],
)
def test_bad_policies_are_refused(operation: Operation, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        augment.check(((operation,),))
