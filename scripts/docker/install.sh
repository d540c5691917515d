#!/bin/bash
# install.sh - install what Meshwright's container tests need: dockerd, debootstrap, and the docker plugins Compose v2 and
# buildx. Idempotent; starts no daemon. Debian 12's own docker-compose is 1.29.2, which is no longer developed: the plugins
# are Debian 13's packages, unpacked into the cache; they are Go binaries that need libc alone, and run on Debian 12's.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
SUITE=trixie
"$SCRIPTS/install/system.sh" dockerd:docker.io docker:docker.io iptables:iptables ip:iproute2 debootstrap:debootstrap \
  debian-archive-keyring

plugins=()
for p in compose buildx; do docker "$p" version > /dev/null 2>&1 || plugins+=("$p"); done
if [ ${#plugins[@]} -gt 0 ]; then
  "$SCRIPTS/debian/unpack.sh" "$SUITE" "$DOCKER_HOME/plugins" "${plugins[@]/#/docker-}"
  mkdir -p "$HOME/.docker/cli-plugins"
  for p in "${plugins[@]}"; do
    ln -sf "$DOCKER_HOME/plugins/usr/libexec/docker/cli-plugins/docker-$p" "$HOME/.docker/cli-plugins/docker-$p"
  done
fi
dockerd --version
docker compose version
docker buildx version
