# Development commands; `make` alone lists them. Each one sets up what it needs.
# Settings: PYTHON3 (the interpreter of the virtual environment), VENV, PROFILE=release, CARGO_TARGET_DIR,
# DEPENDENCY_GROUPS (of pyproject.toml; "dev browser" for the test with a real browser).

PYTHON3 ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.10; do \
	path=$$("$$name" -c 'import sys; print(sys.executable) if sys.version_info >= (3, 10) else sys.exit(1)' 2>/dev/null) \
	&& [ -n "$$path" ] && echo "$$path" && break; done)
VENV ?= .venv
PROFILE ?= dev
DEPENDENCY_GROUPS ?= dev
APP ?= quickstart:app

PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --quiet --disable-pip-version-check
EXTENSION_SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs' -o -name '*.proto')

# Cargo and maturin must see the same interpreter, or each rebuilds what the other built.
export PYO3_PYTHON := $(abspath $(PYTHON))
export VIRTUAL_ENV := $(abspath $(VENV))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test test-all lint lint-rust lint-python test-rust test-python fmt docs conformance bench build clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, then serve examples/quickstart.py on http://127.0.0.1:8000/docs (APP=fastapi_app:app for another)
	$(VENV)/bin/spikard --app-dir examples $(APP)

test: lint-rust test-rust lint-python test-python conformance ## everything CI checks

test-all: ## the Python tests on every CPython 3.10-3.13 found
	@VENV_PREFIX=$(VENV) sh .ci/every-python $(MAKE)

lint: lint-rust lint-python ## formatting, clippy, ruff, mypy, pyright, stubtest

lint-rust: $(VENV)/stamp-venv
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --all-targets --locked --features python -- -D warnings
	RUSTDOCFLAGS="-D rustdoc::broken_intra_doc_links" cargo doc --no-deps --locked --quiet
	@if command -v cargo-deny >/dev/null; then cargo deny --offline --log-level error check bans licenses sources; \
		else echo "cargo-deny is not installed: licences and duplicates unchecked"; fi

lint-python: build
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(PYTHON)
	@if [ -e python/spikard/_spikard.pyi ]; then $(PYTHON) -m mypy.stubtest spikard._spikard; fi

test-rust: $(VENV)/stamp-venv ## cargo test, without Python
	cargo test --locked

test-python: build ## pytest (ARGS="-k name" for some)
	$(PYTHON) -m pytest $(ARGS)

conformance: build ## black-box suites against the real server
	@if [ -e conformance/__main__.py ]; then $(PYTHON) -m conformance $(ARGS); fi

bench: ## CPU per request beside other servers: table, JSON, plot (ARGS="--quick --workload asgi-hello")
	$(PYTHON3) benchmarks/run.py $(ARGS)

fmt: $(VENV)/stamp-dev ## format Rust and Python
	cargo fmt
	$(VENV)/bin/ruff check --fix-only
	$(VENV)/bin/ruff format

docs: build ## regenerate docs/configuration.md
	$(PYTHON) -m spikard._settings docs/configuration.md

clean: ## remove the virtual environment and caches (not the Cargo target)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

build: $(VENV)/stamp-extension-$(PROFILE) ## the extension, into the virtual environment

$(VENV)/stamp-venv:
	@[ -n "$(PYTHON3)" ] || { echo "Python 3.10 or newer is needed: set PYTHON3=/path/to/python3" >&2; exit 1; }
	$(PYTHON3) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/stamp-dev: pyproject.toml $(VENV)/stamp-venv
	$(PIP) install $(addprefix --group ,$(DEPENDENCY_GROUPS))
	@touch $@

$(VENV)/stamp-extension-$(PROFILE): $(EXTENSION_SOURCES) $(VENV)/stamp-dev
	@rm -f $(VENV)/stamp-extension-*
	PIP_QUIET=1 $(VENV)/bin/maturin develop --locked --profile $(PROFILE)
	@touch $@
