.PHONY: run test lint bench chaos screenshots clean
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

run: $(READY)  ## the whole platform on this machine, with a visible load (ARGS=--exit: stop when it is done)
	@$(BIN)/python -m app.demo $(ARGS)

test: $(READY)  ## every test, with real servers
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy celeriac app

bench: $(READY)  ## against plain Celery, sides in turn; prints ratios (ARGS=--all: against others too)
	@$(BIN)/python -m benchmarks $(ARGS)

chaos: $(READY)  ## every fault, for minutes
	@$(BIN)/python -m pytest tests/acceptance/faults -m "" --timeout 900 $(ARGS)

screenshots: $(READY)  ## the pictures of docs/images, from what the commands print
	@$(BIN)/python -m docs.screenshots

$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Celeriac needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name another with PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $(READY)

clean:
	rm -rf .venv .data build dist *.egg-info
