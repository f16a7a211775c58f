# `make` prints the targets. The commands need an installed .venv: see CONTRIBUTING.md.
BIN ?= .venv/bin
PYTEST = $(BIN)/pytest

.DEFAULT_GOAL := help
.PHONY: help demo test lint types ci integration faults cluster soak fuzz page benchmarks bench docs

help: ## Print this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## Run the small study on drawn cats and dogs
	$(BIN)/python study/run.py

test: ## Run the default tests, in two processes
	$(PYTEST) -n 2

lint: ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: ## Check types
	$(BIN)/mypy

ci: ## Run what CI runs, in clean clones of the last commit
	.ci/run

integration: ## Run the end-to-end tests of single packages
	$(PYTEST) -m integration -n 2

faults: ## Run studies that are killed, cut off or out of disk
	$(PYTEST) -m faults

cluster: ## Run studies over several hosts (needs root, for network namespaces)
	$(PYTEST) -m cluster

soak: ## Run a long study under injected faults
	$(PYTEST) -m soak

fuzz: ## Run random command lines and studies
	$(PYTEST) -m fuzz

page: ## Test reports and MLflow's pages in a real browser (needs chromium)
	$(PYTEST) -m page

benchmarks: ## Run the benchmarks' commands on their cheapest rows
	$(PYTEST) -m benchmarks

bench: ## Measure speed on this machine
	$(BIN)/python -m benchmarks

docs: ## Generate docs/cli.md
	$(BIN)/python -m study.config.cli_page > docs/cli.md
