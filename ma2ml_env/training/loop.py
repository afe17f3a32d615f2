"""The training loop: one recipe, one seed, one share of the full training.

`batches.py` makes the batches. The rate rises linearly to the recipe's and falls by a cosine to zero, per step. Drop path and
the auxiliary head, which regularise long training, act at fidelity 1.0 only.

Unless the recipe says which, a CPU trains in float32; CUDA in bfloat16 (float16 where the card lacks it) by autocast. Both use
the channels-last layout, which also saves a fifth of the time of small depthwise convolutions and pools on a CPU.
"""

import math
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from ma2ml_env.metrics import measured
from ma2ml_env.recipe import Recipe
from ma2ml_env.training import checkpoint as checkpoints
from ma2ml_env.training import parts
from ma2ml_env.training.average import Average
from ma2ml_env.training.checkpoint import Checkpoint, Stateful
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.graphs import Recorded
from ma2ml_env.training.images import batches, mixing
from ma2ml_env.training.losses import ClassWeights, weights_of_classes
from ma2ml_env.training.networks.base import BaseNetwork, Drops, Image
from ma2ml_env.training.numerics import half_type, seeded
from ma2ml_env.training.predict import predict
from ma2ml_env.training.rate import rate
from ma2ml_env.training.step import Gradient
from ma2ml_env.trial import trial_seed


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
    """train_loss: mean over the last epoch, auxiliary loss included; epochs; steps; on a GPU replayed; those of `metrics.py` on
    the validation images, if there are any"""
    curve: dict[int, float] = field(default_factory=dict)
    """epochs -> accuracy on the validation images after so many, of those that were asked for and reached"""
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
    keep: Callable[[Checkpoint], None] | None = None,
    keep_every: float = 600.0,
    cuda_graphs: bool = True,
    class_weights: ClassWeights = "none",
    curve: Collection[int] = (),
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
        checkpoint: of an earlier call with these arguments, of which `goes_on` is true; the result is that of one call, bit for
            bit.
        keep: given a checkpoint after an epoch, so that a training that is killed need not start anew. Write it at once, as it
            shares memory with the training.
        keep_every: seconds that lie between two of these, at least.
        cuda_graphs: replay steps on a GPU as `Recorded` does, if network and loss are `parts.RECORDABLE`; not in float16, whose
            scaler waits for each step, and not in micro-batches. The metric `replayed` tells whether it was done, 0 or 1.
        class_weights: `balanced` weights what an image costs in the loss by the rarity of its class among the training images;
            none, as the paper, leaves classes alike.
        curve: epochs after which the validation images are measured as well. The training is the same without, bit for bit.

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
    with _on(device), seeded(trial_seed(seed, 0), device):
        network = build(recipe, dataset, final=fidelity == 1.0).to(device).to(memory_format=torch.channels_last)
        how = (micro_batch, cuda_graphs, class_weights, frozenset(curve))
        training = _Training(network, recipe, dataset, epochs(recipe, fidelity), seed, *how)
        if checkpoint is not None:
            training.restore(checkpoint)
        training.run(until, on_epoch, keep, keep_every)
        metrics, paused = training.metrics(), None if until is None else training.capture()
    network, points, done = training.result.eval(), training.curve, training.done
    del training  # what its steps were recorded in is of no use to validation
    if device.type == "cuda":
        network.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    validation = dataset.validation_x, dataset.validation_y
    seen = predict(network, dataset, *validation, recipe.resolution, micro_batch)
    if seen is not None:
        metrics |= measured(seen)
        if done in curve:
            points = {**points, done: seen.accuracy}
    accuracy = None if seen is None else seen.accuracy
    return Fitted(network, accuracy, time.monotonic() - started, metrics, points, paused)


def goes_on(checkpoint: Checkpoint, recipe: Recipe, device: torch.device, curve: Collection[int] = ()) -> bool:
    """Whether a training of this recipe can go on here from a checkpoint of it.

    It was on such a device, in the same type, and has the points of the curve that lie behind it.
    """
    scaled = half_type(device, recipe.precision) is torch.float16
    if any(epoch <= checkpoint.epoch and str(epoch) not in checkpoint.curve for epoch in curve):
        return False
    return ("cuda" in checkpoint.generators) == (device.type == "cuda") and bool(checkpoint.parts["scaler"]) == scaled


def epochs(recipe: Recipe, fidelity: float) -> int:
    """Epochs of a training of this fidelity, at least one."""
    return max(1, round(fidelity * recipe.epochs))


def build(recipe: Recipe, dataset: Dataset, *, final: bool = False) -> nn.Module:
    """The recipe's network for these images, with ScheduledDropPath and the auxiliary head if the training is the final one."""
    return parts.network(
        recipe.network,
        Image(dataset.classes, dataset.channels, recipe.resolution or dataset.size),
        Drops(recipe.drop_path if final else 0.0, recipe.dropout, recipe.stochastic_depth),
        auxiliary=final and recipe.auxiliary > 0.0,
    )


