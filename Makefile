# demo   build, then boot two hosts and serve real programs        test   the tests (< 10 min)
# check  everything: lint, all tests with the slow ones, sanitizers   lint  formats, types, C
# lock   renew requirements/dev.txt                                   clean  all that make made
#
# Each makes its own virtual environment first; nothing but Python >= 3.11, a C compiler and
# make has to be there. Stamp files make a second run quick.
#
# PYTEST_ARGS="tests/kernel -k clock" make test   runs some of the tests.

PYTHON ?= python3
VENV ?= .venv
BUILD ?= build
PYTEST_ARGS ?=

BIN := $(abspath $(VENV))/bin
# The clone holds a folder newtos_py too; the safe path keeps Python from importing that
# instead of the installed package.
export PYTHONSAFEPATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PATH := $(BIN):$(PATH)

SOURCE_DIRS := newtos_py servers drivers libc_shim bench
SOURCES := pyproject.toml meson.build meson.options \
  $(shell find $(SOURCE_DIRS) -type f -not -name '*.pyc' -not -name '*.md' -not -path '*/results/*')
SANITIZE := address,undefined

.PHONY: demo test check lint lock clean install programs sanitize format

demo: install
	@sh tests/apps/install-programs.sh lighttpd memcached curl
	$(BIN)/newtos demo

test: install programs
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: lint install programs
	$(BIN)/python -m pytest --slow $(PYTEST_ARGS)
	$(MAKE) sanitize

# -- The environment -------------------------------------------------------------------------

install: $(VENV)/installed

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "newtos_py needs Python 3.11 or newer; $(PYTHON) is older (try make PYTHON=python3.12)"; exit 1; }
	sh tests/apps/install-programs.sh --python $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/locked: requirements/dev.txt | $(VENV)/created
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

# A plain install, as users have it. $(BUILD) is kept, so only what changed is compiled.
$(VENV)/installed: $(SOURCES) $(VENV)/locked
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps \
	  -Cbuild-dir=$(BUILD) .
	@touch $@

# What the tests drive; never fails: what is missing is said, and its tests are skipped.
programs:
	@sh tests/apps/install-programs.sh

# -- Sanitizers ------------------------------------------------------------------------------

# The same tests over C code built with ASan and UBSan. Python itself is not, so the run time
# must be loaded before it. Reports go to files: a process other than pytest's may write one,
# and any one of them is a failure; UBSan knows stderr only, hence no capture of descriptors.
# Leaks are not looked for: CPython's own at exit would drown ours. Core dumps stay as they are: ASan
# would call setrlimit() for that, which is the shim's, before a shim built with ASan can run. And
# it objects to the shim before it in programs on a host.
REPORTS := $(CURDIR)/build-asan-reports

sanitize: $(VENV)/locked
	rm -rf build-asan-site $(REPORTS)
	mkdir $(REPORTS)
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --target build-asan-site \
	  -Cbuild-dir=build-asan -Csetup-args=-Db_sanitize=$(SANITIZE) .
	PYTHONPATH=$(CURDIR)/build-asan-site \
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:disable_coredump=0:verify_asan_link_order=0:log_path=$(REPORTS)/asan \
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	  $(BIN)/python -m pytest --capture=sys -m "not apps" $(PYTEST_ARGS); \
	status=$$?; cat $(REPORTS)/* 2>/dev/null && exit 1; exit $$status

# -- Lint ------------------------------------------------------------------------------------

C_FILES := $(shell find $(SOURCE_DIRS) tests -name '*.[ch]')

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd / && $(BIN)/mypy --strict --cache-dir $(abspath .mypy_cache) \
	  --config-file $(abspath pyproject.toml) -p newtos_py
	sh tests/packaging/lint-c.sh $(BUILD) $(C_FILES)

format: $(VENV)/locked
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	clang-format -i $(C_FILES)

lock: $(VENV)/locked
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host --allow-unsafe \
	  --output-file requirements/dev.txt requirements/dev.in

clean:
	rm -rf $(VENV) $(BUILD) build-asan build-asan-site build-asan-reports build-test-*
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
