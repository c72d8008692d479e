# Two commands do everything: `make demo` runs the main job, `make test` passes the tests.
# Needed: Python 3.11 or newer, Node 20 or newer, make. All else is installed below this folder.

PYTHON ?= python3
VIDEO ?=
BIN := .venv/bin
READY := .venv/.ready
SOURCES := .:cli:$(subst $() ,:,$(wildcard runtime/*))

# The CDK imports slowly without compiled files, which some machines switch off.
unexport PYTHONDONTWRITEBYTECODE
# Settings of the caller's own AWS account and Python must not reach in.
unexport AWS_PROFILE AWS_ENDPOINT_URL PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help setup demo down check unit integration test synth bench lock

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## Install everything below .venv and node_modules

$(READY): requirements-dev.txt package-lock.json pyproject.toml
	@$(PYTHON) tools/preflight.py
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.13,<0.14"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@npm ci --silent
	@touch $@

demo: $(READY)  ## Run the main job on this machine: upload, transcode, play (VIDEO=path for your own)
	@$(BIN)/mediactl local demo $(if $(VIDEO),--video "$(VIDEO)")

down: $(READY)  ## Stop the local plane
	@$(BIN)/mediactl local down

check: $(READY)  ## Lint, format, types and layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@PYTHONPATH=$(SOURCES) $(BIN)/lint-imports

unit: $(READY)  ## Unit tests, with synth, rules and snapshots of all stages
	@$(BIN)/pytest tests/unit

integration: $(READY)  ## Tests against the local plane, with real video
	@$(BIN)/pytest tests/integration

test: check  ## Everything that CI runs
	@$(MAKE) --no-print-directory -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=line) unit integration

synth: $(READY)  ## Synthesize every stage
	@for stage in local dev prod; do \
	  node_modules/.bin/cdk synth --quiet --app "$(BIN)/python app.py" -c stage=$$stage --output cdk.out/$$stage || exit 1; \
	done

bench: $(READY)  ## Run all benchmarks; each ends with one JSON line
	@for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script --json || exit 1; done

lock: $(READY)  ## Write the lock files anew from their ranges
	@$(BIN)/python tools/lock.py
