# Every target sets up what it needs; a second run finds it done.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
SCANNER := .venv-checkov
BICEP := $(wildcard infra/*.bicep infra/modules/*.bicep)
SHELLS := $(wildcard scripts/*.sh scripts/deploy/*.sh .ci/run)
DATA ?=
ORDERS ?=
WORKERS ?= 1
OVERLAY ?=
TRACES ?=
METADATA ?=
export PYTHONPATH := .

.PHONY: help demo up test prove bench review check format clean

help: ## these lines
	@echo "Concord: Dynamics 365 Commerce, SAP S/4HANA and Dataverse telling one truth"; echo
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s'|'

$(READY): requirements.txt requirements-dev.txt package.json scripts/setup.sh
	@bash scripts/setup.sh $(VENV)
	@touch $@

demo: $(READY) ## a trading day end to end, reconciled and reported (DATA=file.csv[.gz] ORDERS=n replays a file, WORKERS=n)
	@$(PY) -m sandbox.day $(if $(DATA),--data "$(DATA)") $(if $(ORDERS),--orders "$(ORDERS)") --workers "$(WORKERS)"

up: $(READY) ## start the local stack and stay (WORKERS=n, OVERLAY=policy.yaml, TRACES=file); writes out/stack.json; Ctrl-C stops it
	@exec $(PY) -m sandbox.stack up --workers "$(WORKERS)" $(if $(OVERLAY),--overlay "$(OVERLAY)") $(if $(TRACES),--traces "$(TRACES)")

test: $(READY) ## the tests (under 8 minutes on two cores)
	@$(PY) -m pytest -m "not prove" -n 2 --dist loadfile

prove: $(READY) ## the long proofs: every enumerated fault, seeded random runs, seeded mutations
	@$(PY) -m pytest -m prove --timeout 3600

bench: $(READY) ## the benchmarks: ratios against a floor in the same run; writes out/bench.json
	@$(PY) -m bench

review: $(READY) ## the architecture review (METADATA=dir checks EDMX and OpenAPI documents too)
	@$(PY) -m shared.review $(if $(METADATA),--metadata "$(METADATA)")

check: $(READY) $(SCANNER)/.scanned ## formatting, lint, types, architecture, infrastructure (without the Bicep compiler)
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(PY) -m pytest tests/architecture -q -p no:randomly
	@$(PY) -m infra.checks

$(SCANNER)/.ready: requirements-scan.txt | $(READY)
	@echo "setup: the scanners of Bicep and shell"
	@$(PY) -m venv $(SCANNER) && $(SCANNER)/bin/python -m pip install -q --disable-pip-version-check -r requirements-scan.txt
	@touch $@

$(SCANNER)/.scanned: $(SCANNER)/.ready $(BICEP) $(SHELLS) infra/checks/scan.py
	@$(SCANNER)/bin/shellcheck --external-sources --source-path=SCRIPTDIR $(SHELLS)
	@$(PY) -m infra.checks.scan $(SCANNER)/bin/checkov
	@touch $@

format: $(READY) ## format and sort imports
	@$(VENV)/bin/ruff check --fix --select I . && $(VENV)/bin/ruff format .

clean: ## remove what the targets made
	rm -rf $(VENV) $(SCANNER) node_modules out .mypy_cache .ruff_cache .pytest_cache .hypothesis
