# make chat   sets everything up and opens the chat screen on the starter model
# make test   sets everything up and runs linters, type checker, import rules and tests
# Needs nothing but Python 3.11 or later, a C++ compiler and make.

VENV ?= .venv
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# Lock files hold hashes: what does not match is not installed.
INSTALL := $(PIP) install --no-deps --require-hashes -r
# Test files that run at the same time. Engines compute in them: more than two need more cores.
AT_ONCE ?= 2
ENGINE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/corral/engine-wheels
LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

.PHONY: chat test check bench lock picture clean

chat: $(VENV)/.app
	@$(BIN)/corral

test: check
	CORRAL_ENGINE_CACHE="$(ENGINE_CACHE)" $(BIN)/python -m pytest -n $(AT_ONCE) --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/windows app/corral
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/macos app/corral

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench $(ARGS)

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.build: $(VENV)/.python requirements/build.txt
	$(INSTALL) requirements/build.txt
	@touch $@

$(VENV)/.engine: $(VENV)/.build requirements/engine.txt packaging/engine/wheel.py packaging/engine/slim.cmake
	$(PIP) install --no-deps --force-reinstall \
		"$$($(BIN)/python packaging/engine/wheel.py --cache "$(ENGINE_CACHE)")"
	@touch $@

$(VENV)/.app: $(VENV)/.engine requirements/app.txt requirements/starter.txt pyproject.toml
	$(INSTALL) requirements/app.txt
	$(INSTALL) requirements/starter.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.app requirements/dev.txt
	$(INSTALL) requirements/dev.txt
	@touch $@

lock: $(VENV)/.dev
	$(INSTALL) requirements/offline.txt
	$(LOCK) pyproject.toml --no-emit-package llama-cpp-python -o requirements/app.txt
	$(LOCK) pyproject.toml --extra dev --no-emit-package llama-cpp-python -o requirements/dev.txt
	$(LOCK) requirements/build.in -o requirements/build.txt
	$(LOCK) requirements/engine.in --no-deps -o requirements/engine.txt
	$(LOCK) requirements/freeze.in -o requirements/freeze.txt
	$(LOCK) requirements/offline.in -o requirements/offline.txt
	$(LOCK) requirements/starter.in --no-deps -o requirements/starter.txt

picture: $(VENV)/.dev
	$(BIN)/python -m tests.support.picture

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache dist build
