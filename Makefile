# Needs make and Python 3.11 to 3.14; everything else is installed into .venv by the first command.
SHELL := /bin/sh
VENV := .venv
# The newest interpreter that fits; torchvision leaves 3.14.1 out, Debian may leave venv out.
FITS := import sys, ensurepip, venv; v = sys.version_info; \
	sys.exit(not (3, 11) <= v < (3, 15) or v[:3] == (3, 14, 1))
PYTHON ?= $(shell for one in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$one -c '$(FITS)' >/dev/null 2>&1 && echo $$one && break; done)
UNFIT = Python 3.11 to 3.14 is needed, with its venv and but for 3.14.1, not \
	$(or $(PYTHON),what is found here): make PYTHON=python3.12 $(MAKECMDGOALS)
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# What PyPI has for Linux on x86-64 brings 5 GB of CUDA. Empty: install that in any case.
CPU_TORCH ?= https://download.pytorch.org/whl/cpu
# Three files at a time: on two cores, while one test waits. The tests of a file share what is dear.
THREE := --numprocesses 3 --dist loadfile --no-loadscope-reorder
MADE := $(VENV)/.made
READY := $(VENV)/.ready
DEVELOPING := $(VENV)/.developing
EXAMPLE := build/docs/example/report/index.html
OUT ?= results
PORT ?= 8080

.DEFAULT_GOAL := help
.PHONY: help setup study test test-slow dashboard docs bench check format clean

help:  ## show these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## install what a study needs into .venv (once)

$(MADE):
	@$(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null || { echo '$(UNFIT)'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@test -z '$(CPU_TORCH)' || test "$$(uname -sm)" != 'Linux x86_64' || nvidia-smi -L >/dev/null 2>&1 || \
		if $(PIP) --no-deps --retries 0 --index-url '$(CPU_TORCH)' torch torchvision >/dev/null 2>&1 && \
			$(BIN)/python -c 'from importlib.metadata import version; "+cpu" in version("torch") or exit(1)'; \
		then echo 'No NVIDIA GPU is found: torch is installed without CUDA.'; \
		else echo 'No NVIDIA GPU is found, but torch without CUDA cannot be had: installing it with CUDA.'; fi
	@touch $@

$(READY): $(MADE) pyproject.toml constraints.txt
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

docs: $(DEVELOPING) $(EXAMPLE)  ## build the pages of docs/, and an example of a report, into site/
	$(BIN)/python docs/reference.py
	$(BIN)/mkdocs build --quiet --strict

$(EXAMPLE): $(DEVELOPING)
	$(BIN)/python -m study.run --task digits --epochs 5 --name example --out build/docs

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
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info build site
