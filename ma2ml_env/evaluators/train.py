"""The evaluator that trains for real."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ma2ml_env.evaluators.base import Job
from ma2ml_env.training import flops, loop, parts
from ma2ml_env.training.data import Dataset, DataSource
from ma2ml_env.trial import Error, Outcome


class Train:
    """Trains each job and measures its accuracy on the validation images.

    Picklable; the data are read at the first job (or by `check`) and kept, and do not travel in the pickle.

    Args:
        source: the data.
        device: cpu, cuda, cuda:N, or auto, which is cuda where there is one. No GPU has run this code yet.
        threads: torch threads while a job trains on the CPU; results depend on their number, so it never follows the machine.
        test: also measure the test images, as metric `test_accuracy`.
        train_on_validation: train on training and validation images together, for a winner's repeats. The only images left
            to measure on are the test images, so the outcome's accuracy is then that on test.
        weights: folder for each trained network, `<number>.safetensors`, without its auxiliary head; None keeps none.
        deterministic: ask CUDA for the same bits every time (CPU jobs have them anyway).
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
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads is at least 1, not {threads}")
        self.source = source
        self.device = device
        self.threads = threads
        self.test = test
        self.train_on_validation = train_on_validation
        self.weights = weights
        self.deterministic = deterministic
        self._dataset: Dataset | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_dataset": None}

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

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index, outcome) in order; each job is trained when its outcome is asked for."""
        for index, job in enumerate(jobs):
            yield index, self._outcome(job)

    def _outcome(self, job: Job) -> Outcome:
        started = time.monotonic()
        try:
            with _threads(self.threads), loop.deterministic(self.deterministic):
                return self._train(job, started)
        except parts.InvalidRecipe as error:
            return _failure(job, started, "INVALID", str(error))
        except loop.Diverged as error:
            return _failure(job, started, "NAN", str(error))
        except torch.OutOfMemoryError as error:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # the next job starts with the memory that this one leaves
            return _failure(job, started, "OOM", str(error))
        except Exception as error:  # one bad job never raises: it is an outcome
            return _failure(job, started, "CRASH", f"{type(error).__name__}: {error}")

    def _train(self, job: Job, started: float) -> Outcome:
        data = self.dataset()
        macs, params = flops.network_cost(job.recipe, data.classes, data.channels, data.size)
        used = data.merged() if self.train_on_validation else data
        fitted = loop.fit(job.recipe, used, seed=job.seed, fidelity=job.fidelity, device=data.train_x.device)
        metrics = dict(fitted.metrics)
        accuracy = fitted.accuracy
        if self.test or accuracy is None:
            measured = loop.accuracy(fitted.network, data, data.test_x, data.test_y, job.recipe.resolution) or 0.0
            metrics["test_accuracy"] = measured
            accuracy = measured if accuracy is None else accuracy
        if self.weights is not None:
            save_weights(fitted.network, Path(self.weights) / f"{job.number}.safetensors")
        return Outcome(
            accuracy=accuracy,
            flops=macs,
            params=params,
            seconds=time.monotonic() - started,
            fidelity=job.fidelity,
            metrics=metrics,
        )

    def _resolve_device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
        except RuntimeError:
            raise ValueError(f"unknown device {self.device!r}; it is auto, cpu, cuda or cuda:N") from None
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"device {self.device!r} is not supported; it is auto, cpu, cuda or cuda:N")
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise ValueError(f"device {self.device!r} is not on this machine; use --device cpu or auto")
        return device


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's tensors, without those of an auxiliary head, as safetensors; a reader never sees half a file."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    tensors: Mapping[str, torch.Tensor] = {n: t for n, t in state.items() if not n.startswith("auxiliary.")}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(save(dict(tensors)))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


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
