# make run    articles -> a judged, talking model, under the supervisor
# make test   lint, types, import rules, every test
# The rest:   make check · make bench · make bench-chaos · make bench-faults · make gpu · make clean

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock
RECIPE ?= jobs/recipes/demo.toml
SET ?=

# llama-cpp-python comes as source: only the library itself is built, for the CPU.
LLAMA_CPU := -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF

.PHONY: run install test check bench bench-chaos bench-faults gpu clean

run: install
	@$(VENV)/bin/jobctl -C . run $(RECIPE) $(if $(SET),--set $(SET))

install: $(VENV)/.installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Neverrest takes Python 3.11 or newer; $(PYTHON) is older: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "No virtual environment could be made: on Debian and Ubuntu, apt install python3-venv"; exit 1; }

$(VENV)/.installed: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "Installing what the main job needs into $(VENV) (torch is the large part) ..."
	@$(PIP) --editable '.[all]'
	@touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	@echo "Installing what the tests need (llama-cpp-python is compiled: some minutes, once) ..."
	@CMAKE_ARGS="$(LLAMA_CPU)" CMAKE_BUILD_PARALLEL_LEVEL=$$(nproc) $(PIP) --editable '.[all,llm,eight-bit,dev]'
	@touch $@

# Two files at a time (a file shares what it made): most of a test of real processes is waiting. For one of them alone: .venv/bin/python -m pytest PATH
test: check
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.test-installed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.test-installed
	@for one in hand_over scale warm datagen pack tokenizer train attention saving sample costs; do $(VENV)/bin/python -m bench.$$one || exit 1; done

bench-chaos: $(VENV)/.test-installed
	NEVERREST_CHAOS_KILLS=1000 $(VENV)/bin/python -m pytest tests/whole/test_chaos.py --timeout=0

# Every arrow of a job's life, struck at each of its writes with every fault: about 2,500 strikes, an hour.
bench-faults: $(VENV)/.test-installed
	NEVERREST_FAULTS=all $(VENV)/bin/python -m pytest -s tests/whole/test_faults.py --timeout=0

# On a tower with an NVIDIA card, its driver and the CUDA toolkit (nvcc).
gpu: install
	@command -v nvcc >/dev/null || { echo "make gpu compiles for the card: install the CUDA toolkit, so that nvcc is on PATH"; exit 1; }
	CMAKE_ARGS="$(LLAMA_CPU) -DGGML_CUDA=on" $(PIP) --force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python llama-cpp-python
	$(PIP) --editable '.[llm,eight-bit]'
	$(PIP) --no-build-isolation flash-attn

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
