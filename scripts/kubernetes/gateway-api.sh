#!/bin/bash
# gateway-api.sh - the Gateway API's definitions (experimental channel) on the running cluster, of the version that the conformance suite
# has (conformance/go.mod), from its Go module. At once when they are there.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
cd "$HERE/conformance"
wanted=$(awk '$1 == "sigs.k8s.io/gateway-api" {print $2}' go.mod)
label='gateway\.networking\.k8s\.io/bundle-version'
there=$("$KUBECTL" get crd httproutes.gateway.networking.k8s.io -o jsonpath="{.metadata.annotations.$label}" 2> /dev/null || true)
[ "$there" != "$wanted" ] || exit 0
GO=$("$ROOT/scripts/install/go.sh")
"$GO" mod download sigs.k8s.io/gateway-api
module=$("$GO" list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)
# On the server's side: the annotation of the client's side would be too long for it.
"$KUBECTL" apply --server-side --force-conflicts -k "$module/config/crd/experimental" > /dev/null
"$KUBECTL" wait --for=condition=Established --timeout=60s crd --all > /dev/null
