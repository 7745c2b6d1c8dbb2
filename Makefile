# Each target sets itself up on x86-64 Linux: a plain Python 3.11 to 3.14 is enough (the tests also need Java 17 and Maven).
PYTHON ?= python3
ENGINE ?= vllm
ENGINES := vllm choice-model
EVENTS ?=
BENCH ?=
VENV := .venv
PEERS := .venv-peers
SUPPLY := .venv-supply
BIN := $(VENV)/bin
UV := $(BIN)/uv
# Without bytecode, importing vLLM takes 12.7 s instead of 5.5 s, in each of its processes.
export UV_COMPILE_BYTECODE := 1

# What needs no Java, Maven, vLLM or network, as two processes side by side; the simulation plays a share of its seeds.
QUICK_CORE := tests/unit/core tests/architecture \
	tests/contracts/test_readme.py tests/contracts/test_contributing.py tests/contracts/test_asyncapi.py \
	tests/contracts/test_reference.py tests/contracts/test_pages.py
QUICK_LOOP := tests/unit/pipeline tests/simulation
QUICK := --quiet --no-header --durations=0 --durations-min=2
SLOW := tests/unit/core/prompts/test_random_texts.py tests/unit/core/test_bounded_cache.py

# Of the unit tests of what decides and of the loop the branches are counted (pyproject.toml has the least share), but
# for those that are slow or timed, since counting makes them slower.  REST is everything else.
COVERED := tests/unit/core tests/unit/pipeline
UNCOVERED := $(SLOW) tests/unit/pipeline/test_turns.py
#
# `test` runs two processes side by side, since most of it waits: for brokers, engines, and time-outs.  One runs REST but
# for MODELS; the other what is counted, and then MODELS.  What loads a model stands together, so that one process loads
# it once, with as many others as make both take equally long.
REST := $(filter-out $(COVERED:=/) tests/unit/ tests/support/ %/__pycache__/,$(wildcard tests/*/ tests/unit/*/)) \
	$(wildcard tests/unit/test_*.py) $(UNCOVERED)

MODELS := $(addprefix tests/integration/test_,align.py bench_llm.py cli.py dead_letters.py demo.py engine_death.py \
	engines.py evolution.py experiment.py experiment_file.py experiment_page.py experiment_truth.py families.py \
	family_models.py ids_only.py mirror_tiny.py pages.py pictures.py producers.py prometheus.py reference_protocol.py \
	refusing_templates.py registry.py steering.py tokens.py topics.py trace.py traces.py two_workers.py \
	vllm_pipeline.py vllm_server.py wheel.py worker.py)

# Side by side with another suite, on a machine that others use too, a broker or an engine may come too late once in a
# thousand tests.  At most three failures are given one more try each, with what failed at the end of the output: what
# passes then is a fault of a test, or a rare one of the product, and is looked into.
AGAIN := --reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks

.PHONY: help setup demo bench wheel sbom audit check docs docs-reference test test-long lint format lock clean
.PHONY: check-core check-loop test-counted test-models test-others
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

# Said before anything is installed; the nearest name is found as the program itself finds it.
NEAREST := import sys; sys.path.insert(0, "worker/core"); from suggestions import did_you_mean; \
	print(did_you_mean(sys.argv[1], sys.argv[2:]))
ifneq ($(filter demo,$(MAKECMDGOALS)),)
ifeq ($(filter $(ENGINES),$(ENGINE)),)
$(error ENGINE=$(ENGINE): want vllm or choice-model$(shell $(PYTHON) -c '$(NEAREST)' '$(ENGINE)' $(ENGINES)))
endif
endif

# The locks hold wheels for this alone; pip would only tell of the first that it does not find.
define FITS
import platform as p, sys
v, here = sys.version_info[:2], (p.python_implementation(), p.system(), p.machine())
ok = (3, 11) <= v < (3, 15) and here == ("CPython", "Linux", "x86_64")
sys.exit(0 if ok else "want CPython 3.11 to 3.14 on x86-64 Linux (make PYTHON=...), not %s %d.%d on %s %s" % (here[0], v[0], v[1], here[1], here[2]))
endef
export FITS

# One environment; each use adds what it needs and nothing is installed twice.
$(UV):
	@$(PYTHON) -c "$$FITS"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9

$(VENV)/run.done: requirements/run.txt pyproject.toml | $(UV)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/run.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

$(VENV)/cpu.done: requirements/cpu.txt $(VENV)/run.done
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/cpu.txt
	touch $@

$(VENV)/test.done: requirements/test.txt $(VENV)/run.done
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/test.txt
	touch $@ $(VENV)/cpu.done

$(VENV)/check.done: requirements/check.txt pyproject.toml | $(UV)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/check.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

$(VENV)/docs.done: requirements/docs.txt $(VENV)/check.done
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/docs.txt
	touch $@

help:  ## Show these targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/test.done  ## Install everything that the tests need into .venv.

demo:  ## Run the main job on this machine: generated users, a worker with vLLM on the CPU, the result.
demo: $(if $(filter choice-model,$(ENGINE)),$(VENV)/run.done,$(VENV)/cpu.done)
	$(BIN)/mirrorstream demo --engine $(ENGINE) $(if $(EVENTS),--events $(EVENTS))

