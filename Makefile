# Each target sets up whatever it needs; a second call re-uses everything that is there.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
unexport PYTHONDONTWRITEBYTECODE  # hundreds of processes would compile all modules anew

VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements.lock requirements-server.lock requirements-pillow-simd.lock
DOCS_CHECKS := tests/project/test_docs.py

# Stamps: .venv's stands inside it, so that it goes when .venv goes.
PACKAGES := $(VENV)/.stamp
MODELS := build/models.stamp
IMAGES := build/images.stamp
MODEL_SOURCES := $(wildcard bench/prepare/*.py bench/prepare/pins.toml bench/prepare/dnns/*.py pipelines/tasks/*.py pipelines/preprocess/*.py \
	triton_repo/*/task.toml)
IMAGE_SOURCES := $(wildcard bench/prepare/packages.py bench/prepare/pins.* bench/prepare/images/*.py)
SHIM := build/trace_shim.so
SETUP := $(PACKAGES) $(SHIM) $(MODELS) $(IMAGES)
KAFKA := build/kafka.stamp

SEED := $(or $(SEED),$(shell date +%s))
PYTEST = $(BIN)/python -m pytest -q --without="$(WITHOUT)" $(if $(filter random,$(ORDER)),-p randomly --randomly-seed=$(SEED))

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header $(if $(UPGRADE),--upgrade)

.PHONY: help setup kafka demo serve test fuzz docs lint clean lock FORCE

help:  ## this list
	@grep -E '^[a-z]+: .*## |^[a-z]+:  ## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(SETUP)  ## everything the other targets need: packages, server, models, images

kafka: $(KAFKA)  ## fetch Apache Kafka, for what is measured through it (needs Java 17 and Maven)

demo: $(SETUP)  ## measure the built-in pipelines on this machine and write a report
	@$(BIN)/bench demo

serve: $(SETUP)  ## start the inference server and keep it running
	@$(BIN)/bench serve

test: $(SETUP)  ## the whole test suite (WITHOUT="kafka java": as if they were not here; ORDER=random SEED=1)
	@code=0; \
	$(PYTEST) -m alone || code=$$?; \
	$(PYTEST) -n 4 --dist loadfile --no-loadscope-reorder -m "not alone" || code=$$?; \
	exit $$code

fuzz: $(SETUP)  ## mutated images and results, killed runs, for longer than make test (MINUTES=20)
	@FUZZ_SECONDS=$$(( 60 * $(or $(MINUTES),20) )) $(BIN)/python -m pytest -q --timeout=0 -n 2 -m fuzz

docs: $(SETUP)  ## measure what the documents show, about half an hour, and draw their pictures
	@$(BIN)/python scripts/docs.py

lint: $(PACKAGES)  ## style, types, import rules, and the docs' own checks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q $(DOCS_CHECKS)

lock: $(PACKAGES)  ## pin the packages after a change of pyproject.toml (UPGRADE=1: pin the newest)
	@$(COMPILE) --extra dev pyproject.toml -o requirements.lock
	@$(COMPILE) --no-deps --group server -o requirements-server.lock
	@$(COMPILE) --no-deps --group pillow-simd -o requirements-pillow-simd.lock

clean:  ## remove all that setup made; results stay
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@grep -l "^# Written by 'bench models' .* is lost" triton_repo/*/config.pbtxt 2>/dev/null | xargs -r dirname | xargs -r rm -rf || true
	@grep -l "^# Written by 'bench models' .* left alone" triton_repo/*/config.pbtxt 2>/dev/null | xargs -r rm -f || true
	@find triton_repo -name built.json -printf '%h\n' | xargs -r rm -rf
	@rm -rf triton_repo/*/configs

$(PACKAGES): scripts/setup pyproject.toml $(LOCKS)
	@scripts/setup
	@touch $@

# The scripts in .venv/bin name the folder they were made in: a copied checkout makes its own.
ifneq ($(CURDIR),$(shell head -n 1 $(VENV)/.made 2>/dev/null))
$(PACKAGES): FORCE
endif
FORCE:

# Without a C++ compiler it is not made, which is no failure.
$(SHIM): pipelines/servers/launch/trace_shim.cc | $(PACKAGES)
	@$(BIN)/python -m pipelines.servers.launch.trace_shim

$(MODELS): $(MODEL_SOURCES) requirements.lock | $(PACKAGES)
	@$(BIN)/bench models
	@mkdir -p $(@D)
	@touch $@

$(IMAGES): $(IMAGE_SOURCES) requirements.lock | $(PACKAGES)
	@$(BIN)/bench images
	@touch $@

$(KAFKA): scripts/kafka/pom.xml
	@command -v mvn >/dev/null || { echo "error: Maven is not installed" >&2; \
		echo "  hint: apt install openjdk-17-jre-headless maven, then 'make kafka' again" >&2; exit 1; }
	@rm -rf build/kafka build/kafka.part
	@mvn --quiet --batch-mode -Dstyle.color=never -f $< dependency:copy-dependencies -DincludeScope=runtime \
		-DoutputDirectory="$(CURDIR)/build/kafka.part"
	@mv build/kafka.part build/kafka
	@touch $@
