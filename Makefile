# What people and CI run alike. `make` alone lists the targets.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
LOCKS := requirements/build.lock requirements/cpu.lock requirements/dev.lock pyproject.toml scripts/setup.sh
QUICK := not long and not peer and not chaos
# A test process needs up to 3 GB.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help setup demo test test-all lint bench chaos lock clean distclean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(VENV)/.run-stamp ## Environment with locked dependencies; leaves .venv/bin/segloop

$(VENV)/.run-stamp: $(LOCKS)
	@scripts/setup.sh run && touch $@

$(VENV)/.dev-stamp: $(LOCKS)
	@scripts/setup.sh dev && touch $(VENV)/.run-stamp $@

demo: $(VENV)/.run-stamp ## The whole loop on a phantom study. KEEP=1 stays up; STUDY=folder MODEL=name takes your own
	@$(VENV)/bin/segloop demo $(if $(filter-out 0,$(KEEP)),--keep) \
	    $(if $(STUDY),--study "$(STUDY)") $(if $(MODEL),--model "$(MODEL)")

test: $(VENV)/.dev-stamp ## The tests that any machine can run, and a list of what was skipped
	@$(PY) -m pytest -m "$(QUICK)" -n $(JOBS) --dist loadfile --durations 25
	@echo "Left to make test-all: tests marked long, peer (outside programs) and chaos (killed processes)."

test-all: lint ## After make test: lint, and the long, peer and chaos tests
	@$(PY) -m pytest -m "(long or peer) and not chaos" -n $(JOBS) --dist loadfile --durations 25
	@$(PY) -m pytest -m chaos --durations 5

lint: $(VENV)/.dev-stamp ## ruff, mypy, import-linter
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

bench: $(VENV)/.dev-stamp ## Speed on this machine, into benchmarks/results, and the README's tables from them
	@scripts/bench.sh

chaos: $(VENV)/.dev-stamp ## Only the tests that kill processes
	@$(PY) -m pytest -m chaos

lock: ## Resolve the lock files anew (needs uv)
	@scripts/lock.sh

clean: ## Remove caches and outputs; the environment stays
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist demo-out
	@find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and the environment as well
	@rm -rf $(VENV)
