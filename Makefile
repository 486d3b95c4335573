# Everything runs in a virtual environment of its own, made on first use: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_OUT ?=
SHORT := "not long and not docker and not kubernetes"
LONG := "long and not docker and not kubernetes"
# Which part of the long tests `make test-part` plays: K/M, or turn/M for the part whose turn it is by the commits.
PART ?= turn/13
# Files on three workers, as most tests wait, in the order in which they are found: the longest first, see tests/conftest.py.
BY_FILE := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-part test-docker test-all test-oldest-locust bench mutants lint types check clean

help:
	@echo "make demo   run the main job: load, an API kill and a database failover on the reference system"
	@echo "make test   linters, types and the tests; every kind of thing on the real system once"
	@echo "make test-part  a part of the long tests: defects, experiments, faults, the kill matrix; PART=2/7 names it"
	@echo "make test-docker  the same part of the tests in containers; needs a Docker engine and compose"
	@echo "make test-all  every test but those on Kubernetes; more than an hour"
	@echo "make bench  how often the bounds are wrong, and what a verdict costs; about ten minutes"
	@echo "make mutants MODULE=verdict/judge  whether tests notice changes in the core; all of it without MODULE"
	@echo "make lint   ruff only       make types   mypy only"
	@echo "make clean  remove what make made"

# uv takes a tenth of pip's processor time; pip goes where only pip is set up to go.
$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -q && \
	  apt-get install -y -q --no-install-recommends python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q --python $(BIN)/python -e '.[reference,dev]' || \
	  $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[reference,dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/faultload run scenarios/memory/database_failover.yaml --profile smoke $(if $(DEMO_OUT),--out $(DEMO_OUT))

# What has the reference system under load runs alone: others stress the disk too. The rest runs three at a time.
test: $(STAMP) check
	$(BIN)/python -m pytest -m $(SHORT) -n 3 --ignore tests/integration --ignore tests/browser --ignore tests/system
	$(BIN)/python -m pytest -m $(SHORT) $(BY_FILE) tests/integration tests/browser
	$(BIN)/python -m pytest -m $(SHORT) tests/system

# A part of the long tests; PART=1/1 is all of them.
test-part: $(STAMP)
	$(BIN)/python -m pytest -m $(LONG) --part $(PART) --none-is-fine tests/system --ignore tests/system/test_experiments.py
	$(BIN)/python -m pytest -m $(LONG) --part $(PART) $(BY_FILE) tests/integration tests/system/test_experiments.py

# Needs an engine that may be used (DOCKER_HOST, or dockerd here), and a base image: see docker/base-image.
test-docker: $(STAMP)
	$(BIN)/python -m pytest -m docker --part $(PART) $(BY_FILE) tests/docker --ignore tests/docker/test_runs_on_docker.py
	$(BIN)/python -m pytest -m docker --part $(PART) --none-is-fine tests/docker/test_runs_on_docker.py

# Everything but Kubernetes, for which KUBECONFIG must name a cluster: pytest -m kubernetes tests/kubernetes
test-all: export FAULTLOAD_TEST_WHOLE = 1
test-all: export FAULTLOAD_TEST_COUNTS = $(CURDIR)/.pytest_cache/counts.jsonl
test-all: $(STAMP)
	mkdir -p .pytest_cache && rm -f $(FAULTLOAD_TEST_COUNTS)
	$(MAKE) test
	$(MAKE) test-part test-docker PART=1/1
	$(BIN)/python tests/tested.py $(FAULTLOAD_TEST_COUNTS)
	$(BIN)/python tests/kill_matrix.py --all --jobs 3 --write docs/kill-matrix.md
	$(BIN)/python tests/kill_matrix.py --all --platform docker --write docs/kill-matrix.md

# The load's tests on the other end of the range that pyproject.toml declares for Locust.
test-oldest-locust: $(STAMP)
	$(BIN)/python tests/oldest_locust.py

bench: $(STAMP)
	$(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/analysis.py

# Changes one thing at a time in a module of the core (all without MODULE) and looks whether its tests notice.
mutants: $(STAMP)
	nice $(BIN)/python benchmarks/mutants.py $(MODULE)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
