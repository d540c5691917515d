#!/bin/bash
# redis.sh - make sure that Debian's redis-server is installed (as root; otherwise say what to install) and print its path.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
"$(dirname "$0")/system.sh" redis-server:redis-server >&2
command -v redis-server
