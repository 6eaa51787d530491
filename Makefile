# Two commands do it all: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# dbt is many hundred modules: without this, each start would compile them all again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint typecheck sqllint pytest lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## Make .venv from the lock file

demo: setup ## Make logs, load them, build and test the funnel, show it (DuckDB, no server)
	@$(BIN)/adx demo

test: lint pytest ## Every check: sqlfluff, ruff, mypy, pytest, dbt build on DuckDB and PostgreSQL

test-long: setup ## The tests with hundreds of kills and tens of thousands of random files: hours
	ADX_LONG=1 $(BIN)/pytest

lint: setup ## sqlfluff, ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	ADX_DUCKDB_PATH=:memory: $(BIN)/sqlfluff lint --disable-progress-bar --processes 0 models tests/*.sql

pytest: setup ## The tests; they start their own PostgreSQL and run dbt build on both engines
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lock: ## Renew the lock files from pyproject.toml (needs uv)
	uv pip compile -q pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-strip-extras --no-annotate --no-header \
		-o requirements/lock.txt
	echo uv | uv pip compile -q - --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header -o requirements/installer.txt

clean: ## Remove what was built, not what was loaded
	rm -rf target logs docs/site .mypy_cache .pytest_cache .ruff_cache build

# uv installs in seconds what takes pip minutes; where it cannot reach the index that pip is set up
# for, pip does it. The lock file holds every package, so neither resolves anything.
$(READY): requirements/lock.txt requirements/installer.txt pyproject.toml
	@echo "Setting up $(VENV) (once; about a minute when packages have to be downloaded) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes \
		-r requirements/installer.txt
	@index=$$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true); \
		[ -z "$$index" ] || export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; \
		$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --require-hashes \
			-r requirements/lock.txt 2>$(VENV)/uv.log \
		|| $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
			--require-hashes -r requirements/lock.txt
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps \
		--no-build-isolation -e .
	@echo "Compiling the readers of large files (once; half a minute) ..."
	@$(BIN)/python -c 'from ingestion.readers import avro_program, csv_kernel, json_kernel' \
		|| echo "They could not be compiled; large files will load more slowly."
	@$(BIN)/adx packages --if-reachable || true
	@touch $(READY)
