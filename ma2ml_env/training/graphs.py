"""Training steps as CUDA graphs: recorded once for each shape of a batch, then replayed by a single call.

A step of these networks launches thousands of small kernels, and launching them one by one from Python takes longer than what
they compute. A graph is launched whole. It does the step's own work, with the same kernels.

All that is fixed when a graph is recorded stays so: addresses, shapes, and each number that Python worked out. What changes
from step to step is outside of it (learning rate, mixup's share, the average of the weights) or a tensor (`network.progress`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

WARM = 3
"""steps before the first recording: libraries make themselves ready in them, which a graph must not record"""


@dataclass(frozen=True, eq=False)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    """where a batch is copied to before the graph is replayed"""
    loss: Tensor
    gradients: list[Tensor | None]
    """of each weight; the graph writes here"""


class Recorded:
    """`step`, with the same results, most of them by replay.

    A step that cannot be recorded, since it waits for the device (a user's network or loss may), goes on as it was.

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
        # Recorded where it was warmed up: autograd remembers the stream that a weight was first used on.
        self._stream: Any = torch.cuda.Stream(weights[0].device)  # type: ignore[no-untyped-call]

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss, which the next call may overwrite."""
        self._calls += 1
        if not self.recording or self._calls <= WARM:
            return self._eager(images, labels)
        shape = tuple((x.shape, x.stride(), x.dtype) for x in (images, labels))
        if shape not in self._recordings:
            try:
                self._recordings[shape] = self._record(images, labels)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                self.recording = False
                return self._eager(images, labels)
        recording = self._recordings[shape]
        if recording is not self._in_use:
            for weight, gradient in zip(self.weights, recording.gradients, strict=True):
                weight.grad = gradient
            self._in_use = recording
        for here, given in zip(recording.inputs, (images, labels), strict=True):
            here.copy_(given)
        recording.graph.replay()
        return recording.loss

    def _eager(self, images: Tensor, labels: Tensor) -> Tensor:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss = self.step(images, labels)
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss

    def _record(self, images: Tensor, labels: Tensor) -> _Recording:
        inputs = images.clone(), labels.clone()
        for weight in self.weights:
            weight.grad = None
        if not self._recordings:
            torch.cuda.empty_cache()  # what the first steps used is given back, or it would be held twice
        graph = torch.cuda.CUDAGraph()
        pools = [other.graph.pool() for other in self._recordings.values()]  # shapes take turns in one memory
        with torch.cuda.graph(
            graph, pool=pools[0] if pools else None, stream=self._stream, capture_error_mode="thread_local"
        ):
            loss = self.step(*inputs)
        return _Recording(graph, inputs, loss, [weight.grad for weight in self.weights])
