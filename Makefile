# Set-up of .venv, and short names for the commands of `.venv/bin/workbook`, which `workbook --help` explains.
# Needed: make and Python 3.11 to 3.14; uv is used where it is installed.
# Settings: PYTHON=python3.12, PROFILE=smoke|quick|full, LESSONS="03 04", GPU=0.

PYTHON  ?= python3
PROFILE ?= $(or $(WORKBOOK_PROFILE),quick)
LESSONS ?=
GPU     ?= 0

BIN      := .venv/bin
WORKBOOK := $(BIN)/workbook
LOCK     := requirements.lock

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help run test progress student grade report lab kernel data figures bench lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/.complete ## run every lesson, minutes on two cores (PROFILE=full: the assignment's own budget; LESSONS="03 04")
	@$(WORKBOOK) run --profile $(PROFILE) $(LESSONS)

test: .venv/.complete ## check style, run the unit tests, every notebook as a test, and every explorer in a browser
	@$(WORKBOOK) test

progress: .venv/.complete ## list the build tasks, solved and open
	@$(WORKBOOK) progress

student: .venv/.complete ## write a students' workbook into data/student/: no solutions, no hidden tests (LESSONS="03 04")
	@$(WORKBOOK) student $(LESSONS)

grade: .venv/.complete ## run the hidden tests over a folder of submissions: SUBMISSION=folder
	@$(WORKBOOK) grade $(if $(SUBMISSION),"$(SUBMISSION)") $(LESSONS)

report: .venv/.complete ## write an HTML and a PDF report per assignment into data/reports/, from the executed lessons
	@$(WORKBOOK) report --profile $(PROFILE)

lab: .venv/.complete ## open the notebooks in JupyterLab, on this machine only
	@$(WORKBOOK) lab

kernel: .venv/.complete ## register a Jupyter kernel that can use one GPU only: GPU=0, then papermill -k workbook-gpu0
	@$(WORKBOOK) kernel --gpu $(GPU)

data: .venv/.complete ## draw the assignment's two datasets into data/handout/
	@$(WORKBOOK) data

figures: .venv/.complete ## run the lessons at quick, then publish their outputs to notebooks/ and figures/
	@$(WORKBOOK) run --profile quick --publish $(LESSONS)

bench: .venv/.complete ## measure every claim about speed
	@$(WORKBOOK) bench

# These two work without .venv.
lock: ## resolve requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --all-extras pyproject.toml -o $(LOCK)

clean: ## empty data/, with all runs in it, and remove caches; .venv and the saved solutions of tasks stay
	test ! -d data || find data -mindepth 1 -maxdepth 1 ! -name README.md ! -name solutions -exec rm -rf {} +
	rm -rf .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The environment is complete when this file exists: an interrupted set-up starts again, a finished one is kept.
.venv/.complete: $(LOCK) pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || { \
	    echo "$$($(PYTHON) --version) cannot run the workbook, Python 3.11 to 3.14 can; name one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up .venv from $(LOCK): once, a few minutes"
	@set -e; if command -v uv >/dev/null; then \
	    uv venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv; \
	    uv pip install --quiet --python $(BIN)/python --require-hashes -r $(LOCK); \
	    uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	else \
	    $(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	        echo "$(PYTHON) cannot make environments: apt install python3-venv, or install uv" >&2; exit 1; }; \
	    $(PYTHON) -m venv .venv; \
	    $(BIN)/python -m pip install --quiet --require-hashes -r $(LOCK); \
	    $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	fi
	@# nbgrader is installed for its preprocessors: its menus and its server are of no use to a reader of the lessons.
	@$(BIN)/jupyter labextension disable --level=sys_prefix @jupyter/nbgrader >/dev/null 2>&1
	@# JupyterLab's announcements would need a network, and a click before the first lesson.
	@$(BIN)/jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements >/dev/null 2>&1
	@$(BIN)/jupyter server extension disable --sys-prefix \
	    $(addprefix nbgrader.server_extensions.,formgrader validate_assignment assignment_list course_list) >/dev/null 2>&1
	@touch $@
