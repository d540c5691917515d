#!/bin/bash
# vault.sh - build HashiCorp Vault with its PKI engine alone (tests/support/vault_server/main.go) from its Go module into a cache folder,
# once (5 to 15 minutes), and print the path of the binary. For the long form of the tests (`make heavy`).
set -euo pipefail
VERSION=1.15.3 SDK=0.10.2 API=1.10.0 # of one time: Vault's own build takes both from its source tree
HERE=$(cd "$(dirname "$0")" && pwd)
TARGET=${MESHWRIGHT_CACHE:-$HOME/.cache/meshwright}/vault-$VERSION
BINARY=$TARGET/vault
if [ -x "$BINARY" ]; then echo "$BINARY"; exit 0; fi

go=$("$HERE/go.sh")
mkdir -p "$TARGET"
exec 9> "$TARGET.lock" # two runs take turns
flock 9
if [ -x "$BINARY" ]; then echo "$BINARY"; exit 0; fi
echo "building Vault $VERSION (once, 5 to 15 minutes)" >&2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "$HERE/../../tests/support/vault_server/main.go" "$scratch/"
cd "$scratch"
module=$(GOFLAGS=-mod=mod "$go" mod download -json "github.com/hashicorp/vault@v$VERSION" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
# Its own list of what it is built from, less the parts of its source tree, which are modules of their own here.
sed -e '/^replace/d' -e 's#^module .*#module vault_server#' -e '/hashicorp\/vault\/api\/auth/d' "$module/go.mod" > go.mod
"$go" mod edit -require="github.com/hashicorp/vault@v$VERSION" -require="github.com/hashicorp/vault/sdk@v$SDK" \
  -require="github.com/hashicorp/vault/api@v$API" -replace=github.com/ma314smith/signedxml@v1.1.1=github.com/moov-io/signedxml@v1.1.1
"$go" build -mod=mod -o vault . >&2
mv vault "$BINARY"
echo "$BINARY"
