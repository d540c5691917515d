#!/bin/bash
# start.sh - start the cluster of one node in a network namespace of its own (cluster.sh up calls it: it builds first and takes the lock).
# All iptables rules, the bridge and the sysctls stay in the namespace $NS; outside of it there is one veth and two routes.
# NO_NODE=1: etcd, API server, controllers and scheduler alone (4 s).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
BEGIN=$(date +%s.%N)
say() { echo "$(date +%s.%N) $BEGIN" | awk -v what="$*" '{printf "%6.2f s  %s\n", $1 - $2, what}' >&2; }

start() { # NAME COMMAND...: in the node's network, with a log and the pid in a file; 9 is the lock, which it must not keep
  setsid nsenter --net="/run/netns/$NS" "${@:2}" >> "$RUN/log/$1.log" 2>&1 < /dev/null 9>&- &
  echo $! > "$RUN/pid/$1"
}
await() { # SECONDS WHAT COMMAND...
  local left=$(($1 * 10))
  until "${@:3}" > /dev/null 2>&1; do
    left=$((left - 1))
    [ $left -gt 0 ] || { echo "start.sh: not within $1 s: $2; see $RUN/log" >&2; exit 1; }
    sleep 0.1
  done
  say "$2"
}
fill() { # TEMPLATE DESTINATION
  sed -e "s#@RUN@#$RUN#g;s#@NAME@#$NAME#g;s#@CSOCK@#$CSOCK#g;s#@NODE_IP@#$NODE_IP#g;s#@NODE@#$NODE#g;s#@BIN@#$BIN#g" \
    -e "s#@DNS_IP@#$DNS_IP#g;s#@DOMAIN@#$DOMAIN#g;s#@POD_CIDR@#$POD_CIDR#g;s#@CLUSTER_CIDR@#$CLUSTER_CIDR#g" "$HERE/$1" > "$2"
}

mkdir -p "$RUN"/{log,pid,etcd,kubelet,containerd,cni,ipam,pod-logs,conf} "/run/$NAME"

# 1. The network. This machine does not forward, and the namespace has no way out.
if [ ! -e "/run/netns/$NS" ]; then
  ip netns add "$NS"
  ip link add "$NAME-h" type veth peer name eth0 netns "$NS"
  ip addr add "$HOST_IP/30" dev "$NAME-h"
  ip link set "$NAME-h" up
  inns ip addr add "$NODE_IP/30" dev eth0
  inns ip link set eth0 up
  inns ip link set lo up
  # Addresses of services need a route to get as far as the rules that translate them; all else is unreachable at once.
  inns ip route add "$SVC_CIDR" via "$HOST_IP"
  inns ip route add unreachable default
  ip route add "$CLUSTER_CIDR" via "$NODE_IP"
  ip route add "$SVC_CIDR" via "$NODE_IP"
  inns sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 net.ipv6.conf.all.disable_ipv6=1
fi

# 2. Keys, certificates, configuration.
[ -s "$RUN/pki/sa.pub" ] || "$HERE/certificates.sh"
fill conf/containerd.toml "$RUN/conf/containerd.toml"
fill conf/kubelet.yaml "$RUN/conf/kubelet.yaml"
fill conf/kube-proxy.yaml "$RUN/conf/kube-proxy.yaml"
fill conf/10-bridge.conflist "$RUN/cni/10-bridge.conflist"
fill manifests/dns.yaml "$RUN/conf/dns.yaml"
: > "$RUN/resolv.conf"
say "network, certificates, configuration"
P=$RUN/pki

# 3. etcd, in plaintext on the namespace's own loopback; what it loses in a crash of the machine, nobody misses.
start etcd "$BIN/etcd" --unsafe-no-fsync --name default --data-dir "$RUN/etcd" --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380
[ -n "${NO_NODE:-}" ] || start containerd env PATH="$PATH" containerd --config "$RUN/conf/containerd.toml"
await 30 "etcd" inns curl -sf --noproxy '*' http://127.0.0.1:2379/health

