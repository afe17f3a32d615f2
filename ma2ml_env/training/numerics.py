"""The type that a training computes in, what it draws from, and whether it gives the same bits every time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ma2ml_env.training import parts


def half_type(device: torch.device, precision: str = "auto") -> torch.dtype | None:
    """Autocast's type on a device for a recipe's precision; None is full precision."""
    if precision != "auto":
        return parts.PRECISIONS[precision]
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
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
    if not enabled:
        yield
        return
    before, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)
        torch.backends.cudnn.benchmark = benchmark
