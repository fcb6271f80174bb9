# Needs Python >= 3.11 and make; everything else is installed into .venv by the first command.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Three files at a time: on two cores, while one test waits. The tests of a file share what is dear.
THREE := --numprocesses 3 --dist loadfile --no-loadscope-reorder
READY := $(VENV)/.ready
DEVELOPING := $(VENV)/.developing
OUT ?= results
PORT ?= 8080

.DEFAULT_GOAL := help
.PHONY: help setup study test test-slow dashboard bench check format clean

help:  ## show these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## install what a study needs into .venv (once)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is older: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(DEVELOPING): $(READY)
	$(PIP) --editable '.[dev]'
	@touch $@

study: setup  ## run the default study; ARGS="--epochs 5 ..." adds flags
	$(BIN)/python -m study.run $(ARGS)

test: $(DEVELOPING)  ## run the tests (minutes)
	$(BIN)/python -m pytest $(THREE) $(ARGS)

test-slow: $(DEVELOPING)  ## run the long tests (a quarter of an hour or more)
	$(BIN)/python -m pytest -m slow $(THREE) $(ARGS)

dashboard: setup  ## watch the study NAME=... in a browser, while it runs or later
	$(if $(NAME),,$(error NAME is missing; name a study: make dashboard NAME=first))
	@$(BIN)/python -c 'import optuna_dashboard' 2>/dev/null || $(PIP) --editable '.[dashboard]'
	$(BIN)/python -m study.dashboard '$(OUT)/$(NAME)' --port $(PORT)

bench: setup  ## measure speed beside other recipes (half an hour)
	$(PIP) --editable '.[bench]'
	@# Without what it asks for: that brings another NCCL, into the place of torch's.
	$(PIP) --no-deps syne-tune
	$(BIN)/python -m benchmarks $(ARGS)

check: $(DEVELOPING)  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEVELOPING)  ## let ruff format and mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and the caches (never results)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info build
