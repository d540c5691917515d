#!/bin/bash
# build.sh - build the Gateway API conformance suite and every image that its manifests name, from Go modules: no registry is asked.
# In $OUT: conformance.test, bin/, images/*.tar, crds/ (experimental channel), tests.json. Three minutes; at once when nothing changed.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source-path=SCRIPTDIR
. ../env.sh
OUT=${OUT:-$KUBE_HOME/conformance}
ISTIO=${ISTIO:-v0.0.0-20260827124520-eed52ebb66ad} # its test echo server and client are the image echo-advanced
GO=$("$ROOT/scripts/install/go.sh")
stamp=$({ echo "$ISTIO" "$CV"; cat build.sh go.mod go.sum conformance_test.go list/main.go; } | sha256sum | cut -c1-16)
[ "$(cat "$OUT/.stamp" 2> /dev/null)" != "$stamp" ] || exit 0
mkdir -p "$OUT"/{bin,images}
say() { echo "$(date +%T)  $*" >&2; }

say "conformance: the suite (some minutes)"
"$GO" mod download sigs.k8s.io/gateway-api sigs.k8s.io/gateway-api/conformance
api=$("$GO" list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)
suite=$("$GO" list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api/conformance)
nice -n 10 "$GO" test -c -o "$OUT/conformance.test" .
nice -n 10 "$GO" run ./list > "$OUT/tests.json"
rm -rf "$OUT/crds"
cp -r "$api/config/crd/experimental" "$OUT/crds"
chmod -R u+w "$OUT/crds"

say "conformance: what the images run"
export CGO_ENABLED=0 GOBIN=$OUT/bin
nice -n 10 "$GO" build -trimpath -ldflags '-s -w' -o "$OUT/bin/echo-basic" sigs.k8s.io/gateway-api/conformance/echo-basic
nice -n 10 "$GO" install -trimpath -ldflags '-s -w' istio.io/istio/pkg/test/echo/cmd/{server,client}@"$ISTIO"

say "conformance: images"
work=$(mktemp -d "$OUT/.images.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{echo-basic,coredns} "$work"/echo-advanced/{usr/local/bin,etc,tmp}
chmod 1777 "$work/echo-advanced/tmp"
cp "$OUT/bin/echo-basic" "$work/echo-basic/"
cp "$BIN/coredns" "$work/coredns/" # the backend of the tests of UDP
cp "$OUT"/bin/{server,client} "$work/echo-advanced/usr/local/bin/"
printf 'root:x:0:0::/:\napplication:x:1338:1338::/:\n' > "$work/echo-advanced/etc/passwd"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=echo \
  -addext 'subjectAltName=DNS:echo,DNS:*.gateway-conformance-mesh,DNS:*.gateway-conformance-mesh.svc' \
  -keyout "$work/echo-advanced/cert.key" -out "$work/echo-advanced/cert.crt" 2> /dev/null
chmod 644 "$work/echo-advanced/cert.key"
rm -f "$OUT"/images/*.tar
# Under exactly the names of the manifests. None of their tags is `latest`, so what is there is used, and no registry is asked.
for image in $(grep -rhoE '^[- ]*image: *[^ ]+' "$suite"/{base,mesh,tests} --include='*.yaml' | awk '{print $NF}' | tr -d \" | sort -u); do
  name=${image##*/}
  name=${name%%:*}
  case $name in
    echo-basic) config='{"Entrypoint":["/echo-basic"],"User":"65532:65532","WorkingDir":"/"}' ;;
    # A user of its own: the traffic of the sidecar's would not be intercepted.
    echo-advanced) config='{"Entrypoint":["/usr/local/bin/server"],"User":"1338","Env":["PATH=/usr/local/bin"]}' ;;
    coredns) config='{"Entrypoint":["/coredns"]}' ;;
    *) echo "build.sh: the suite's manifests name an image that this script does not know: $image" >&2; exit 1 ;;
  esac
  python3 ../archive.py --name "$image" --config "$config" --root "$work/$name" "$OUT/images/$(echo "${image##*/}" | tr : -).tar" > /dev/null
done
echo "$stamp" > "$OUT/.stamp"
