# make train       train the LSTM on real reviews; the run is saved in models/
# make test-fast   the quick tests, for work in progress
# make test        all tests that need no more than requirements/dev.txt
# make test-all    lint, and all tests: other backends, several processes and exports as well
# make page        open a page in the browser: try the networks, compare runs, read mistakes
# make tutorial    open tutorial.ipynb in JupyterLab
# make check-docs  compare the figures in README, docs and docstrings with the recorded runs
# make lint        ruff and mypy
# make lock        pin everything again: requirements.txt and requirements/ from pyproject.toml
# make bench       training speed beside stock Keras, JAX and PyTorch; bench-quick: a part of it;
#                  bench-gpu: training speed on a GPU
#
# TESTS=tests/test_dataset.py selects tests, BACKEND=jax or torch selects the Keras backend,
# PYTHON=python3.12 selects the interpreter. Each target installs what it needs in .venv first.

VENV := .venv
BIN := $(VENV)/bin
BACKEND ?= $(KERAS_BACKEND)
TESTS ?=

# Prints the name of an interpreter that TensorFlow supports, or nothing.
tensorflow_python = $(shell $(1) -c 'import sys; \
	(3, 11) <= sys.version_info < (3, 14) and print("$(1)")' 2>/dev/null)
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(call tensorflow_python,$(name))) python3)

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST = $(if $(BACKEND),KERAS_BACKEND=$(BACKEND)) $(BIN)/python -m pytest $(TESTS)

.NOTPARALLEL:
.PHONY: train test-fast test test-all page tutorial check-docs lint lock bench bench-quick \
	bench-gpu

train: $(VENV)/installed
	$(BIN)/python train_lstm.py

page: $(VENV)/installed-page
	$(BIN)/python page.py

tutorial: $(VENV)/installed-tutorial
	$(BIN)/jupyter lab tutorial.ipynb

test-fast: $(VENV)/installed-dev $(VENV)/installed-$(BACKEND)
	$(PYTEST) -m "not slow and not extended"

test: $(VENV)/installed-dev $(VENV)/installed-$(BACKEND)
	$(PYTEST) -m "not extended"

test-all: lint $(VENV)/installed-jax $(VENV)/installed-torch $(VENV)/installed-export \
	$(VENV)/installed-page
	$(PYTEST)

check-docs:
	$(PYTHON) -m benchmarks.check_docs

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed-jax $(VENV)/installed-torch
	@$(BIN)/python -m benchmarks.speed

bench-quick: $(VENV)/installed
	@$(BIN)/python -m benchmarks.speed --quick

bench-gpu: $(VENV)/installed-torch $(VENV)/installed-jax
	$(INSTALL) 'jax[cuda12]' -c requirements/bench.txt
	@KERAS_BACKEND=jax XLA_PYTHON_CLIENT_PREALLOCATE=false $(BIN)/python -m benchmarks.gpu

# All requirements are resolved together first, so that the files agree with each other.
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--no-python-downloads --no-header --no-annotate
define write
	@{ echo '# For $(2). Generated from pyproject.toml by `make lock`.' && \
	$(COMPILE) --constraint $(VENV)/lock.txt $(3); } > $(VENV)/new.txt && mv $(VENV)/new.txt $(1)
endef

lock: $(VENV)/installed-dev
	$(COMPILE) --all-extras --group dev > $(VENV)/lock.txt
	$(call write,requirements.txt,training and prediction with TensorFlow; on Python 3.14 with JAX,--extra tensorflow)
	$(call write,requirements/jax.txt,training and prediction with JAX,--extra jax)
	$(call write,requirements/torch.txt,training and prediction with PyTorch,--extra torch)
	$(call write,requirements/tensorboard.txt,the constant TENSORBOARD,--extra tensorboard)
	$(call write,requirements/export.txt,export.py,--extra export)
	$(call write,requirements/evaluate.txt,evaluate.py and the linear baselines,--extra evaluate)
	$(call write,requirements/tune.txt,tune.py,--extra tune)
	$(call write,requirements/page.txt,page.py,--extra page)
	$(call write,requirements/tutorial.txt,tutorial.ipynb,--extra tutorial)
	$(call write,requirements/bench.txt,the benchmarks,--extra bench)
	$(call write,requirements/dev.txt,tests and lint,--extra tensorflow --extra evaluate --extra tune --group dev)

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || \
	{ echo '$(PYTHON) is not Python 3.11 to 3.14: choose one with make PYTHON=python3.13' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/installed-%: requirements/%.txt $(VENV)/installed
	$(INSTALL) -r requirements/$*.txt
	@touch $@

# On Linux, requirements/torch.txt lists a CUDA build of several gigabytes. With torch as the only
# requirement and that file as a constraint, a CPU build that is installed or on offer will do.
$(VENV)/installed-torch: requirements/torch.txt $(VENV)/installed
	$(INSTALL) torch -c requirements/torch.txt
	@touch $@

# What the default backend needs is in requirements.txt.
$(VENV)/installed- $(VENV)/installed-tensorflow: $(VENV)/installed
	@touch $@
