# Two commands: `make search` (install, a real search on real data, the winner exported) and `make test` (install, fast suite).
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
RUN ?= runs/digits
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) -q -rs

.PHONY: search test test-full lowest frameworks check lint docs install install-dev clean

search: install
	$(BIN)/ma2ml search digits-v0 --run $(RUN) --workers $(WORKERS)
	$(BIN)/ma2ml retrain $(RUN) --workers $(WORKERS)
	$(BIN)/ma2ml export $(RUN)

test: install-dev
	$(PYTEST)

# All that `test` leaves out: slow tests, integrations, export into a clean environment, the kill suite; and what skips there
# for want of a package. `gpu` needs a device.
test-full: install-dev lint
	$(PYTEST) -m "(slow or extra) and not gpu" --timeout 1800 --durations 20

# The lowest version of every range in pyproject.toml, in an environment of its own, and the conformance tests on them.
lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct -e ".[dev]"
	.venv-lowest/bin/python -m pytest -n $(WORKERS) -q -rs tests/conformance tests/integrations/test_views.py \
		tests/integrations/test_checkers.py tests/unit/test_env.py tests/unit/test_learners.py tests/unit/test_loop.py

# Libraries whose versions clash with ours: tests and trainings, in an environment of its own for each above the project's.
frameworks: install-dev
	$(BIN)/python benchmarks/frameworks/environments.py

check: lint docs test

# The site, into site/: fails on a broken link.
docs: $(VENV)/.installed-docs
	$(BIN)/zensical build --strict --clean

lint: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-frameworks site runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
