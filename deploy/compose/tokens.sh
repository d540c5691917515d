#!/bin/sh
# tokens.sh WORKLOAD=SERVICE_ACCOUNT... - runs once, beside the control plane's data: makes a join token for each workload and
# puts it, with the mesh's trust bundle, into /join, where the sidecars read them. One shared folder is simple enough for
# a demonstration; in earnest each workload is handed its own token only.
set -eu
umask 077
for each in "$@"; do
  workload=${each%%=*} account=${each#*=}
  meshwright token create --namespace default --service-account "$account" --workload "$workload" --ttl 1h > "/join/$workload.part"
  mv "/join/$workload.part" "/join/$workload.token"
done
cp "$MESHWRIGHT_DATA_DIR/roots.pem" /join/roots.pem
