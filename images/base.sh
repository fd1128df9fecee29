#!/usr/bin/env bash
# Makes a base for the images of Debian's own packages (Debian 12, Python 3.11), for where no registry of images can be reached
# but a mirror of Debian can. As root, with debootstrap. It trusts what this machine trusts: package mirrors may have a CA of
# their own.
#   images/base.sh [REFERENCE]     then: ORRERY_BASE_IMAGE=REFERENCE images/build.sh
set -euo pipefail
cd "$(dirname "$0")/.."
nothing_done="no base image was made"
. images/engine.sh
reference=${1:-localhost/orrery-base:bookworm}
{ [ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null; } ||
  { echo "images: this needs root and debootstrap (sudo apt-get install debootstrap); $nothing_done" >&2; exit 2; }

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$root" >&2
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale}/*
trust=/etc/ssl/certs/ca-certificates.crt
cp "$trust" "$root$trust"
tar -C "$root" --exclude './proc/*' --exclude './sys/*' --exclude './dev/*' -c . |
  "$engine" import --change "ENV SSL_CERT_FILE=$trust" - "$reference"