# The other frameworks, whose Kafka client is older than ours; the worker itself without its dependencies.
$(PEERS)/done: requirements/peers.txt | $(UV)
	$(UV) venv --quiet --clear --python $(BIN)/python $(PEERS)
	$(UV) pip install --quiet --python $(PEERS)/bin/python --require-hashes --no-deps -r requirements/peers.txt
	$(UV) pip install --quiet --python $(PEERS)/bin/python --no-deps --editable .
	touch $@

$(SUPPLY)/done: requirements/supply.txt | $(UV)
	$(UV) venv --quiet --clear --python $(BIN)/python $(SUPPLY)
	$(UV) pip install --quiet --python $(SUPPLY)/bin/python --require-hashes --no-deps -r requirements/supply.txt
	touch $@

# make bench BENCH="--bootstrap localhost:9092 --json"
bench:  ## Measure the worker beside the engine alone and beside other frameworks (BENCH="..." adds flags).
bench: $(VENV)/cpu.done $(PEERS)/done
	$(BIN)/mirrorstream bench --peers $(PEERS)/bin/python $(BENCH)

wheel: | $(UV)  ## Build the wheel into dist/, with what builds it from hashes.
	$(UV) build --wheel --build-constraint requirements/build.txt --require-hashes --out-dir dist

sbom: $(SUPPLY)/done $(VENV)/check.done  ## Write the bill of materials of each image's own layers into dist/.
	@mkdir -p dist
	@set -e; for target in run server cpu gpu; do \
		$(BIN)/python -m tools.sbom $$target --tool $(SUPPLY)/bin/cyclonedx-py > dist/$$target.cdx.json; \
		echo "dist/$$target.cdx.json"; done

# A package that cannot be asked about is no package without a finding.
audit: $(SUPPLY)/done  ## Ask which locked packages have known vulnerabilities (the service must be in reach).
	@$(BIN)/python -m tools.audit --tool $(SUPPLY)/bin/pip-audit

check: $(VENV)/check.done  ## Check a change in a minute: lint, types, core, pipeline, architecture, simulation.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory --jobs=2 check-core check-loop

check-core: $(VENV)/check.done
	$(BIN)/mypy worker
	$(BIN)/python -m pytest $(QUICK) $(SLOW:%=--ignore=%) $(QUICK_CORE) 2>&1 | sed --unbuffered 's/^/core: /'

check-loop: $(VENV)/check.done
	SIMULATION_SEEDS=100 $(BIN)/python -m pytest $(QUICK) $(QUICK_LOOP) 2>&1 | sed --unbuffered 's/^/loop: /'

docs: $(VENV)/docs.done docs-reference  ## Build the documentation into site/, strictly.
	$(BIN)/zensical build --clean --strict

docs-reference: | $(UV)  ## Write the generated parts of the reference pages, and the dashboards, anew.
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.dashboards
	$(BIN)/python -m tools.scaling

test: setup lint  ## Run the tests except the long ones, against a real Apache Kafka and a real vLLM.
	$(MAKE) --no-print-directory --jobs=2 --keep-going test-others test-counted test-models

test-counted: setup
	$(BIN)/python -m coverage run -m pytest $(COVERED) $(UNCOVERED:%=--ignore=%) 2>&1 | sed --unbuffered 's/^/counted: /'
	$(BIN)/python -m coverage report

test-models: setup
	$(BIN)/python -m pytest $(AGAIN) $(MODELS) 2>&1 | sed --unbuffered 's/^/models: /'

test-others: setup
	$(BIN)/python -m pytest $(AGAIN) $(REST) $(MODELS:%=--ignore=%) 2>&1 | sed --unbuffered 's/^/others: /'

test-long: setup $(PEERS)/done  ## Run the long suites too: kills, soak, the outside that changes.
	$(BIN)/python -m pytest -m "long or not long"

lint: setup  ## Lint and check types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## Format and fix what can be fixed.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

COMPILE := $(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header --quiet --upgrade
lock: | $(UV)  ## Compile the requirement files anew.
	$(COMPILE) --extra cpu --extra experiment --extra align --group dev -o requirements/test.txt
	$(COMPILE) --extra experiment -c requirements/test.txt -o requirements/run.txt
	$(COMPILE) --extra experiment --extra server --group check -c requirements/test.txt -o requirements/check.txt
	$(COMPILE) --extra cpu --extra experiment -c requirements/test.txt -o requirements/cpu.txt
	$(COMPILE) --group docs -c requirements/test.txt -o requirements/docs.txt
	$(COMPILE) --extra gpu --extra experiment -o requirements/gpu.txt
	$(COMPILE) --extra experiment -c requirements/gpu.txt -o requirements/gpu-image.txt
	$(COMPILE) --extra server --extra experiment -c requirements/test.txt -o requirements/server.txt
	$(COMPILE) --extra align --extra experiment -c requirements/test.txt -o requirements/align.txt
	$(COMPILE:pyproject.toml=) --group build -o requirements/build.txt
	$(COMPILE:pyproject.toml=) --group peers -o requirements/peers.txt
	$(COMPILE:pyproject.toml=) --group checkov -o requirements/checkov.txt
	$(COMPILE:pyproject.toml=) --group supply -o requirements/supply.txt

clean:  ## Remove the environments, the caches and the built site.
	rm -rf $(VENV) $(PEERS) $(SUPPLY) .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis site
