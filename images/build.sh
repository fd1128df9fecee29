#!/usr/bin/env bash
# Builds the container images with Docker or Podman.
#   images/build.sh [IMAGE...] [-- OPTION...]             e.g. images/build.sh data -- --network host
#   images/build.sh rollout -- --build-arg ENGINE=cuda    with vLLM for GPUs, which recipes with engine.device=gpu need
# The base is pinned in the Dockerfiles, by the index of all its architectures as of 2026-09-22 (Python 3.11.16). For a newer
# one, put the digest that `docker buildx imagetools inspect python:3.11-slim-bookworm` prints into each of them.
# ORRERY_BASE_IMAGE names another base: a mirror's, or one made where no registry can be reached (images/base.sh).
# ORRERY_IMAGE_PREFIX is the registry and project in front of the images' names.
# The build takes packages from PyPI and Debian. Podman wants three times an image's size while it builds. images/push.sh
# then pushes what was built, and pins it by digest.
set -euo pipefail
cd "$(dirname "$0")/.."
nothing_done="the images were not built"
. images/engine.sh
arguments "$@"

revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ "$revision" = unknown ] || git diff --quiet HEAD -- components data_contracts pipelines images pyproject.toml ||
  revision=$revision-modified
for image in "${images[@]}"; do
  reference=$(name "$image")
  echo "images: $reference"
  "$engine" build --file "images/$image/Dockerfile" --tag "$reference" --build-arg "REVISION=$revision" \
    --build-arg "VERSION=${reference##*:}" \
    ${ORRERY_BASE_IMAGE:+--build-arg "BASE=$ORRERY_BASE_IMAGE"} "${options[@]}" .
done
