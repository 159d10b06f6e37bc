# Everything needs only Python 3.11 or newer and make; the environment is made on first use and reused.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
BUNDLE := bundles/anomalyclip_zero_shot
JOBS ?= 2

.PHONY: help venv demo test test-slow lint docs tutorials offline-prompts scoreboard studies bench clean

help:
	@echo "make demo       install, then score real scans with the zero-shot bundle into demo/output"
	@echo "make test       install, then run the default tests"
	@echo "make test-slow  the tests that take long or much memory"
	@echo "make lint       ruff and mypy"
	@echo "make docs       install, run the tutorials, then build the documentation's pages into build/site"
	@echo "make tutorials  install, then run the tutorials into build/tutorials, JOBS=2 at a time"
	@echo "make scoreboard  accuracy of three seeds on the real data sets in ANOMALYCLIP_MED_DATA"
	@echo "make studies     all comparisons, ablations and transfers at a laptop's size, JOBS=2 at a time"
	@echo "make bench      benchmarks, printed as a table"
	@echo "make offline-prompts  train the shipped embeddings again, from procedural images alone"
	@echo "make clean      remove the environment and everything made"

venv: $(VENV)/.dev

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/.python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.python
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.base

demo: $(VENV)/.base demo/input
	$(BIN)/anomalyclip-med weights fetch offline
	PYTHONWARNINGS='ignore:parsing config_file' \
		$(BIN)/python -m monai.bundle run --config_file $(BUNDLE)/configs/inference.json \
		--dataset_dir demo/input --output_dir demo/output --show_names True --report True
	@echo "Open demo/output/index.html in a browser"

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.tutorials: pyproject.toml constraints.txt | $(VENV)/.python
	$(INSTALL) --editable '.[tutorials]'
	@touch $@ $(VENV)/.base

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.python
	$(INSTALL) --editable '.[docs]'
	@touch $@ $(VENV)/.base

demo/input: tools/demo_inputs.py | $(VENV)/.base
	$(BIN)/python tools/demo_inputs.py $@
	@touch $@

build/figures/.made: tools/concept_figures.py | demo/input $(VENV)/.base
	$(BIN)/anomalyclip-med weights fetch offline
	$(BIN)/python tools/concept_figures.py demo/input build/figures
	@touch $@

# Progress bars and warnings with the paths of this machine have no place on a page.
NBCONVERT = $(BIN)/python -m jupyter nbconvert --log-level WARN

build/tutorials/.made: tutorials/drawn.py $(wildcard tutorials/*.ipynb) | $(VENV)/.tutorials
	$(BIN)/anomalyclip-med weights fetch offline
	rm -rf $(@D)
	mkdir -p $(@D)
	cp $^ $(@D)
	printf '%s\n' $(@D)/*.ipynb | PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 TQDM_DISABLE=1 PYTHONWARNINGS=ignore \
		xargs -P $(JOBS) -n 1 $(NBCONVERT) --to notebook --execute --inplace
	$(NBCONVERT) --coalesce-streams $(@D)/*.ipynb
	$(NBCONVERT) --to markdown $(@D)/*.ipynb
	@touch $@

tutorials:
	rm -f build/tutorials/.made
	$(MAKE) build/tutorials/.made

docs: $(VENV)/.docs build/figures/.made build/tutorials/.made
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

offline-prompts: $(VENV)/.base
	$(BIN)/anomalyclip-med weights fetch offline
	$(BIN)/python tools/train_offline_prompts.py

build/offline_seed%.safetensors: configs/offline_prompts.json tools/train_offline_prompts.py | $(VENV)/.base
	$(BIN)/anomalyclip-med weights fetch offline
	$(BIN)/python tools/train_offline_prompts.py $@ --seed $*

scoreboard: build/offline_seed0.safetensors build/offline_seed1.safetensors build/offline_seed2.safetensors
	$(BIN)/python tools/scoreboard.py $^

STUDIES = modules losses dpam prompts features baselines transfer_industrial transfer_medical within thyroid switches few_shot

studies: $(VENV)/.base
	$(BIN)/anomalyclip-med weights fetch offline
	for name in $(STUDIES); do \
		$(BIN)/anomalyclip-med study run configs/studies/$$name.yaml -o build/studies/$$name \
			--features build/studies/features --jobs $(JOBS) || exit 1; \
	done
	$(BIN)/python tools/studies_page.py $(STUDIES:%=build/studies/%/report.md)

bench: $(VENV)/.dev
	$(BIN)/anomalyclip-med weights fetch offline
	$(BIN)/python benchmarks/report.py

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
