"""What can go wrong with a device: its memory runs out, or it no longer answers."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

FULL = ("DefaultCPUAllocator", "CUDA error: out of memory", "ALLOC_FAILED")
"""what torch says of a memory that is full where it has no class for it: the CPU's, and what CUDA and its libraries take"""


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, the CPU's or a GPU's."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or (isinstance(error, RuntimeError) and any(text in str(error) for text in FULL))


def lost(device: str) -> str:
    """Why the GPU (auto, cuda or cuda:N) no longer answers this process; empty where it does, or none is used.

    After an illegal access or an error of the hardware every call fails until the process has ended (CUDA's "sticky" errors).
    """
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return ""
    try:
        torch.cuda.synchronize(device if device.startswith("cuda") else None)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return ""


@contextmanager
def given_back() -> Iterator[None]:
    """Afterwards the GPU's memory is free again for other processes, whose jobs are placed by what running jobs need."""
    try:
        yield
    finally:
        torch.cuda.empty_cache()


def free_memory() -> None:
    """Let go of what nothing refers to any more."""
    gc.collect()
    torch.cuda.empty_cache()  # nothing where no GPU was used
