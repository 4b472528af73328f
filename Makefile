# `make demo` and `make test` work on a fresh machine: they set up what they need, once.

PYTHON ?= python3
BIN := .venv/bin
WEIGHTS := smollm2-135m-instruct qwen2.5-coder-0.5b-instruct gemma-3-270m

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo test check slow bench notebook user-env dev-env tune-env

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r t d; do printf '%-9s %s\n' "$$t" "$$d"; done

setup: dev-env ## everything that demo, test and check need; they call it themselves
	@$(BIN)/blackbox-proxy weights fetch $(WEIGHTS) >/dev/null

demo: user-env ## a closed model, steered: real weights, real HTTP, on this machine alone
	$(BIN)/blackbox-proxy demo $(ARGS)

test: setup ## the tests, but the slow ones; ARGS="-k name" takes some
	$(BIN)/python -m pytest $(ARGS)

check: dev-env ## the linters, the types, and the rule of who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: setup tune-env ## the slow tests, in an environment with PyTorch
	.venv-tune/bin/python -m pytest -m slow --ignore=tests/test_notebooks.py $(ARGS)

bench: setup ## measure a step and write build/bench.json
	@mkdir -p build
	$(BIN)/python -m tests.bench

notebook: setup ## execute the notebooks; they and their pictures stay in build/notebooks
	$(BIN)/python -m pytest tests/test_notebooks.py -m "slow or not slow" $(ARGS)

user-env:
	@.ci/setup .venv

dev-env:
	@.ci/setup .venv dev

tune-env:
	@CONSTRAINTS=.ci/constraints-tune.txt .ci/setup .venv-tune dev tune
