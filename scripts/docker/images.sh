#!/bin/bash
# images.sh - make local stand-ins for the public images that compose.yaml and the Dockerfiles name, under exactly those
# names, from Debian and PyPI packages. Idempotent: once this file has changed, all are made again.
# Needs a running daemon (daemon.sh start).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"

# name:tag                        recipe      argument         what is really in it
TABLE='
debian:bookworm-slim              base        bookworm         # debootstrap minbase + ca-certificates
python:3.12-slim                  python      -                # Python 3.11, whatever the tag says
hashicorp/consul:1.20             consul      -                # Consul 1.8.7
envoyproxy/envoy:v1.40-latest     envoy       1.40.0
'
BASE=debian:bookworm-slim
STAMP=$(sha256sum "$0" | cut -c1-12)
APT='apt-get -qq update && apt-get -qq install -y --no-install-recommends'
CLEAN='rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc/* /usr/share/man/*'

work=$(mktemp -d "$DOCKER_HOME/.images.XXXXXX")
trap 'rm -rf "$work"' EXIT
context=$work/context

# make NAME [docker build options] < Dockerfile: build from the context folder, with the stamp that tells it is current.
make() {
  local name=$1; shift
  cat > "$work/Dockerfile"
  DOCKER_BUILDKIT=0 docker build -q --label "meshwright.stamp=$STAMP" -t "$name" -f "$work/Dockerfile" "$@" "$context" \
    > "$DOCKER_HOME/images.log" 2>&1 || { tail -20 "$DOCKER_HOME/images.log" >&2; return 1; }
}

base() { # SUITE
  local root=$work/root mirror f; mirror=$("$SCRIPTS/debian/mirror.sh")
  debootstrap --variant=minbase --include=ca-certificates "$1" "$root" "$mirror" > "$DOCKER_HOME/debootstrap.log" 2>&1 ||
    { tail -5 "$DOCKER_HOME/debootstrap.log" >&2; return 1; }
  # What this machine needs to reach its package mirrors, builds need too: apt's sources and the local CA certificates.
  rm -f "$root/etc/apt/sources.list"
  for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    if grep -qsF "$mirror" "$f"; then cp "$f" "$root${f}"; fi
  done
  if ls /usr/local/share/ca-certificates/*.crt > /dev/null 2>&1; then
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
    chroot "$root" update-ca-certificates > /dev/null 2>&1
  fi
  printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n' > "$root/etc/apt/apt.conf.d/90small"
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,info,locale}/*
  tar -C "$root" --numeric-owner --exclude='./dev/*' -c . |
    docker import --change 'CMD ["bash"]' --change "LABEL meshwright.stamp=$STAMP" - "$2" > /dev/null
  rm -rf "$root"
}

python() {
  cp /etc/pip.conf "$context/pip.conf" 2> /dev/null || : > "$context/pip.conf"
  make "$2" << END
FROM $BASE
COPY pip.conf /etc/pip.conf
RUN $APT python3 python3-pip python3-venv netbase tzdata && $CLEAN && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED && \
    for n in python python3; do ln -s /usr/bin/python3 /usr/local/bin/\$n; done
ENV LANG=C.UTF-8 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
CMD ["python3"]
END
}

consul() {
  cp "$("$SCRIPTS/install/consul.sh")" "$context/consul"
  # As the public image: a bare command goes to consul, `agent` gets its folders and CONSUL_LOCAL_CONFIG, root is given up.
  cat > "$context/docker-entrypoint.sh" << 'END'
#!/bin/bash
set -e
bind=; client=
if [ -n "$CONSUL_BIND_INTERFACE" ]; then bind="-bind={{ GetInterfaceIP \"$CONSUL_BIND_INTERFACE\" }}"; fi
if [ -n "$CONSUL_CLIENT_INTERFACE" ]; then client="-client={{ GetInterfaceIP \"$CONSUL_CLIENT_INTERFACE\" }}"; fi
if [ -n "$CONSUL_LOCAL_CONFIG" ]; then echo "$CONSUL_LOCAL_CONFIG" > /consul/config/local.json; fi
case $1 in -*) set -- agent "$@" ;; esac
if [ "$1" = agent ]; then
  shift
  set -- consul agent -data-dir=/consul/data -config-dir=/consul/config ${bind:+"$bind"} ${client:+"$client"} "$@"
elif consul --help "$1" 2>&1 | grep -q "consul $1"; then
  set -- consul "$@"
fi
if [ "$1" = consul ] && [ "$(id -u)" = 0 ]; then
  chown -R consul:consul /consul/data /consul/config
  set -- setpriv --reuid=consul --regid=consul --init-groups -- "$@"
fi
exec "$@"
END
  chmod 755 "$context/docker-entrypoint.sh"
  make "$2" << END
FROM $BASE
RUN $APT curl jq && $CLEAN && groupadd -g 1000 consul && useradd -r -u 100 -g consul consul && \
    mkdir -p /consul/data /consul/config && chown -R consul:consul /consul
COPY consul /bin/consul
COPY docker-entrypoint.sh /usr/local/bin/
VOLUME /consul/data
EXPOSE 8300 8301 8301/udp 8302 8302/udp 8500 8600 8600/udp
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["agent", "-dev", "-client", "0.0.0.0"]
END
}

envoy() { # VERSION
  cp "$("$SCRIPTS/install/envoy.sh" "$1")" "$context/envoy"
  # As the public image: options alone go to envoy, \$loglevel is honoured, root is given up unless ENVOY_UID is 0.
  cat > "$context/docker-entrypoint.sh" << 'END'
#!/bin/bash
set -e
if [ "${1#-}" != "$1" ]; then set -- envoy "$@"; fi
if [ "$1" = envoy ] && [ -n "$loglevel" ]; then set -- "$@" --log-level "$loglevel"; fi
uid=${ENVOY_UID:-101}
if [ "$(id -u)" = 0 ] && [ "$uid" != 0 ]; then
  chown envoy /dev/stdout /dev/stderr 2> /dev/null || true
  set -- setpriv --reuid="$uid" --regid="${ENVOY_GID:-101}" --clear-groups -- "$@"
fi
exec "$@"
END
  chmod 755 "$context/docker-entrypoint.sh"
  make "$2" << END
FROM $BASE
RUN groupadd -g 101 envoy && useradd -r -u 101 -g envoy envoy && mkdir -p /etc/envoy
COPY envoy /usr/local/bin/
COPY docker-entrypoint.sh /
EXPOSE 10000
ENTRYPOINT ["/docker-entrypoint.sh"]
CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]
END
}

docker info > /dev/null 2>&1 || { echo "no docker daemon answers: run daemon.sh start" >&2; exit 1; }
while read -r name recipe arg _; do
  [ -n "$name" ] || continue
  if stamp=$(docker image inspect -f '{{index .Config.Labels "meshwright.stamp"}}' "$name" 2> /dev/null); then
    if [ -z "$stamp" ]; then echo "kept $name: not made by this script"; continue; fi
    if [ "$stamp" = "$STAMP" ]; then continue; fi
  fi
  t=$SECONDS
  mkdir -p "$context"
  "$recipe" "$arg" "$name" < /dev/null
  rm -rf "$context"
  echo "made $name in $((SECONDS - t)) s"
done <<< "$TABLE"
docker image ls --format 'table {{.Repository}}:{{.Tag}}\t{{.Size}}' | sort
docker image prune -f --filter label=meshwright.stamp > /dev/null
