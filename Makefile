# Thin targets: each is one command a person could type.
.PHONY: setup demo test lint bench compile images manifests clean
PY := .venv/bin/python

setup:            ## install what the project needs into .venv and .venv-serving
	bash images/setup.sh

demo: setup       ## the whole loop on the tiny recipe
	.venv/bin/orrery demo

test: setup lint  ## every test
	$(PY) -m pytest

lint:             ## style, types, import directions
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

bench: setup      ## speed and memory, as ratios measured in one run
	$(PY) -m pytest tests/benchmarks -p no:xdist

compile: setup    ## KFP YAML of every pipeline into build/pipelines
	.venv/bin/orrery compile --all --out build/pipelines

images:           ## container images, with Docker or Podman
	bash images/build.sh

manifests: setup  ## render and validate the kustomize base
	$(PY) -m pytest tests/manifests

clean:            ## what the project made here, but not the store (.orrery)
	rm -rf .venv .venv-serving build .mypy_cache .ruff_cache .pytest_cache
