import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-traces", action="store_true", help="write the learners' golden traces anew")


@pytest.fixture
def update_traces(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-traces", default=False))
