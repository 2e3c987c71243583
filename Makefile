# Two commands do everything on a fresh Debian: make demo, make test. Needs python3-venv python3-dev make gcc.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
C_SOURCES := $(shell find idxdd/native -name '*.[ch]' -o -name '*.in' | sort)
CMAKE = $(BIN)/cmake
JOBS ?= 2

.DELETE_ON_ERROR:
.PHONY: all install native preflight demo test check bench sanitize fuzz stress spec docs clean

all: install

preflight:
	@command -v $(PYTHON) >/dev/null || { echo "idxdd: no $(PYTHON): apt-get install python3 python3-venv python3-dev"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))' || { echo "idxdd: needs Python 3.11 to 3.13: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "idxdd: no venv module: apt-get install python3-venv"; exit 2; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || { echo "idxdd: no C compiler: apt-get install gcc"; exit 2; }
	@printf '#include <stdlib.h>\nint main(void){return 0;}\n' | $${CC:-cc} -x c -o /dev/null - 2>/dev/null || { echo "idxdd: the C compiler finds no libc headers: apt-get install gcc libc6-dev"; exit 2; }
	@test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || { echo "idxdd: no Python.h: apt-get install python3-dev"; exit 2; }

$(BIN)/python: | preflight
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.dependencies: pyproject.toml | $(BIN)/python
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); print("\n".join(p["project"]["dependencies"] + p["project"]["optional-dependencies"]["dev"]))' > $(VENV)/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r $(VENV)/requirements.txt
	touch $@

$(VENV)/.installed: $(VENV)/.dependencies CMakeLists.txt $(C_SOURCES)
	flock $(VENV)/.lock $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

install: $(VENV)/.installed
native: $(VENV)/.installed

# ---- checks and tests ---------------------------------------------------------------------------------------------------
# Warnings of the C sources are errors in every build; `make check ANALYZE=1` adds gcc's static analyser.
PYTHON_SOURCES := idxdd clients tests bench man
FUZZ_SECONDS ?= 60
C_TEST_SECONDS ?= 120

