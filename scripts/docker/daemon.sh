#!/bin/bash
# daemon.sh start|stop - run dockerd by hand, for machines without systemd.
# A daemon that already answers is used as it is, and never stopped. Images and containers lie under $DOCKER_HOME/data.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
PIDFILE=$DOCKER_HOME/dockerd.pid
CONTAINERD=/var/run/docker/containerd/containerd.pid
LOG=$DOCKER_HOME/dockerd.log

# running NAME FILE: the pid in FILE, if it is a running NAME (a pid is reused after a reboot, and a dead one may wait to be reaped).
running() {
  local p; p=$(cat "$2" 2> /dev/null) || return 1
  grep -qs "^$p ($1) [^ZX]" "/proc/$p/stat" && echo "$p"
}
ours() { running dockerd "$PIDFILE"; }
answers() { docker version --format '{{.Server.Version}}' 2> /dev/null; }

start() {
  local v p mtu
  if v=$(answers); then echo "dockerd $v answers already"; return; fi
  if p=$(ours); then echo "dockerd runs as $p but does not answer: see $LOG" >&2; exit 1; fi
  # After a crash of dockerd its containerd dies too; dockerd would wait in vain for one that is only in the pid file.
  for _ in $(seq 15); do running containerd "$CONTAINERD" > /dev/null || break; sleep 0.2; done
  running containerd "$CONTAINERD" > /dev/null || rm -f "$CONTAINERD"
  rm -f "$PIDFILE"
  # dockerd sets the FORWARD policy to DROP when it turns forwarding on itself, which would cut off other network
  # namespaces on this machine; so turn it on first.
  sysctl -qw net.ipv4.ip_forward=1
  # Packets as small as the way out allows; else a download in a build can hang.
  mtu=$(cat "/sys/class/net/$(ip route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -1)/mtu" 2> /dev/null || echo 1500)
  setsid dockerd --data-root "$DOCKER_HOME/data" --pidfile "$PIDFILE" --mtu "$mtu" > "$LOG" 2>&1 < /dev/null &
  p=$!
  for _ in $(seq 150); do
    if v=$(answers); then echo "dockerd $v ready, pid $(ours)"; return; fi
    kill -0 "$p" 2> /dev/null || break
    sleep 0.2
  done
  echo "dockerd did not become ready:" >&2; tail -15 "$LOG" >&2
  if kill -0 "$p" 2> /dev/null; then kill "$p"; fi
  exit 1
}

stop() {
  local p
  if ! p=$(ours); then echo "no dockerd of ours runs"; return; fi
  kill "$p"
  for _ in $(seq 150); do
    [ "$(ours)" = "$p" ] || { rm -f "$PIDFILE"; echo "dockerd $p stopped"; return; }
    sleep 0.2
  done
  echo "dockerd $p has not stopped after 30 s: see $LOG" >&2; exit 1
}

case ${1:-} in start | stop) "$1" ;; *) echo "usage: $0 start|stop" >&2; exit 2 ;; esac
