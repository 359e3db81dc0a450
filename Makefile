# One command for each thing a person does with this checkout. `make` alone lists them.
#
# Everything is installed into .venv, once, and again when pyproject.toml changes.
# The folder may bear any name. PYTHON=/path/to/python3.11 picks the interpreter.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -qq
CANDIDATES = $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3 python)
PYTEST_ARGS ?= -q
BENCH_ARGS ?=
SEEDS ?= 10000
SCENARIO ?= mixed
JOBS ?= 2
SCENARIO_SEEDS := mixed-100 trust-50 restore-100 disk-50 two-devices-1500 flaky-wifi-100 blobs-100
MUTANT_SEEDS ?= 2000
MUTANT_JOBS ?= 1
HISTORIES ?= 40000

CODE := cli crypto node simulations storage sync
TYPED := __init__.py $(CODE) tests benchmarks docs

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup demo test check bench seeds soak soak-large mutants fold-histories format format-check lint layers types docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/installed ## two devices pair, part, edit on both sides and sync again
	@$(VENV)/bin/covey demo

test: $(VENV)/installed-dev ## all tests (PYTEST_ARGS="-q -k pairing" picks some)
	@PYTHONSAFEPATH=1 $(PY) -m pytest $(PYTEST_ARGS)

check: format-check lint layers types test ## everything that must hold before a commit

seeds: $(VENV)/installed-dev ## some seeds of seven scenarios, two thousand in all (JOBS=2)
	@failed=0; for each in $(SCENARIO_SEEDS); do \
	  $(VENV)/bin/covey simulate "$${each%-*}" --seeds "1-$${each##*-}" --jobs $(JOBS) || failed=1; \
	done; exit $$failed

soak: $(VENV)/installed-dev ## many seeds in the simulator (SEEDS=10000 SCENARIO=mixed JOBS=2)
	@$(VENV)/bin/covey simulate $(SCENARIO) --seeds 1-$(SEEDS) --jobs $(JOBS)

soak-large: $(VENV)/installed-dev ## fifty devices, and thirty days (too long for the tests)
	@$(VENV)/bin/covey simulate crowd --seeds 1-3 --jobs $(JOBS)
	@$(VENV)/bin/covey simulate commuter --virtual-hours 720 --seed 1

mutants: $(VENV)/installed-dev ## plant bugs that the simulator must find (MUTANT_SEEDS=2000)
	@$(PY) -m covey.simulations.mutants --seeds $(MUTANT_SEEDS) --jobs $(MUTANT_JOBS)

fold-histories: $(VENV)/installed-dev ## random histories of a mesh, and attacks on them (HISTORIES=40000)
	@$(PY) -m tests.fold_checks $(HISTORIES)

bench: $(VENV)/installed-dev ## measure the budgets (BENCH_ARGS are passed on)
	@$(PY) -m benchmarks $(BENCH_ARGS)

format: $(VENV)/installed-dev ## write the one format
	@$(PY) -m ruff check --quiet --select I --fix .
	@$(PY) -m ruff format .

format-check: $(VENV)/installed-dev ## fail if `make format` would change something
	@$(PY) -m ruff format --check .

lint: $(VENV)/installed-dev ## ruff
	@$(PY) -m ruff check .

layers: $(VENV)/installed-dev ## imports point down the floors
	@$(VENV)/bin/lint-imports --no-logo

# mypy runs no import hooks, so it finds the package `covey` by a link of that name. Thus the
# tests are checked against real types in a checkout of any name, and with one result in all.
types: $(VENV)/installed-dev ## mypy --strict
	@mkdir -p $(VENV)/typing && ln -sfn ../.. $(VENV)/typing/covey
	@cd $(VENV)/typing && ../bin/python -m mypy --config-file covey/pyproject.toml \
	  --cache-dir ../../.mypy_cache $(addprefix covey/,$(TYPED))

docs: $(VENV)/installed-dev ## write the generated pages under docs/ again
	@$(PY) docs/generate.py

clean: ## remove .venv, caches and build products
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find $(CODE) tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(VENV)/installed-dev ## only install what the other targets need

# A command called python3.12 may be a shim that fails, so each candidate is tried by running it.
# Where the system's Python lacks ensurepip (Debian), its own pip fills the new environment.
$(VENV)/created:
	@for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	    >/dev/null 2>&1; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "No Python 3.11 or 3.12 found (tried:" $(CANDIDATES)")." \
	    "Install one, or run make PYTHON=/path/to/python3.11 demo" >&2; exit 2; \
	fi; \
	echo "Setting up $(VENV) with $$("$$found" -V 2>&1); this takes a minute, once." >&2; \
	"$$found" -m venv --clear $(VENV) >/dev/null 2>&1 || { \
	  "$$found" -m venv --clear --without-pip $(VENV) && \
	  "$$found" -m pip --disable-pip-version-check --python $(PY) install -qq pip; }
	@touch $@

$(VENV)/installed: pyproject.toml | $(VENV)/created
	@$(PIP) install -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/created
	@$(PIP) install -e '.[dev]'
	@touch $(VENV)/installed $@