check: install
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/mypy
	@if test -e idxdd/spec/emit.py; then echo "$(BIN)/python -m idxdd.spec.emit --check"; $(BIN)/python -m idxdd.spec.emit --check; fi
	@if test -n "$(ANALYZE)"; then for f in idxdd/native/src/*.c; do echo "gcc -fanalyzer $$f"; \
	  gcc -std=gnu11 -D_GNU_SOURCE -O2 -fanalyzer -Werror -c -o /dev/null -Iidxdd/native/include -Iidxdd/native/src $$f || exit 1; done; fi

test: install
	$(BIN)/pytest -q -n $(JOBS) tests

# Thread sanitizer needs its shadow where address randomisation may put libraries: run without randomisation where we can.
# It does not model fences (-Wno-tsan): the happens-before it checks is that of our release and acquire words alone.
NO_ASLR := $(shell setarch -R true 2>/dev/null && echo setarch -R)

# c_library NAME SANITIZERS CFLAGS: the data plane and its test programs in build/NAME
define c_library
	@mkdir -p build
	@$(CMAKE) -S . -B build/$(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DCMAKE_BUILD_TYPE=None -DIDXDD_PYTHON=OFF \
	  -DIDXDD_TESTS=ON -DIDXDD_SANITIZE=$(2) -DCMAKE_C_FLAGS=$(3) >build/$(1).log 2>&1 || { cat build/$(1).log; exit 1; }
	$(BIN)/ninja -C build/$(1) -j $(JOBS) --quiet $(4)
endef

define c_tests
	@count=0; for source in $(wildcard idxdd/native/tests/test_*.c); do name=$$(basename $$source .c); \
	  echo "$(2): $$name"; timeout -k 5 $(C_TEST_SECONDS) $(NO_ASLR) build/$(1)/$$name || { echo "$(2): $$name failed ($$?)"; exit 1; }; \
	  count=$$((count + 1)); done; test $$count -gt 0 || { echo "$(2): no C tests in idxdd/native/tests"; exit 1; }
endef

sanitize: export ASAN_OPTIONS ?= detect_leaks=1
sanitize: export UBSAN_OPTIONS ?= halt_on_error=1:print_stacktrace=1
sanitize: export TSAN_OPTIONS ?= halt_on_error=1
sanitize: $(VENV)/.dependencies
	$(call c_library,sanitize-address,address$(comma)undefined)
	$(call c_tests,sanitize-address,address$(comma)undefined)
	$(call c_library,sanitize-thread,thread,-Wno-tsan)
	$(call c_tests,sanitize-thread,thread)

# Each fuzz target is PROGRAM SECONDS [SEED] and prints the seed of what it found.
fuzz: export ASAN_OPTIONS ?= detect_leaks=1
fuzz: export UBSAN_OPTIONS ?= halt_on_error=1:print_stacktrace=1
fuzz: $(VENV)/.dependencies
	$(call c_library,sanitize-address,address$(comma)undefined,,libidxdd.a)
	@count=0; for source in $(wildcard idxdd/native/tests/fuzz_*.c); do name=$$(basename $$source .c); echo "fuzz: $$name, $(FUZZ_SECONDS) s"; \
	  $${CC:-cc} -std=gnu11 -D_GNU_SOURCE -DIDXDD_FUZZ_MAIN -O1 -g -fno-strict-aliasing -fno-omit-frame-pointer -fsanitize=address,undefined \
	    -Iidxdd/native/include -Iidxdd/native/src -o build/$$name $$source build/sanitize-address/libidxdd.a -pthread || exit 1; \
	  timeout -k 5 $$(($(FUZZ_SECONDS) + 60)) build/$$name $(FUZZ_SECONDS) $(FUZZ_SEED) || { echo "fuzz: $$name failed ($$?)"; exit 1; }; \
	  count=$$((count + 1)); done; test $$count -gt 0 || { echo "fuzz: no targets in idxdd/native/tests"; exit 1; }

# Tests that carry an id of the checklist; docs/conformance.md is written anew.
.PHONY: conformance
conformance: install
	$(BIN)/pytest -q -n $(JOBS) -p conformance_report tests

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis $(VENV)/.installed
	find idxdd clients tests -name __pycache__ -type d -prune -exec rm -rf {} +

comma := ,

# What is derived from idxdd/spec: the C header and docs/registers.md.
spec: | $(VENV)/.dependencies
	$(BIN)/python -m idxdd.spec.emit

# What each operation can end with and the test that shows it; which test provokes which status code, command error and interrupt cause: watched while the device's tests run.
docs: install
	PYTHONPATH=tests $(BIN)/python tests/operation_report.py
	PYTHONPATH=tests $(BIN)/pytest -q -n0 -p observed_codes --codes-table docs/device-coverage.md tests/unit/device \
	  tests/protocol/test_commands.py tests/protocol/test_registers.py tests/protocol/test_codes.py \
	  tests/protocol/test_real_device.py tests/unit/native/test_engine.py

# Manual pages and completion files, from the programs themselves.
.PHONY: man
man: install
	$(BIN)/python man/generate.py
	$(BIN)/idxdctl completion bash > clients/completions/idxdctl.bash
	$(BIN)/idxdctl completion zsh > clients/completions/_idxdctl
	$(BIN)/idxdctl completion fish > clients/completions/idxdctl.fish

# Four client processes copy a real file, two processes are killed, nothing is lost: under a minute.
demo: install
	$(BIN)/idxdd run -- $(BIN)/python clients/examples/demo.py

# Every number that the README promises: a table, and JSON in bench/results. make bench ROWS=move,rtt selects, ROUNDS=9 takes longer.
ROWS ?=
ROUNDS ?= 5

bench: install
	$(BIN)/python -m bench --rows "$(ROWS)" --rounds $(ROUNDS)

# The long forms, within ten minutes: 3 million submissions at the edge of sleep, 5 million descriptors of 32 clients on two devices
# with every disturbance, idxdd-irq killed at each numbered step, many clients with kills. IDXDD_STRESS_SEED=n repeats a seed.
stress: export IDXDD_STRESS := long
stress: install
	$(BIN)/pytest -q -s -n 0 tests/processes/test_wakeups.py tests/stress
