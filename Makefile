# The commands of this house. Only make, bash and Python 3.11 to 3.13 are needed; everything else goes into .venv, with
# the versions and checksums of the lock files.
#
#   requirements.lock        what the server needs: `make run` installs this
#   requirements-dev.lock    and what tests, checks and benches need besides: `make install`
#
# An install that is done leaves a stamp in .venv, and the next `make run` starts at once.

SHELL := bash
VENV := .venv
BIN := $(VENV)/bin
BOTS ?= 100
ARGS ?=
UPGRADE ?=
BEGAN := $(shell date +%s)
PYTHONS := $(PYTHON) python3 python3.13 python3.12 python3.11 python

.PHONY: help run install test check format generate bench lock image clean
.DEFAULT_GOAL := help

help: ## show this
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1 @ \2/p' $(MAKEFILE_LIST) | column -t -s @ 2>/dev/null \
	  || grep '##' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## start the database, the server and BOTS=100 wandering bots; prints where to play
	@exec $(BIN)/landworld serve --bots $(BOTS) --since $(BEGAN) $(ARGS)

install: $(VENV)/.installed-dev ## make .venv with everything in it, and start nothing

test: $(VENV)/.installed-dev ## run all tests, two files at a time (ARGS="-k name" for some, ARGS="-n 0" for one at a time)
	@exec $(BIN)/pytest -n 2 --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-dev ## style, types, direction of imports, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_imports.py tests/test_project.py
	$(BIN)/landworld protocol --check
	$(BIN)/python -m server.config | diff -u config.toml -

format: $(VENV)/.installed-dev ## bring the code into its style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(VENV)/.installed-dev ## write what is made from the code: config.toml, PROTOCOL.md, the browser's codec
	$(BIN)/python -m server.config > $(VENV)/config.toml && mv $(VENV)/config.toml config.toml
	$(BIN)/landworld protocol --write

bench: $(VENV)/.installed-dev ## measure; every number is a ratio to something measured beside it
	$(BIN)/landworld bench all

image: ## build the container image
	docker build --tag landworld .

clean: ## remove .venv and caches; the world in ./data stays
	rm -rf $(VENV) build ci-output .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './data/*' -prune -exec rm -rf {} +

lock: $(VENV)/.installed ## bring the lock files up to pyproject.toml (UPGRADE=--upgrade for newer versions)
	$(BIN)/python -m venv build/uv
	build/uv/bin/pip install --quiet --disable-pip-version-check uv
	build/uv/bin/uv pip compile $(COMPILE) --group build -o requirements.lock pyproject.toml
	build/uv/bin/uv pip compile $(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	rm -rf build/uv

COMPILE = --quiet --universal --generate-hashes --no-header $(UPGRADE)

$(VENV)/.installed: requirements.lock pyproject.toml
	$(call install,$<)

$(VENV)/.installed-dev: requirements-dev.lock requirements.lock pyproject.toml
	$(call install,$<)
	@touch $(VENV)/.installed

# $(call install,LOCK): a .venv of a fitting Python, with exactly what LOCK names and the `landworld` command in it.
# Nothing is compiled ahead (--no-compile): that would take longer than the download. setuptools comes with the lock, so
# the last step builds without fetching anything.
define install
@set -euo pipefail; began=$$(date +%s); \
fits='import ensurepip, sys, venv; assert (3, 11) <= sys.version_info[:2] <= (3, 13)'; \
if ! $(BIN)/python -c "$$fits; import pip" 2>/dev/null; then \
  python=; for each in $(PYTHONS); do if "$$each" -c "$$fits" 2>/dev/null; then python=$$each; break; fi; done; \
  if [ -z "$$python" ]; then \
    echo "No Python 3.11, 3.12 or 3.13 with its venv module was found (looked for: $(strip $(PYTHONS)))."; \
    echo "Install one (Debian and Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python"; \
    exit 1; \
  fi; \
  echo "Making $(VENV) with $$("$$python" --version)"; \
  rm -rf $(VENV); "$$python" -m venv $(VENV); \
fi; \
echo "Installing $$(grep -c '==' $(1)) packages of $(1)"; \
pip="$(BIN)/python -m pip --disable-pip-version-check --no-input install --no-compile --no-deps"; \
$$pip --progress-bar off --require-hashes -r $(1) \
  | while read -r verb file size; do if [[ $$verb == Downloading && $$size == *MB* ]]; then echo "  $${file%-*-*-*} $$size"; fi; done; \
$$pip --quiet --no-build-isolation --editable .; \
touch $@; \
echo "Installed in $$(($$(date +%s) - began)) s"
endef
