#!/bin/bash
# install.sh [NAME=VALUE]... - put this tree's Meshwright on the running cluster, and wait until it serves: the image, the manifests of
# `meshwright install` with these options, and new pods if the image has changed. Idempotent.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
exec 7> "$KUBE_HOME/.install.lock"
flock 7
"$HERE/gateway-api.sh" 7>&-
digest=$("$HERE/image.sh" 7>&- | awk 'END {print $2}')
options=(--set image=meshwright:dev --set settings.kubernetes.gateway_service_type=ClusterIP) # no load balancer is here
for each in "$@"; do options+=(--set "$each"); done
manifests=$RUN/install.yaml
"$ROOT/.venv/bin/python" -m meshwright install "${options[@]}" > "$manifests"
apply() { "$KUBECTL" apply --server-side --force-conflicts -f "$manifests" 2>&1; }
# Objects of our own kinds are refused for as long as the server has not taken in their definitions: once more, then.
said=$(apply) || { sleep 1; said=$(apply) || { echo "$said" >&2; exit 1; }; }
deployments=$("$KUBECTL" -n meshwright-system get deployments -o name)
for each in $deployments; do
  "$KUBECTL" -n meshwright-system patch "$each" --type=merge \
    -p "{\"spec\":{\"template\":{\"metadata\":{\"annotations\":{\"meshwright.dev/image-digest\":\"$digest\"}}}}}" > /dev/null
done
for each in $deployments; do "$KUBECTL" -n meshwright-system rollout status "$each" --timeout=180s; done
