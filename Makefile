# The two commands of the README are `make demo` and `make test`; both set up .venv from nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CLIENTS ?= .venvs
EXTRAS ?= clickhouse,duckdb,excel,local,long-context,objects,parquet,port,postgres,ray,redis,report,seal,serve,ui,uvloop
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo demo-gap demo-probe test clients check verify versions docs bench-agents bench-conform bench-economics bench-evaluation bench-gap bench-gateway bench-label bench-longcontext bench-routing bench-scale bench-structure bench-traffic bench-trust clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 20

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "==> creating $(VENV) with $$($(PYTHON) --version) and the pinned packages of constraints.txt"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; set PYTHON=…")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --constraint constraints.txt --upgrade pip
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]' --group dev
	@touch $@

demo: $(VENV)/.installed ## compare two real local models and two published ones; no keys needed
	@echo "==> crossgrade demo"
	@$(BIN)/crossgrade demo

demo-probe: $(VENV)/.installed ## find how long a context of a real local model holds, on this documentation
	@$(BIN)/crossgrade models add smollm2-135m-instruct
	@mkdir -p crossgrade-demo/probe
	@printf 'models:\n  smollm: {provider: local, model: smollm2-135m-instruct}\n' > crossgrade-demo/probe/crossgrade.yaml
	@$(BIN)/crossgrade probe run smollm --config crossgrade-demo/probe/crossgrade.yaml \
		--documents docs/guides --documents docs/concepts --shortest 256 --longest 2048 --per-octave 1 \
		--kinds record --questions 2 --base 20 --each 20 --answers 400 --floor 0.25 --gate 512 --certify 80

GAP := crossgrade-demo/gap
GAP_RUN = $(BIN)/crossgrade
demo-gap: $(VENV)/.installed ## mend the demo's failing segment: port its prompt, distil its model, decide again (downloads PyTorch)
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[$(EXTRAS),distil]'
	@$(GAP_RUN) models add gemma-3-270m
	@$(GAP_RUN) models add smollm2-135m-instruct
	@rm -rf $(GAP) && mkdir -p $(GAP)
	@cp src/crossgrade/data/demo/gap.yaml $(GAP)/crossgrade.yaml
	@grep -h '"segment": "routing"' src/crossgrade/data/demo/support.jsonl src/crossgrade/data/demo/more-routing.jsonl > $(GAP)/routing.jsonl
	@set -e; began=$$(date +%s); \
	echo "==> 1. may it take over as it is?"; \
	$(GAP_RUN) evaluate routing --config $(GAP)/crossgrade.yaml; \
	echo "==> 2. with another prompt?"; \
	$(GAP_RUN) port routing --candidate smollm2-135m-instruct --variants 12 --development 60 --config $(GAP)/crossgrade.yaml --apply; \
	echo "==> 3. with weights that learned the task?"; \
	$(GAP_RUN) distil routing --candidate smollm2-135m-instruct --steps 40 --config $(GAP)/crossgrade.yaml; \
	$(GAP_RUN) report routing --config $(GAP)/crossgrade.yaml; \
	times > $(GAP)/times.txt; \
	echo "==> $$(( ($$(date +%s) - began + 59) / 60 )) minutes; processor time of the commands, theirs and the system's: $$(tail -n 1 $(GAP)/times.txt)"

test: $(VENV)/.installed ## formatting, lint, types, contracts and every test
	@echo "==> ruff, mypy, import-linter"
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > /dev/null || $(BIN)/lint-imports --no-logo
	@echo "==> local models for the tests that need one (SHA-256 checked)"
	@for model in smollm2-135m-instruct gemma-3-270m; do \
		$(BIN)/crossgrade models add $$model || echo "not installed: the tests that need it skip"; done
	@echo "==> pytest"
	@$(BIN)/pytest -n $${CROSSGRADE_TEST_WORKERS:-2} --dist worksteal || { echo $$? > .pytest_cache/status; exit 1; }

clients: $(VENV)/.installed ## install the clients that tests speak to the gateway through
	@$(BIN)/python scripts/clients.py $(CLIENTS)

check: $(VENV)/.installed ## the quick door: format, lint, types, contracts, fast tests
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > /dev/null || $(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -n 2 -m "not slow" tests/unit tests/property tests/test_architecture.py

SIMULATIONS := tests/verify/stats tests/verify/decide tests/verify/watch
verify: $(VENV)/.installed ## the long simulations, soaks and fuzzing; ON=ray://HOST:10001 runs the simulations there
	@if [ -n "$(ON)" ]; then $(BIN)/python scripts/verify_on.py $(ON) $(SIMULATIONS); fi
	@$(BIN)/pytest tests/verify -p no:randomly $(if $(ON),$(SIMULATIONS:%=--ignore=%))
	@$(MAKE) --no-print-directory versions

versions: $(VENV)/.installed ## unit tests on other Pythons and dependencies, as far as they are installed
	@$(PIP) install --quiet --constraint constraints.txt --group versions
	@$(BIN)/python scripts/versions.py $(CLIENTS)/versions

docs: $(VENV)/.installed ## regenerate the generated reference pages
	@$(BIN)/python scripts/reference.py

bench-agents: $(VENV)/.installed ## figures of docs/benchmarks/agents.md
	@$(BIN)/python -m benchmarks.agents

bench-conform: $(VENV)/.installed ## figures of docs/benchmarks/conform.md; Transformers beside the reference, MODEL_EQUALITY_TESTING names a Python with that package
	@$(BIN)/python -m benchmarks.conform

bench-economics: $(VENV)/.installed ## figures of docs/benchmarks/economics.md; Transformers counts weights beside ours
	@$(BIN)/python -m benchmarks.economics

bench-evaluation: $(VENV)/.installed ## figures of docs/benchmarks/evaluation.md, peers in the same run
	@$(BIN)/python -m benchmarks.evaluation

bench-gap: $(VENV)/.installed ## figures of docs/benchmarks/gap.md: simulated ways, and the demo's failing segment
	@$(BIN)/python -m benchmarks.gap

bench-gateway: $(VENV)/.installed ## figures of docs/benchmarks/gateway.md, peers in the same run
	@$(BIN)/python -m benchmarks.gateway

bench-label: $(VENV)/.installed ## figures of docs/benchmarks/label.md
	@$(BIN)/python -m benchmarks.label

bench-longcontext: $(VENV)/.installed ## figures of docs/benchmarks/longcontext.md, a full grid and Transformers beside ours
	@$(BIN)/python -m benchmarks.longcontext

bench-routing: $(VENV)/.installed ## figures of docs/benchmarks/routing.md; ROUTELLM names the folder with RouteLLM's prompts
	@$(BIN)/python -m benchmarks.routing

bench-scale: $(VENV)/.installed ## figures of docs/benchmarks/scale.md: several cores, a cluster of Ray, simulated nodes
	@$(BIN)/python -m benchmarks.scale

bench-structure: $(VENV)/.installed ## figures of docs/benchmarks/structure.md: files that a call enters, statements, short modules
	@$(BIN)/python -m benchmarks.structure

bench-traffic: $(VENV)/.installed ## figures of docs/benchmarks/traffic.md
	@$(BIN)/python -m benchmarks.traffic

bench-trust: $(VENV)/.installed ## figures of docs/benchmarks/trust.md; AICS_TLOG names the folder of aics-tlog where it is not installed
	@$(BIN)/python -m benchmarks.trust

clean: ## remove what the targets made
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
