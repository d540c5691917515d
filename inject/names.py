"""What injection calls things in a pod: containers, volumes, annotations. The only place."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A manifest, or a part of one, as the Kubernetes API has it."""

PREFIX: Final = "meshwright.dev/"
INJECT: Final = f"{PREFIX}inject"
"""The label of a namespace or a pod. A pod's own wins over its namespace's."""
ENABLED: Final = ("enabled", "true")
DISABLED: Final = ("disabled", "false")

PROXY: Final = "meshwright-proxy"
"""The sidecar. A pod that has it is in the mesh: discovery goes by it."""
INTERCEPT: Final = "meshwright-intercept"

TOKEN_VOLUME: Final = "meshwright-token"  # noqa: S105 - a name
BUNDLE_VOLUME: Final = "meshwright-bundle"
STATE_VOLUME: Final = "meshwright-state"

BUNDLE_CONFIG_MAP: Final = "meshwright-bundle"
BUNDLE_KEY: Final = "roots.pem"

TOKEN_DIRECTORY: Final = "/var/run/secrets/meshwright.dev"  # noqa: S105 - a path
TOKEN_FILE: Final = f"{TOKEN_DIRECTORY}/token"
BUNDLE_DIRECTORY: Final = "/var/run/meshwright.dev/bundle"
BUNDLE_FILE: Final = f"{BUNDLE_DIRECTORY}/{BUNDLE_KEY}"
STATE_DIRECTORY: Final = "/var/lib/meshwright"
DATA_DIRECTORY: Final = f"{STATE_DIRECTORY}/proxy"
"""In a volume that everybody in the container could write to: a directory that the agent makes for itself alone."""

METRICS_PORT: Final = 15090
"""Where a `Metrics` has sidecars answer, if it says nothing else: who scrapes is outside the mesh, so it is not intercepted."""
PROXY_USER: Final = 10002
"""User and group of the sidecar, by which `meshwright intercept` knows what it sends. No application may have it."""
ADMIN_SOCKET: Final = f"{DATA_DIRECTORY}/sds/admin.sock"
"""Envoy's admin interface: at no port, for whatever a route or the application sends to loopback would come to it."""
