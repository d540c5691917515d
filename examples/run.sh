#!/usr/bin/env bash
# Starts the mesh of examples/mesh by hand: the applications, and a sidecar beside each, until Ctrl-C.
# The control plane runs already, in another terminal: meshwright serve --documents examples/mesh --data-dir build/example
#
#   examples/run.sh [DATA_DIR]     the control plane's data directory; build/example by default
#
# XDS and JOIN are its addresses, if they are not the usual ones. What is made here, logs too, is in build/run, anew each time.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
data=${1:-build/example}
if [[ ! -f $data/roots.pem ]]; then
  echo "$data holds no roots.pem: start the control plane first: meshwright serve --documents examples/mesh --data-dir $data" >&2
  exit 1
fi
rm -rf build/run
mkdir -p build/run
running=()
trap 'trap "" INT TERM; kill "${running[@]}" 2>/dev/null; wait' EXIT
trap 'exit 0' INT TERM

# start WORKLOAD SERVICE APP_PORT ADMIN_PORT [APPLICATION'S OPTIONS...]
start() {
  local workload=$1 service=$2 port=$3 admin=$4
  shift 4
  python3 meshwright/demo/app.py --name "$service" --instance "$workload" --port "$port" "$@" >"build/run/$workload.log" 2>&1 &
  running+=($!)
  # A token is good for one sidecar, once.
  (umask 077 && meshwright token create --data-dir "$data" --service-account "$service" --workload "$workload" >"build/run/$workload.token")
  # --drain-time 1s: open connections get 45 s by default when a sidecar ends, long for a try.
  meshwright proxy --workload "default/$workload" --control-plane "${XDS:-127.0.0.1:15010}" --join "${JOIN:-127.0.0.1:15011}" \
    --bundle "$data/roots.pem" --token-file "build/run/$workload.token" --data-dir "build/run/$workload" --admin-port "$admin" \
    --drain-time 1s --log-format console >"build/run/$workload-sidecar.log" 2>&1 &
  running+=($!)
}

start store-1 store 9004 15204
start api-1 api 9002 15202 --next http://127.0.0.1:15002/ --host-header store.mesh
start api-2 api 9003 15203 --next http://127.0.0.1:15003/ --host-header store.mesh
start web-1 web 9001 15201 --next http://127.0.0.1:15001/ --host-header api.mesh
echo "started; logs are in build/run. Ask who calls whom, in another terminal: curl http://127.0.0.1:9001/"
echo "Ctrl-C ends it."
if ! wait -n "${running[@]}"; then
  echo "one has ended by itself: see build/run/*.log" >&2
  exit 1
fi
