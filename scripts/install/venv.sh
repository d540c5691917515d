#!/bin/bash
# venv.sh - make .venv with Meshwright (editable) and its development tools. Idempotent: at once when nothing that the
# installation is made from has changed (pyproject.toml, hatch_build.py, proto/, the interpreter).
# PYTHON names the interpreter to use; otherwise the first python3 that is new enough. What the system lacks is
# installed through apt as root, and named when not root.
set -euo pipefail
cd "$(dirname "$0")/../.."
HERE=scripts/install
VENV=.venv
STAMP=$VENV/.installed

usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; }
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 /usr/bin/python3 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" > /dev/null && usable "$candidate"; then command -v "$candidate"; return; fi
  done
  return 1
}

if ! python=$(find_python); then
  "$HERE/system.sh" python3 python3-venv
  python=$(find_python) || { echo "venv.sh: no Python of version 3.11 or newer with the module venv: install one and set PYTHON" >&2; exit 1; }
fi
[ -e /etc/ssl/certs/ca-certificates.crt ] || "$HERE/system.sh" ca-certificates

stamp() {
  { "$python" -c 'import sys; print(sys.base_prefix, sys.version)'; pwd
    find pyproject.toml hatch_build.py proto -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; } | sha256sum | cut -d' ' -f1
}

mkdir -p build
exec 9> build/.venv.lock # two runs in one checkout take turns
flock 9
wanted=$(stamp)
if [ -x "$VENV/bin/meshwright" ] && [ -d pb ] && [ "$(cat "$STAMP" 2> /dev/null)" = "$wanted" ]; then exit 0; fi

echo "making $VENV with $("$python" --version) (once, about a minute)" >&2
if ! "$VENV/bin/python" -c '' 2> /dev/null; then rm -rf "$VENV"; fi
# 9>&-: what is started here must not keep the lock.
"$python" -m venv "$VENV" 9>&-
rm -f "$STAMP"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]' 9>&-
echo "$wanted" > "$STAMP"
