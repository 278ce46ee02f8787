# make search   set up and run the main job        make test    set up and run the tests
# make lint     style and types                    make clean   remove what the set-up made; studies stay
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: search test lint clean

search: $(VENV)/installed
	$(BIN)/senas search configs/digits.yaml

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow'
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("senas needs Python 3.11 or newer, not " + sys.version.split()[0] + ": run make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip --quiet
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
