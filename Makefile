# Two commands do everything: `make demo` runs the main job, `make test` passes the tests.
# Needed: Python 3.11 or newer, Node 20 or newer, make. All else is installed below this folder.

PYTHON ?= python3
VIDEO ?=
# The name of a file as it was typed: make and the shell are kept from reading it.
FILM := $(value VIDEO)
export FILM
# Node 20 works; preflight says once that its time is over, the CDK would say so at every start.
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 20
BIN := .venv/bin
VENV := .venv/.made
READY := .venv/.ready
BROWSER := tests/integration/browser
PLAYERS := $(BROWSER)/node_modules/.ready
CHECKOV := tests/unit/infra/checkov
SCANNER := $(CHECKOV)/.venv/.ready
SOURCES := .:cli:$(subst $() ,:,$(wildcard runtime/*))

# The CDK imports slowly without compiled files, which some machines switch off.
unexport PYTHONDONTWRITEBYTECODE
# Settings of the caller's own AWS account and Python must not reach in.
unexport AWS_PROFILE AWS_ENDPOINT_URL PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help setup demo down check browser checkov unit infra logic versions integration workers services commands regions plane test synth bench docs lock

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## Install everything below .venv and node_modules

# The mark comes last: what was interrupted is made anew.
$(VENV):
	@$(PYTHON) tools/preflight.py
	@echo "installing below .venv and node_modules (about 1 GB; once)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.13,<0.14"
	@touch $@

$(READY): $(VENV) requirements-dev.txt package-lock.json pyproject.toml
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@npm ci --silent
	@touch $@

demo: $(READY)  ## Run the main job on this machine: upload, transcode, play (VIDEO=path for your own)
	@$(BIN)/mediactl local demo $(if $(FILM),--video "$$FILM")

down:  ## Stop the local plane
	@if test -f $(READY); then $(BIN)/mediactl local down; else echo "nothing was running"; fi

check: $(READY)  ## Lint, format, types and layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@PYTHONPATH=$(SOURCES) $(BIN)/lint-imports

unit: infra logic  ## Unit tests, with synth, rules and snapshots of all stages

# Apart from the others, since it asks the package index what is newest.
VERSION_TESTS := tests/unit/infra/test_infra_versions.py
infra: $(READY) $(SCANNER)
	@$(BIN)/pytest tests/unit/infra --ignore=$(VERSION_TESTS)

logic: $(READY)
	@$(BIN)/pytest tests/unit --ignore=tests/unit/infra

versions: $(READY)  ## Synthesize with the oldest and the newest CDK that the library allows
	@$(BIN)/pytest $(VERSION_TESTS)

# No part of setup: nothing but a test needs it, and its packages do not go with ours.
checkov: $(SCANNER)  ## Install checkov, which a test asks

$(SCANNER): $(CHECKOV)/requirements.txt | $(VENV)
	@echo "installing checkov below $(CHECKOV)/.venv (290 MB; once)"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(CHECKOV)/.venv && \
	  $(BIN)/uv pip install --quiet --python $(CHECKOV)/.venv/bin/python --require-hashes -r $< || \
	  { echo "error: checkov cannot be installed: is PyPI reachable?" >&2; exit 1; }
	@touch $@

# No part of setup: nothing but the tests needs players and a browser.
browser: $(PLAYERS)  ## Install what the browser tests play with: hls.js, dash.js and a Chromium

$(PLAYERS): $(BROWSER)/package-lock.json $(BROWSER)/unpack.mjs | $(VENV)
	@echo "installing players and a Chromium below $(BROWSER)/node_modules (110 MB to fetch, 460 MB; once)"
	@cd $(BROWSER) && npm ci --loglevel=error >/dev/null && node unpack.mjs || \
	  { echo "error: players and Chromium cannot be installed: is the npm registry reachable?" >&2; exit 1; }
	@touch $@

integration: workers services commands regions plane  ## Tests against the local plane, with real video

WORKER_TESTS := $(wildcard tests/integration/test_worker_*.py)
SERVICE_TESTS := $(wildcard tests/integration/test_api_*.py tests/integration/test_lambdas_*.py)
workers: $(READY)
	@$(BIN)/pytest $(WORKER_TESTS)

services: $(READY)
	@$(BIN)/pytest $(SERVICE_TESTS)

COMMAND_TESTS := $(wildcard tests/integration/test_cli_*.py)
commands: $(READY)
	@$(BIN)/pytest $(COMMAND_TESTS)

REGION_TESTS := $(wildcard tests/integration/test_*region*.py)
regions: $(READY)
	@$(BIN)/pytest $(REGION_TESTS)

plane: $(READY) $(PLAYERS)
	@$(BIN)/pytest tests/integration \
	  $(addprefix --ignore=,$(WORKER_TESTS) $(SERVICE_TESTS) $(COMMAND_TESTS) $(REGION_TESTS))

# Three at a time, the longest first: on two processors, since all of them wait a good deal.
test: $(READY) $(PLAYERS)  ## Everything that CI runs
	@$(MAKE) --no-print-directory -j3 $(if $(filter output-sync,$(.FEATURES)),--output-sync=line) \
	  plane workers services regions commands infra logic versions check

synth: $(READY)  ## Synthesize every stage
	@for stage in local dev prod; do \
	  node_modules/.bin/cdk synth --quiet --app "$(BIN)/python app.py" -c stage=$$stage --output cdk.out/$$stage || exit 1; \
	done

# One run of each takes about 25 minutes on two quiet cores; QUICK=1 shows in three that all work.
RUNS ?= 1
bench: $(READY)  ## Run all benchmarks; each ends with one JSON line (RUNS=5 for medians of five, QUICK=1 for a smoke)
	@for script in bench/*.py; do \
	  echo "== $$script"; \
	  $(BIN)/python $$script --json --runs $(RUNS) $(if $(QUICK),--quick) || exit 1; \
	done

docs: $(READY)  ## Write docs/mediactl.md anew from the commands
	@$(BIN)/python tools/mediactl_docs.py

lock: $(READY)  ## Write the lock files anew from their ranges
	@$(BIN)/python tools/lock.py
