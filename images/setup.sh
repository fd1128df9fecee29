#!/usr/bin/env bash
# Installs what the project needs: .venv (development lock), .venv-serving (serving lock, for the Triton server) and the
# system libraries both load. Safe to run again and to kill: what is complete is kept, what is not is made anew.
#   images/setup.sh          for the demo and the command line
#   images/setup.sh rollout  and for sampling from language models: .venv-rollout (engine lock, vLLM)
#   images/setup.sh tests    and for the tests (vLLM, and a browser that opens the reports)
set -euo pipefail
cd "$(dirname "$0")/.."
exec 9<images/setup.sh
flock --wait 3600 9 || { echo "setup: another setup has held this checkout for an hour" >&2; exit 1; }
# What a machine's own settings would mix into the locked set.
unset PIP_FIND_LINKS PIP_CONSTRAINT PIP_REQUIREMENT PIP_TARGET PIP_PREFIX PIP_USER UV_FIND_LINKS UV_CONSTRAINT UV_OVERRIDE \
  PYTHONPATH PYTHONHOME VIRTUAL_ENV
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-180}" PIP_DISABLE_PIP_VERSION_CHECK=1
quiet=(--quiet) # a log needs no progress bars; a person who downloads gigabytes does
[ ! -t 2 ] || quiet=()

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 2; }

python311() { # the first Python 3.11 of the candidates, as the path of the real interpreter
  local candidate
  for candidate in "$@"; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || continue
    "$candidate" -c 'import sys; print(sys.executable)' && return
  done
  return 1
}

has_library() { ldconfig=$(PATH="$PATH:/sbin:/usr/sbin" command -v ldconfig) && "$ldconfig" -p | grep -qF "$1 "; }

missing_packages() { # Debian's names of the system packages that are not here
  local python
  python311 /usr/bin/python3.11 /usr/bin/python3 >/dev/null || echo python3.11
  has_library libpython3.11.so.1.0 || echo libpython3.11   # Triton's Python backend links it
  has_library libEGL.so.1 || echo libegl1                  # MuJoCo renders with Mesa where there is no GPU
  has_library libEGL_mesa.so.0 || echo libegl-mesa0 libgl1-mesa-dri
  has_library libGL.so.1 || echo libgl1
  if python=$(python311 python3.11 python3 /usr/bin/python3.11); then
    "$python" -c 'import ensurepip' 2>/dev/null || echo python3.11-venv
    [ -e "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || echo libpython3.11-dev
  else
    echo python3.11-venv
  fi
  command -v g++ >/dev/null || echo g++                    # DeepSpeed compiles its shared-memory all-reduce
  case "${1:-}" in rollout | tests) has_library libnuma.so.1 || echo libnuma1 ;; esac # vLLM's kernels for CPUs link it
  [ "${1:-}" != tests ] || command -v chromium chromium-browser google-chrome >/dev/null || echo chromium
}

