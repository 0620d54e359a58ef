# One environment for everything: .venv, locked with hashes in requirements/*.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard protos/consortium/v1/*.proto)

.PHONY: setup demo test test-fabric lint format protos samples lock clean
.DEFAULT_GOAL := help

help:  ## Say what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/ready: requirements/runtime.txt requirements/development.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m uv pip install --python $(BIN)/python --quiet --require-hashes -r requirements/runtime.txt -r requirements/development.txt
	$(BIN)/python -m uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -c "from privacy import ckks; ckks.warm_up()"  # compiles the ring arithmetic once, instead of in every process
	@touch $@

setup: $(VENV)/ready  ## Make .venv with everything in it

demo: setup  ## Six hospitals train a model together; ends by saying where the report is
	$(BIN)/consortium demo

test: setup  ## All tests on the embedded ledger, fast ones first
	$(BIN)/pytest -m "not fabric and not slow" -n 2
	$(BIN)/pytest -m "slow and not fabric"

test-fabric: setup  ## The tests against real Fabric; FABRIC_HOME names the official release's folder
	$(BIN)/pytest -m fabric tests/real_fabric

lint: setup  ## Style, types, import rules, protobuf lint, generated code current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	deploy/check-generated $(BIN)/python

format: setup  ## Put the code into its one form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: setup  ## Generate the Python of protos/ anew
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=protos --pyi_out=protos --grpc_python_out=protos $(PROTOS)

samples: setup  ## Render the manifests of deploy/fabric/sample anew
	rm -rf deploy/fabric/sample
	$(BIN)/consortium network render --description deploy/fabric/network.json --target compose --out deploy/fabric/sample
	$(BIN)/consortium network render --description deploy/fabric/network.json --target kubernetes --out deploy/fabric/sample

lock: setup  ## Resolve requirements/*.in to *.txt anew
	$(BIN)/python -m uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet requirements/runtime.in -o requirements/runtime.txt
	$(BIN)/python -m uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet requirements/development.in -o requirements/development.txt

clean:  ## Remove what make made
	rm -rf $(VENV) demo-output .mypy_cache .ruff_cache .hypothesis build *.egg-info
