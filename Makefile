# Everything sets itself up in .venv on first use.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint bench clean

demo: $(READY)
	$(BIN)/python -m mambadapter.demo

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

bench: $(READY)
	$(BIN)/pip install --quiet --editable ".[benchmarks]"
	$(BIN)/python benchmarks/branches.py | tee benchmarks/results/branches.txt
	$(BIN)/python benchmarks/training_step.py | tee benchmarks/results/training_step.txt

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) demo results
