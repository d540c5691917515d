#!/bin/bash
# apiserver.sh start|stop - the API server of a running cluster alone: tests of faults stop it and start it again.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
P=$RUN/pki
case ${1:-} in
  start)
    running apiserver "$BIN/kube-apiserver" && exit 0
    setsid nsenter --net="/run/netns/$NS" "$BIN/kube-apiserver" \
      --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address="$NODE_IP" --secure-port=6443 \
      --tls-cert-file="$P/apiserver.crt" --tls-private-key-file="$P/apiserver.key" --client-ca-file="$P/ca.crt" \
      --kubelet-client-certificate="$P/apiserver-kubelet-client.crt" --kubelet-client-key="$P/apiserver-kubelet-client.key" \
      --kubelet-certificate-authority="$P/ca.crt" --kubelet-preferred-address-types=InternalIP \
      --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
      --service-cluster-ip-range="$SVC_CIDR" --service-account-key-file="$P/sa.pub" --service-account-signing-key-file="$P/sa.key" \
      --service-account-issuer="https://kubernetes.default.svc.$DOMAIN" \
      --requestheader-client-ca-file="$P/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
      --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group --requestheader-username-headers=X-Remote-User \
      --proxy-client-cert-file="$P/front-proxy-client.crt" --proxy-client-key-file="$P/front-proxy-client.key" --enable-aggregator-routing=true \
      >> "$RUN/log/apiserver.log" 2>&1 < /dev/null 9>&- &
    echo $! > "$RUN/pid/apiserver"
    ;;
  stop) stop apiserver "$BIN/kube-apiserver" 20 ;;
  *) echo "usage: apiserver.sh start|stop" >&2; exit 2 ;;
esac
