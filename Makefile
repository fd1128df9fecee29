# Thin targets: each is one command a person could type.
.PHONY: setup setup-tests demo test test-cluster lint bench compile images manifests clean
PY := .venv/bin/python

setup:            ## install what the project needs into .venv and .venv-serving
	bash images/setup.sh

setup-tests:      ## and what its tests need
	bash images/setup.sh tests

demo: setup       ## the whole loop on the tiny recipe
	.venv/bin/orrery demo

# Two processes with one thread each keep two cores busy; a file's tests stay together and share their engines.
test: setup-tests lint  ## every test
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile --durations 10
	@echo "NOT PART OF THIS: the tests that need a Kubernetes (tests/cluster): make test-cluster" >&2

test-cluster: setup-tests  ## the tests that need a Kubernetes: KUBECONFIG's, or one that it boots itself
	bash tests/cluster/run.sh

lint: setup       ## style, types, import directions
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

manifests: setup-tests  ## render the kustomizations and validate them against the schemas of real clusters
	$(PY) -m pytest tests/manifests

clean:            ## what the project made here, but not the store (.orrery)
	rm -rf .venv .venv-serving .venv-rollout .venv-uv build .mypy_cache .ruff_cache .pytest_cache
