# Two commands: `make search` (install, a real search on real data, the winner exported) and `make test` (install, fast suite).
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
RUN ?= runs/digits
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) -q -rs

.PHONY: search test test-full check lint install install-dev clean

search: install
	$(BIN)/ma2ml search digits-v0 --run $(RUN) --workers $(WORKERS)
	$(BIN)/ma2ml retrain $(RUN) --workers $(WORKERS)
	$(BIN)/ma2ml export $(RUN)

test: install-dev
	$(PYTEST)

# All that `test` leaves out: slow tests, integrations, export into a clean environment, the kill suite; and what skips there
# for want of a package. `gpu` needs a device.
test-full: install-dev lint
	$(PYTEST) -m "(slow or extra) and not gpu" --timeout 1800

check: lint test

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

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
