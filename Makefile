# All commands in one place; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
JOBS ?= 2
# Without their cache every control plane and every command of the tests would compile the whole source anew.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

demo: setup ## words -> plan -> approval -> durable run -> watched release -> rollback, in about a minute
	$(BIN)/interlock demo

demo-containers: setup ## the same with images, and a canary that its numbers abort; needs Docker or Podman
	$(BIN)/interlock demo --containers

test: setup check ## everything that has to hold: the checks, then all tests but the slow ones
	$(BIN)/pytest -q -n $(JOBS) -m "not slow" --dist loadfile --no-loadscope-reorder --hypothesis-profile all

check: setup ## formatting, lint, types, import rules
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/basedpyright src
	$(BIN)/lint-imports --no-logo

unit: setup ## the pure tests, in seconds
	$(BIN)/pytest -q tests/unit tests/architecture

slow: setup ## what takes long: the crash matrices, in about an hour and a half
	$(BIN)/pytest -q -m slow
	$(BIN)/pytest -q tests/unit --hypothesis-profile all

bench: setup ## the figures of the README, measured on this machine
	$(BIN)/python bench/figures.py

bench-strategies: setup ## requests lost during roll-outs, strategy by strategy; takes a quarter of an hour
	$(BIN)/python bench/strategy_loss.py

bench-engine: setup ## the run engine beside its peers on the same task graphs; makes their environments at the first time
	cd bench && ../$(BIN)/python -m engine $(ENGINE)

format: setup ## format the code
	$(BIN)/ruff format src tests bench
	$(BIN)/ruff check --fix src tests bench

setup: .venv/.ready ## only prepare: .venv/bin/interlock exists afterwards

lock: | $(UV) ## resolve the dependencies anew into requirements.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --group dev --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command 'make lock' --upgrade pyproject.toml -o requirements.lock

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/python -m pip install --quiet uv

.venv/.ready: requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python python3 .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.PHONY: help demo demo-containers test check unit slow bench bench-strategies bench-engine format setup lock
