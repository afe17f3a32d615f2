"""The training loop: one recipe, one seed, one share of the full training.

Images stay on the device as uint8. Each epoch draws a new order; every image is cropped and flipped, goes through the policy
and Cutout, is normalised and, last, brought to the recipe's resolution. The rate rises linearly to the recipe's and falls by a
cosine to zero, per step. Drop path and the auxiliary head, which regularise long training, act at fidelity 1.0 only.

Unless the recipe says which, a CPU trains in float32; CUDA in bfloat16 (float16 where the card lacks it) by autocast. Both use
the channels-last layout, which also saves a fifth of the time of small depthwise convolutions and pools on a CPU.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from ma2ml_env.recipe import Recipe
from ma2ml_env.training import augment, mixing, parts
from ma2ml_env.training.average import Average
from ma2ml_env.training.data import Dataset
from ma2ml_env.trial import trial_seed

CHUNK = 1 << 22
"""values of the images that are augmented at once; small images are bound by the number of calls, not by their size"""
EVALUATION_BATCH = 500
"""images that are measured at once, of up to 64 pixels a side; as many fewer of larger ones as they have more pixels"""


class Diverged(ArithmeticError):
    """The loss became infinite or not a number."""


@dataclass(frozen=True)
class Fitted:
    """A trained network, in evaluation mode."""

    network: nn.Module
    accuracy: float | None
    """share of the validation images that it gets right; None if there are none"""
    seconds: float
    """wall-clock time of training and validation"""
    metrics: dict[str, float] = field(default_factory=dict)
    """train_loss: mean over the last epoch, auxiliary loss included; epochs; steps"""


def fit(
    recipe: Recipe,
    dataset: Dataset,
    *,
    seed: int,
    fidelity: float,
    device: torch.device | str = "cpu",
    deadline: float | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Fitted:
    """Train a recipe from scratch.

    Args:
        recipe: what to train.
        dataset: where to; moved to the device if it is elsewhere.
        seed: of everything random: weights, order, augmentation, mixup, drops. The global generators are left as they were.
        fidelity: share of the recipe's epochs, in (0, 1]; at least one epoch is trained.
        device: cpu or cuda. On one CPU thread equal seeds give equal weights bit for bit.
        deadline: on `time.monotonic`'s clock; looked at after each epoch.
        on_epoch: called after each with (epochs done, mean loss).

    Raises:
        InvalidRecipe: if the recipe cannot be trained.
        Diverged: if the loss is no longer finite; looked at after each epoch, so that no step waits for the device.
        TimeoutError: if the deadline has passed.
    """
    device = torch.device(device)
    if not 0.0 < fidelity <= 1.0:
        raise parts.InvalidRecipe(f"fidelity lies in (0, 1], not {fidelity}")
    parts.check(recipe)
    started = time.monotonic()
    dataset = dataset.to(device)
    epochs = max(1, round(fidelity * recipe.epochs))
    with _seeded(trial_seed(seed, 0), device):
        network = build(recipe, dataset, final=fidelity == 1.0).to(device).to(memory_format=torch.channels_last)
        network, metrics = _train(network, recipe, dataset, epochs, seed, deadline, on_epoch)
    network.eval()
    right = accuracy(network, dataset, dataset.validation_x, dataset.validation_y, recipe.resolution)
    return Fitted(network, right, time.monotonic() - started, metrics)


def build(recipe: Recipe, dataset: Dataset, *, final: bool = False) -> nn.Module:
    """The recipe's network for these images, with ScheduledDropPath and the auxiliary head if the training is the final one."""
    return parts.network(
        recipe.network,
        classes=dataset.classes,
        channels=dataset.channels,
        size=recipe.resolution or dataset.size,
        auxiliary=final and recipe.auxiliary > 0.0,
        drop_path=recipe.drop_path if final else 0.0,
        dropout=recipe.dropout,
        stochastic_depth=recipe.stochastic_depth,
    )


