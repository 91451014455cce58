# A fresh clone needs Python 3.11 or newer and make; everything else comes from PyPI, into .venv.
# PYTHON=python3.12 make setup       another interpreter
# make test ARGS="tests/test_x.py -x"  arguments for pytest

PYTHON ?= python3
ARGS ?=
# Not empty: only what failed the last time.
AGAIN ?=
AGAIN_ARGS := $(if $(AGAIN),--last-failed --last-failed-no-failures none)
# The tests start hundreds of processes: none should compile again what another one has compiled.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
BUILD := .build

AZURITE_VERSION := 3.35.0
AZURITE_HOME := $(BUILD)/azurite
AZURITE := $(AZURITE_HOME)/node_modules/.bin/azurite-blob

CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup demo test azurite test-azure test-browser test-deep bench bench-peers lint format dist clean

help: ## Show what there is to make
	@echo "prefect-registry: a transactional registry for Prefect flows, in your own object store"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install the package and all it is developed with into .venv

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "prefect-registry needs Python 3.11 or newer. '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)"; \
		echo "Name another one: make setup PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing prefect-registry and what its tests, demo and documentation need into $(VENV) (some minutes at first)"
	@# Compiled is what is imported, when it is: most of what is installed never is.
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile -c constraints.txt -e '.[test,demo,azure,docs]'
	@touch $@
	@echo "Done: $(BIN)/prefect-registry"

demo: setup ## See the main job run, fail, and get killed, on real data
	@$(BIN)/python -m flows.demo $(ARGS)

test: setup ## Run the tests that need nothing but Python
	@status=0; $(if $(ARGS),$(PYTEST) $(ARGS),$(BIN)/python tests/run_all.py $(AGAIN_ARGS)) || status=$$?; \
	echo; \
	echo "Did not run here:"; \
	echo "  the Azure tests           make test-azure     (needs npm)"; \
	echo "  the browser tests         make test-browser   (needs Chromium)"; \
	echo "  the long ones             make test-deep"; \
	exit $$status

test-azure: setup $(AZURITE) ## Run the tests on Azure's emulator (needs npm)
	@$(PYTEST) -m azure $(ARGS) $(AGAIN_ARGS)

azurite: $(AZURITE)

$(AZURITE):
	@command -v npm >/dev/null || { echo "The Azure tests need npm, to install Microsoft's emulator: apt-get install npm"; exit 1; }
	@echo "Installing azurite $(AZURITE_VERSION) into $(AZURITE_HOME)"
	@mkdir -p $(AZURITE_HOME)
	@npm install --silent --no-audit --no-fund --no-save --prefix $(AZURITE_HOME) azurite@$(AZURITE_VERSION)
	@test -x $@

test-browser: setup ## Run the tests in Prefect's user interface (needs Chromium)
	@test -n "$(CHROMIUM)" || { echo "The browser tests need Chromium: apt-get update && apt-get install -y chromium"; exit 1; }
	@CHROMIUM='$(CHROMIUM)' $(PYTEST) -m browser $(ARGS) $(AGAIN_ARGS)

test-deep: setup ## Run the tests that take long
	@$(PYTEST) -m 'deep and not azure and not browser' $(ARGS)

bench: setup ## Measure, and print ratios
	@$(BIN)/python -m benchmarks $(ARGS)

bench-peers: setup ## Compare with other registries, each in an environment of its own
	@$(BIN)/python -m benchmarks.peers $(ARGS)

lint: setup ## Check style, types and layers
	@status=0; \
	for check in 'ruff check' 'ruff format --check' 'mypy' 'lint-imports --no-logo'; do \
		echo "== $$check"; $(BIN)/$$check || status=1; \
	done; \
	exit $$status

format: setup ## Mend the style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

dist: setup ## Build the wheel and the source distribution into dist/
	@$(BIN)/python -m build --no-isolation

clean: ## Remove what was built and cached (.venv stays)
	rm -rf $(BUILD) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
