#!/bin/bash
# certificates.sh - a cluster's keys, certificates (EC P-256, 10 years) and kubeconfigs in $RUN/pki. Half a second.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/env.sh"
mkdir -p "$RUN/pki"
cd "$RUN/pki"
umask 077

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

authority() { # NAME COMMON-NAME
  key "$1.key"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$2" -days 3650 -out "$1.crt" \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,digitalSignature,keyCertSign,cRLSign'
}

certificate() { # NAME SUBJECT AUTHORITY USAGE [NAMES]
  key "$1.key"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  {
    echo "keyUsage=critical,digitalSignature,keyEncipherment"
    echo "extendedKeyUsage=$4"
    [ -z "${5:-}" ] || echo "subjectAltName=$5"
  } > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -days 3650 -extfile "$1.ext" -out "$1.crt" 2> /dev/null
  rm -f "$1.csr" "$1.ext"
}

kubeconfig() { # NAME: with its certificate and key inside
  cat > "$1.kubeconfig" << END
apiVersion: v1
kind: Config
clusters: [{name: $NAME, cluster: {server: "https://$NODE_IP:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: $NAME, context: {cluster: $NAME, user: $1}}]
current-context: $NAME
END
}

client() { # NAME SUBJECT
  certificate "$1" "$2" ca clientAuth
  kubeconfig "$1"
}

authority ca kubernetes-ca
authority front-proxy-ca front-proxy-ca
certificate apiserver /CN=kube-apiserver ca serverAuth \
  "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.$DOMAIN,DNS:localhost,DNS:$NODE,IP:127.0.0.1,IP:$NODE_IP,IP:$SVC_IP"
certificate apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client ca clientAuth
certificate front-proxy-client /CN=front-proxy-client front-proxy-ca clientAuth
certificate kubelet-server "/O=system:nodes/CN=system:node:$NODE" ca serverAuth "DNS:$NODE,IP:$NODE_IP,IP:127.0.0.1"
client admin /O=system:masters/CN=kubernetes-admin
client controller-manager /CN=system:kube-controller-manager
client scheduler /CN=system:kube-scheduler
client kubelet "/O=system:nodes/CN=system:node:$NODE"
client kube-proxy /CN=system:kube-proxy
# Tokens of service accounts are signed with RSA: RS256 is what other clusters use.
openssl genrsa -out sa.key 2048 2> /dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2> /dev/null
