"""Why a host leads to nothing, and the way out: what somebody wants to know who sees a 404."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from explain import route_table
from mesh.names import Key, hostnames
from mesh.state import MeshState
from mesh.views import OutboundScope
from mesh.workload import Workload


@dataclass(frozen=True, slots=True)
class Nowhere:
    why: str
    remedy: str


def unknown_host(state: MeshState, scope: OutboundScope, workload: Workload, authority: str) -> Nowhere:
    """Nothing is known to the sidecar of `workload` under the host of `authority`."""
    host = route_table.without_port(authority)
    if host != host.lower():
        return Nowhere(
            f"host {host} is looked for as it is written, and names are in lower case",
            f"Ask for {host.lower()}",
        )
    key = _meant(state, host, scope.namespace)
    if key is None:
        other = [each for each in sorted(state.services) if each.name == host]
        if other:
            return Nowhere(
                f"there is no service {host} in namespace {scope.namespace}",
                f"Ask for {hostnames(other[0], scope.namespace)[1]}, which is service {other[0]}",
            )
        near = difflib.get_close_matches(host, _hosts(state, scope.namespace), 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        return Nowhere(f"no service has the host {host}", f"{hint}Declare it, or correct the host")
    if not scope.admits(key):
        return Nowhere(
            f"workload {workload.key} does not say that it uses service {key}",
            f"Add {{service: {_short(key, workload.key.namespace)}}} to `uses` of workload {workload.key}",
        )
    ports = state.services[key].ports
    if not any(each.protocol.is_http for each in ports):
        shown = ", ".join(f"{each.port} ({each.protocol})" for each in ports) or "none"
        return Nowhere(
            f"service {key} has no port of HTTP, and hosts are known by HTTP alone",
            f"Its ports are {shown}: declare the protocol, or call it by a local port of its own",
        )
    return Nowhere(
        f"the proxy does not know host {host}, though it may call service {key}",
        "`meshwright status` says what it was sent and what it refused",
    )


def unknown_port(state: MeshState, key: Key, authority: str) -> Nowhere:
    """The host is known, but not with this port."""
    _, _, port = authority.rpartition(":") if ":" in authority else ("", "", "80")
    ports = (
        [each for each in state.services[key].ports if each.protocol.is_http] if key in state.services else []
    )
    shown = ", ".join(f"{each.port} ({each.name})" for each in ports)
    return Nowhere(f"service {key} has no HTTP port {port}", f"Its HTTP ports are {shown}")


def _meant(state: MeshState, host: str, namespace: str) -> Key | None:
    """The service that `host` would name."""
    parts = host.split(".")
    candidates = [Key(namespace, parts[0])]
    if len(parts) > 1:
        candidates.insert(0, Key(parts[1], parts[0]))
    found = (each for each in candidates if host in hostnames(each, namespace) and each in state.services)
    # Of services outside that claim one host, the first has it.
    return next(found, next(iter(state.hosts.get(host, ())), None))


def _hosts(state: MeshState, namespace: str) -> list[str]:
    return [host for key in state.services for host in hostnames(key, namespace)]


def _short(key: Key, namespace: str) -> str:
    return key.name if key.namespace == namespace else f"{key.name}, namespace: {key.namespace}"
