#!/bin/sh
# In the build stage of an image that trains: DeepSpeed's shared-memory all-reduce, compiled into /opt/venv, so that the
# image needs no compiler and no training waits for one.
set -eu
apt-get update
apt-get install -y --no-install-recommends g++
# A base that is Debian's Python keeps the headers in a package; Python's own image has them.
[ -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] \
  || apt-get install -y --no-install-recommends libpython3.11-dev
PATH=/opt/venv/bin:$PATH TORCH_EXTENSIONS_DIR=/opt/venv/torch_extensions DS_ACCELERATOR=cpu \
  python -c 'from deepspeed.comm.torch import build_shm_op; build_shm_op()'
