"""The training loop: one recipe, one seed, one share of the full training.

`batches.py` makes the batches. The rate rises linearly to the recipe's and falls by a cosine to zero, per step. Drop path and
the auxiliary head, which regularise long training, act at fidelity 1.0 only.

Unless the recipe says which, a CPU trains in float32; CUDA in bfloat16 (float16 where the card lacks it) by autocast. Both use
the channels-last layout, which also saves a fifth of the time of small depthwise convolutions and pools on a CPU.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from ma2ml_env.recipe import Recipe
from ma2ml_env.training import batches, mixing, parts
from ma2ml_env.training.average import Average
from ma2ml_env.training.checkpoint import Checkpoint, Stateful, capture, restore
from ma2ml_env.training.data import Dataset
from ma2ml_env.training.graphs import Recorded
from ma2ml_env.training.step import Gradient
from ma2ml_env.trial import trial_seed

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
    """train_loss: mean over the last epoch, auxiliary loss included; epochs; steps; on a GPU replayed"""
    checkpoint: Checkpoint | None = None
    """where it stands, if it was told to pause"""


def fit(
    recipe: Recipe,
    dataset: Dataset,
    *,
    seed: int,
    fidelity: float,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int, float], None] | None = None,
    micro_batch: int | None = None,
    until: int | None = None,
    checkpoint: Checkpoint | None = None,
    cuda_graphs: bool = True,
) -> Fitted:
    """Train a recipe, from scratch or on from a checkpoint.

    Args:
        recipe: what to train.
        dataset: where to; moved to the device if it is elsewhere.
        seed: of everything random: weights, order, augmentation, mixup, drops. The global generators are left as they were.
        fidelity: share of the recipe's epochs, in (0, 1]; at least one epoch is trained.
        device: cpu or cuda. On one CPU thread equal seeds give equal weights bit for bit.
        on_epoch: called after each with (epochs done, mean loss).
        micro_batch: images that go through the network at a time; the gradient is that of the whole batch, in less memory.
            Batch norm sees the micro batches, so its statistics, and with them the result, are others. None is the batch.
        until: epochs after which to pause, of those that the fidelity stands for; the learning rate goes by the latter.
        checkpoint: of an earlier call with these arguments that paused; the result is that of one call, bit for bit.
        cuda_graphs: replay steps on a GPU as `Recorded` does, if network and loss are `parts.RECORDABLE`; not in float16, whose
            scaler waits for each step, and not in micro-batches. The metric `replayed` tells whether it was done, 0 or 1.

    Raises:
        InvalidRecipe: if the recipe cannot be trained.
        Diverged: if the loss is no longer finite; looked at after each epoch, so that no step waits for the device.
    """
    device = torch.device(device)
    if not 0.0 < fidelity <= 1.0:
        raise parts.InvalidRecipe(f"fidelity lies in (0, 1], not {fidelity}")
    parts.check(recipe)
    started = time.monotonic()
    dataset = dataset.to(device)
    with _on(device), _seeded(trial_seed(seed, 0), device):
        network = build(recipe, dataset, final=fidelity == 1.0).to(device).to(memory_format=torch.channels_last)
        network, metrics, paused = _train(
            network,
            recipe,
            dataset,
            epochs(recipe, fidelity),
            seed,
            device,
            on_epoch,
            micro_batch,
            until,
            checkpoint,
            cuda_graphs,
        )
    network.eval()
    if device.type == "cuda":
        network.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()  # what a recorded step held is not of use to validation
    right = accuracy(network, dataset, dataset.validation_x, dataset.validation_y, recipe.resolution, micro_batch)
    return Fitted(network, right, time.monotonic() - started, metrics, paused)


def epochs(recipe: Recipe, fidelity: float) -> int:
    """Epochs of a training of this fidelity, at least one."""
    return max(1, round(fidelity * recipe.epochs))


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
    device: torch.device,
    on_epoch: Callable[[int, float], None] | None,
    micro_batch: int | None,
    until: int | None,
    checkpoint: Checkpoint | None,
    cuda_graphs: bool,
) -> tuple[nn.Module, dict[str, float], Checkpoint | None]:
    draws = Generator().manual_seed(trial_seed(seed, 1))  # order and augmentation, on the CPU
    criterion = parts.loss(recipe.loss).to(device)
    half = half_type(device, recipe.precision)
    optimizer = parts.optimizer(recipe, network.parameters(), fused=half is not torch.float16)
    average = Average(network, recipe.ema) if recipe.ema > 0.0 else None
    scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
    eager = Gradient(network, criterion, optimizer, scaler, half, recipe.auxiliary, recipe.clip_norm, micro_batch)
    replay = device.type == "cuda" and cuda_graphs and micro_batch is None and not scaler.is_enabled()
    replay = replay and {type(network), type(criterion)} <= parts.RECORDABLE
    gradient = Recorded(eager, eager.weights) if replay else eager
    progress = torch.zeros((), device=device)
    batch_size = min(recipe.batch_size, len(dataset.train_x))
    steps_an_epoch = math.ceil(len(dataset.train_x) / batch_size) - (len(dataset.train_x) % batch_size == 1)
    stateful: dict[str, Stateful] = {
        "network": network,
        "optimizer": optimizer,
        "scaler": scaler,
    }  # all that a checkpoint has to hold
    if average is not None:
        stateful["average"] = average
    done, mean_loss = 0, math.nan
    if checkpoint is not None:
        restore(checkpoint, stateful, draws, device)
        done, mean_loss = checkpoint.epoch, checkpoint.loss
    steps, step = epochs * steps_an_epoch, done * steps_an_epoch
    last = epochs if until is None else min(until, epochs)
    network.train()
    for epoch in range(done + 1, last + 1):
        total = torch.zeros((), device=device)
        for images, labels in batches.epoch(recipe, dataset, batch_size, draws, device):
            if recipe.mixup > 0.0:
                share = mixing.share(recipe.mixup, trial_seed(seed, 2), step)
                images, labels = mixing.mixup(images, labels, dataset.classes, share)
            for group in optimizer.param_groups:
                group["lr"] = rate(recipe, step, steps)
            # Read by what is scheduled, if anything is. A recorded step reads it where it lies.
            network.progress = step / steps if device.type == "cpu" else progress.fill_(step / steps)  # type: ignore[assignment]
            total += gradient(images, labels)
            scaler.step(optimizer)
            scaler.update()
            if average is not None:
                average.update(step)
            step += 1
        mean_loss = float(total) / steps_an_epoch
        if not math.isfinite(mean_loss):
            raise Diverged(f"the loss is {mean_loss} in epoch {epoch} of {epochs}")
        if on_epoch is not None:
            on_epoch(epoch, mean_loss)
    metrics = {"train_loss": mean_loss, "epochs": float(last), "steps": float(step)}
    if device.type == "cuda":
        network.progress = step / steps  # type: ignore[assignment]  # a number again, for whoever takes the network elsewhere
        metrics["replayed"] = float(isinstance(gradient, Recorded) and gradient.recording)
    paused = None if until is None else capture(last, mean_loss, stateful, draws, device)
    return network if average is None else average.network, metrics, paused


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate of a step in 0..steps-1: linear warm-up to the recipe's rate, then a cosine towards zero."""
    warm = round(recipe.warmup * steps)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / (steps - warm)))


