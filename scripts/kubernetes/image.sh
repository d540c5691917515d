#!/bin/bash
# image.sh - make Meshwright's image of this tree, meshwright:dev, and load it into the running cluster (N=1), if one runs.
# The same contents as deploy/Dockerfile, without docker and without a registry, in layers of how often they change: Debian,
# Python packages, Envoy, generated messages, our own code. After a change of code it takes some seconds.
# ROLL=1: also restart what runs from it in meshwright-system.  SAVE=FILE: write the whole image to FILE as well.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
NAME_TAG=${IMAGE:-docker.io/library/meshwright:dev}
PYTHON=/usr/bin/python3 # the image's, and this machine's own: the byte code is for both
LAYERS=$KUBE_HOME/layers
WORK=$KUBE_HOME/image
mkdir -p "$LAYERS" "$WORK"
exec 8> "$WORK/.lock"
flock 8

key() { { echo "$RECIPE"; cat "$HERE/rootfs.sh" -; } | sha256sum | cut -c1-16; }
pack() { # NAME FOLDER: the layer's path, made unless it is there; older ones of that name go
  find "$LAYERS" -name "$1-*" -delete
  "$PYTHON" "$HERE/archive.py" layer "$2" "$LAYERS/$1-$3.tar"
  rm -rf "$2"
}

# RECIPE changes when a layer must be made anew though nothing of what it is made from has changed.
RECIPE=2
# 1. Debian: Python, what interception runs (iptables, ip), certificates of public authorities.
base=$LAYERS/base-$(echo "$SUITE" | key).tar
if [ ! -e "$base" ]; then
  "$ROOT/scripts/install/system.sh" debootstrap:debootstrap
  root=$WORK/base
  rm -rf "$root" "$root.made"
  "$HERE/rootfs.sh" "$root" python3-minimal,libpython3-stdlib,iptables,iproute2,ca-certificates,netbase
  # Nothing is installed into a container: apt and what only it needs may go.
  chroot "$root" dpkg --purge --force-all apt libapt-pkg6.0 e2fsprogs mount sysvinit-utils > /dev/null 2>&1 || true
  rm -rf "$root"/var/lib/dpkg "$root"/usr/share/{doc,man,info,locale,bash-completion,lintian} "$root"/usr/lib/python3/dist-packages
  find "$root" -name __pycache__ -prune -exec rm -rf {} +
  chroot "$root" python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3* > /dev/null
  # The control plane, and sidecars: interception tells a sidecar's own traffic by its user.
  echo 'meshwright:x:10001:10001::/var/lib/meshwright:/usr/sbin/nologin' >> "$root/etc/passwd"
  echo 'meshwright-proxy:x:10002:10002::/var/lib/meshwright:/usr/sbin/nologin' >> "$root/etc/passwd"
  printf 'meshwright:x:10001:\nmeshwright-proxy:x:10002:\n' >> "$root/etc/group"
  install -d -m 0700 -o 10001 -g 10001 "$root/var/lib/meshwright"
  rm -f "$root.made" "$root.log"
  pack base "$root" "$(echo "$SUITE" | key)"
fi

# 2. The Python packages that pyproject.toml names.
needed=$("$PYTHON" -c "import tomllib; print(*tomllib.load(open('$ROOT/pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')")
packages=$LAYERS/packages-$(echo "$needed" | key).tar
if [ ! -e "$packages" ]; then
  root=$WORK/packages
  rm -rf "$root"
  mkdir -p "$root/opt/meshwright"
  # With the image's own Python, to which markers such as python_full_version are held.
  nice -n 10 "$ROOT/.venv/bin/python" -m pip --python "$PYTHON" install --quiet --disable-pip-version-check --root-user-action=ignore --no-compile \
    --only-binary=:all: \
    --target "$root/opt/meshwright" -r /dev/stdin <<< "$needed" >&2
  find "$root" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
  rm -rf "$root/opt/meshwright/bin"
  nice -n 10 "$PYTHON" -m compileall -q -j 2 --invalidation-mode unchecked-hash -s "$root" "$root/opt/meshwright" > /dev/null
  pack packages "$root" "$(echo "$needed" | key)"
fi

# 3. Envoy.
envoy=$("$ROOT/scripts/install/envoy.sh")
proxy=$LAYERS/envoy-$(echo "$envoy" | key).tar
if [ ! -e "$proxy" ]; then
  root=$WORK/envoy
  install -D -m 0755 "$envoy" "$root/usr/local/bin/envoy"
  pack envoy "$root" "$(echo "$envoy" | key)"
fi

# 4. Generated messages; 5. our code, and the command.
code() { # NAME PACKAGE...
  rm -rf "${WORK:?}/$1"
  "$PYTHON" "$HERE/program.py" "$ROOT" "$WORK/$1/opt/meshwright" "$KUBE_HOME/pyc" "${@:2}"
}
generated=$LAYERS/generated-$(find "$ROOT/pb" -name '*.py' -print0 | LC_ALL=C sort -z | xargs -0 cat | cat - "$HERE/program.py" | key).tar
if [ ! -e "$generated" ]; then
  code generated pb
  pack generated "$WORK/generated" "$(basename "$generated" .tar | cut -d- -f2)"
fi
# shellcheck disable=SC2046
code program $("$PYTHON" -c "
import tomllib
for each in tomllib.load(open('$ROOT/pyproject.toml', 'rb'))['tool']['hatch']['build']['targets']['wheel']['packages']:
    if each != 'pb':
        print(each)")
install -d "$WORK/program/usr/local/bin"
printf '#!/usr/bin/python3 -u\nfrom meshwright.cli import main\n\nmain()\n' > "$WORK/program/usr/local/bin/meshwright"
chmod 0755 "$WORK/program/usr/local/bin/meshwright"
rm -f "$LAYERS/program.digest"
"$PYTHON" "$HERE/archive.py" layer "$WORK/program" "$LAYERS/program.tar"

# The image: into the cluster go only the layers that it has not got.
config='{"User": "10001:10001", "WorkingDir": "/var/lib/meshwright", "Entrypoint": ["meshwright"], "Cmd": ["--help"],
  "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH=/opt/meshwright", "PYTHONUNBUFFERED=1",
    "LANG=C.UTF-8", "HOME=/var/lib/meshwright", "ENVOY_BIN=/usr/local/bin/envoy", "MESHWRIGHT_DATA_DIR=/var/lib/meshwright",
    "MESHWRIGHT_PROXY_DATA_DIR=/var/lib/meshwright"]}'
layers=(--layer "$base" --layer "$packages" --layer "$proxy" --layer "$generated" --layer "$LAYERS/program.tar")
archive() { "$PYTHON" "$HERE/archive.py" --name "$NAME_TAG" --config "$config" "${layers[@]}" "$@"; }
[ -z "${SAVE:-}" ] || archive "$SAVE"
if [ -S "$CSOCK" ]; then
  ctr -a "$CSOCK" -n k8s.io content ls -q > "$WORK/known"
  made=$(archive --known "$WORK/known" "$WORK/new.tar")
  ctr -a "$CSOCK" -n k8s.io images import "$WORK/new.tar" > /dev/null
  rm -f "$WORK/new.tar"
  echo "$NAME_TAG $made"
  if [ -n "${ROLL:-}" ]; then "$KUBECTL" -n meshwright-system rollout restart deployment; fi
else
  echo "image.sh: no cluster N=$N runs: nothing was loaded" >&2
fi
