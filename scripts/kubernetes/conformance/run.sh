#!/bin/bash
# run.sh [FLAGS OF THE SUITE] - run the conformance suite against the running cluster, as its flags say. conformance.sh knows the flags
# for Meshwright. Images and CRDs are loaded first, once for each cluster; PREPARE=1: only that.
# REPORT=FILE: the suite's own report. V=1: the whole log on the terminal; it is always kept in $OUT/log, and $OUT/log/last names it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../env.sh"
OUT=${OUT:-$KUBE_HOME/conformance}
mkdir -p "$OUT/log"
for image in "$OUT"/images/*.tar; do import_image "$image"; done

"$HERE/gateway-api.sh"
# The suite does not wait for the end of its namespaces, and fails when it meets one that is going away.
for _ in $(seq 240); do
  there=$("$KUBECTL" get namespaces --no-headers)
  [[ $there == *gateway-conformance*Terminating* ]] || break
  sleep 0.5
done
[ -z "${PREPARE:-}" ] || exit 0

report=()
[ -z "${REPORT:-}" ] || report=(-report-output="$REPORT" -organization=meshwright -project=meshwright -url="${PROJECT_URL:-https://meshwright.dev}"
  -version="${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/pyproject.toml")}" -contact="${CONTACT:-https://meshwright.dev}")
log=$OUT/log/$(date +%Y%m%d-%H%M%S)-$$.log
echo "$log" > "$OUT/log/last"
shown='^ *--- (PASS|FAIL|SKIP)|^(PASS|FAIL|ok|panic)|Error:|Error Trace|Messages:'
[ -z "${V:-}" ] || shown=
begin=$SECONDS
status=0
# Without a proxy: the suite's requests go to addresses of the cluster.
env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY "$OUT/conformance.test" -test.v -test.timeout="${TIMEOUT:-90m}" \
  -test.run '^TestConformance$' "${report[@]}" "$@" > >(tee "$log" | { grep -E --line-buffered -- "$shown" | grep -v -- '--- SKIP' || true; }) 2>&1 || status=$?
sleep 0.2
count() { grep -cE "^    --- $1" "$log" || true; }
echo "$(count PASS) passed, $(count FAIL) failed, $(count SKIP) skipped in $((SECONDS - begin)) s; log $log"
exit $status
