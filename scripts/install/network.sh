#!/bin/bash
# network.sh - what interception and its tests need: iptables, ip, and setpriv to run a program as another user.
set -euo pipefail
exec "$(dirname "$0")/system.sh" iptables:iptables ip:iproute2 setpriv:util-linux curl:curl
