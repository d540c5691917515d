#!/bin/bash
# prometheus.sh - make sure that Debian's prometheus is installed (as root; otherwise say what to install) and print its path.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
"$(dirname "$0")/system.sh" prometheus:prometheus >&2
command -v prometheus
