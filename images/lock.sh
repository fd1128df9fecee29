#!/usr/bin/env bash
# Writes every lock from pyproject.toml: versions and hashes, no address of a registry or a folder.
# Versions that already stand in a lock stay, unless asked otherwise: images/lock.sh --upgrade, or --upgrade-package NAME.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
[ -x "$uv" ] || uv=uv

compile() { # INPUT OUTPUT [OPTION...]
  "$uv" pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --python-version 3.11 --python-platform x86_64-manylinux_2_35 --output-file "$2" "$1" "${@:3}" >/dev/null
}

# The development environment first: the images of the same Python hold its versions, so that what was tested is what runs.
compile pyproject.toml images/dev/requirements.lock --extra dev "$@"
versions=$(mktemp)
trap 'rm -f "$versions"' EXIT
grep -oE '^[A-Za-z0-9_.-]+==[^ ;]+' images/dev/requirements.lock >"$versions"
for image in data trainer rollout; do
  compile pyproject.toml "images/$image/requirements.lock" --extra "$image" --constraint "$versions"
done
# What writes an image's bill of materials, in the build stage only.
compile images/dev/sbom.in images/dev/sbom.lock --constraint "$versions"
# Triton's Python backend needs numpy 1; everything else that both hold has one version too.
sed -i '/^numpy==/d' "$versions"
compile pyproject.toml images/serving/requirements.lock --extra serving --constraint "$versions"
# vLLM needs an older transformers and setuptools, too, and its override file says what it does not get.
sed -i '/^transformers==/d; /^setuptools==/d' "$versions"
for engine in engine engine-cuda; do
  compile "images/rollout/$engine.in" "images/rollout/$engine.lock" --constraint "$versions" \
    --override images/rollout/overrides.txt
done
# The installer, and the Go that builds the tests' engines where the machine has none.
awk '/^[^ ]/ { wanted = /^uv==/ } wanted' images/dev/requirements.lock >images/dev/uv.lock
compile images/dev/go.in images/dev/go.lock
