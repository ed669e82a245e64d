# Two commands: `make run` and `make test`. Both set up .venv from requirements.lock first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup run cluster drill test simulate bench lint lock clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "volstore needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which one to use: make PYTHON=python3.11 ...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "This Python has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY)
	@$(BIN)/volstore agent --dev $(ARGS)

cluster: $(READY)
	@$(BIN)/python deploy/local/cluster.py $(ARGS)

# Kills the leader of a throw-away cluster under load: make drill ARGS="--list", ARGS="leader-partition"
drill: $(READY)
	@$(BIN)/volstore drill $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

# Random seeds, whole clusters under faults: make simulate MINUTES=60 JOBS=2
simulate: $(READY)
	$(BIN)/python -m tests.simulation --minutes $(or $(MINUTES),10) --jobs $(or $(JOBS),1) $(ARGS)

# Against etcd; as root on Debian it installs etcd-server and wrk: make bench ARGS="--rounds 5 --json bench.json"
# Debian's own Python, if it is there and no other was asked for: like Debian's etcd it was built with its optimizations,
# and it is up to a quarter faster than one that wasn't.
ifeq ($(origin PYTHON),file)
BENCH_PYTHON = $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo $(PYTHON))
else
BENCH_PYTHON = $(PYTHON)
endif
bench:
	@$(MAKE) --no-print-directory VENV=.venv-bench PYTHON=$(BENCH_PYTHON) setup
	@.venv-bench/bin/python -m tests.bench $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Newest versions that pyproject.toml allows, with hashes, naming no index; needs `uv` on PATH.
lock:
	uv pip compile pyproject.toml --extra test --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-header --no-annotate --output-file requirements.lock

clean:
	git clean -xdff
