#!/bin/bash
# helm.sh - build Helm from its Go module into Meshwright's cache and print its path: tests hold the chart to it. Idempotent.
set -euo pipefail
VERSION=3.18.6
DEST=${MESHWRIGHT_CACHE:-$HOME/.cache/meshwright}/helm-$VERSION

if [ ! -x "$DEST/helm" ]; then
  go=$("$(dirname "$0")/go.sh")
  GOBIN=$DEST nice -n 10 "$go" install "helm.sh/helm/v3/cmd/helm@v$VERSION" >&2
fi
echo "$DEST/helm"
