# Every target sets up what it needs by itself; `make help` lists them.
# Nothing here needs more than git, make and a Python of 3.11 or newer.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/setup.stamp
# `now` and seeds are arguments in these; tools/pure_code.toml says what is banned.
PURE := $(wildcard controller/planning controller/types controller/errors.py forecasting inference/guard.py)
# Their edges, which do I/O: modules of these names, and the two that are named in full.
IMPURE := $(addprefix --exclude ,io.py cli.py cli forecasting/thermal/prometheus.py forecasting/thermal/storage.py)
TESTS ?= tests
PLANNER_LAWS := $(addprefix tests/properties/test_,plan_machine.py plan_laws.py plan_sizing.py scale_in_laws.py)
ARGUMENTS ?=

# uv trusts whom the machine trusts, as pip does: a company's own package mirror has a company's certificate.
# Older versions of uv know only the second name.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= 1
export UV_NATIVE_TLS ?= 1
endif

$(STAMP): pyproject.toml locks/development.txt tools/setup_environment.sh tools/install_torch.sh
	@tools/setup_environment.sh $(VENV)
	@touch $@

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | \
	  while IFS=$$'\t' read -r name text; do printf '  %-12s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: $(STAMP) ## make the environment in .venv from the lock (uv when present, else pip)

.PHONY: demo
demo: $(STAMP) ## watch meltguard meet a surge in virtual time; writes a report (no cluster, no GPU)
	@$(VENV)/bin/meltguard demo $(ARGUMENTS)

.PHONY: test
test: $(STAMP) real-parts ## run the whole test suite (TESTS=path and ARGUMENTS="-k name" narrow it)
	@$(PYTHON) -m pytest $(TESTS) $(ARGUMENTS)

.PHONY: model
model: $(STAMP) ## train the tiny digit model that `meltguard serve` draws with (about a minute)
	@$(PYTHON) -m inference.models.digits

.PHONY: check
check: ## run every static check, and the tests against the built wheel
	@$(MAKE) --keep-going lint typecheck imports docstrings repository wheel-test

.PHONY: lint
lint: $(STAMP) ## ruff: style, docstrings, and what pure code may not call
	@$(VENV)/bin/ruff format --check --quiet --diff .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff check --quiet --config tools/pure_code.toml $(IMPURE) $(PURE)

.PHONY: format
format: $(STAMP) ## ruff: rewrite what can be rewritten
	@$(VENV)/bin/ruff check --quiet --fix-only .
	@$(VENV)/bin/ruff format --quiet .

.PHONY: typecheck
typecheck: $(STAMP) ## mypy, strict
	@$(VENV)/bin/mypy

.PHONY: imports
imports: $(STAMP) ## import-linter: who may import whom, and when
	@$(VENV)/bin/lint-imports --no-cache
	@$(PYTHON) -m tools.checks.lazy_imports

.PHONY: docstrings
docstrings: $(STAMP) ## public functions say what they take, return and raise
	@$(PYTHON) -m tools.checks.docstrings

.PHONY: repository
repository: $(STAMP) ## sizes, locks, links, machine paths, shell scripts, advisories where a database answers
	@$(PYTHON) -m tools.checks.sizes
	@$(PYTHON) -m tools.checks.locks
	@$(PYTHON) -m tools.checks.links
	@$(PYTHON) -m tools.checks.machine_paths
	@tools/check_scripts.sh
	@$(PYTHON) -m tools.supply.audit --where-reachable

.PHONY: wheel-test
wheel-test: $(STAMP) ## build the wheel, look inside, run the tests against it in a fresh environment
	@tools/test_wheel.sh $(PYTHON)

.PHONY: sbom
sbom: $(STAMP) ## write a bill of materials (CycloneDX) for each lock file to build/sbom
	@$(PYTHON) -m tools.supply.bill

.PHONY: audit
audit: $(STAMP) ## look every locked package up among known advisories; exit 3 where no database answers
	@$(PYTHON) -m tools.supply.audit $(ARGUMENTS)

.PHONY: docs
docs: $(STAMP) ## write the reference pages of docs/reference anew from the code
	@$(PYTHON) -m tools.docs

.PHONY: site
site: $(STAMP) ## build the documentation as a site in build/site, every link checked
	@tools/build_site.sh $(PYTHON)

.PHONY: lock
lock: ## renew the lock files from pyproject.toml (ARGUMENTS=--upgrade takes the newest versions)
	@tools/lock.sh $(ARGUMENTS)

.PHONY: real-parts
real-parts: $(STAMP) ## install the servers and tools that tests start, where that is allowed
	@tools/install_real_parts.sh

.PHONY: cluster
cluster: $(STAMP) real-parts ## start a Kubernetes API (etcd and kube-apiserver) on loopback for kubectl; Ctrl-C ends it
	@$(PYTHON) -m tools.real_parts.cluster

.PHONY: lab
lab: $(STAMP) real-parts ## play a surge with real processes (ARGUMENTS=--without-meltguard shows why); Ctrl-C ends it
	@$(PYTHON) -m tools.lab $(ARGUMENTS)

.PHONY: lab-test
lab-test: $(STAMP) real-parts ## play the lab with meltguard, without it, and with processes killed; about ten minutes
	@$(PYTHON) -m tools.lab --output json
	@$(PYTHON) -m tools.lab --output json --without-meltguard
	@$(PYTHON) -m tools.lab --output json --kill-every 8

.PHONY: images
images: ## run the install step of every image without Docker, and say what weighs
	@tools/measure_images.sh

.PHONY: nightly
nightly: $(STAMP) real-parts ## run the laws with a thousand random examples each, the planner's with ten thousand
	@HYPOTHESIS_PROFILE=nightly $(PYTHON) -m pytest tests/properties --timeout=1800 $(ARGUMENTS)
	@HYPOTHESIS_PROFILE=planner-nightly $(PYTHON) -m pytest $(PLANNER_LAWS) --timeout=28800 $(ARGUMENTS)

.PHONY: mutation
mutation: $(STAMP) ## put small defects into the planner, a sample of 60 (ARGUMENTS="--sample 0": all), and count those noticed
	@OMP_NUM_THREADS=1 $(PYTHON) -m tools.mutation $(ARGUMENTS)

.PHONY: bench
bench: ## list the benchmarks and what each one measures
	@tools/list_benchmarks.sh

.PHONY: clean
clean: ## remove the environment and what builds and tests leave behind
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