system_packages() {
  local missing as_root=()
  mapfile -t missing < <(missing_packages "$@" | tr ' ' '\n' | sort -u)
  [ ${#missing[@]} -gt 0 ] || return 0
  local by_hand="install them and start again: sudo apt-get install ${missing[*]}"
  command -v apt-get >/dev/null || fail "these system packages are missing (Debian's names): ${missing[*]}; install them and start again"
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || fail "system packages are missing and this user may not install them; $by_hand"
    as_root=(sudo -n)
  fi
  say "system packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  local apt=("${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update || say "apt-get update failed; trying with the lists that are here"
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null || fail "apt-get could not install them; $by_hand"
}

environment() { # FOLDER PYTHON LOCK: a virtual environment that holds exactly the lock, and the project by reference
  local folder=$1 python=$2 lock=$3 stamp
  stamp="$(cat "$lock" pyproject.toml images/setup.sh | sha256sum | cut -d' ' -f1) $PWD"
  [ "$(cat "$folder/.complete" 2>/dev/null)" != "$stamp" ] || return 0
  if [ -e "$folder/.unfinished" ] || ! "$folder/bin/python" -c '' 2>/dev/null; then
    rm -rf "$folder"
  fi
  say "$folder from $lock"
  if [ ! -e "$folder" ]; then
    "$python" -m venv --without-pip "$folder"
  fi
  touch "$folder/.unfinished"
  rm -f "$folder/.complete"
  # Bytecode now: where PYTHONDONTWRITEBYTECODE is set, every process would compile what it imports (torch: 20 s a stage).
  "$uv" pip sync "${quiet[@]}" --compile-bytecode --python "$folder/bin/python" --require-hashes "$lock" || no_packages
  "$uv" pip install "${quiet[@]}" --python "$folder/bin/python" --no-build-isolation --no-deps --editable . || no_packages
  rm "$folder/.unfinished"
  echo "$stamp" >"$folder/.complete"
}

no_packages() { fail "the Python packages could not be installed (see above): is PyPI, or the index in UV_DEFAULT_INDEX, reachable?"; }

installer() { # uv, at the locked version and hash, in an environment of its own: the others are its to change
  uv=.venv-uv/bin/uv
  "$uv" --version 2>/dev/null | grep -qF "uv $(sed -n 's/^uv==\([^ ]*\).*/\1/p' images/dev/uv.lock)" && return
  say "the installer, uv"
  rm -rf .venv-uv
  "$1" -m venv .venv-uv
  .venv-uv/bin/python -m pip install --quiet --require-hashes --no-deps -r images/dev/uv.lock || no_packages
}

enough_disk() {
  local free
  free=$(df --output=avail -k . | tail -1)
  [ -e .venv/.complete ] || [ "$free" -gt $((9 * 1024 * 1024)) ] ||
    fail "9 GB of free disk are needed for the Python environments; $((free / 1024 / 1024)) GB are free in $PWD"
}

shared_memory_op() { # compiled here once, so that no training run waits for it or dies in it
  [ "$(cat .venv/.op 2>/dev/null)" != "$(cat .venv/.complete)" ] || return 0
  say "DeepSpeed's shared-memory all-reduce"
  local log
  log=$(mktemp)
  if ! PATH="$PWD/.venv/bin:$PATH" TORCH_EXTENSIONS_DIR="$PWD/.venv/torch_extensions" DS_ACCELERATOR=cpu timeout 900 .venv/bin/python -c \
    'from deepspeed.comm.torch import build_shm_op; build_shm_op()' >"$log" 2>&1; then
    tail -5 "$log" >&2
    fail "DeepSpeed's shared-memory operation could not be compiled"
  fi
  rm -f "$log"
  cp .venv/.complete .venv/.op
}

unpack_promtool() { # out of Debian's package, unpacked and not installed: installed, it starts a server
  [ "${1:-}" = tests ] && ! PATH="$PWD/.venv/bin:$PATH" command -v promtool >/dev/null || return 0
  say "promtool, which tests Prometheus' rules"
  local folder
  folder=$(mktemp -d)
  take() { (cd "$folder" && apt-get -qq download prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool); }
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  take 2>/dev/null || { "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update && take; } || # where no lists are yet
    fail "promtool could not be taken out of Debian's package prometheus: apt-get update, then start again"
  mv "$folder/usr/bin/promtool" .venv/bin/promtool
  rm -rf "$folder"
}

started=$SECONDS
[ "$(uname -sm)" = "Linux x86_64" ] || fail "this needs Linux on x86-64; here is $(uname -sm)"
system_packages "$@"
python=$(python311 python3.11 python3 /usr/bin/python3.11) || fail "Python 3.11 is missing; install it (Debian: sudo apt-get install python3.11 python3.11-venv)"
system_python=$(python311 /usr/bin/python3.11 /usr/bin/python3) || fail "the system's Python 3.11 is missing"
enough_disk
installer "$python"
environment .venv "$python" images/dev/requirements.lock
environment .venv-serving "$system_python" images/serving/requirements.lock
case "${1:-}" in rollout | tests) environment .venv-rollout "$python" images/rollout/engine.lock ;; esac
unpack_promtool "$@"
shared_memory_op
[ $((SECONDS - started)) -lt 3 ] || say "done in $((SECONDS - started)) s"
