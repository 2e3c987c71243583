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
