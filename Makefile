# Everything a developer or a curious reader types. `make help` explains itself.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= python3
RUN := $(VENV)/bin/python -m
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help env docs test test-ci test-all test-slow test-real evidence bench lint types check demo demo-check showcase showcase-check clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(VENV)/.installed  ## the environment: pinned versions, CPU build of torch

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[dev,docs]'
	@touch $@

test: env  ## the default test suite (minutes)
	OMP_NUM_THREADS=1 $(RUN) pytest -n 2

test-ci: env  ## what CI adds to the default suite: kills, requeues, several processes, documentation (minutes)
	OMP_NUM_THREADS=1 $(RUN) pytest -n 2 --dist loadscope -m ci

test-all: test test-ci test-slow  ## all tests that need neither real data nor a stopwatch

test-slow: env  ## tests that train for minutes
	$(RUN) pytest -m slow

test-real: env  ## tests on real BraTS cases ($$TUMORGEN_REAL_DATA, or ../shared/data)
	$(RUN) pytest -m realdata

evidence: env  ## floors, copies and the control at full size: is the evaluation itself right? (minutes)
	$(RUN) pytest -m slow tests/evidence

bench: env  ## timings: each optimisation against its plain form, as ratios
	$(RUN) pytest -m bench -s -p no:xdist

docs: env  ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict

lint: env  ## ruff: style, docstrings, imports, formatting
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: env  ## mypy, strict
	$(RUN) mypy

check: lint types test test-ci  ## what has to pass before a change lands

demo: env  ## phantoms -> both stages -> samples -> picture sheets and a check, on a CPU
	$(RUN) tumorgen demo --output demo

demo-check: env  ## the demo's figures again, from its outputs
	$(RUN) tumorgen demo --output demo --check

showcase: env  ## the demo with an hour of time
	$(RUN) tumorgen demo --size showcase --output showcase

showcase-check: env  ## the showcase's figures again, from its outputs
	$(RUN) tumorgen demo --size showcase --output showcase --check

clean:  ## remove the environment, caches and the demo
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache demo site
