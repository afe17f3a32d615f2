"""Every code of the NAS space builds, trains a step and answers the same twice."""

import numpy as np
import pytest
import torch

from ma2ml_env.training.networks.base import Drops, Image
from ma2ml_env.training.networks.nasnet import OPERATIONS, Block, NASNet

NAMES = tuple(OPERATIONS)


def random_cell(rng: np.random.Generator) -> tuple[Block, ...]:
    return tuple(
        (
            int(rng.integers(b + 2)),
            NAMES[rng.integers(13)],
            int(rng.integers(b + 2)),
            NAMES[rng.integers(13)],
            ("add", "concat")[rng.integers(2)],
        )
        for b in range(5)
    )


def check(seed: int) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    cells = int(rng.integers(1, 4))
    size, channels = int(rng.integers(1, 9)), int(rng.choice([1, 3]))
    network = NASNet(
        random_cell(rng),
        random_cell(rng),
        cells,
        tuple(position for position in range(cells) if rng.random() < 0.5),
        filters=int(rng.integers(1, 4)),
        image=Image(3, channels, size),
        auxiliary=bool(rng.random() < 0.3),
        drops=Drops(float(rng.choice([0.0, 0.5]))),
    )
    network.progress = 1.0
    images = torch.rand(2, channels, size, size)
    out = network(images)
    logits = out if isinstance(out, torch.Tensor) else out[0] + out[1]
    assert logits.shape == (2, 3)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2])).backward()
    for name, parameter in network.named_parameters():  # what nothing reads is concatenated: no weight is idle
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    network.eval()
    with torch.no_grad():
        first, second = network(images), network(images)
    assert first.shape == (2, 3)
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)


@pytest.mark.parametrize("block", range(6))
def test_codes(block: int) -> None:
    for seed in range(20 * block, 20 * (block + 1)):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_thousands_of_codes(block: int) -> None:
    for seed in range(1000 + 300 * block, 1000 + 300 * (block + 1)):
        check(seed)
