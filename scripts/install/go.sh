#!/bin/bash
# go.sh - print the path of a Go toolchain of at least 1.24 for the benchmark's tools: the one on PATH, or Debian's package of a
# newer suite, unpacked into Meshwright's cache (nothing is installed). Idempotent.
set -euo pipefail
SUITE=trixie
VERSION=1.24
DEST=${MESHWRIGHT_CACHE:-$HOME/.cache/meshwright}/go-$VERSION

new_enough() { # GO
  local v
  v=$(GOTOOLCHAIN=local "$1" env GOVERSION 2> /dev/null) && v=${v#go} &&
    [ "$(printf '%s\n' "$VERSION" "$v" | sort -V | head -1)" = "$VERSION" ]
}

if found=$(command -v go) && new_enough "$found"; then echo "$found"; exit 0; fi
if [ ! -x "$DEST/goroot/bin/go" ]; then
  "$(dirname "$0")/system.sh" debian-archive-keyring >&2
  mkdir -p "$(dirname "$DEST")"
  "$(dirname "$0")/../debian/unpack.sh" "$SUITE" "$DEST" "golang-$VERSION-go" "golang-$VERSION-src"
  # The package keeps sources apart and links to them by absolute paths: put one GOROOT together.
  lib=$DEST/usr/lib/go-$VERSION share=$DEST/usr/share/go-$VERSION
  mkdir "$DEST/goroot.part"
  cp -a "$lib/bin" "$lib/pkg" "$DEST/goroot.part/"
  cp -a "$share/src" "$DEST/goroot.part/"
  [ ! -f "$lib/VERSION" ] || cp "$lib/VERSION" "$lib/go.env" "$DEST/goroot.part/" 2> /dev/null || true
  if [ -L "$DEST/goroot.part/pkg/include" ]; then
    rm "$DEST/goroot.part/pkg/include"
    cp -a "$share/pkg/include" "$DEST/goroot.part/pkg/"
  fi
  mv "$DEST/goroot.part" "$DEST/goroot"
fi
new_enough "$DEST/goroot/bin/go" || { echo "go.sh: $DEST/goroot/bin/go does not run: install Go $VERSION or newer" >&2; exit 1; }
echo "$DEST/goroot/bin/go"
