#!/bin/bash
# system.sh [COMMAND:]PACKAGE... - make sure that Debian packages are installed; silent when nothing is missing.
# `PACKAGE` counts as present when dpkg says so, `COMMAND:PACKAGE` also when COMMAND is found (however it got there).
# As root the missing ones are installed with apt-get; otherwise the command to run is printed, and the exit status is 1.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

have() { # [COMMAND:]PACKAGE
  if [[ $1 == *:* ]] && command -v "${1%%:*}" > /dev/null; then return 0; fi
  dpkg-query -W -f '${db:Status-Status}\n' "${1##*:}" 2> /dev/null | grep -qx installed
}

missing=()
for wanted in "$@"; do have "$wanted" || missing+=("${wanted##*:}"); done
[ ${#missing[@]} -gt 0 ] || exit 0

command='apt-get install -y --no-install-recommends'
if ! command -v apt-get > /dev/null; then
  echo "system.sh: missing: ${missing[*]} (names of Debian packages), and there is no apt-get here: install them, then try again" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  printf 'system.sh: missing packages. Run this as root, then try again:\n  apt-get update && %s %s\n' "$command" "${missing[*]}" >&2
  exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# A package must not start a daemon of its own: tests start what they need, where and how they need it.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f "$log" /usr/sbin/policy-rc.d' EXIT
fi
echo "installing ${missing[*]}" >&2
# shellcheck disable=SC2086
{ apt-get -qq -o DPkg::Lock::Timeout=120 update && apt-get -qq -o DPkg::Lock::Timeout=120 ${command#apt-get } "${missing[@]}"; } > "$log" 2>&1 ||
  { tail -20 "$log" >&2; exit 1; }
