#!/usr/bin/env bash
# The tests that need a Kubernetes: on the cluster of KUBECONFIG, else on an API server with controllers that the scripts of
# ORRERY_CLUSTER_SCRIPTS (default: ../shared/cluster beside the checkout) build, once a machine, and boot. As root, then.
# TIER=3 runs test_pods.py instead: on a cluster that runs pods, with Trainer's controllers and the images it needs; with
# KUBECONFIG, those are there already. The first time on a machine it takes long (an hour on two busy cores) and 45 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts=${ORRERY_CLUSTER_SCRIPTS:-../shared/cluster}
export TIER=${TIER:-2}
if [ -z "${KUBECONFIG:-}" ]; then
  if [ ! -f "$scripts/up.sh" ] || [ "$(id -u)" != 0 ]; then
    echo "======================================================================================" >&2
    echo "NOT RUN: tests/cluster. They need a Kubernetes: set KUBECONFIG (any cluster, as its admin)," >&2
    echo "or, as root, ORRERY_CLUSTER_SCRIPTS to a folder whose build.sh and up.sh boot one." >&2
    echo "======================================================================================" >&2
    exit 0
  fi
  scripts=$(cd "$scripts" && pwd)
  export WORK=${WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/orrery-cluster}
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
  if [ "$TIER" = 3 ]; then
    bash "$scripts/trainer.sh" 9>&-
    bash tests/cluster/pods/images.sh "$scripts" 9>&-
    export PATH=$WORK/bin:$PATH # kubectl
  fi
  export KUBECONFIG=$WORK/etc/host.kubeconfig ORRERY_CLUSTER_SCRIPTS=$scripts
  export ORRERY_CLUSTER_BOOTED=$KUBECONFIG
fi
if [ "$TIER" = 3 ]; then
  .venv/bin/python -m pytest tests/cluster/test_pods.py -p no:xdist --durations 5 -rP "$@"
  exit
fi
.venv/bin/python -m pytest tests/cluster --ignore tests/cluster/test_pods.py -p no:xdist --durations 5 "$@"
echo "NOT PART OF THIS: the training in real pods (tests/cluster/test_pods.py): TIER=3 make test-cluster" >&2
