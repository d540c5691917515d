#!/bin/bash
# rootfs.sh FOLDER PACKAGE,PACKAGE... - a minimal Debian in FOLDER, from this machine's own package mirror. Idempotent.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
root=$1
[ ! -e "$root.made" ] || exit 0
rm -rf "$root"
mkdir -p "$(dirname "$root")" "$KUBE_HOME/packages"
nice -n 10 debootstrap --variant=minbase --cache-dir="$KUBE_HOME/packages" --include="$2" "$SUITE" "$root" \
  "$("$ROOT/scripts/debian/mirror.sh")" > "$root.log" 2>&1 || { tail -5 "$root.log" >&2; exit 1; }
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,info,locale}/* "$root"/var/log/*
touch "$root.made"
