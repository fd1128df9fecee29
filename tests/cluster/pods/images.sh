#!/usr/bin/env bash
# The images that test_pods.py runs, into the containerd of the cluster in $WORK: the trainer's, built from its Dockerfile by
# Docker or Podman on Debian's Python (no registry of images is asked), and MinIO's program alone. What was made of the same
# files is kept.   images.sh SCRIPTS     (the folder of mkimage.py and lib.sh)
set -euo pipefail
cd "$(dirname "$0")/../../.."
. "$1/lib.sh"
export DEBIAN_FRONTEND=noninteractive
have() { c images ls -q | grep -qxF "$1"; }

minio=docker.io/minio/minio:$(awk '/newName: minio/ { found = 1 } found && /newTag/ { print $2; exit }' manifests/base/kustomization.yaml)
if ! have "$minio"; then
  layer=$(mktemp -d)
  trap 'rm -rf "$layer" "$layer.tar"' EXIT
  mkdir -p "$layer/usr/bin" "$layer/tmp" "$layer/data"
  cp -L "$(.venv/bin/python tests/engines/minio.py)" "$layer/usr/bin/minio"
  python3 "$1/mkimage.py" "$layer.tar" "$minio" --layer "$layer" --entrypoint minio
  c images import "$layer.tar" >/dev/null
fi

trainer=docker.io/$(.venv/bin/python -c 'from components.images import image; print(image("trainer"))')
made_of=$(find components data_contracts pipelines images pyproject.toml -type f ! -name '*.pyc' -print0 | sort -z |
  xargs -0 sha256sum | sha256sum)
if ! have "$trainer" || [ "$(cat "$WORK/trainer.made-of" 2>/dev/null)" != "$made_of" ]; then
  nothing_done="the trainer's image was not built"
  (. images/engine.sh) 2>/dev/null || apt-get install -y -q --no-install-recommends podman
  . images/engine.sh
  base=localhost/orrery-base:bookworm
  "$engine" image inspect "$base" >/dev/null 2>&1 || images/base.sh "$base"
  # Podman's other ways to isolate a build ask for rights and limits that a root user in a virtual machine may lack.
  BUILDAH_ISOLATION=chroot ORRERY_IMAGE_PREFIX=docker.io ORRERY_BASE_IMAGE=$base images/build.sh trainer -- --network host
  "$engine" save "$trainer" | c images import - >/dev/null
  "$engine" image rm "$trainer" >/dev/null # it takes gigabytes
  echo "$made_of" >"$WORK/trainer.made-of"
fi
