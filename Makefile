# The verbs of this project. Each does its own set-up; a second call does not repeat it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
LOWEST := _build/lowest
OLDEST = $(LOWEST)/bin/python -m pytest -W default::DeprecationWarning -W default::PendingDeprecationWarning
NEWEST := _build/newest
# One process more than the cores that may be used, also in a container: now and then one waits, for a
# time limit, a browser or a run that another one trains. The tests of a file, and the cells of a
# notebook, stay together. Notebooks with many cells come first, tests as tests/conftest.py says. Each
# process has one thread, as in the book: threads beyond the cores wait for each other, and busily.
PARALLEL = --numprocesses $$($(BIN)/python -c 'from lecture_vae.cluster import cores; print(cores() + 1)') \
  --dist loadfile
IN_ORDER = $(PARALLEL) --no-loadscope-reorder
# The files with tests of the built site: to collect all the others would take longer than some of them.
OF_THE_SITE = $$(grep -lE 'mark\.site|LOOKED_AT' tests/test_*.py)
LIGHTHOUSE := tests/browser/node_modules/.ready

# Nobody watches a progress bar here, and a bar would end up in the pages.
export TQDM_DISABLE := 1

.DEFAULT_GOAL := help
.PHONY: help book test pdf nightly lowest newest audit bench notebooks lint format clean

help:  ## list the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1|\2/' | column -t -s '|'

# `make book SPHINX=1` builds the same site with Sphinx alone, without Jupyter Book.
book: $(READY)  ## train what is missing, execute the chapters, build _build/html/index.html
	$(BIN)/python -m lecture_book.build $(if $(SPHINX),--sphinx)

pdf: $(READY)  ## the whole lecture as _build/lecture.pdf, printed by chromium
	$(BIN)/python -m lecture_book.pdf

# The notebooks at the quick budget, as their readers run them; the site at the budget that is set.
test: lint  ## lint, unit tests, every notebook through nbval, then the book and its site
	$(BIN)/python -m pytest $(IN_ORDER) -m "not site and not nightly"
	LECTURE_VAE_DATA="$$($(BIN)/python -c 'from lecture_vae import load_images; print(load_images().source)')" \
	  LECTURE_VAE_BUDGET=quick OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) --nbval-lax --nbval-current-env --nbval-cell-timeout=900 --ignore=book/exercises book
	$(MAKE) book $(LIGHTHOUSE)
	$(BIN)/python -m pytest $(IN_ORDER) -m "site and not nightly" $(OF_THE_SITE)

nightly: $(READY)  ## the tests that take minutes each, and the pages that `make test` leaves out
	$(MAKE) book $(LIGHTHOUSE)
	$(BIN)/python -m pytest $(IN_ORDER) -m nightly

# Without the tests that ask for the site, the chapters or much time, but with a whole grading. Old
# libraries call each other's deprecated functions, which is not our affair. Recorded runs are of the
# torch that they were trained with.
lowest: $(READY)  ## the unit tests on the oldest libraries that pyproject.toml allows
	$(BIN)/python -m uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(LOWEST)/bin/python \
	  --resolution lowest-direct --editable '.[book,cluster,dev,grading]'
	$(OLDEST) $(IN_ORDER) -m "not site and not slow and not nightly" --ignore=tests/test_book.py --ignore=tests/test_notebooks.py \
	  --deselect tests/test_reproduction.py::test_the_recorded_runs_are_of_the_code_that_stands_here \
	  --deselect tests/test_experiments.py::test_the_recorded_experiments_are_of_the_code_that_stands_here
	$(OLDEST) tests/test_cli.py::test_grade_prints_one_json_object_as_its_last_line

# Once with Jupyter Book and once without it, on the libraries that it held back.
newest: $(READY)  ## the unit tests and the book on the newest libraries, with Jupyter Book and without
	$(BIN)/python -m uv venv --quiet --clear --python $(BIN)/python $(NEWEST)
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(NEWEST)/bin/python \
	  --editable '.[book,cluster,dev,grading]' uv
	$(NEWEST)/bin/python -m pytest $(IN_ORDER) -m "not site and not nightly" \
	  --deselect tests/test_reproduction.py::test_the_recorded_runs_are_of_the_code_that_stands_here
	$(NEWEST)/bin/python -m lecture_book.build --path-output $(NEWEST)/jupyter-book
	$(BIN)/python -m uv pip uninstall --quiet --python $(NEWEST)/bin/python jupyter-book
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(NEWEST)/bin/python \
	  --upgrade sphinx sphinx-book-theme myst-nb myst-parser
	$(NEWEST)/bin/python -m lecture_book.build --sphinx --path-output $(NEWEST)/sphinx

audit: $(READY)  ## known weaknesses of the pinned libraries, from PyPI and npm
	$(BIN)/python -m uv tool run pip-audit --strict --no-deps --disable-pip --requirement constraints.txt
	cd tests/browser && npm audit --package-lock-only --audit-level=high

bench: $(READY)  ## measure everything (about two hours, nothing else running), write results/, print the table
	$(MAKE) book $(LIGHTHOUSE)
	for question in imports steps peers conv_peers full_runs lecture memory animation scaling evidence cluster book pages; do \
	  $(BIN)/python benchmarks/$$question.py --record || exit 1; done
	$(BIN)/python benchmarks/report.py

notebooks: $(READY)  ## write the .ipynb beside each chapter, executed
	$(BIN)/python -m lecture_book.notebooks.write

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## let ruff mend and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what was built (not the environment, not the stored runs)
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache

# Libraries are compiled once, here: where Python may write no byte code, as in many containers and
# in every sandbox, each new process would compile torch again, for ten seconds.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python \
	  --constraint constraints.txt --editable '.[book,cluster,dev,grading]'
	@touch $(READY)

# Lighthouse and axe, for the tests of the pages; where they cannot be had, these tests are skipped.
$(LIGHTHOUSE): tests/browser/package-lock.json
	@if cd tests/browser && npm ci --ignore-scripts --no-audit --no-fund; then touch node_modules/.ready; \
	  else echo "Without npm (Debian: apt install npm) and a registry, Lighthouse and axe are not run."; fi
