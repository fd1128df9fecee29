#!/usr/bin/env bash
# The images that test_pods.py runs, into the containerd of the cluster in $WORK: the trainer's, built from its Dockerfile by
# Podman on Debian's Python (no registry of images is asked), and MinIO's program alone. What was made of the same files is
# kept.   images.sh SCRIPTS     (the folder of mkimage.py and lib.sh)
set -euo pipefail
cd "$(dirname "$0")/../../.."
. "$1/lib.sh"
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
  command -v podman >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends podman
  base=localhost/orrery-test-base:bookworm # trusts what this machine trusts: its registries may be mirrors
  podman image exists "$base" || podman import --change ENV=SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    "$WORK/layers/base.tar" "$base"
  podman build --network host --isolation chroot --volume /etc/ssl/certs:/etc/ssl/certs:ro --build-arg "BASE=$base" \
    --file images/trainer/Dockerfile --tag "$trainer" .
  podman save "$trainer" | c images import - >/dev/null
  podman image rm "$trainer" >/dev/null # it takes gigabytes
  echo "$made_of" >"$WORK/trainer.made-of"
fi
