"""The evaluator that trains for real."""

import copy
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ma2ml_env.evaluators.base import DeviceLost, Evaluator, Job, MayStart, NoWorker, epoch_at
from ma2ml_env.evaluators.deadline import NoTime
from ma2ml_env.evaluators.faults import free_memory, given_back, lost, out_of_memory
from ma2ml_env.evaluators.workers.schedule import Cost, Device
from ma2ml_env.io import memory
from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.predictions import predictions_path, write_predictions
from ma2ml_env.metrics import measured
from ma2ml_env.training import checkpoint, flops, loop, numerics, parts
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.images import batches
from ma2ml_env.training.losses import ClassWeights, weights_of_classes
from ma2ml_env.training.predict import EVALUATION_BATCH, predict
from ma2ml_env.trial import Error, Outcome

CONTEXT = {"cpu": 1 << 29, "cuda": 3 << 30}
"""bytes that a process holds beside what it trains: torch; on a GPU CUDA's context, kernels, the convolutions' workspaces"""
AUGMENTED = 16
"""bytes a value of the images that are augmented at once: indices of int64, the values in and out, and in float32"""
THREADS = 1024
"""of one training, at most"""
KEEP_EVERY = 600.0
"""seconds between two checkpoints of a training under way"""
SAFETY = 1.5
"""predicted bytes over counted ones: what lies between two layers, and the allocator's rounding"""


