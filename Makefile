# make demo: one shipped picture -> a tested character LoRA. make test: lint and all tests; what lacks a ComfyUI or a
# browser is skipped, counted and told. Parts of it: make lint, test-fast (no host, nothing slow), test-host, test-web.
# Each does its own set-up in .venv and is quick the second time.
PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready

# One thread a worker, and a worker more than there are cores: those of servers and browsers mostly wait. A file stays
# with one worker, for its tests share servers; the long files come first. The many processes that tests start keep what
# Python compiled, also where the machine is set not to.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() + 1))')
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) \
	--dist loadfile --no-loadscope-reorder --durations 40 --durations-min 5

.PHONY: demo test test-fast test-host test-web lint clean

demo: $(READY)
	$(VENV)/bin/lora-bootstrap demo

test: lint
	$(PYTEST)

test-fast: $(READY)
	$(PYTEST) -m "not (slow or comfyui or browser or ray)"

test-host: $(READY)
	$(PYTEST) tests/comfyui

test-web: $(READY)
	$(PYTEST) tests/web

lint: $(READY)
	$(VENV)/bin/ruff check .
	@mkdir -p $(VENV)/types && ln -sfn "$(CURDIR)" $(VENV)/types/lora_bootstrap
	MYPYPATH=$(VENV)/types $(VENV)/bin/mypy

clean:
	rm -rf $(VENV) output

$(READY): pyproject.toml requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed; $(PYTHON) is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)
