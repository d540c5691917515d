#!/bin/bash
# build.sh - make what a cluster needs and is missing: the Debian packages, Kubernetes, etcd and CoreDNS from their Go modules, and
# two small images. Ten minutes on two cores the first time, then at once. No registry of images is asked.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
"$ROOT/scripts/install/system.sh" containerd:containerd runc:runc containernetworking-plugins iptables:iptables conntrack:conntrack \
  ipset:ipset debootstrap:debootstrap kmod:kmod ethtool:ethtool socat:socat gcc:gcc libc6-dev openssl:openssl curl:curl
GO=$("$ROOT/scripts/install/go.sh")
mkdir -p "$BIN" "$KUBE_HOME"/{build,images}

say() { echo "$(date +%T)  $*" >&2; }
# A module of our own that requires the program's, so that its dependencies are the program's own.
wrapper() { # FOLDER REQUIREMENT
  mkdir -p "$1"
  cd "$1"
  [ -f go.sum ] || printf 'module wrapper\ngo 1.24.0\nrequire %s\n' "$2" > go.mod
}
compile() { # OUTPUT PACKAGE...: no debugging information; no -trimpath, so that the compile cache is shared with plain builds
  nice -n 10 "$GO" build -mod=mod -ldflags "-s -w ${LD:-}" -o "$@"
}

kubernetes() {
  wrapper "$KUBE_HOME/build" "k8s.io/kubernetes $KV"
  if [ ! -f go.sum ]; then
    # Its go.mod names the staging modules with v0.0.0 and a folder; outside of its repository they are v0.MINOR.PATCH.
    local upstream; upstream=$("$GO" mod download -json "k8s.io/kubernetes@$KV" | sed -n 's/.*"GoMod": "\(.*\)",*/\1/p')
    sed -nE 's#^\t(k8s.io/[a-z-]*) v0\.0\.0( // .*)?$#\1#p; s#^\t*(replace )?(k8s.io/[a-z-]*) => ./staging.*#\2#p' "$upstream" | sort -u |
      grep -v '^k8s.io/kubernetes$' | while read -r m; do echo "replace $m => $m v0.${KV#v1.}"; done >> go.mod
    {
      printf 'package tools\n\nimport (\n'
      printf '\t_ "k8s.io/kubernetes/cmd/%s/app"\n' kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubelet
      printf ')\n'
    } > tools.go
    "$GO" mod tidy -e > tidy.log 2>&1 || true # kubectl is a main package: -mod=mod adds what it needs
  fi
  local p=k8s.io/component-base/version
  LD="-X $p.gitVersion=$KV -X $p.gitMajor=1 -X $p.gitMinor=$(echo "$KV" | cut -d. -f2) -X $p.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=$KV"
  LD=$LD compile "$BIN/" k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl}
}

etcd() { # Debian's 3.4 has no progress requests for watches, without which the API server's own cache answers no consistent read
  wrapper "$KUBE_HOME/build-etcd" "go.etcd.io/etcd/server/v3 $EV"
  if [ ! -f go.sum ]; then
    printf 'package main\n\nimport (\n\t"os"\n\n\t"go.etcd.io/etcd/server/v3/etcdmain"\n)\n\nfunc main() { etcdmain.Main(os.Args) }\n' > main.go
    "$GO" mod tidy 2> tidy.log
  fi
  compile "$BIN/etcd" .
}

coredns() { # static: it is also the whole of an image of the conformance suite
  wrapper "$KUBE_HOME/build-dns" "github.com/coredns/coredns $CV"
  {
    printf 'package main\n\nimport (\n'
    printf '\t_ "github.com/coredns/coredns/plugin/%s"\n' \
      bind cache errors forward health hosts kubernetes loadbalance log ready reload rewrite template whoami
    printf '\n\t"github.com/coredns/coredns/coremain"\n)\n\nfunc main() { coremain.Run() }\n'
  } > main.go
  [ -f go.sum ] || "$GO" mod tidy 2> tidy.log
  CGO_ENABLED=0 compile "$BIN/coredns" .
}

pause() { # the sandbox of each pod: it only waits
  local work=$KUBE_HOME/build/pause-root
  mkdir -p "$work"
  gcc -static -Os -s -o "$work/pause" "$HERE/pause.c"
  python3 "$HERE/archive.py" --name kube.local/pause:1 --config '{"Entrypoint":["/pause"],"User":"65535:65535"}' \
    --root "$work" "$KUBE_HOME/images/pause.tar"
}

debian() { # the tests' applications: a shell, curl, Python, and what looks at networks
  local root=$KUBE_HOME/build/debian-root
  "$HERE/rootfs.sh" "$root" curl,ca-certificates,iptables,iproute2,procps,python3,dnsutils
  python3 "$HERE/archive.py" --name kube.local/debian:1 --root "$root" "$KUBE_HOME/images/debian.tar" \
    --config '{"Cmd":["/bin/bash"],"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}'
}

once() { # FILE WHAT COMMAND...
  [ ! -e "$1" ] || return 0
  say "making $2"
  "${@:3}"
}
once "$KUBE_HOME/images/pause.tar" "the image pause" pause
once "$KUBE_HOME/images/debian.tar" "the image debian" debian
once "$BIN/kubectl" "Kubernetes $KV (some minutes)" kubernetes
once "$BIN/etcd" "etcd $EV" etcd
once "$BIN/coredns" "CoreDNS $CV" coredns
