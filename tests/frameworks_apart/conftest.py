"""Tests of libraries whose versions clash with ours: `make frameworks` runs them, each file in an environment of its own."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pytest hands over the items of all folders."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.extra)


@pytest.fixture(scope="session")
def game():
    """What they play: as large as `trio-digits-v0`, and there everywhere."""
    from ma2ml_env.games.make import make_game

    return make_game("trio-digits-v0", "surrogate")