def _train(
    network: nn.Module,
    recipe: Recipe,
    dataset: Dataset,
    epochs: int,
    seed: int,
    deadline: float | None,
    on_epoch: Callable[[int, float], None] | None,
) -> tuple[nn.Module, dict[str, float]]:
    """The network, or the average of what it was, and metrics."""
    device = dataset.train_x.device
    draws = Generator().manual_seed(trial_seed(seed, 1))  # order and augmentation, on the CPU
    criterion = parts.loss(recipe.loss).to(device)
    optimizer = parts.optimizer(recipe, network.parameters())
    weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    average = Average(network, recipe.ema) if recipe.ema > 0.0 else None
    half = _half(device, recipe.precision)
    scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
    batch_size = min(recipe.batch_size, len(dataset.train_x))
    steps_an_epoch = math.ceil(len(dataset.train_x) / batch_size) - (len(dataset.train_x) % batch_size == 1)
    steps, step = epochs * steps_an_epoch, 0
    mean_loss = math.nan
    network.train()
    for epoch in range(1, epochs + 1):
        total = torch.zeros((), device=device)
        for images, labels in _batches(recipe, dataset, batch_size, draws):
            if recipe.mixup > 0.0:
                share = mixing.share(recipe.mixup, trial_seed(seed, 2), step)
                images, labels = mixing.mixup(images, labels, dataset.classes, share)
            for group in optimizer.param_groups:
                group["lr"] = rate(recipe, step, steps)
            network.progress = step / steps  # type: ignore[assignment]  # read by what is scheduled, if anything is
            with torch.autocast(device.type, half, enabled=half is not None):
                logits = network(images)
                if isinstance(logits, tuple):
                    loss = criterion(logits[0], labels) + recipe.auxiliary * criterion(logits[1], labels)
                else:
                    loss = criterion(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            if recipe.clip_norm > 0.0:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(weights, recipe.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            if average is not None:
                average.update(step)
            total += loss.detach()
            step += 1
        mean_loss = float(total) / steps_an_epoch
        if not math.isfinite(mean_loss):
            raise Diverged(f"the loss is {mean_loss} in epoch {epoch} of {epochs}")
        if on_epoch is not None:
            on_epoch(epoch, mean_loss)
        if deadline is not None and time.monotonic() > deadline and epoch < epochs:
            raise TimeoutError(f"out of time after {epoch} of {epochs} epochs")
    metrics = {"train_loss": mean_loss, "epochs": float(epochs), "steps": float(steps)}
    return network if average is None else average.network, metrics


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate of a step in 0..steps-1: linear warm-up to the recipe's rate, then a cosine towards zero."""
    warm = round(recipe.warmup * steps)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / (steps - warm)))


def _batches(recipe: Recipe, dataset: Dataset, size: int, draws: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of (images (B, C, H, W) float32, labels (B,)). A single image left over is left out: batch norm needs two."""
    order = torch.randperm(len(dataset.train_x), generator=draws)
    fill = tuple(round(255 * mean) for mean in dataset.mean)
    chunk = size * max(1, CHUNK // (size * dataset.train_x[0].numel()))
    for some in torch.split(order, chunk):
        some = some.to(dataset.train_x.device)
        images = augment.crop(dataset.train_x[some], recipe.crop_padding, draws)
        if recipe.flip:
            images = augment.flip(images, draws)
        images = augment.augment(images, recipe.augment, draws, fill)
        images = augment.cutout(images, recipe.cutout, draws, fill)
        labels = dataset.train_y[some]
        for x, y in zip(torch.split(normalise(images, dataset), size), torch.split(labels, size), strict=True):
            if len(x) > 1:
                yield resize(x, recipe.resolution), y


def normalise(images: Tensor, dataset: Dataset) -> Tensor:
    """uint8 (B, C, H, W) to float32 of mean 0 and deviation 1 by the data set's statistics."""
    mean, std = (
        255 * torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (dataset.mean, dataset.std)
    )
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def resize(images: Tensor, side: int) -> Tensor:
    """Float images (B, C, H, W) as (B, C, side, side), bilinear and antialiased; a side of 0 leaves them as they are."""
    if not side or images.shape[2:] == (side, side):
        return images
    resized = nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
    return resized.contiguous(memory_format=torch.channels_last)


def accuracy(network: nn.Module, dataset: Dataset, images: Tensor, labels: Tensor, resolution: int = 0) -> float | None:
    """Share of uint8 images (N, C, H, W) that a network in evaluation mode labels right; None of no images.

    The images are brought to `resolution`, the recipe's, before the network.
    """
    if not len(images):
        return None
    batch = min(EVALUATION_BATCH, max(1, EVALUATION_BATCH * 64**2 // (resolution or dataset.size) ** 2))
    half = _half(images.device)
    right = torch.zeros((), dtype=torch.int64, device=images.device)
    with torch.inference_mode(), torch.autocast(images.device.type, half, enabled=half is not None):
        for x, y in zip(torch.split(images, batch), torch.split(labels, batch), strict=True):
            right += (network(resize(normalise(x, dataset), resolution)).argmax(1) == y).sum()
    return int(right) / len(images)


def _half(device: torch.device, precision: str = "auto") -> torch.dtype | None:
    """Autocast's type; None is full precision."""
    if precision != "auto":
        return parts.PRECISIONS[precision]
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside, which weights and drop path draw from, and leave them as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def deterministic(enabled: bool = True) -> Iterator[None]:
    """Ask torch for operations that give the same bits every time, at some cost in speed; on CPU they do anyway.

    CUDA also needs `CUBLAS_WORKSPACE_CONFIG=:4096:8` in the environment before the process first uses it.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if enabled:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
