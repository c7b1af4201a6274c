.PHONY: run test test-thorough test-by-day test-all test-oldest lint wheel bench chaos screenshots clean
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# A test starts processes; one that may keep its bytecode starts in half the time.
TESTED := PYTHONDONTWRITEBYTECODE=
# Of two processors; tests/forked.py. A Mac forks no process that has threads of the system.
BESIDE := $(if $(filter Darwin,$(shell uname)),-n 3 --dist loadfile --no-loadscope-reorder,--processes 5)
OLDEST := .venv-oldest
# The lowest versions meet every decision and every server, and a few real workers. What has no place beside
# them is told at the end of the run, with the reason (tests/oldest.py).
OLDEST_TESTS := tests/unit tests/integration $(patsubst %,tests/acceptance/test_%.py,no_results prefetch secured_sentinel task_ids)
BY_DAY := $(patsubst %,tests/integration/test_%.py,bulk complete_and_claim dispatcher due_lines exchange fairness ledger lifecycle limits maintenance operator_commands order parked rescue roll_up transactions unique unique_surroundings)
CHAOS := tests/acceptance/faults tests/simulation tests/integration/test_ledger_machine.py tests/integration/test_api_fuzzing.py

run: $(READY)  ## the whole platform on this machine, with a visible load (ARGS=--exit: stop when it is done)
	@$(BIN)/python -m app.demo $(ARGS)

test: $(READY)  ## nearly every test, with real servers (tests/tiers.py)
	@$(TESTED) SIMULATION_STEPS=500 $(BIN)/python -m pytest $(BESIDE) -m "not chaos and not thorough" $(ARGS)

test-thorough: $(READY)  ## what `make test` leaves out
	@$(TESTED) $(BIN)/python -m pytest $(BESIDE) -m "thorough and not chaos" $(ARGS)

test-by-day: $(READY)  ## what writes and reads jobs, over a ledger that is divided by days
	@$(TESTED) TEST_BY_DAY=1 $(BIN)/python -m pytest $(BESIDE) -k "not sqlite" $(or $(ARGS),$(BY_DAY))

test-all: $(READY)  ## every test, with real servers
	@$(TESTED) $(BIN)/python -m pytest $(BESIDE) $(ARGS)
	@$(MAKE) --no-print-directory test-by-day ARGS=

test-oldest: $(OLDEST)/.ready  ## with the lowest versions that setup.cfg allows (ARGS="FILE …": these tests only)
	@$(TESTED) $(OLDEST)/bin/python -m pytest -p tests.oldest $(BESIDE) $(or $(ARGS),$(OLDEST_TESTS))

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy celeriac app

wheel: $(READY)  ## the library alone, as a file in dist/ that pip installs anywhere
	@$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	@ls -t dist/celeriac-*.whl | head -1

bench: $(READY)  ## against plain Celery, sides in turn; prints ratios (ARGS=--all: against others too)
	@$(BIN)/python -m benchmarks $(ARGS)

# What looks for faults by chance looks longer here than in `make test`, and no Celery process is forked.
chaos: $(READY)  ## every fault, for minutes
	@$(TESTED) TEST_EXEC=1 SIMULATION_SEED="1 2" SIMULATION_STEPS=13000 LEDGER_EXAMPLES=150 API_EXAMPLES=80 $(BIN)/python -m pytest $(CHAOS) -m "" --timeout 900 $(ARGS)

screenshots: $(READY)  ## the pictures of docs/images, from what the commands print and the console shows
	@$(BIN)/python -m docs.screenshots
	@$(BIN)/python -m docs.console_pictures

$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Celeriac needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name another with PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $(READY)

$(OLDEST)/.ready: setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --editable '.[test-oldest]' --constraint constraints-oldest.txt
	@touch $(OLDEST)/.ready

clean:
	rm -rf .venv .venv-oldest .data build dist *.egg-info
