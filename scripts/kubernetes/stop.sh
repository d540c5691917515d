#!/bin/bash
# stop.sh [--keep | --purge] - end a cluster by the pids that it wrote down, and take away what it left: containers, mounts, cgroups,
# the network namespace, sysctls. The next cluster is fresh, with the same keys and images. --keep: keep etcd's data as well;
# --purge: keep nothing.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
stop kubelet "$BIN/kubelet" 20
stop kube-proxy "$BIN/kube-proxy"
stop scheduler "$BIN/kube-scheduler"
stop controller-manager "$BIN/kube-controller-manager"

# All that runs in this containerd, and the pods' network namespaces, which the containers' specifications name.
c() { ctr -a "$CSOCK" -n k8s.io "$@" 2> /dev/null; }
networks=()
if [ -S "$CSOCK" ] && c version > /dev/null; then
  for id in $(c containers ls -q); do
    for n in $(c containers info "$id" | grep -o '/run/netns/cni-[0-9a-f-]*' | head -1); do networks+=("$n"); done
  done
  for id in $(c tasks ls -q); do c tasks kill -s KILL -a "$id"; done
  for id in $(c tasks ls -q); do c tasks rm -f "$id" > /dev/null; done
  for id in $(c containers ls -q); do
    c containers rm "$id" > /dev/null
    rm -f /var/lib/cni/results/*-"$id"-*
  done
  for id in $(c snapshots ls | awk '$3 == "Active" {print $1}'); do c snapshots rm "$id"; done
fi
stop apiserver "$BIN/kube-apiserver" 10
stop etcd etcd 20
stop containerd "$RUN/conf/containerd.toml"
for p in /proc/[0-9]*; do # shims that are left: their command line names our socket
  if grep -qa containerd-shim "$p/cmdline" 2> /dev/null && grep -qa -- "$CSOCK" "$p/cmdline"; then kill -9 "${p#/proc/}"; fi
done
sleep 0.2

# Mounts below our folders, deepest first.
awk '{print $2}' /proc/self/mounts | grep -E "^($RUN|/run/$NAME)/" | sort -r | while read -r m; do umount -l "$m"; done
for n in "${networks[@]}"; do
  umount -l "$n" 2> /dev/null
  rm -f "$n"
done
ip route del "$CLUSTER_CIDR" 2> /dev/null
ip route del "$SVC_CIDR" 2> /dev/null
ip link del "$NAME-h" 2> /dev/null
ip netns del "$NS" 2> /dev/null # the rules and the bridge go with it
for c in cpu cpuacct cpuset memory devices freezer blkio pids systemd unified; do
  [ ! -d "/sys/fs/cgroup/$c/$NAME" ] || find "/sys/fs/cgroup/$c/$NAME" -depth -type d -exec rmdir {} \; 2> /dev/null
done
sysctl_restore
rm -f "$RUN/sysctl.saved"
find /var/log/containers -maxdepth 1 -lname "$RUN/*" -delete 2> /dev/null
rm -rf "/run/$NAME"
case ${1:-} in
  --purge) rm -rf "$RUN" ;;
  --keep) rm -rf "$RUN"/{kubelet,ipam,pod-logs,log,pid} ;;
  *) rm -rf "$RUN"/{etcd,kubelet,ipam,pod-logs,log,pid} ;;
esac
