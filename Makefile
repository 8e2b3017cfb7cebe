# Two commands do all the set-up: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Index of the CPU build of torch, 0.2 GB; empty, the build for NVIDIA GPUs, 3 GB
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: run test fast mutants lint types bench docs clean

run: $(VENV)/installed  ## the example rat, from raw scan to report
	"$(BIN)/python" workflows.py --subject sub-01

fast: $(VENV)/tests-installed  ## tests of functions, between two edits
	OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -n 2 --dist loadfile -m "not slow"

test: $(VENV)/tests-installed  ## every test, lint, types and the direction of imports
	OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -n 2 --dist loadfile
	$(MAKE) lint

mutants: $(VENV)/tests-installed  ## plants 304 bugs, counts those that tests catch; hours
	"$(BIN)/python" tests/mutants.py $(MUTANTS)

bench: $(VENV)/installed  ## time and memory, written to docs/performance.md; ten minutes
	"$(BIN)/python" benchmarks/speed.py

lint: $(VENV)/tests-installed
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/codespell" $$(git ls-files '*.py' '*.md' '*.cfg' '*.toml' '*.html')
	$(MAKE) types
	"$(BIN)/lint-imports"

types: $(VENV)/tests-installed
	mkdir -p "$(VENV)/types" && ln -sfn "$(CURDIR)" "$(VENV)/types/secondglance"
	cd "$(VENV)/types" && MYPYPATH=. ../bin/mypy --config-file "$(CURDIR)/pyproject.toml" \
		$(addprefix -p secondglance.,data imaging files simulation models reports interfaces \
		pipelines commands workflows)

docs: $(VENV)/docs-installed  ## the site, in docs/_build/html; a warning is an error
	rm -rf docs/_build docs/api
	"$(BIN)/python" -m sphinx -q -W --keep-going -b html docs docs/_build/html

$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	"$(PYTHON)" -m venv "$(VENV)"
	"$(BIN)/python" -m pip install -q --retries 1 $(addprefix --extra-index-url ,$(TORCH_INDEX)) \
		-c constraints.txt torch
	"$(BIN)/python" -m pip install -q -c constraints.txt -e .
	touch "$@"

$(VENV)/tests-installed: $(VENV)/installed
	"$(BIN)/python" -m pip install -q -c constraints.txt -e '.[test]'
	touch "$@"

$(VENV)/docs-installed: $(VENV)/installed
	"$(BIN)/python" -m pip install -q -c constraints.txt -e '.[docs]'
	touch "$@"

clean:
	rm -rf "$(VENV)" build dist *.egg-info docs/_build docs/api
