# make check   one table of all that the profile needs, and what of it is there
# make repro   checks, trains, measures, analyses and renders; a second time it does nothing
# make test    the whole test suite, in two processes
# make docs    the site of the documentation, docs/_build/html/index.html
# All create .venv from the locked packages first. PROFILE=smoke|cpu|ablations|imagenette|imagenette-taesd|imagenette-128|published|paper
# switches the profile; INIT_FROM=<folder, hub id or .pth> names the checkpoint to go on from, INIT_FROM=scratch trains again
# what the profile otherwise takes from zoo/. PUBLIC=1 leaves pictures out of the report whose terms forbid publishing them.

PYTHON ?= python3
VENV ?= .venv
# Empty is unset: an empty folder's name would be the root of the file system.
override PYTHON := $(or $(strip $(PYTHON)),python3)
override VENV := $(or $(strip $(VENV)),.venv)
STAMP := $(VENV)/.installed
export PATH := $(abspath $(VENV))/bin:$(PATH)

# A pip configured to install elsewhere, or less, must not reach into this environment.
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER PIP_NO_DEPS PIP_DRY_RUN PIP_REQUIRE_HASHES PYTHONHOME

.PHONY: setup check repro report results-check docs test lint clean

setup: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: expected Python 3.11 or newer as $(PYTHON); name one with: make PYTHON=/path/to/python3"; exit 2; }
	@echo "Installing the locked packages into $(VENV); several GB the first time"
	@[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@touch $@

check: $(STAMP)
	@python -m experiments.check $(PROFILE) $(if $(INIT_FROM),--init-from '$(INIT_FROM)')

repro: $(STAMP)
	@python -m experiments.repro $(PROFILE) $(if $(INIT_FROM),--init-from '$(INIT_FROM)') $(if $(PUBLIC),--public)

# Only the pages: whatever they are made from must be there already, or is made first.
report: $(STAMP)
	@python -m experiments.repro $(PROFILE) --target site $(if $(PUBLIC),--public)

# The verdicts of RESULTS.md and of other kept runs, computed again from the tables kept in results/.
results-check: $(STAMP)
	@for run in results/runs/*/; do python -m experiments.release $$(basename $$run) --check || exit; done

# Without network; a warning, such as a link that leads nowhere, is an error.
docs: $(STAMP)
	@python -m sphinx -c docs -d docs/_build/doctrees -b html -q -W --keep-going . docs/_build/html
	@echo "The documentation: docs/_build/html/index.html"

test: $(STAMP)
	@OMP_NUM_THREADS=1 python -m pytest -rs -n 2 --dist loadfile

lint: $(STAMP)
	ruff format --check .
	ruff check .
	pyright alit
	lint-imports --no-logo --no-cache

# Results and environment; images under data/ and the DVC cache stay.
clean:
	rm -rf $(VENV) runs reports .scratch dvc_plots docs/_build *.egg-info .pytest_cache .ruff_cache .hypothesis
