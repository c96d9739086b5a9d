#!/bin/bash
# Makes a base image with Python out of Debian's archive, where no image registry is reachable:
#   hack/images/base.sh && BASE=argosy-base:bookworm hack/images/build.sh
#
# Needs root, debootstrap and Docker.
#   NAME    name of the image; default: argosy-base:bookworm
#   MIRROR  Debian's archive; default: the one that this machine's apt uses
set -euo pipefail
NAME=${NAME:-argosy-base:bookworm}
apt_mirror() {
  sed -nE 's/^(URIs:|deb( \[[^]]*\])?) *(https?:[^ ]*\/debian)\/? *.*/\3/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | head -1 || true
}
MIRROR=${MIRROR:-$(apt_mirror)}
ROOT=$(mktemp -d)
trap 'rm -rf "$ROOT"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$ROOT" "$MIRROR" > "$ROOT.log" \
  || { tail "$ROOT.log"; exit 1; }
chmod 755 "$ROOT"  # mktemp lets only root in
rm -rf "$ROOT.log" "$ROOT"/var/cache/apt/* "$ROOT"/var/lib/apt/lists/* "$ROOT"/usr/share/{doc,man,locale}/* "$ROOT"/var/log/*
tar -C "$ROOT" --exclude='./dev/*' -c . \
  | docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' - "$NAME"
