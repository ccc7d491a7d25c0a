# Every target sets itself up: it needs Python 3.11 or newer, make, and nothing else.
PYTHON  ?= python3
PRESET  ?= microcosm
SEEDS   ?= 0
TARGET  ?= core
SEED    ?= 0
COUNT   ?= 1000
# GPUs of this machine that a preset which needs some may use: jobs run side by side, each on cards of its own, and training takes as many (one with launcher `none`).
# Left out, such jobs run one after the other, on the GPUs that the preset says.
GPUS    ?=
CORES   ?= $(or $(filter-out 1,$(GPUS)),2)
# Asked for first and exactly. For a GPU: make reproduce TORCH="torch==2.13.0 --index-url <the index of your CUDA version>"
TORCH   ?= torch==2.13.0

# Two processes with one thread each are faster than one with two, for models this small.
export OMP_NUM_THREADS = 1
export OMP_WAIT_POLICY = passive
export PRESET

BIN       := .venv/bin
READY     := .venv/installed
# Where a run of one's own puts its rows, beside the committed ones.
FRESH     := out/results
# What the website shows, as the repository has it, so that relative links stay right.
SITE_PARTS := README.md CHANGELOG.md CONTRIBUTING.md CITATION.cff docs figures llm/sweeps notebooks results
SITE_FROM := out/site-source
# It wants an older jsonschema than the workflow does, so it gets a place of its own.
CFFCONVERT := out/cffconvert
PIP       := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
VERSION   = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# A killed run leaves a lock and half-done jobs behind; the next run takes over. So run one at a time.
# The preset's name, by which its folders are called, where PRESET is the path of a file.
NAME       = $$($(BIN)/python -c 'import os; from llm.config import load_preset; print(load_preset(os.environ["PRESET"]).name)')
ROWS       = $(FRESH)/$(NAME)
WORKFLOW  = $(BIN)/snakemake --cores $(CORES) --nolock --rerun-incomplete --resources gpu=$(or $(GPUS),1) --config preset="$(PRESET)" seeds="$(SEEDS)" results="$(FRESH)"$(if $(GPUS), gpus=$(GPUS))

.PHONY: help reproduce test test-long fuzz check figures pretrain theory explorer report site site-test release clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile
	@echo 'Options, for example: make reproduce SEEDS="0 1 2" PRESET=microcosm TARGET=core CORES=2'

reproduce: $(READY)  ## the core experiment from the shipped pre-trained weights: tune, align, average, measure, draw, print a table and the claims
	$(BIN)/python -m llm check --launch --preset "$(PRESET)" --seeds $(words $(SEEDS))$(if $(GPUS), --gpus $(GPUS))$(if $(filter all,$(TARGET)), --sweep all,$(patsubst llm/sweeps/%.yaml, --sweep %,$(wildcard $(TARGET:%=llm/sweeps/%.yaml))))
	$(WORKFLOW) -- $(TARGET)
	RESULTS="$(FRESH)" FIGURES="out/figures/$(NAME)" $(BIN)/python notebooks/run.py --to "out/notebooks/$(NAME)" --jobs $(CORES)
	$(BIN)/python -m llm table "$(ROWS)"
	$(BIN)/python -m llm claims "$(ROWS)" --theory results/theory --to "$(FRESH)/claims-$(NAME).json"
	@echo "Figures: out/figures/$(NAME); notebooks with their text: out/notebooks/$(NAME); rows: $(ROWS)"

test: $(READY)  ## the tests, the cells of every notebook included, in less than 10 minutes
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-long: $(READY)  ## the tests that take longer: fuzzing, kills, simulations, notebooks in kernels
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m long

fuzz: $(READY)  ## damaged presets, rows and states: SEED=0, COUNT=1000 of them
	$(BIN)/python tests/helpers/fuzzing.py --seed $(SEED) --count $(COUNT)

check: $(READY)  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy llm theory

release: check test test-long  ## tag this commit with the version of pyproject.toml, after every check
	@test -z "$$(git status --porcelain)" || { echo "error: there are uncommitted changes"; exit 2; }
	git tag -a "v$(VERSION)" -m "alignment-tax $(VERSION)"
	@echo "Tagged v$(VERSION); publish it with: git push origin v$(VERSION)"

# Without PRESET each notebook draws the preset that it is about.
figures: $(READY)  ## redraw every figure from the committed results
	$(if $(filter file,$(origin PRESET)),env -u PRESET )$(BIN)/python notebooks/run.py --jobs $(CORES)

pretrain: $(READY)  ## train the pre-trained models again instead of taking the shipped ones
	$(WORKFLOW) retrain=yes -- pretrained

theory: $(READY)  ## compute results/theory again and draw its figures
	$(BIN)/python -m theory
	$(BIN)/python notebooks/run.py theory

explorer: $(READY)  ## every row of results in one HTML page to choose from, in out/explorer.html
	$(PIP) -e '.[site]'
	PYTHONPATH=notebooks $(BIN)/python -m drawing.explorer.page --to out/explorer.html

report: $(READY)  ## figures, tables, ledger, methods and limits as a PDF to cite, in out/report.pdf
	$(PIP) -e '.[report]'
	PYTHONPATH=notebooks $(BIN)/python -m drawing.report --to out/report.pdf

site: report  ## the website of README, docs and notebooks, its links checked, in out/site
	$(PIP) -e '.[site]'
	rm -rf $(SITE_FROM)
	for part in $(SITE_PARTS); do mkdir -p "$(SITE_FROM)/$$(dirname $$part)" && ln -s "$(CURDIR)/$$part" "$(SITE_FROM)/$$part" || exit; done
	cp out/report.pdf $(SITE_FROM)/report.pdf
	PYTHONPATH=notebooks $(BIN)/python -m drawing.explorer.page --to $(SITE_FROM)/explorer.html --home index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/linkchecker --no-status out/site/index.html
	@echo "The site: out/site/index.html"

site-test: site  ## the site; then its front explorer in a real browser (BROWSER, or an installed Chromium), the report and the citation
	$(PIP) -e '.[site-test]'
	$(BIN)/python tests/helpers/browser.py
	$(PYTHON) -m venv $(CFFCONVERT)
	$(CFFCONVERT)/bin/python -m pip install -q --disable-pip-version-check cffconvert==2.0.0
	$(BIN)/python -m pytest -q -m site

clean:  ## remove runs and caches, never results or figures
	rm -rf out build .snakemake .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find llm theory notebooks tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("alignment-tax needs Python 3.11 or newer (make PYTHON=...); this is " + sys.version.split()[0])'
	@echo "Setting up .venv (once; a few minutes)"
	@$(PYTHON) -m venv .venv
	@echo "  installing $(TORCH)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check $(TORCH)
	@echo "  installing the other packages, as in constraints.txt"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@echo "$(CURDIR)" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/checkout.pth"
	@touch $(READY)
