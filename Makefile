# Two commands: `make run` and `make test`. Everything they need goes into .venv. `make soak` kills
# everything at random in the middle of 10,000 instances, and takes about half an hour.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-installed
TEST_STAMP := $(VENV)/.test-installed
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 3
PARALLEL := -n $(WORKERS)

# Tests start Python some hundred times; compiled once is enough.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-fast soak check bench format clean

run: $(RUN_STAMP)
	@exec $(BIN)/python manage.py up $(ARGS)

BOTH_DATABASES := tests/services tests/analytics tests/web

test: $(TEST_STAMP)
	CONCORDAT_TEST_DATABASE=postgresql $(PYTEST) -q $(PARALLEL) $(BOTH_DATABASES)
	$(PYTEST) $(PARALLEL) -m "not browser"
	$(PYTEST) -m browser

test-fast: $(TEST_STAMP)
	$(PYTEST) -q $(PARALLEL) -m "not peers and not browser and not slow" \
		--ignore=tests/browser --hypothesis-profile=quick

soak: $(TEST_STAMP)
	@$(BIN)/python -m tests.soak $(ARGS)

check: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	CONCORDAT_DATA_DIR=$(VENV)/check $(BIN)/python manage.py makemigrations --check --dry-run
	$(PYTEST) -q tests/test_docs.py tests/test_architecture.py

bench: $(TEST_STAMP)
	$(BIN)/python benchmarks/send.py $(ARGS)

format: $(TEST_STAMP)
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Concordat needs Python 3.11 or newer; set PYTHON=/path/to/python3.11."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(TEST_STAMP): requirements.txt tests/requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@ $(RUN_STAMP)
