# All commands in one place; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PY := .venv/bin/python
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: .venv/.ready ## prepare the environment: .venv/bin/interlock exists afterwards

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/python -m pip install --quiet uv

.venv/.ready: requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python python3 .venv
	$(UV) pip sync --quiet --python $(PY) requirements.lock
	$(UV) pip install --quiet --python $(PY) --no-deps --editable .
	@touch $@

lock: | $(UV) ## resolve the dependencies anew into requirements.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --group dev --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command 'make lock' --upgrade pyproject.toml -o requirements.lock

demo: setup ## tell the story: words, plan, approval, durable run, watched release, rollback
	.venv/bin/interlock demo

.PHONY: help setup lock demo
