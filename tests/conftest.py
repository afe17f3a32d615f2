"""Shared by all tests."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread each: tests run beside each other

# Tables of others, where they stand beside the checkout; without them their tests skip and say so.
_landscapes = Path(__file__).parents[2] / "shared" / "landscapes"
if _landscapes.is_dir():
    os.environ.setdefault("MA2ML_LANDSCAPES", str(_landscapes))


@pytest.fixture
def nothing_ignored() -> Iterator[None]:
    """Whoever runs the tests by `nohup`, or behind a shell's `&`, has signals ignored, and children inherit that."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
