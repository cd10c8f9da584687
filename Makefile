# Everything sets itself up in .venv on first use.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two workers, for two cores.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test coverage check lint types docs bench gpu clean

demo: $(READY)
	$(BIN)/python -m mambadapter.demo

test: $(READY)
	$(TESTS)

# The same tests, and the share of the product's lines and branches that were run; less than 90 % is an error. A
# tracer doubles the time, so what goes many ways through lines that other tests reach runs without.
coverage: $(READY)
	$(TESTS) -m "not exhaustive" --cov --cov-report=
	$(TESTS) -m exhaustive

# Before a commit: lint, and the tests that are not slow.
check: lint
	$(TESTS) -m "not slow"

lint: types
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

# Into site/; every warning is an error.
docs: $(READY)
	$(BIN)/pip install --quiet --editable ".[docs]"
	$(BIN)/mkdocs build --strict

types: $(READY)
	$(BIN)/mypy

# A folder for each kind of processor: what is fast on one need not be on the next.
bench: RESULTS = benchmarks/results/$(shell $(BIN)/python -c \
	"import torch; amx = torch.cpu.get_capabilities().get('amx_bf16'); \
	print('amx' if amx else torch.backends.cpu.get_cpu_capability().lower())")
bench: $(READY)
	$(BIN)/pip install --quiet --editable ".[benchmarks]"
	mkdir -p $(RESULTS)
	$(BIN)/python benchmarks/speed/branches.py | tee $(RESULTS)/branches.txt
	$(BIN)/python benchmarks/speed/training_step.py | tee $(RESULTS)/training_step.txt
	$(BIN)/python benchmarks/speed/front_end.py | tee $(RESULTS)/front_end.txt
	$(BIN)/python benchmarks/speed/families.py | tee $(RESULTS)/families.txt
	$(BIN)/python benchmarks/speed/start.py | tee $(RESULTS)/start.txt

# On a GPU: tables of its speed, then the tests that need one; a part that fails takes no other
# with it.
gpu: RESULTS = benchmarks/results/gpu
gpu: $(READY)
	mkdir -p $(RESULTS)
	-$(BIN)/python benchmarks/speed/gpu.py steps | tee $(RESULTS)/steps.txt
	-$(BIN)/python benchmarks/speed/gpu.py large | tee $(RESULTS)/large.txt
	-$(BIN)/python benchmarks/speed/front_end.py --device cuda --bf16 | tee $(RESULTS)/front_end.txt
	-$(BIN)/python benchmarks/speed/gpu.py scans | tee $(RESULTS)/scans.txt
	-$(BIN)/python -m pytest -m gpu -x | tee $(RESULTS)/tests.txt

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --no-compile --editable ".[dev]"
	-$(BIN)/python -m compileall -q -j 0 -x '/tests/' $(VENV)/lib  # on all cores; pip would on one
	touch $(READY)

clean:
	rm -rf $(VENV) demo results site
