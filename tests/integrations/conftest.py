"""What stands here needs other packages, or other environments: `make test-full` runs all of it."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pytest hands over the items of all folders."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.extra)