def accuracy(
    network: nn.Module,
    dataset: Dataset,
    images: Tensor,
    labels: Tensor,
    resolution: int = 0,
    most: int | None = None,
) -> float | None:
    """Share of uint8 images (N, C, H, W) that a network in evaluation mode labels right; None of no images.

    The images are brought to `resolution`, the recipe's, before the network, at most `most` at a time.
    """
    if not len(images):
        return None
    batch = min(EVALUATION_BATCH, max(1, EVALUATION_BATCH * 64**2 // (resolution or dataset.size) ** 2))
    batch = min(batch, most or batch)
    device = next(network.parameters()).device
    half = half_type(device, "auto")
    right = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode(), torch.autocast(device.type, half, enabled=half is not None):
        for x, y in zip(torch.split(images, batch), torch.split(labels, batch), strict=True):
            logits = network(batches.resize(batches.normalise(x.to(device), dataset), resolution))
            right += (logits.argmax(1) == y.to(device)).sum()
    return int(right) / len(images)


def half_type(device: torch.device, precision: str = "auto") -> torch.dtype | None:
    """Autocast's type on a device for a recipe's precision; None is full precision."""
    if precision != "auto":
        return parts.PRECISIONS[precision]
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Inside, it is the GPU that torch means where none is named."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


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
