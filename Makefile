# `make demo` and `make test` work on a fresh machine: they set up what they need, once.

PYTHON ?= python3
BIN := .venv/bin
SHARED := -n 2 --dist loadfile
ELSEWHERE := --ignore=tests/test_notebooks.py --ignore=tests/contracts --ignore=tests/batching
SDK := tests/remote tests/doctor tests/adapters tests/standin/test_requests.py
OLDEST := .venv-openai2/oldest
TASKS := $(patsubst blackbox_proxy/tasks/%/task.toml,%,$(sort $(shell grep -L '^benchmark = false' blackbox_proxy/tasks/*/task.toml)))
RESULTS := blackbox_proxy/evaluation/data/results.json
WEIGHTS := smollm2-135m-instruct qwen2.5-coder-0.5b-instruct gemma-3-270m

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo test check slow long contracts openai2 bench continuing closed-chats deciding right-token evaluate results \
	fit-tasks fit-results typed notebook executed \
	docs site package pictures reference docs-env user-env dev-env tune-env contracts-env suites-env openai2-env

help: ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r t d; do printf '%-12s %s\n' "$$t" "$$d"; done

setup: dev-env ## everything that demo, test and check need; they call it themselves
	@$(BIN)/blackbox-proxy weights fetch $(WEIGHTS) >/dev/null

demo: user-env ## a closed model, steered: real weights, real HTTP, on this machine alone
	$(BIN)/blackbox-proxy demo $(ARGS)

test: setup ## the tests, but the slow ones; ARGS="-k name" takes some
	$(BIN)/python -m pytest $(SHARED) $(ARGS)

check: dev-env ## the linters, the types, the rule of who may import whom, and code that nothing uses
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

slow: setup tune-env ## the slow tests but the long ones, in an environment with PyTorch
	.venv-tune/bin/python -m pytest -m "slow and not long" $(SHARED) -rP --durations=15 $(ELSEWHERE) $(ARGS)

long: setup tune-env ## the slow tests that take many minutes each: before a release, with the figures that they print
	.venv-tune/bin/python -m pytest -m long -rP --durations=0 $(ELSEWHERE) $(ARGS)

contracts: setup contracts-env suites-env ## our adapters against servers that others wrote, our gateway against their clients, batches and evaluations on Ray
	.venv-contracts/bin/python -m pytest tests/contracts tests/batching -m slow -rP $(ARGS)

openai2: openai2-env ## what touches the SDK, on the newest and the oldest one that speaks httpx
	HYPOTHESIS_EXAMPLES=20 .venv-openai2/bin/python -m pytest $(SHARED) $(SDK) $(ARGS)
	HYPOTHESIS_EXAMPLES=20 PYTHONPATH=$(OLDEST) .venv-openai2/bin/python -m pytest $(SHARED) $(SDK) $(ARGS)

bench: setup ## measure a step and write build/bench.json
	@mkdir -p build
	$(BIN)/python -m tests.bench

right-token: setup ## measure which forms can be written across tokenizers, and cron; write build/right_token.json
	@mkdir -p build
	$(BIN)/python -m tests.bench.forms $(ARGS)
	$(BIN)/blackbox-proxy evaluate cron --standin demo --limit 150 --only steered --only expert \
		--answers build/evaluate --json >build/cron_known.json
	$(BIN)/python -m tests.bench.right_token --known build/cron_known.json

continuing: setup ## measure how well a chat without prefill goes on, and write build/continuing.json
	@mkdir -p build
	$(BIN)/python -m tests.bench.continuing $(ARGS)

closed-chats: setup contracts-env ## measure closed chats by each way, going on where it was, and write build/closed_chats.json
	.venv-contracts/bin/python -m tests.bench.closed_chats $(ARGS)

typed: setup ## measure typed output by each way, going on where it was, and write build/typed.json
	$(BIN)/python -m tests.bench.typed $(ARGS)

evaluate: setup ## the boxed tasks that are benchmarks, within the hour; goes on where it was; build/evaluate.json and .html
	@mkdir -p build
	$(BIN)/blackbox-proxy evaluate $(TASKS) --standin demo --limit 150 --others 40 --answers build/evaluate \
		--figures build/evaluate.json --html build/evaluate.html $(ARGS)

fit-tasks: setup tune-env ## fit nine small tasks and test what was chosen on fresh lines; goes on where it was; build/fit.json
	@mkdir -p build
	.venv-tune/bin/python -m tests.bench.fit_tasks $(ARGS)

fit-results: user-env ## put the figures of `make fit-tasks` into docs/measurements, beside those of earlier runs
	$(BIN)/python -m tests.bench.fit_figures docs/measurements build/fit.json

results: user-env ## put the figures of `make evaluate` into the package and into docs/evaluation.md
	cp build/evaluate.json $(RESULTS)
	$(BIN)/python -m blackbox_proxy.evaluation.table $(RESULTS) docs/evaluation.md

notebook: setup tune-env ## execute the notebooks, in an environment with PyTorch; they and their pictures stay in build/notebooks
	.venv-tune/bin/python -m pytest tests/test_notebooks.py -m "slow or not slow" $(ARGS)

executed: ## execute the notebooks, and replace those that the repository shows
	$(MAKE) notebook ARGS="-k 'not TestCommitted and not executed_and_nothing_else' $(ARGS)"
	@mkdir -p notebooks/executed
	cp build/notebooks/*.ipynb notebooks/executed/

docs: docs-env ## serve the site on this machine, and build it anew when a page changes
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs serve $(ARGS)

site: docs-env ## build the site into build/site; any warning is an error
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --site-dir build/site

package: setup ## build sdist and wheel into build/dist; install the wheel elsewhere and run the demo from it
	.ci/package

pictures: setup ## draw the pictures of README and docs from real answers; needs a Chromium
	$(BIN)/python -m tests.pages.pictures docs/pictures

reference: dev-env ## write docs/cli.md, docs/knobs.md, docs/modules.md and docs/ways.md from commands, knobs, modules and profiles
	$(BIN)/python -m blackbox_proxy.cli.reference docs/cli.md
	$(BIN)/python -m blackbox_proxy.cli.knob_reference docs/knobs.md
	$(BIN)/python -m tests.modules docs/modules.md
	$(BIN)/python -m tests.ways docs/ways.md

deciding: setup ## measure gates and schedules against steering at every token, and write build/deciding.json
	@mkdir -p build
	$(BIN)/python -m tests.bench.deciding $(ARGS)

user-env:
	@.ci/setup .venv

dev-env:
	@CONSTRAINTS=.ci/constraints-dev.txt .ci/setup .venv dev

docs-env:
	@.ci/setup .venv-docs docs

tune-env:
	@CONSTRAINTS=.ci/constraints-tune.txt .ci/setup .venv-tune dev tune tasks

contracts-env:
	@CONSTRAINTS=.ci/constraints-contracts.txt .ci/setup .venv-contracts test contracts batch ray

suites-env:
	@.ci/suites .venv-suites

openai2-env:
	@CONSTRAINTS=.ci/constraints-openai2.txt .ci/setup .venv-openai2 test
	@test -d $(OLDEST) || .venv-openai2/bin/python -m pip install --quiet --no-deps --target $(OLDEST) openai==2.20.0
