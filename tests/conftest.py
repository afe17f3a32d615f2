"""Shared by all tests."""

import importlib.util
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

NEEDS = {"smac": "smac"}
"""learner -> extra and package that it needs and `make test` does not install"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of a learner whose package is not installed skips and says so; the full suite runs it again."""
    for item in items:
        given = getattr(item, "callspec", None)
        for value in given.params.values() if given else ():
            if isinstance(value, str) and value in NEEDS:
                item.add_marker(pytest.mark.extra)
                missing = importlib.util.find_spec(NEEDS[value]) is None
                item.add_marker(pytest.mark.skipif(missing, reason=f"the extra {NEEDS[value]} is not installed"))


@pytest.fixture
def nothing_ignored() -> Iterator[None]:
    """Whoever runs the tests by `nohup`, or behind a shell's `&`, has signals ignored, and children inherit that."""
    usual = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
