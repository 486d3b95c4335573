# Everything runs in its own virtual environment, created on first use: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
DEMO_OUT ?=
SHORT := "not long and not docker and not kubernetes"
LONG := "long and not docker and not kubernetes"
# Which part of the long tests `make test-part` plays: K/M, or turn/M to take turns from commit to commit.
PART ?= turn/20
# Compiled modules are kept, whatever the shell says: otherwise every process that a test starts compiles them again.
unexport PYTHONDONTWRITEBYTECODE
# Files run on more workers than there are processors, because most tests wait; the longest come first, see
# tests/conftest.py.
BY_FILE := --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-unit test-part local-matrices local-others test-docker docker-matrix docker-others test-all
.PHONY: test-oldest-locust bench mutants docs lint types check clean

help:
	@echo "make demo   see it work: load, an API kill and a database failover on the reference system"
	@echo "make test   linters, types and tests; tries everything on the real system once"
	@echo "make test-part  one part of the long tests (defects, experiments, faults, kill matrix), such as PART=2/7"
	@echo "make test-docker  the same part of the tests in containers; needs a Docker engine and compose"
	@echo "make test-all  all tests except those on Kubernetes; takes more than an hour"
	@echo "make bench  measure how often the bounds are wrong and what a verdict costs; about ten minutes"
	@echo "make mutants MODULE=verdict/judge  see whether tests notice changes in a module; without MODULE, in the core"
	@echo "make docs   build the documentation site: site/index.html"
	@echo "make lint   ruff only       make types   mypy only"
	@echo "make clean  remove everything make created"

# uv takes a tenth of pip's processor time; pip goes where only pip is set up to go.
$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -q && \
	  apt-get install -y -q --no-install-recommends python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -e '.[reference,dev]' || \
	  $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[reference,dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/faultload run scenarios/memory/database_failover.yaml --profile smoke $(if $(DEMO_OUT),--out $(DEMO_OUT))

# Tests that load the reference system run alone, because others stress the disk too. The rest run three at a time.
test: $(STAMP)
	$(MAKE) --no-print-directory -j2 check test-unit
	$(BIN)/python -m pytest -m $(SHORT) -n 3 $(BY_FILE) tests/integration tests/browser
	$(BIN)/python -m pytest -m $(SHORT) tests/system

test-unit: $(STAMP)
	$(BIN)/python -m pytest -m $(SHORT) -n 3 --ignore tests/integration --ignore tests/browser --ignore tests/system

# A part of the long tests; PART=1/1 is all of them. The matrices mostly wait, so the others are played beside them.
test-part: $(STAMP)
	$(BIN)/python -m pytest -m $(LONG) --part $(PART) --none-is-fine tests/system --ignore tests/system/test_experiments.py
	$(MAKE) --no-print-directory -j2 --output-sync=target local-matrices local-others

local-matrices:
	$(BIN)/python -m pytest -m $(LONG)" and round" -n 2 $(BY_FILE) tests/integration

local-others:
	$(BIN)/python -m pytest -m $(LONG)" and not round" --part $(PART) -n 2 $(BY_FILE) \
	  tests/integration tests/system/test_experiments.py

# Needs a Docker engine (DOCKER_HOST, or dockerd on this machine) and a base image: see docker/base-image. The whole runs
# on it come in other parts than the longest of those on local processes.
test-docker: $(STAMP)
	$(MAKE) --no-print-directory -j2 --output-sync=target docker-matrix docker-others
	$(BIN)/python -m pytest -m docker --part $(PART) --last-first --none-is-fine tests/docker/test_runs_on_docker.py

docker-matrix:
	$(BIN)/python -m pytest -m "docker and round" tests/docker

docker-others:
	$(BIN)/python -m pytest -m "docker and not round" --part $(PART) -n 3 $(BY_FILE) \
	  tests/docker --ignore tests/docker/test_runs_on_docker.py

# Everything except Kubernetes; for that, set KUBECONFIG and run: pytest -m kubernetes tests/kubernetes
test-all: export FAULTLOAD_TEST_WHOLE = 1
test-all: export FAULTLOAD_TEST_COUNTS = $(CURDIR)/.pytest_cache/counts.jsonl
test-all: $(STAMP)
	mkdir -p .pytest_cache && rm -f $(FAULTLOAD_TEST_COUNTS)
	$(MAKE) test
	$(MAKE) test-part test-docker PART=1/1
	$(BIN)/python tests/tested.py $(FAULTLOAD_TEST_COUNTS)
	$(BIN)/python tests/kill_matrix.py --all --jobs 3 --write docs/kill-matrix.md
	$(BIN)/python tests/fault_matrix.py --all --write docs/fault-matrix.md
	$(BIN)/python tests/kill_matrix.py --all --platform docker --jobs 3 --write docs/kill-matrix.md

# The tests of the load, with the oldest Locust that pyproject.toml allows.
test-oldest-locust: $(STAMP)
	$(BIN)/python tests/oldest_locust.py

bench: $(STAMP)
	$(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/analysis.py

# Makes one small change at a time in a core module (all of them without MODULE) and checks that its tests notice.
mutants: $(STAMP)
	nice $(BIN)/python benchmarks/mutants.py $(MODULE)

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[docs]'
	touch $@

# Warnings are errors. The variable turns off an announcement that mkdocs-material prints.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache
