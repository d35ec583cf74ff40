# make install   .venv with everything for development, and nothing else (EXTRAS=dev,browser)
# make demo      the main job on the sample market (CONFIG=name or file; FRESH=1 starts over)
# make ui        the Dagster UI of all markets, on http://127.0.0.1:3000 (PORT=…, CONFIG=… for one)
# make test      the tests
# make test-browser  the UI: a real webserver and daemon, and its pages in Chromium
#                    (apt-get install chromium chromium-driver)
# make test-faults   killed processes, damaged files, full disks (LONG=1 for all of them)
# make cluster-test  several hosts: Postgres, Redis, an S3 server; as root the image of deploy/ too
#                    (apt-get install postgresql redis-server buildah mmdebstrap)
# make check     what CI checks besides the tests
# make docs       the documentation site, into site/, by .venv-docs
# make fuzz      random input for every reader (MINUTES=10 in all; ARGS="--examples 1000000",
#                or ARGS=--atheris after pip install atheris, on Linux)
# make audit     known weaknesses of the pinned packages (needs the network)
# make bench     everything beside pyqlib and KunQuant, in environments of their own, as one table
#                (an hour or two; ARGS="--rounds 1 --scale 0.1" for a look); SHORT=1: beside plain
#                implementations in the repository, a minute of CPU, fails at a fall of 40 %
# make bench-peers   .venv-peers: an environment for each peer of benchmarks/, torch too

PYTHON ?= python3
EXTRAS ?= dev
CONFIG ?= sample
PORT   ?= 3000
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: install demo ui test test-browser test-faults cluster-test fuzz audit check docs bench bench-peers clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] <= (3, 13) \
	  else f"Python 3.11 to 3.13 is needed, {v[0]}.{v[1]} was found; try make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about two minutes) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@$(BIN)/python -m rnn_core.warm
	@touch $@

demo: install
	@$(BIN)/rnn-pipelines demo --config $(CONFIG) $(if $(FRESH),--fresh)

ui: install
	@$(BIN)/rnn-pipelines ui $(if $(findstring command,$(origin CONFIG)),--config $(CONFIG)) --port $(PORT)

test: install
	$(BIN)/pytest $(ARGS)

test-browser: install
	@$(BIN)/python -c 'import selenium' 2>/dev/null || \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,browser]'
	RNN_UI_TESTS=1 $(BIN)/pytest -m "" $(ARGS) tests/ui

test-faults: install
	RNN_FAULTS=$(if $(LONG),long,$${RNN_FAULTS:-short}) $(BIN)/pytest -m faults -n 2 $(ARGS) tests/faults

cluster-test: install
	@$(BIN)/python -c 'import dagster_celery' 2>/dev/null || \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,celery]'
	$(BIN)/pytest -m 'cluster and not thorough' -n 2 --dist loadfile --no-loadscope-reorder $(ARGS) tests

fuzz: install
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10) $(ARGS)

# The constraints are the pinned list; pip-audit asks about exactly these, and needs the network.
audit: install
	@$(BIN)/python -m pip_audit --version >/dev/null 2>&1 || $(BIN)/pip install --quiet pip-audit
	$(BIN)/python -m pip_audit --strict --no-deps --disable-pip -r constraints.txt

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PYTHONWARNINGS=error::FutureWarning $(BIN)/dg check defs

docs: .venv-docs/.installed
	@.venv-docs/bin/python docs/build_site.py

# The sources are read and not imported: an environment of its own is there in seconds.
.venv-docs/.installed: pyproject.toml constraints.txt
	@test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	@$(PYTHON) -c 'import tomllib; read = tomllib.load(open("pyproject.toml", "rb")); \
	  print(*read["project"]["optional-dependencies"]["docs"], sep="\n")' > $@.txt
	@.venv-docs/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -r $@.txt
	@touch $@

bench: install $(if $(SHORT),,bench-peers)
	@$(BIN)/python benchmarks/$(if $(SHORT),short,against_peers).py $(ARGS)

# pyqlib 0.9.7 has wheels for Python 3.8 to 3.12; KunQuant needs g++ to run.
bench-peers: .venv-peers/qlib/.installed .venv-peers/kunquant/.installed

.venv-peers/%/.installed: benchmarks/peers/%.txt
	@$(PYTHON) -m venv .venv-peers/$*
	@echo "installing into .venv-peers/$* ..."
	@.venv-peers/$*/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:
	rm -rf $(VENV) build site .cache *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
