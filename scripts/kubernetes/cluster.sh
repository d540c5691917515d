#!/bin/bash
# cluster.sh up | down [--keep | --purge] | env | build | running - a real Kubernetes of one node, in a network namespace of this machine.
#   up     build what is missing (ten minutes the first time), start what does not run (10 s), print the kubeconfig's path. Idempotent.
#   down   end it; --keep: its objects are there at the next start; --purge: its keys and images go as well
#   running  whether it runs, as the exit status
#   env    lines for a shell: eval "$(scripts/kubernetes/cluster.sh env)"
# N=2: a second cluster beside the first. NO_NODE=1: without a node, for what asks the API server only. Needs root.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"

# Whether all that was begun runs; an API server that a test has stopped, or that ended by itself, is begun again.
whole() {
  running etcd etcd && running controller-manager "$BIN/kube-controller-manager" &&
    { [ -n "${NO_NODE:-}" ] || running kubelet "$BIN/kubelet"; } && "$HERE/apiserver.sh" start 9>&-
}
ready() { # within half a minute: a busy machine takes its time
  for _ in $(seq 60); do
    "$KUBECTL" get --raw /readyz > /dev/null 2>&1 && return
    sleep 0.5
  done
  return 1
}

case ${1:-} in
  up | down | build) [ "$(id -u)" = 0 ] || { echo "cluster.sh: needs root: it makes network namespaces and runs containers" >&2; exit 1; } ;;
esac
exec 9> "$KUBE_HOME/.lock-$N" # two who want the cluster take turns
case ${1:-} in
  build) exec "$HERE/build.sh" ;;
  up)
    flock 9
    if whole && ready; then
      if [ -S "$CSOCK" ]; then for image in "$KUBE_HOME"/images/*.tar; do import_image "$image"; done; fi
    else
      "$HERE/build.sh" 9>&-
      [ ! -e "$RUN/pid" ] || "$HERE/stop.sh" --keep # what a crash of the machine, or of a part, left behind
      "$HERE/start.sh"
    fi
    echo "$KUBECONFIG"
    ;;
  down)
    flock 9
    exec "$HERE/stop.sh" "${@:2}"
    ;;
  running) running apiserver "$BIN/kube-apiserver" ;;
  env)
    echo "export KUBECONFIG=$KUBECONFIG"
    echo "export PATH=$BIN:\$PATH"
    ;;
  *)
    sed -n '2,7s/^# //p' "$0" >&2
    exit 2
    ;;
esac
