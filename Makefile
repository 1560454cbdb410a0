# make run | make test | make check | make prove | make fuzz | make bench | make docs | make install
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all:

.PHONY: help run test prove fuzz bench check docs install test-packages clean
.DEFAULT_GOAL := help

help: ## what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is older. Fix: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	@echo "Adding what the tests need ..."
	@$(PIP) --editable '.[test]'
	@touch $@

install: $(VENV)/.installed ## .venv with the relay in it

run: install ## start the relay in the foreground: SMTP 127.0.0.1:2525, HTTP 127.0.0.1:8025
	@exec $(BIN)/relay run --config config.example.yaml

test-packages:
	@tests/install-packages

test: $(VENV)/.tested test-packages ## the whole test suite
	$(BIN)/pytest -n 4 --dist worksteal

prove: $(VENV)/.tested test-packages ## 1,000 kills, 500 power cuts, a million messages: hours; PROVE=--help tells of less
	PYTHONPATH=tests:tests/integration $(BIN)/python -m proof $(PROVE)

# FUZZ="paths session" takes some of the targets, RUNS=n so many executions instead of SECONDS.
SECONDS ?= 60
fuzz: $(VENV)/.tested ## long fuzzing, SECONDS=60 for each target
	@cd tests && SECONDS='$(SECONDS)' RUNS='$(RUNS)' PYTHONPATH=.:.. ../$(BIN)/python -m fuzz $(FUZZ)

# Postfix is the distribution's, so the Python is, too, where it is new enough: docs/performance.md says what that changes.
BENCH_PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && echo /usr/bin/python3 || echo $(PYTHON))

bench: ## against Postfix, as root; BENCH=--quick is short, BENCH=--help tells of rows
	@$(MAKE) --no-print-directory PYTHON=$(BENCH_PYTHON) VENV=.venv-bench .venv-bench/.tested
	@tests/install-packages postfix libsasl2-modules
	@.venv-bench/bin/python -m bench $(BENCH)

check: $(VENV)/.tested ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml relay

docs: $(VENV)/.installed ## write docs/openapi.json
	$(BIN)/python -m relay.api.document

clean: ## remove what make run and make test made
	rm -rf $(VENV) .venv-bench var build dist .mypy_cache .pytest_cache .ruff_cache
