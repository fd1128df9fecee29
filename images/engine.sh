# Sourced by build.sh, push.sh and base.sh, in the repository's root: $engine is the container engine that answers here.
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
  echo "images: no container engine: $why; $nothing_done" >&2
  exit 3
fi

known() { [ -f "images/$1/Dockerfile" ] || { echo "images: no image '$1': there is no images/$1/Dockerfile" >&2; exit 2; }; }

arguments() { # [IMAGE...] [-- OPTION...] into $images, all of them by default, and $options
  images=() options=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    known "$1"
    images+=("$1")
    shift
  done
  [ $# -eq 0 ] || shift
  options=("$@")
  [ ${#images[@]} -gt 0 ] || images=(data trainer serving rollout)
}

name() { # the reference that components/images.py gives a component, without a pinned digest
  python3 -c 'import json, sys
entry = json.load(open("images/images.json"))[sys.argv[1]]
print("/".join([*filter(None, [sys.argv[2].strip("/")]), entry["name"]]) + ":" + entry["tag"])' "$1" "${ORRERY_IMAGE_PREFIX:-}"
}
