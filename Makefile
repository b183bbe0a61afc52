# make demo   a clickstream into a lake, on Ray, on this machine
# make test   everything the tests need, then all tests
#
# Needs Python 3.11 or newer, git and make. Everything is installed into .venv.

# The first that is new enough; 3.11 is what constraints.txt was made with.
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; \
	done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
DEMO_ROWS ?= 400000
SEEDS ?= 2000
SEED ?= 1
FAULTS ?= 200
ROWS ?= 2000000
STORE ?= both
PYTEST := $(BIN)/python -m pytest
LONG := integration or exhaustive or hdfs or ray or s3 or spark or slow or alone
PATHS := rayflume tests bench jobs notebooks

.PHONY: help install demo test test-unit test-whole test-alone test-all simulate chaos lint format docs bench scale clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       generate clicks, collect them into a lake on local Ray, show the rows"
	@echo "make test       install what the tests need, then run all tests"
	@echo "make install    .venv/bin/rayflume with all extras and test tools"
	@echo "make lint       ruff and mypy"
	@echo "make simulate   schedules with faults in one thread: SEEDS=100000"
	@echo "make chaos      three Ray nodes, processes that die, rows counted: SEED=1 FAULTS=200 STORE=both"
	@echo "make bench      all contenders side by side, half an hour: MB=800 ROUNDS=3 CONTENDERS=rayflume,spark"
	@echo "make scale      how the cost of a decision grows up to 1,000 nodes; no Ray, four minutes"
	@echo "make docs       write docs/components.md and conf/reference/ anew"
	@echo "make test-all   lint, then all tests"
	@echo "make clean      remove what demo, tests and bench wrote; .venv stays"

# pyproject.toml or constraints.txt changed: install again, into the environment that is there.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || test -n "$(PYTHON)" || \
		{ echo "rayflume needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[s3,hdfs,avro,delta,iceberg,notebook,dev]'
	@touch $@

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $@

install: $(STAMP)
	@$(BIN)/rayflume --version

demo: $(STAMP)
	@rm -rf demo
	@$(BIN)/python -m rayflume.demo demo/clicks --rows $(DEMO_ROWS)
	@$(BIN)/rayflume run conf/clickstream.yaml --until-drained
	@$(BIN)/python -m rayflume.demo_lake demo

test: test-unit test-whole test-alone

# Without Ray, two minutes, on all cores.
test-unit: $(STAMP)
	$(PYTEST) -m "not ($(LONG))" --numprocesses auto --durations=10

# Whole agents, servers, Ray: two at once, most of the time each waits.
test-whole: $(STAMP)
	$(PYTEST) -m "($(LONG)) and not alone" --numprocesses 2 --dist loadscope --durations=20

# What measures time, with nothing beside it.
test-alone: $(STAMP)
	$(PYTEST) -m alone --durations=5

# The same checks as .ci/run, in the environment that is there.
test-all: lint test

lint: $(STAMP)
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

docs: $(STAMP)
	$(BIN)/rayflume components --write .

# The simulator, on all cores: make simulate SEEDS=100000, or SEEDS=5000:6000
simulate: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m simulation --seeds $(SEEDS)

# Half an hour. A line for each fault; Ctrl-C ends all its processes. Exit code 1: rows are wrong.
chaos: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -W ignore -m chaos.run --seed $(SEED) --faults $(FAULTS) \
		--rows $(ROWS) --store $(STORE) --results chaos-results

# Polars and Spark are in .venv after that, other tools in bench/data/venvs, Flume's jars in
# bench/flume/target; what can't be had is skipped. Input stays in bench/data until `make clean`.
bench: $(BENCH_STAMP)
	$(BIN)/python -m bench.run $(if $(MB),--mb $(MB)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(TASKS),--tasks $(TASKS)) $(if $(CONTENDERS),--contenders $(CONTENDERS))

# Simulated, in one process. Exit code 1: a kind of decision grows faster than n log n.
scale: $(STAMP)
	$(BIN)/python -m bench.scale

clean:
	rm -rf demo bench/data chaos-results tests/support/hdfs/target .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find $(PATHS) -name __pycache__ -type d -prune -exec rm -rf {} +
