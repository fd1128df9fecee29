#!/bin/sh
# The build stage of every image: /opt/venv holds exactly the image's lock, /opt/orrery the project's code and
# sbom.cdx.json, the image's bill of materials (CycloneDX): every package of the lock with its hashes.
#   assemble.sh LOCK
set -eu
python3 -m venv /opt/uv
/opt/uv/bin/pip install --no-cache-dir --require-hashes --no-deps -r /build/uv.lock
python3 -m venv --without-pip /opt/venv
/opt/uv/bin/uv pip sync --no-cache --require-hashes --compile-bytecode --python /opt/venv/bin/python "$1"
python3 -m venv --without-pip /opt/sbom
/opt/uv/bin/uv pip sync --no-cache --require-hashes --python /opt/sbom/bin/python /build/sbom.lock
/opt/sbom/bin/cyclonedx-py requirements "$1" --pyproject /build/pyproject.toml --output-reproducible \
  --output-file /opt/orrery/sbom.cdx.json
# By reference, not by PYTHONPATH: Triton's Python backend does not pass that on.
echo /opt/orrery >/opt/venv/lib/python3.11/site-packages/orrery.pth
printf '#!/opt/venv/bin/python\nfrom pipelines.cli import main\nmain()\n' >/opt/venv/bin/orrery
chmod 755 /opt/venv/bin/orrery
/opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/orrery