class Train(Evaluator):
    """Trains each job and measures it on the validation images: its accuracy, and all metrics of `metrics.py`.

    Picklable; the data are read at the first job (or by `check`) and kept, and do not travel in the pickle.

    Args:
        source: the data.
        device: cpu, cuda, cuda:N, or auto, which is cuda where there is one.
        threads: torch threads while a job trains on the CPU; results depend on their number, so it never follows the machine.
        test: also measure the test images: `Outcome.test_accuracy`, and the others under `test_NAME` of its metrics.
        train_on_validation: train on training and validation images together, for a winner's repeats. The only images left
            to measure on are the test images, so the outcome's accuracy and metrics are then those on test.
        weights: folder for each trained network, `<number>.safetensors`, without its auxiliary head, and what it said of the
            test images, where they are measured; None keeps none.
        deterministic: ask CUDA for the same bits every time (CPU jobs have them anyway).
        class_weights: `balanced` weights the training loss by the rarity of an image's class, see `loop.fit`.
        checkpoints: folder, seen by all workers, in which a job leaves what it needs to go on when it pauses (`Job.until`), and
            every `KEEP_EVERY` seconds in case it is killed. Where a checkpoint is not found, or cannot be written, or is of
            another device, the training starts anew, to the same end. None: no job pauses.
        curve: epochs after which the validation images are measured as well, `Outcome.curve`; the training is the same without.
        progress: folder in which each job leaves the number of its epochs so far, as text under `Job.checkpoint_name`, for who
            watches; what cannot be written costs nothing. None: nobody watches.

    A job that runs out of memory is started once more with a quarter of its batch at a time, at the same effective batch; such
    an outcome has the metric `micro_batch`.
    """

    def __init__(
        self,
        source: DataSource,
        *,
        device: str = "auto",
        threads: int = 1,
        test: bool = False,
        train_on_validation: bool = False,
        weights: str | None = None,
        deterministic: bool = False,
        checkpoints: str | None = None,
        class_weights: ClassWeights = "none",
        curve: tuple[int, ...] = (),
        progress: str | None = None,
    ) -> None:
        if not 1 <= threads <= THREADS:
            raise ValueError(f"threads is at least 1 and at most {THREADS}, not {threads}")
        if any(epoch < 1 for epoch in curve):
            raise ValueError(f"curve names epochs, which are counted from 1, not {list(curve)}")
        weights_of_classes(class_weights, torch.zeros(1, dtype=torch.int64), 1)  # an unknown name is an error here
        self.source = source
        self.device = device
        self.threads = threads
        self.test = test
        self.train_on_validation = train_on_validation
        self.weights = weights
        self.deterministic = deterministic
        self.checkpoints = checkpoints
        self.class_weights = class_weights
        self.curve = tuple(curve)
        self.progress = progress
        self._dataset: Dataset | None = None
        self._may_start: MayStart | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_dataset": None, "_may_start": None}

    def limit(self, may_start: MayStart | None) -> bool:
        """Ask before each training."""
        self._may_start = may_start
        return True

    def check(self) -> None:
        """Find out before a search what would fail every job.

        Raises:
            FileNotFoundError: if the data are not there.
            ValueError: if the device is not there, or the data are not as they should be.
        """
        self._resolve_device()
        self.dataset()

    def dataset(self) -> Dataset:
        """The data, on the device.

        Raises:
            FileNotFoundError, ValueError: as `check`.
        """
        if self._dataset is None:
            self._dataset = self.source.load().to(self._resolve_device())
        return self._dataset

    def flops(self, job: Job) -> int:
        """MACs of a job's network, before it is trained.

        Raises:
            InvalidRecipe: a ValueError; if the network cannot be built.
        """
        data = self.dataset()
        return flops.network_cost(job.recipe, data.classes, data.channels, data.size)[0]

    def twin(self) -> "Train":
        """The same trainer for a worker process, which sees one of `devices` and no other; with the data, which are no job's.

        Raises:
            FileNotFoundError, ValueError: as `check`.
        """
        other = copy.copy(self)
        other._dataset = other._may_start = None
        if self.device.startswith("cuda"):  # the one that is seen here is number 0, whatever it is elsewhere
            other.device = "cuda"
        other.dataset()
        return other

    def cost(self, job: Job) -> Cost:
        """What a job will take, from one dry pass of its network.

        Memory is what a process holds, the data, the images that are augmented at once, three numbers a weight (weight,
        gradient, momentum; RMSProp and an average of the weights have one more each) and the outputs of all layers for a batch,
        in the type that they are computed in. The constants are set by what five trainings held on an H100.

        Raises:
            InvalidRecipe: a ValueError; if the network cannot be built.
        """
        data, recipe = self.dataset(), job.recipe
        one = flops.footprint(recipe, data.classes, data.channels, data.size, final=_has_head(job))
        images = len(data.train_x) + self.train_on_validation * len(data.validation_x)
        epochs = loop.epochs(recipe, job.fidelity)
        values = max(one.values * min(recipe.batch_size, images), 2 * one.largest * EVALUATION_BATCH)
        width = 4 if numerics.half_type(self._resolve_device(), recipe.precision) is None else 2
        held = 3 + (recipe.optimizer.kind == "rmsprop") + (recipe.ema > 0.0)
        augmented = max(batches.CHUNK, min(recipe.batch_size, images) * math.prod(data.train_x.shape[1:]))
        return Cost(
            macs=float(one.macs * images * epochs),
            calls=float(one.calls * epochs * max(1, images // recipe.batch_size)),
            memory=CONTEXT[self._resolve_device().type]
            + _bytes(data)
            + AUGMENTED * augmented
            + SAFETY * (4 * held * one.params + width * values),
        )

    def devices(self) -> tuple[Device, ...]:
        """The GPUs that workers may be spread over; else the CPU. Each has nine tenths of the memory that is free now."""
        device = self._resolve_device()
        if device.type != "cuda":
            return (Device(0.9 * memory.available()),)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        indices = range(torch.cuda.device_count()) if device.index is None else [device.index]
        return tuple(
            Device(0.9 * torch.cuda.mem_get_info(index)[0], {"CUDA_VISIBLE_DEVICES": visible.split(",")[index]})
            for index in indices
        )

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index, outcome) in order; each job is trained when its outcome is asked for.

        Raises:
            DeviceLost: a NoWorker; if the GPU no longer answers this process.
            NoWorker: a RuntimeError; if the weights cannot be written.
            NoTime: a RuntimeError; if the next job may not start.
        """
        for index, job in enumerate(jobs):
            if self._may_start is not None and not self._may_start():
                raise NoTime(f"{len(jobs) - index} trainings may not start any more")
            yield index, self._outcome(job)

    def _outcome(self, job: Job) -> Outcome:
        started = time.monotonic()
        try:
            with _threads(self.threads), numerics.deterministic(self.deterministic), given_back():
                try:
                    return self._train(job, started)
                except Exception as error:
                    if not out_of_memory(error):
                        raise
                # Out here the exception is gone, and with it the frames that held the memory.
                free_memory()
                again = self._train(job, started, max(2, job.recipe.batch_size // 4))
                return replace(again, attempts=2)
        except parts.InvalidRecipe as error:
            return _failure(job, started, "INVALID", str(error))
        except loop.Diverged as error:
            return _failure(job, started, "NAN", str(error))
        except NoWorker:
            raise
        except Exception as error:  # one bad job never raises: it is an outcome
            if reason := lost(self.device):
                raise DeviceLost(
                    f"the GPU no longer answers this process ({reason}); a new one may have it back"
                ) from error
            if out_of_memory(error):
                free_memory()  # the next job starts with what this one leaves
                return replace(_failure(job, started, "OOM", str(error)), attempts=2)
            return _failure(job, started, "CRASH", f"{type(error).__name__}: {error}")

    def _train(self, job: Job, started: float, micro_batch: int | None = None) -> Outcome:
        data = self.dataset()
        macs, params = flops.network_cost(job.recipe, data.classes, data.channels, data.size)
        used = data.merged() if self.train_on_validation else data
        fitted = self._fit(job, used, micro_batch)
        metrics = dict(fitted.metrics)
        if micro_batch is not None:
            metrics["micro_batch"] = float(micro_batch)
        accuracy, tested, seen = fitted.accuracy, None, None
        if self.test or accuracy is None:
            seen = predict(fitted.network, data, data.test_x, data.test_y, job.recipe.resolution, micro_batch)
            tested, on_test = (0.0, {}) if seen is None else (seen.accuracy, measured(seen))
            metrics |= {f"test_{name}": value for name, value in on_test.items()}
            if accuracy is None:
                accuracy, metrics = tested, metrics | on_test
        if self.weights is not None:
            path = Path(self.weights) / f"{job.number}.safetensors"
            try:
                if seen is not None:
                    write_predictions(predictions_path(path), seen)
                save_weights(fitted.network, path)
            except OSError as error:  # not the job's fault, nor would the next one's be written
                raise NoWorker(f"the weights of a finished training cannot be written: {error}") from error
        if fitted.checkpoint is None:
            _drop(self._checkpoint(job))
        return Outcome(
            accuracy=accuracy,
            flops=macs,
            params=params,
            seconds=time.monotonic() - started,
            fidelity=job.fidelity * _trained_share(job, fitted),
            test_accuracy=tested,
            curve=fitted.curve,
            metrics=metrics,
        )

    def _fit(self, job: Job, data: Dataset, micro_batch: int | None) -> loop.Fitted:
        """Train, from the job's checkpoint if there is one, and leave others on the way."""
        options: dict[str, Any] = {
            "device": self._resolve_device(),
            "micro_batch": micro_batch,
            "class_weights": self.class_weights,
            "curve": self.curve,
        }
        if self.progress is not None:
            options["on_epoch"] = partial(_tell, Path(self.progress) / job.checkpoint_name)
        path = self._checkpoint(job)
        if path is not None:
            until = epoch_at(job.until, loop.epochs(job.recipe, job.fidelity))
            before = checkpoint.read(path)
            here = (job.recipe, self._resolve_device(), self.curve)
            if before and before.epoch <= until and loop.goes_on(before, *here):
                options["checkpoint"] = before
            options |= {
                "until": until if job.until < 1.0 else None,
                "keep": partial(_keep, path),
                "keep_every": KEEP_EVERY,
            }
        try:
            fitted = loop.fit(job.recipe, data, seed=job.seed, fidelity=job.fidelity, **options)
        except loop.Diverged:
            _drop(path)
            raise
        if path is not None and fitted.checkpoint is not None:
            _keep(path, fitted.checkpoint)
        return fitted

    def _checkpoint(self, job: Job) -> Path | None:
        """Where it would lie, if there are any."""
        return None if self.checkpoints is None else Path(self.checkpoints) / job.checkpoint_name

    def _resolve_device(self) -> torch.device:
        return device_named(self.device)


def device_named(name: str) -> torch.device:
    """The device of a name: auto, cpu, cuda or cuda:N.

    Raises:
        ValueError: if there is no such device, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}; it is auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index is not None):
        raise ValueError(f"device {name!r} is not supported; it is auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r} is not on this machine; use --device cpu or auto")
    return device


def _tell(path: Path, epochs: int, loss: float) -> None:
    """Leave the number of epochs for who watches, if it can be written."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(epochs))


def _keep(path: Path, state: checkpoint.Checkpoint) -> None:
    """Write a checkpoint, if it can be written: the job does not depend on it."""
    with suppress(OSError):
        checkpoint.write(path, state)


def _drop(path: Path | None) -> None:
    """The job will not go on."""
    if path is not None:
        with suppress(OSError):
            path.unlink()


def _trained_share(job: Job, fitted: loop.Fitted) -> float:
    """Of this job's training, by epochs: one that pauses does so between two."""
    return fitted.checkpoint.epoch / loop.epochs(job.recipe, job.fidelity) if fitted.checkpoint else 1.0


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's tensors, without those of an auxiliary head, as safetensors; a reader never sees half a file.

    Raises:
        OSError: if it cannot be written; nothing is left then.
    """
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    tensors: Mapping[str, torch.Tensor] = {n: t for n, t in state.items() if not n.startswith("auxiliary.")}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, save(dict(tensors)))


def _has_head(job: Job) -> bool:
    return job.fidelity == 1.0 and job.recipe.auxiliary > 0.0


def _bytes(data: Dataset) -> int:
    return data.resident * (data.train_x.nbytes + data.validation_x.nbytes + data.test_x.nbytes)


def _failure(job: Job, started: float, error: Error, note: str) -> Outcome:
    seconds = time.monotonic() - started
    return Outcome(status="failed", seconds=seconds, fidelity=job.fidelity, error=error, note=note)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use so many torch threads inside; the process's own number is left as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
