"""Training steps as CUDA graphs: recorded once for each shape of a batch, then replayed by a single call.

A step of these networks launches thousands of small kernels, and launching them one by one from Python takes longer than what
they compute. A graph is launched whole. It does the step's own work, with the same kernels.

All that is fixed when a graph is recorded stays so: addresses, shapes, and each number that Python worked out. What changes
from step to step is outside of it (learning rate, mixup's share, the average of the weights) or a tensor (`network.progress`).
So only parts that are known to keep to this are recorded (`parts.RECORDABLE`).
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

WARM = 3
"""steps before the first recording: libraries make themselves ready in them, which a graph must not record"""
WAITING = "called a synchronizing CUDA operation"
"""what torch's debug mode says of an operation that waits for the device"""


@dataclass(frozen=True, eq=False)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    """where a batch is copied to before the graph is replayed"""
    loss: Tensor
    gradients: list[Tensor | None]
    """of each weight; the graph writes here"""


@lru_cache
def _stream(device: torch.device) -> Any:
    """A device's stream for recordings, one a process: cuBLAS keeps a workspace for each stream that it has seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Recorded:
    """`step`, with the same results, most of them by replay.

    A step that cannot be recorded goes on as it was: it waits for the device, say, or the memory is too small for its copy.

    Args:
        step: (images, labels) -> loss, both on the GPU; sets the gradients of the weights anew and changes no tensor that it
            does not always change.
        weights: whose gradients it sets.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], weights: Sequence[nn.Parameter]) -> None:
        self.step, self.weights = step, weights
        self.recording = True
        """false once a step could not be recorded"""
        self._calls = 0
        self._recordings: dict[object, _Recording] = {}
        self._in_use: _Recording | None = None
        self._pool = torch.cuda.graph_pool_handle()  # shapes take turns in one memory
        # Recorded where it was warmed up: autograd remembers the stream that a weight was first used on.
        self._stream = _stream(weights[0].device)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss, which the next call may overwrite."""
        self._calls += 1
        if not self.recording or self._calls < WARM:
            return self._eager(images, labels)
        if self._calls == WARM:
            return self._watched(images, labels)
        shape = tuple((x.shape, x.stride(), x.dtype) for x in (images, labels))
        if shape not in self._recordings:
            recording = self._record(images, labels)
            if recording is None:
                self.recording, self._in_use = False, None
                self._recordings.clear()
                return self._eager(images, labels)
            self._recordings[shape] = recording
        return self._replay(self._recordings[shape], images, labels)

    def _eager(self, images: Tensor, labels: Tensor) -> Tensor:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss = self.step(images, labels)
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss

    def _watched(self, images: Tensor, labels: Tensor) -> Tensor:
        """A step that tells whether it can be recorded. The steps before it have said all other warnings."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                loss = self._eager(images, labels)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        self.recording = not any(WAITING in str(one.message) for one in told)
        return loss

    def _record(self, images: Tensor, labels: Tensor) -> _Recording | None:
        """None if it cannot be done."""
        inputs = images.clone(), labels.clone()
        for weight in self.weights:
            weight.grad = None  # `torch.cuda.graph` gives memory that is free back, or it would be held twice
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                loss = self.step(*inputs)
        except RuntimeError:
            torch.cuda.set_stream(current)
            graph.reset()
            self._clear_up()
            return None
        return _Recording(graph, inputs, loss, [weight.grad for weight in self.weights])

    def _clear_up(self) -> None:
        """Tell torch that a recording is over.

        Where the driver broke it off, torch's generator refuses to draw, and its allocator to give memory back
        (pytorch/pytorch#171265).
        """
        index = self._stream.device.index
        generator = torch.cuda.default_generators[index]
        generator.graphsafe_set_state(generator.clone_state())
        with suppress(RuntimeError, AttributeError):  # unless it knows
            torch._C._cuda_endAllocateToPool(index, self._pool)
            torch._C._cuda_releasePool(index, self._pool)

    def _replay(self, recording: _Recording, images: Tensor, labels: Tensor) -> Tensor:
        if recording is not self._in_use:
            for weight, gradient in zip(self.weights, recording.gradients, strict=True):
                weight.grad = gradient
            self._in_use = recording
        for here, given in zip(recording.inputs, (images, labels), strict=True):
            here.copy_(given)
        recording.graph.replay()
        return recording.loss
