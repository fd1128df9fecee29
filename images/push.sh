#!/usr/bin/env bash
# Pushes the images that build.sh built to the registry and project of ORRERY_IMAGE_PREFIX, and pins each by the digest that
# the registry gave it: in images/images.json, from where components and compiled pipelines have it, and in the manifests.
#   ORRERY_IMAGE_PREFIX=registry.example/robots images/push.sh [IMAGE...] [-- OPTION...]
# Commit what it changes, and compile the pipelines again.
set -euo pipefail
cd "$(dirname "$0")/.."
nothing_done="the images were not pushed"
. images/engine.sh
arguments "$@"
[ -n "${ORRERY_IMAGE_PREFIX:-}" ] ||
  { echo "images: where to? set ORRERY_IMAGE_PREFIX, e.g. registry.example/robots; $nothing_done" >&2; exit 2; }

digest=$(mktemp)
trap 'rm -f "$digest"' EXIT
for image in "${images[@]}"; do
  reference=$(name "$image")
  if [ "$engine" = podman ]; then
    podman push --digestfile "$digest" "${options[@]}" "$reference"
  else
    docker push "${options[@]}" "$reference" | tee /dev/stderr | sed -n 's/.* digest: \(sha256:[0-9a-f]*\) .*/\1/p' >"$digest"
  fi
  python3 - "$image" "$digest" <<'PIN'
import json, os, re, sys
from pathlib import Path

name, digest = sys.argv[1], Path(sys.argv[2]).read_text().strip()
if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
    sys.exit(f"images: the registry gave no digest for {name} ({digest!r}); it is pushed, but not pinned")

def write(path, text):
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)

file = Path("images/images.json")
images = json.loads(file.read_text())
entry = images[name]
entry["digest"] = digest
write(file, "{\n" + ",\n".join(f'  "{key}": {json.dumps(value)}' for key, value in images.items()) + "\n}\n")
for file in map(Path, ("manifests/base/kustomization.yaml", "manifests/training/kustomization.yaml")):
    line = re.compile(rf'(newName: {re.escape(entry["name"])}\n +newTag: )\S+')
    write(file, line.sub(rf'\g<1>{entry["tag"]}@{digest}', file.read_text()))
print(f"images: {name} is pinned to {digest}")
PIN
done
