"""Exact states of torch's own things as nested dicts with string keys."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """Moments and step counts by position of the parameter; settings come from the config and are not stored."""
    return {str(position): dict(state) for position, state in optimizer.state_dict()["state"].items()}


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Inverse of `optimizer_state`; the tensors are copied."""
    moments = {
        int(position): {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in entry.items()}
        for position, entry in state.items()
    }
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def seeded(seed: int) -> torch.Generator:
    """A CPU generator of its own."""
    return torch.Generator().manual_seed(seed)
