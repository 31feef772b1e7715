# Two commands matter: `make demo` and `make test`. Each does all the set-up that is missing.
VENV  ?= .venv
OUT   ?= out/demo
JOBS  ?= 2
# One test process more than cores: tests wait for processes that they start, and for servers.
TESTERS ?= $(shell expr $(JOBS) + 1)
READY := $(VENV)/.ready

# One BLAS thread per test process: they then use the cores instead of fighting over them.
export OMP_NUM_THREADS ?= 1
ifeq ($(shell uname),Linux)
export MUJOCO_GL ?= egl
endif
export PYTHONHASHSEED ?= 0
# The tests start hundreds of processes; without this each would compile kinema anew where it is set.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test fast-tests test-slow lint types setup clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY)  ## set up if needed, then let the shipped policy put the red block in the blue bowl
	@OMP_NUM_THREADS=$(JOBS) $(VENV)/bin/kinema run "put the red block in the blue bowl" --seed 2 --out $(OUT)

test: $(READY) lint  ## set up if needed, then lint, types and the fast tests
	@$(MAKE) --no-print-directory -j 2 types fast-tests  # types are checked by one process: beside the tests

fast-tests: $(READY)
	$(VENV)/bin/python -m pytest -n $(TESTERS) --dist worksteal -m "not slow"

test-slow: $(READY)  ## every test, the slow ones too
	$(VENV)/bin/python -m pytest -n $(TESTERS) --dist worksteal --timeout=1800 --hypothesis-profile thorough

lint: $(READY)  ## style
	$(VENV)/bin/ruff check src tests integrations ros2
	$(VENV)/bin/ruff format --check src tests integrations ros2

types: $(READY)  ## types
	$(VENV)/bin/mypy

setup: $(READY)  ## only the set-up

$(READY): pyproject.toml scripts/setup.sh
	@bash scripts/setup.sh $(VENV)
	@touch $@

clean:  ## remove what the tools cached (not the environment, not your data)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