class _Training:
    """A network, and all that changes while it learns. It stands between two epochs.

    Args:
        network: on the device and in the layout that it is trained in; its images are there as well.
        epochs: of the whole training, by which the learning rate goes.
        recipe, dataset, seed, micro_batch, cuda_graphs, class_weights: as of `fit`.
        marks: epochs after which the validation images are measured.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        dataset: Dataset,
        epochs: int,
        seed: int,
        micro_batch: int | None,
        cuda_graphs: bool,
        class_weights: ClassWeights,
        marks: Collection[int],
    ) -> None:
        self.network, self.recipe, self.dataset, self.epochs, self.seed = network, recipe, dataset, epochs, seed
        self.device = device = next(network.parameters()).device
        weights = weights_of_classes(class_weights, dataset.train_y, dataset.classes)
        criterion = parts.loss(recipe.loss, weights).to(device)
        half = half_type(device, recipe.precision)
        self.optimizer = parts.optimizer(recipe, network.parameters(), fused=half is not torch.float16)
        self.scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
        self.average = Average(network, recipe.ema) if recipe.ema > 0.0 else None
        eager = Gradient(
            network, criterion, self.optimizer, self.scaler, half, recipe.auxiliary, recipe.clip_norm, micro_batch
        )
        replay = device.type == "cuda" and cuda_graphs and micro_batch is None and not self.scaler.is_enabled()
        replay = replay and parts.recordable(network, criterion)
        self.gradient = Recorded(eager, eager.weights) if replay else eager
        self.draws = Generator().manual_seed(trial_seed(seed, 1))  # order and augmentation, on the CPU
        self.batch_size = min(recipe.batch_size, len(dataset.train_x))
        self.steps_an_epoch = math.ceil(len(dataset.train_x) / self.batch_size)
        self.steps_an_epoch -= len(dataset.train_x) % self.batch_size == 1  # batch norm needs two images
        self.done, self.loss = 0, math.nan
        """epochs, and the mean loss of the last"""
        self._marks, self._micro_batch = marks, micro_batch
        self.curve: dict[int, float] = {}
        self._progress = torch.zeros((), device=device)

    @property
    def result(self) -> nn.Module:
        """The network that is evaluated and saved."""
        return self.network if self.average is None else self.average.network

    def run(
        self,
        until: int | None,
        on_epoch: Callable[[int, float], None] | None,
        keep: Callable[[Checkpoint], None] | None,
        keep_every: float,
    ) -> None:
        """Train on to the end of epoch `until`; None is the last. The others are as of `fit`.

        Raises:
            Diverged: if the loss is no longer finite.
        """
        self.network.train()
        kept = time.monotonic()
        last = self.epochs if until is None else min(until, self.epochs)
        for epoch in range(self.done + 1, last + 1):
            total = torch.zeros((), device=self.device)
            step = self.done * self.steps_an_epoch
            for images, labels in batches.epoch(self.recipe, self.dataset, self.batch_size, self.draws, self.device):
                total += self._step(images, labels, step)
                step += 1
            self.done, self.loss = epoch, float(total) / self.steps_an_epoch
            if not math.isfinite(self.loss):
                raise Diverged(f"the loss is {self.loss} in epoch {epoch} of {self.epochs}")
            if epoch in self._marks and epoch < self.epochs:  # after the last one all is measured
                self._mark()
            if on_epoch is not None:
                on_epoch(epoch, self.loss)
            if keep is not None and epoch < last and time.monotonic() - kept >= keep_every:
                keep(self.capture())
                kept = time.monotonic()
        if self.device.type == "cuda" and isinstance(self.network, BaseNetwork):
            self.network.progress = self.done / self.epochs  # a number again, for whoever takes the network elsewhere

    def _mark(self) -> None:
        """Measure the validation images between two epochs. No random number is drawn, and no weight or statistic changes."""
        x, y, recipe = self.dataset.validation_x, self.dataset.validation_y, self.recipe
        seen = predict(self.result.eval(), self.dataset, x, y, recipe.resolution, self._micro_batch)
        self.network.train()
        if seen is not None:
            self.curve[self.done] = seen.accuracy

    def _step(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        """One update by a batch; its loss. Steps are counted from 0."""
        steps = self.epochs * self.steps_an_epoch
        if self.recipe.mixup > 0.0:
            share = mixing.share(self.recipe.mixup, trial_seed(self.seed, 2), step)
            images, labels = mixing.mixup(images, labels, self.dataset.classes, share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.recipe, step, steps)
        if isinstance(self.network, BaseNetwork):  # read by what is scheduled; a recorded step reads it where it lies
            self.network.progress = step / steps if self.device.type == "cpu" else self._progress.fill_(step / steps)
        loss = self.gradient(images, labels)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(step)
        return loss

    def metrics(self) -> dict[str, float]:
        """As of `Fitted`."""
        told = {"train_loss": self.loss, "epochs": float(self.done), "steps": float(self.done * self.steps_an_epoch)}
        if self.device.type == "cuda":
            told["replayed"] = float(isinstance(self.gradient, Recorded) and self.gradient.recording)
        return told

    def capture(self) -> Checkpoint:
        """What it needs to go on."""
        told = {str(epoch): accuracy for epoch, accuracy in self.curve.items()}
        return checkpoints.capture(self.done, self.loss, self._stateful(), self.draws, self.device)._replace(curve=told)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint was taken."""
        checkpoints.restore(checkpoint, self._stateful(), self.draws, self.device)
        self.done, self.loss = checkpoint.epoch, checkpoint.loss
        self.curve = {int(epoch): accuracy for epoch, accuracy in checkpoint.curve.items() if int(epoch) in self._marks}

    def _stateful(self) -> dict[str, Stateful]:
        """All that a checkpoint has to hold, beside the generators."""
        held: dict[str, Stateful] = {"network": self.network, "optimizer": self.optimizer, "scaler": self.scaler}
        return held if self.average is None else {**held, "average": self.average}


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Inside, it is the GPU that torch means where none is named."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
