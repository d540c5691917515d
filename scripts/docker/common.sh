# shellcheck shell=bash disable=SC2034
# common.sh - sourced by the other scripts of this folder: where things lie.
SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DOCKER_HOME=${MESHWRIGHT_CACHE:-$HOME/.cache/meshwright}/docker
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$DOCKER_HOME"
