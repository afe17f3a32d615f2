"""A training between two epochs: all that it needs to go on, bit for bit, in another process.

What has a `state_dict` is saved under a name; `loop.py` names them in one place. With them go the states of the generators: the
one that draws order and augmentation, and torch's global ones, which drop path draws from. On CUDA equal bits need
deterministic kernels, as always.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.state import pack, unpack


class Stateful(Protocol):
    """A network, an optimizer, a scaler, ..."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102 (torch's)
    def load_state_dict(self, state_dict: Any) -> Any: ...  # noqa: D102


class Checkpoint(NamedTuple):
    """A paused training."""

    epoch: int
    """epochs done"""
    loss: float
    """mean of the last one"""
    parts: Mapping[str, Any]
    """name -> state; tensors share memory with what they were taken from"""
    generators: Mapping[str, Tensor]
    """draws, cpu, and cuda where it is used: their states"""
    curve: Mapping[str, float] = {}
    """epochs done, as text -> accuracy on validation images then"""


def capture(
    epoch: int, loss: float, parts: Mapping[str, Stateful], draws: Generator, device: torch.device
) -> Checkpoint:
    """What these parts and the generators are now."""
    generators = {"draws": draws.get_state(), "cpu": torch.get_rng_state()}
    if device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(device)
    return Checkpoint(epoch, loss, {name: part.state_dict() for name, part in parts.items()}, generators)


def restore(checkpoint: Checkpoint, parts: Mapping[str, Stateful], draws: Generator, device: torch.device) -> None:
    """Bring parts and generators to where they were.

    Raises:
        ValueError: if the checkpoint is of other parts.
    """
    if checkpoint.parts.keys() != parts.keys():
        raise ValueError(f"a checkpoint of {sorted(checkpoint.parts)} does not go with {sorted(parts)}")
    for name, part in parts.items():
        state = checkpoint.parts[name]
        if isinstance(part, torch.optim.Optimizer):
            state = _like_parameters(state, part)
        part.load_state_dict(state)
    draws.set_state(checkpoint.generators["draws"])
    torch.set_rng_state(checkpoint.generators["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(checkpoint.generators["cuda"], device)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a file: a digest, then JSON, then safetensors; a reader never sees half of it.

    Raises:
        OSError: if it cannot be written.
    """
    text, blob = pack(checkpoint._asdict())
    content = text.encode() + b"\n" + blob
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def read(path: Path) -> Checkpoint | None:
    """Inverse of `write`; None if there is no such file or it is damaged: then the training starts anew, to the same end."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        text, _, blob = content.partition(b"\n")
        return Checkpoint(**unpack(text.decode(), blob))
    except (OSError, ValueError, TypeError):
        return None


def _like_parameters(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state with momenta laid out in memory as their weights.

    A file keeps values and no strides, and a loop over other strides may round differently in the last bit.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]

    def laid_out(value: Any, weight: Tensor) -> Any:
        if not isinstance(value, Tensor) or value.shape != weight.shape:
            return value
        return torch.empty_like(weight, dtype=value.dtype).copy_(value)

    slots = {
        index: {name: laid_out(value, weights[index]) for name, value in slot.items()}
        for index, slot in state["state"].items()
    }
    return {**state, "state": slots}