# 4. The API server.
"$HERE/apiserver.sh" start
await 60 "API server" "$KUBECTL" get --raw /readyz

# 5. Controllers and scheduler: one of each, so no leader is elected.
start controller-manager "$BIN/kube-controller-manager" --kubeconfig="$P/controller-manager.kubeconfig" \
  --authentication-kubeconfig="$P/controller-manager.kubeconfig" --authorization-kubeconfig="$P/controller-manager.kubeconfig" \
  --leader-elect=false --use-service-account-credentials=true --service-account-private-key-file="$P/sa.key" --root-ca-file="$P/ca.crt" \
  --cluster-signing-cert-file="$P/ca.crt" --cluster-signing-key-file="$P/ca.key" --allocate-node-cidrs=true --node-cidr-mask-size=24 \
  --cluster-cidr="$CLUSTER_CIDR" --service-cluster-ip-range="$SVC_CIDR" --bind-address=127.0.0.1 --cert-dir="$RUN/kcm-certs" \
  --requestheader-client-ca-file="$P/front-proxy-ca.crt" --client-ca-file="$P/ca.crt" --kube-api-qps=500 --kube-api-burst=1000
start scheduler "$BIN/kube-scheduler" --kubeconfig="$P/scheduler.kubeconfig" --authentication-kubeconfig="$P/scheduler.kubeconfig" \
  --authorization-kubeconfig="$P/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1 --cert-dir="$RUN/sched-certs" \
  --kube-api-qps=500 --kube-api-burst=1000
if [ -n "${NO_NODE:-}" ]; then
  await 60 "controllers" "$KUBECTL" get sa default
  exit 0
fi

# 6. The node: images, kubelet, kube-proxy, names.
[ -s "$RUN/sysctl.saved" ] ||
  sysctl vm.overcommit_memory kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes > "$RUN/sysctl.saved"
for c in cpu cpuacct cpuset memory devices freezer blkio pids systemd; do
  [ ! -d "/sys/fs/cgroup/$c" ] || mkdir -p "/sys/fs/cgroup/$c/$NAME"
done
if [ -d /sys/fs/cgroup/cpuset ]; then
  for f in cpus mems; do cat "/sys/fs/cgroup/cpuset/cpuset.$f" > "/sys/fs/cgroup/cpuset/$NAME/cpuset.$f"; done
fi
await 30 "containerd" ctr -a "$CSOCK" version
for image in "$KUBE_HOME"/images/*.tar; do import_image "$image"; done
say "images"
start kubelet "$BIN/kubelet" --config="$RUN/conf/kubelet.yaml" --kubeconfig="$P/kubelet.kubeconfig" --root-dir="$RUN/kubelet" \
  --hostname-override="$NODE" --node-ip="$NODE_IP" --cert-dir="$RUN/kubelet/pki"
"$KUBECTL" get clusterrolebinding kube-proxy-node > /dev/null 2>&1 ||
  "$KUBECTL" create clusterrolebinding kube-proxy-node --clusterrole=system:node-proxier --user=system:kube-proxy > /dev/null
start kube-proxy "$BIN/kube-proxy" --config="$RUN/conf/kube-proxy.yaml"
ready="{.status.conditions[?(@.type==\"Ready\")].status}"
await 90 "node" sh -c "'$KUBECTL' get node '$NODE' -o jsonpath='$ready' | grep -q True"
sysctl_restore
await 60 "default service account" "$KUBECTL" get sa default
await 60 "rules of services" sh -c "nsenter --net=/run/netns/$NS iptables-save -t nat | grep -q KUBE-SVC"
"$KUBECTL" apply -f "$RUN/conf/dns.yaml" > /dev/null
await 60 "names" "$KUBECTL" -n kube-system rollout status deploy/coredns --timeout=1s
