#!/bin/sh
# The build stage of every image: an environment with exactly a lock, and its bill of materials (CycloneDX, every package
# of the lock with its hashes) at /opt/orrery/sbom.<environment>.cdx.json. /opt/venv also finds the project's code.
#   assemble.sh LOCK [ENVIRONMENT]
set -eu
mkdir -p /opt/orrery
environment=${2:-/opt/venv}
if [ ! -e /opt/uv ]; then
  python3 -m venv /opt/uv
  /opt/uv/bin/pip install --no-cache-dir --require-hashes --no-deps -r /build/uv.lock
  python3 -m venv --without-pip /opt/sbom
  /opt/uv/bin/uv pip sync --no-cache --require-hashes --python /opt/sbom/bin/python /build/sbom.lock
fi
python3 -m venv --without-pip "$environment"
/opt/uv/bin/uv pip sync --no-cache --require-hashes --compile-bytecode --python "$environment/bin/python" "$1"
/opt/sbom/bin/cyclonedx-py requirements "$1" --pyproject /build/pyproject.toml --output-reproducible \
  --output-file "/opt/orrery/sbom.$(basename "$environment").cdx.json"
[ "$environment" = /opt/venv ] || exit 0
# By reference, not by PYTHONPATH: Triton's Python backend does not pass that on.
echo /opt/orrery >/opt/venv/lib/python3.11/site-packages/orrery.pth
printf '#!/opt/venv/bin/python\nfrom pipelines.cli import main\nmain()\n' >/opt/venv/bin/orrery
chmod 755 /opt/venv/bin/orrery
