# `make demo` shows the whole road, `make test` runs the tests, `make check` is what CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What is imported is compiled then, and kept; pip would compile all of torch and its company, a minute for what mostly nobody imports.
INSTALL := $(PIP) install $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile) -c constraints.txt

.PHONY: demo test quick check lint types imports wheel lean lean-installed lean-run links bench bench-gpu format clean

demo: $(VENV)/.demo
	$(BIN)/python -m dlcv.benchmarks.demo demo $(if $(EPOCHS),--epochs $(EPOCHS))

# With SECOND_TRY=FILE, as .ci/run sets it, a few failures are tried once more, alone, and FILE gets their names.
PYTEST := $(BIN)/python $(if $(SECOND_TRY),.ci/second_try.py,-m pytest)

# A process a core; a file's tests stay together, since they share what they have trained or exported. Files in tests/conftest.py's order.
TESTS := $(PYTEST) -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=1

# In groups, each in processes of its own: with all in one, processes that had run engines ended at a later fork. Why is not known.
test: $(VENV)/.dev links
	$(TESTS) tests/train
	$(TESTS) tests/runtime/distributed
	$(TESTS) tests/runtime tests/contracts --ignore=tests/runtime/distributed
	$(TESTS) tests --ignore=tests/train --ignore=tests/runtime --ignore=tests/contracts

quick: $(VENV)/.dev links
	$(TESTS) -m "not slow"

# The tests keep all cores busy; what comes first keeps one each, so two at a time.
check:
	$(MAKE) -j2 lint types imports wheel
	$(MAKE) test

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev links
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

# What a wheel holds, against the folders; and that it comes out the same again. It is built from copies of the sources, since setuptools
# keeps stale files in build/, and a wheel's data files have the permissions that the checkout's umask gave them. Only what git knows goes in;
# no pipes, whose first half may fail unseen.
EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),315532800)
wheel: export SOURCE_DATE_EPOCH = $(EPOCH)
wheel: $(VENV)/.dev
	rm -rf build dist
	for place in dist dist/again; do \
	  mkdir -p $$place/sources && git ls-files -c -z >$$place/files && \
	  tar -c --null --mode=u=rwX,go=rX -T $$place/files -f $$place/sources.tar && \
	  tar -x -p -m -C $$place/sources -f $$place/sources.tar && rm $$place/files $$place/sources.tar && \
	  $(BIN)/python -m build --wheel --outdir $$place $$place/sources >/dev/null && rm -rf $$place/sources || exit 1; \
	done
	$(PYTEST) -q tests/test_packaging.py tests/test_supply.py --wheel dist

# The runtime alone, without torch, on another Python: make lean PYTHON=python3.10 [MARKS="not slow"] [ONLY="tests/..."] [WHEEL=dist]
TINY := .typing/tiny
lean: lean-installed
	$(MAKE) lean-run

lean-installed: $(VENV)/.dev
	PIP="$(PIP)" WHEEL="$(WHEEL)" sh tests/lean/install.sh $(PYTHON)

lean-run: $(TINY)
	sh tests/lean/run.sh $(PYTHON) $(TINY) "$(MARKS)" $(ONLY)

$(TINY): $(VENV)/.dev | links
	$(PYTEST) -q tests/lean/test_keep.py --keep-tiny $(TINY)

# Ratios of times, held to their bounds, and every session against torch: docs/benchmarks.md
bench: $(VENV)/.dev
	$(BIN)/python -m dlcv.benchmarks.suite --output .bench/suite.json
	$(BIN)/python -m dlcv.benchmarks.parity_suite --output .bench

# What there is to see on an NVIDIA GPU, with whatever this Python has, nothing installed and no network: make bench-gpu [PYTHON=python3] [MINUTES=8]
MINUTES ?= 8
bench-gpu: links
	PYTHONPATH=$(CURDIR)/.typing$${PYTHONPATH:+:$$PYTHONPATH} $(PYTHON) -m dlcv.benchmarks.gpu_suite --minutes $(MINUTES)

# mypy cannot follow an editable install: a folder of links shows it the packages under their real names.
links:
	@mkdir -p .typing/dlcv
	@for name in train export runtime benchmarks; do ln -sfn ../../$$name .typing/dlcv/$$name; done

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip

$(VENV)/.demo: setup.cfg constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[export,tensorrt-rtx]'
	touch $@

$(VENV)/.dev: setup.cfg constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[dev,tensorrt-rtx]'
	$(INSTALL) --no-deps tritonclient grpcio python-rapidjson urllib3 # with its dependencies it takes an older protobuf
	touch $@ $(VENV)/.demo

clean:
	rm -rf build dist demo .bench .typing .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
