#!/usr/bin/env bash
# Builds the container images with Docker or Podman.
#   images/build.sh [IMAGE...] [-- ENGINE OPTION...]     e.g. images/build.sh data -- --network host
# ORRERY_BASE_IMAGE names another base, ORRERY_IMAGE_PREFIX a registry and project in front of the images' names.
set -euo pipefail
cd "$(dirname "$0")/.."

engine=
for candidate in docker podman; do
  if command -v "$candidate" >/dev/null && timeout 30 "$candidate" info >/dev/null 2>&1; then
    engine=$candidate
    break
  fi
done
if [ -z "$engine" ]; then
  if command -v docker >/dev/null; then
    why="the docker command is here, but no Docker daemon answers it (docker info): start one, or join its group"
  else
    why="neither docker nor podman is on PATH: install one (Debian: sudo apt-get install podman)"
  fi
  echo "images: no container engine: $why; the images were not built" >&2
  exit 3
fi

images=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  [ -f "images/$1/Dockerfile" ] || { echo "images: no image '$1': there is no images/$1/Dockerfile" >&2; exit 2; }
  images+=("$1")
  shift
done
[ $# -eq 0 ] || shift
[ ${#images[@]} -gt 0 ] || images=(data trainer serving rollout)

name() { # the reference that components/images.py gives a component, without a pinned digest
  python3 -c 'import json, sys
entry = json.load(open("images/images.json"))[sys.argv[1]]
print("/".join([*filter(None, [sys.argv[2].strip("/")]), entry["name"]]) + ":" + entry["tag"])' "$1" "${ORRERY_IMAGE_PREFIX:-}"
}

revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
for image in "${images[@]}"; do
  reference=$(name "$image")
  echo "images: $reference"
  "$engine" build --file "images/$image/Dockerfile" --tag "$reference" --build-arg "REVISION=$revision" \
    --build-arg "VERSION=${reference##*:}" \
    ${ORRERY_BASE_IMAGE:+--build-arg "BASE=$ORRERY_BASE_IMAGE"} "$@" .
done
