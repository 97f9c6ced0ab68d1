# make train    trains the LSTM on real reviews and saves the run under models/
# make test     checks the code's style and runs the tests; BACKEND=jax or torch has Keras use that,
#               TESTS=tests/test_data.py runs a part of them
# make lock     pins what the requirements need in turn, in constraints.txt
# make bench    measures its speed beside stock Keras, JAX and PyTorch; bench-quick a part of it,
#               bench-gpu that of training on a GPU
# All make their virtual environment first; PYTHON chooses its interpreter (3.10 to 3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BACKEND ?= tensorflow
TESTS ?=

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: train test lint lock bench bench-quick bench-gpu

train: $(VENV)/installed
	$(BIN)/python train_lstm.py

test: lint $(VENV)/installed-$(BACKEND)
	KERAS_BACKEND=$(BACKEND) $(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lock: $(VENV)/installed-dev
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --upgrade --no-header \
		--no-annotate requirements-dev.txt --output-file constraints.txt

bench: $(VENV)/installed-bench
	@$(BIN)/python -m benchmarks.speed

bench-quick: $(VENV)/installed
	@$(BIN)/python -m benchmarks.speed --quick

bench-gpu: $(VENV)/installed-bench-gpu
	@KERAS_BACKEND=jax XLA_PYTHON_CLIENT_PREALLOCATE=false $(BIN)/python -m benchmarks.gpu

$(VENV)/installed: requirements.txt requirements-keras.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13) and \
	"Python 3.10 to 3.13 is needed, this is %d.%d: name another with make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/installed-tensorflow: $(VENV)/installed
	@touch $@

$(VENV)/installed-%: requirements-%.txt constraints.txt $(VENV)/installed
	$(INSTALL) -r requirements-$*.txt
	@touch $@

$(VENV)/installed-bench-gpu: $(VENV)/installed-bench
	$(INSTALL) 'jax[cuda12]'
	@touch $@

$(VENV)/installed-bench: requirements-bench.txt $(VENV)/installed
	-$(INSTALL) -r requirements-bench.txt
	@touch $@
