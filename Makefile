# What a contributor or CI runs. Each target does its own set-up; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
BIN := .venv/bin
# Extra arguments for pytest: make test ARGS='tests/unit -k names'
ARGS ?=

.PHONY: help venv tools demo test check check-lint check-format check-types check-scripts check-imports format settings-doc analyze-doc reference manifests crds golden heavy soak compose-test kubernetes conformance fuzz bench clean distclean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

venv: ## Make or refresh .venv (editable install, generated messages, development tools)
	@scripts/install/venv.sh

tools: venv ## Install what the tests need besides Python: Envoy, Consul, Redis, system packages
	@scripts/install/system.sh curl openssl wrk
	@scripts/install/envoy.sh > /dev/null
	@scripts/install/consul.sh > /dev/null
	@scripts/install/redis.sh > /dev/null
	@scripts/install/network.sh > /dev/null

demo: venv ## Run a mesh of real Envoys on this machine; CHECK=1 sends requests once and exits 0 or 1
	@scripts/install/envoy.sh > /dev/null
	@exec $(BIN)/meshwright demo $(if $(CHECK),--check)

test: tools ## Run the tests (long suites in their short form); ARGS=... for pytest
	@$(BIN)/pytest -m 'not heavy and not kubernetes' $(ARGS)

check: venv ## Lint, format, types (strict, tests included) and import rules, side by side
	@$(MAKE) --keep-going --jobs 5 --output-sync=target check-lint check-format check-types check-scripts check-imports
check-lint:
	@$(BIN)/ruff check --quiet .
check-format:
	@$(BIN)/ruff format --quiet --check . || { echo "run: make format" >&2; exit 1; }
check-types:
	@$(BIN)/mypy
check-scripts:
	@# hatchling is there only while a build runs: its classes are Any here.
	@$(BIN)/mypy --cache-dir .mypy_cache/scripts --ignore-missing-imports --allow-subclassing-any hatch_build.py $$(git ls-files 'deploy/*.py' 'examples/*.py' 'scripts/*.py')
check-imports:
	@said=$$($(BIN)/lint-imports) && tail -1 <<< "$$(grep . <<< "$$said")" || { echo "$$said"; exit 1; }

format: venv ## Format the Python and the Go
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .
	@go=$$(scripts/install/go.sh) && "$$(dirname "$$go")/gofmt" -w bench

settings-doc: venv ## Write docs/settings.md from the one list of settings
	@$(BIN)/python -m meshwright.settings_doc docs/settings.md

analyze-doc: venv ## Write docs/analyze.md from the checks
	@$(BIN)/python -m meshwright.analysis.markdown docs/analyze.md

reference: venv ## Write docs/reference/, a page for each kind of document, from the models that read them
	@$(BIN)/python -m meshwright.reference_doc docs/reference

manifests: crds ## Write deploy/kubernetes and the Helm chart from what `meshwright install` prints
	@$(BIN)/python -m meshwright.kubernetes.install.write deploy

crds: venv ## Write deploy/kubernetes/crds/, the definitions of our kinds, from the models that read them
	@$(BIN)/python -m meshwright.kubernetes.crd_files deploy/kubernetes/crds

golden: tools ## Rewrite the golden files from what the code renders now; then read the diff
	@MESHWRIGHT_REWRITE_GOLDENS=1 $(BIN)/pytest tests/golden tests/feature/test_cli_golden.py tests/unit/inject/test_streams.py $(ARGS)
	@git status --short tests/golden tests/feature/cli tests/unit/inject

heavy: tools ## Run the long forms of the long suites
	@$(BIN)/pytest -m 'heavy and not kubernetes' $(ARGS)
soak: heavy ## The same as heavy

compose-test: tools ## Run compose.yaml for real: containers, Consul, sidecars (root: installs docker if need be)
	@$(BIN)/pytest tests/feature/test_compose.py $(ARGS)

kubernetes: tools ## Run the tests on a real Kubernetes (root): the cluster is built if need be (ten minutes once) and left running; HEAVY=1: their long forms
	@scripts/kubernetes/cluster.sh up > /dev/null
	@scripts/kubernetes/image.sh
	@$(BIN)/pytest -m 'kubernetes and $(if $(HEAVY),heavy,not heavy)' $(or $(ARGS),tests/kubernetes)

conformance: tools ## Run the Gateway API conformance suite; PROFILE=mesh|gateway, TEST=Name for one (see scripts/kubernetes/README.md)
	@$(BIN)/python -m scripts.kubernetes.conformance.conformance $(if $(PROFILE),--profile $(PROFILE)) $(foreach t,$(TEST),--test $(t)) $(ARGS)

fuzz: venv ## Fuzz whatever parses bytes from outside; SECONDS= for each target (600), TARGET= for one
	@for target in $(or $(TARGET),$$($(BIN)/python -m tests.fuzz.run --list)); do \
	  echo "=== $$target"; $(BIN)/python -m tests.fuzz.run $$target --seconds $(or $(SECONDS),600) --corpus build/fuzz/corpus/$$target || exit 1; done

bench: venv ## Measure beside go-control-plane; SERVICES= ENDPOINTS= PROXIES= REPEATS=, or ARGS=... (see bench/README.md)
	@$(BIN)/python -m bench.run $(if $(SERVICES),--services $(SERVICES)) $(if $(ENDPOINTS),--endpoints $(ENDPOINTS)) \
	  $(if $(PROXIES),--proxies $(PROXIES)) $(if $(REPEATS),--repeats $(REPEATS)) $(ARGS)

clean: ## Remove what tools and builds left behind
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## The same, and the virtual environment and the generated messages
	@rm -rf .venv pb
