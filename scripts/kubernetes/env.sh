# shellcheck shell=bash disable=SC2034
# env.sh - sourced by the other scripts of this folder: versions, paths, names and addresses. Each can be set in the environment.
PATH=$PATH:/usr/sbin:/sbin
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
KV=${KV:-v1.34.3}                    # Kubernetes
EV=${EV:-v3.6.4}                     # etcd
CV=${CV:-v1.14.0}                    # CoreDNS: the release with the same client-go as Kubernetes, so most of it is compiled already
SUITE=${SUITE:-$(. /etc/os-release; echo "${VERSION_CODENAME:-bookworm}")} # Debian of the images: this machine's, so that its programs run in them
KUBE_HOME=${KUBE_HOME:-${MESHWRIGHT_CACHE:-$HOME/.cache/meshwright}/kubernetes/$KV} # what is built, and the clusters' state
mkdir -p "$KUBE_HOME"
KUBE_HOME=$(readlink -f "$KUBE_HOME")
BIN=$KUBE_HOME/bin
N=${N:-1}                            # number of the cluster: N=2 is a second one beside the first
NAME=${NAME:-hk8s$N}                 # prefix of the network namespace, the veth and the node (at most 12 letters)
RUN=$KUBE_HOME/run$N                 # etcd, keys, logs, pids, kubelet, containerd
CSOCK=/run/$NAME/containerd.sock     # short: the path of a unix socket may have 107 characters
NS=$NAME                             # the node lives in this network namespace
HOST_IP=172.30.255.$((4 * N - 3))    # this machine's end of the veth
NODE_IP=172.30.255.$((4 * N - 2))    # the node's: API server (6443), kubelet (10250), NodePorts
POD_CIDR=10.$((244 + N)).0.0/24      # one node, so one /24
CLUSTER_CIDR=10.$((244 + N)).0.0/16
SVC_CIDR=10.$((96 + N)).0.0/16
SVC_IP=10.$((96 + N)).0.1            # kubernetes.default
DNS_IP=10.$((96 + N)).0.10
DOMAIN=cluster.local
NODE=$NAME-node1
export KUBECONFIG=$RUN/pki/admin.kubeconfig
KUBECTL=$BIN/kubectl

# In the node's network namespace. Not `ip netns exec`: that mounts /sys anew and hides the cgroups.
inns() { nsenter --net="/run/netns/$NS" "$@"; }
# The kubelet sets these for the whole machine when it starts: start.sh keeps what they were.
sysctl_restore() { [ ! -s "$RUN/sysctl.saved" ] || sed 's/ = /=/' "$RUN/sysctl.saved" | while read -r s; do sysctl -qw "$s"; done; }
# Is the process of that name ours and alive?  running NAME PATTERN
running() { [ -s "$RUN/pid/$1" ] && grep -qa -- "$2" "/proc/$(cat "$RUN/pid/$1")/cmdline" 2> /dev/null; }
# Import an image's archive into the node's containerd, once for each archive.
import_image() { # ARCHIVE
  local mark; mark=$RUN/containerd/.imported-$(basename "$1")
  [ "$mark" -nt "$1" ] || { ctr -a "$CSOCK" -n k8s.io images import "$1" > /dev/null && touch "$mark"; }
}
# TERM, up to TENTHS/10 s, then KILL; only if the pid still is the program that we started.  stop NAME PATTERN [TENTHS]
stop() {
  local file=$RUN/pid/$1 pid
  if running "$1" "$2"; then
    pid=$(cat "$file")
    kill "$pid"
    for _ in $(seq "${3:-50}"); do
      readlink "/proc/$pid/exe" > /dev/null || break # a zombie has none
      sleep 0.1
    done
    if readlink "/proc/$pid/exe" > /dev/null; then kill -9 "$pid"; fi
  fi
  rm -f "$file"
}
