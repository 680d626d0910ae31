# Everything a person does with this checkout. `make` alone prints the list.
#
# Two virtual environments, made on first use: .venv to run, .venv-dev to test. Each keeps a stamp named after what
# went into it (the lock, pyproject.toml, this folder, the Python); while the stamp is there, nothing is installed and
# no network is needed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PIP_DISABLE_PIP_VERSION_CHECK = 1

PYTHON ?= python3
UV_VERSION := 0.13.9
# One more than CI's cores: a third of the time the tests wait for leases and intervals.
PYTEST_WORKERS ?= 3
PYTEST_ARGS ?=
ARGS ?=

DEV := .venv-dev/bin/python
fingerprint = $(shell { cat $(1) pyproject.toml; pwd; $(PYTHON) -V; } 2>&1 | sha256sum | cut -c1-16)
RUN_STAMP := .venv/.installed-$(call fingerprint,requirements.txt)
DEV_STAMP := .venv-dev/.installed-$(call fingerprint,requirements-dev.txt)

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##### run

.PHONY: demo
demo: $(RUN_STAMP) ## set up and run the main job against simulated vendors (ARGS="--exams 100 --keep")
	@.venv/bin/sonobridge demo $(ARGS)

.PHONY: run
run: $(RUN_STAMP) ## set up and start API, worker and embedded stores (ARGS="--port 8080")
	@.venv/bin/sonobridge up $(ARGS)

##### test

.PHONY: test
test: $(DEV_STAMP) ## set up and run all tests (PYTEST_ARGS="tests/web -k login")
	@$(DEV) -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

# Apart from `make test`: it nearly doubles what the tests of pages cost (63 s of CPU without it, 113 s with it).
.PHONY: coverage
coverage: $(DEV_STAMP) ## all tests with branch coverage
	@$(DEV) -m pytest -n $(PYTEST_WORKERS) --dist worksteal --cov --cov-report=term $(PYTEST_ARGS)

.PHONY: check
check: $(DEV_STAMP) lint types ## what to run before each commit: lint, types and the quick tests, in under 90 seconds
	@$(DEV) -m pytest -q -n $(PYTEST_WORKERS) --dist worksteal -m "not stores and not slow and not browser and not peers" $(PYTEST_ARGS)

.PHONY: browser
browser: $(DEV_STAMP) ## the tests that drive Chromium; here a missing browser is a failure
	@SONOBRIDGE_REQUIRE_BROWSER=1 $(DEV) -m pytest -m browser $(PYTEST_ARGS)

.PHONY: peers
peers: $(DEV_STAMP) ## install real peers (Orthanc, @tus/server, PgBouncer, dciodvfy, decoders; needs root) and run the tests against them
	@tests/support/peers/install
	@SONOBRIDGE_REQUIRE_PEERS=1 $(DEV) -m pytest -m peers $(PYTEST_ARGS)

.PHONY: bench
bench: $(DEV_STAMP) ## measure what has a goal, as ratios within one run, on a machine that is quiet (ARGS="door")
	@$(DEV) -m bench $(ARGS)

.PHONY: corpus
corpus: $(DEV_STAMP) ## fetch public samples, convert each in every mode, compare with other decoders, print the counts (ARGS="pngsuite pillow")
	@tests/support/peers/install
	@$(DEV) -m tests.corpus $(ARGS)

.PHONY: lint
lint: $(DEV_STAMP) ## style and common mistakes (ruff)
	@$(DEV) -m ruff check .
	@$(DEV) -m ruff format --check --quiet . || { echo "make format would change the files above"; exit 1; }

.PHONY: format
format: $(DEV_STAMP) ## lay out the code and repair what ruff can
	@$(DEV) -m ruff check --fix-only --quiet .
	@$(DEV) -m ruff format --quiet .

.PHONY: types
types: $(DEV_STAMP) ## types (mypy, strict)
	@$(DEV) -m mypy $(wildcard app workers sandbox migrations tests/support bench)

##### set up

.PHONY: setup
setup: $(RUN_STAMP) $(DEV_STAMP) ## make both environments and do nothing else

.PHONY: lock
lock: .venv-lock/.uv-$(UV_VERSION) ## resolve pyproject.toml into the two lock files (needs the network)
	@$(lock-command) --group build -o requirements.txt
	@$(lock-command) -c requirements.txt --group build --group dev --all-extras -o requirements-dev.txt

lock-command = .venv-lock/bin/uv pip compile pyproject.toml $(LOCK_ARGS) --quiet --universal --python-version 3.11 --no-strip-extras \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.venv-lock/.uv-$(UV_VERSION):
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet "uv==$(UV_VERSION)"
	@touch $@

$(RUN_STAMP):
	@$(call install,.venv,requirements.txt)

$(DEV_STAMP):
	@$(call install,.venv-dev,requirements-dev.txt)

# A half-made environment has no stamp and is completed. One that is whole but made of something else, or whose Python
# no longer starts, is made anew, so that nothing is left in it that the lock does not name. The lock is complete and
# pip is told not to resolve again: it would ask the index for what is newest, and refuse that for want of a hash.
define install
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Sonobridge needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 …"; exit 1; }; \
	if compgen -G "$(1)/.installed-*" >/dev/null || ! $(1)/bin/python -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --clear $(1) \
			|| { echo "python3 -m venv did not work; on Debian: apt-get install python3-venv"; exit 1; }; \
	fi; \
	echo "Installing $(2) into $(1) (once; about a minute)"; \
	rm -f $(1)/.installed-*; \
	$(1)/bin/python -m pip install --quiet --no-deps --require-hashes -r $(2); \
	$(1)/bin/python -m pip install --quiet --no-deps --no-build-isolation --no-index -e .; \
	touch $@
endef

.PHONY: clean
clean: ## remove what the tools left behind; environments and data stay
	@rm -rf .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache .schemathesis build *.egg-info
	@find . -path './.venv*' -prune -o -name __pycache__ -type d -print0 | xargs -0r rm -rf

.PHONY: distclean
distclean: clean ## also remove the environments and fetched samples (not the data)
	@rm -rf .venv .venv-dev .venv-lock .corpus
