#!/usr/bin/env bash
# The tests that need a Kubernetes: on the cluster of KUBECONFIG, else on an API server with controllers that the scripts of
# ORRERY_CLUSTER_SCRIPTS (default: ../shared/cluster beside the checkout) build, once a machine, and boot. As root, then.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts=${ORRERY_CLUSTER_SCRIPTS:-../shared/cluster}
if [ -z "${KUBECONFIG:-}" ]; then
  if [ ! -f "$scripts/up.sh" ] || [ "$(id -u)" != 0 ]; then
    echo "======================================================================================" >&2
    echo "NOT RUN: tests/cluster. They need a Kubernetes: set KUBECONFIG (any cluster, as its admin)," >&2
    echo "or, as root, ORRERY_CLUSTER_SCRIPTS to a folder whose build.sh and up.sh boot one." >&2
    echo "======================================================================================" >&2
    exit 0
  fi
  scripts=$(cd "$scripts" && pwd)
  export TIER=2 WORK=${WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/orrery-cluster}
  mkdir -p "$WORK"
  exec 9>"$WORK/orrery-tests.lock"
  flock --wait 3600 9 # one test run a machine has the cluster
  unbootable() { # a machine that can't boot one is no failure of the code, but nobody may miss it
    echo "======================================================================================" >&2
    echo "NOT RUN: tests/cluster. The Kubernetes of $scripts could not be $1 here; see above." >&2
    echo "======================================================================================" >&2
    exit 0
  }
  bash "$scripts/build.sh" 9>&- || unbootable built # what is there already is kept
  up=$(cat "$WORK/run/kube-apiserver.pid" 2>/dev/null || true)
  if [ -z "$up" ] || ! kill -0 "$up" 2>/dev/null; then trap 'bash "$scripts/down.sh"' EXIT; fi
  bash "$scripts/up.sh" 9>&- || unbootable booted
  export KUBECONFIG=$WORK/etc/host.kubeconfig ORRERY_CLUSTER_SCRIPTS=$scripts
  export ORRERY_CLUSTER_BOOTED=$KUBECONFIG
fi
.venv/bin/python -m pytest tests/cluster -p no:xdist --durations 5 "$@"
