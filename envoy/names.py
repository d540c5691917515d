"""The name of every resource, in one place.

A listener is named after the port it takes, not after what lies behind it: Envoy refuses two listeners on one
address, so what moves to another service must be a change of one listener, never a new one beside an old one.
"""

from __future__ import annotations

import re

from mesh.names import Key, hostnames
from mesh.service import Protocol, ServicePort

CLUSTER = re.compile(r"([^/:]+)/([^/:]+):([0-9]+)(?:/([^/]+))?")
"""The name of the cluster of a service's port, or of a subset of it: see `cluster`."""

IDENTITY = "identity"
"""The secret with a proxy's own certificate and key. Constant, so that clusters are the same bytes for all."""

ROOTS = "roots"
"""The secret with the certificates of the mesh's authorities."""

DIRECT = "direct/"
"""How the names of listeners of endpoints' own addresses begin."""

PASSTHROUGH = "passthrough"
"""The cluster of whatever an intercepted connection was going to."""

CHECKS = "checks"
"""The cluster of whatever an intercepted health check was going to: the application."""

DNS = "names"
"""The listener that answers queries for names by UDP."""

DNS_TCP = "names/tcp"
"""The listener that passes on those by TCP."""

OUTBOUND = "outbound"
"""The listener for HTTP by host name, its stat prefix, and its set of scoped routes."""

NO_AUTHORITIES = "no-authorities"
"""The secret that nobody has, for a policy that names no authorities which can be used."""

OUTSIDE = "outside"
"""The route configuration for hosts that no scope leads to, and its own scope."""

UNKNOWN = "unknown"
"""The cluster of hosts that nobody in the mesh knows."""

CONTROL_PLANE = "control-plane"
"""The bootstrap's cluster of the control plane."""

KEYS = "keys"
"""The bootstrap's cluster of whoever serves the secrets `IDENTITY` and `ROOTS`: the agent beside the proxy, or the control plane."""

KEYS_OF = "meshwright.keys"
"""The entry of a node's metadata that says who that is, if it is `AGENT`: then the control plane makes no key for the proxy."""

AGENT = "agent"

PLAINTEXT_LOG, OWN_TLS_LOG = "meshwright.plaintext", "meshwright.own-tls"
"""The access logs by which the control plane learns who calls without mesh TLS: in plaintext, or in the application's own TLS."""

CALLS_LOG, SERVED_LOG = "meshwright.calls", "meshwright.served"
"""The access logs of what a proxy calls, and of what it takes for its own application, while it is watched."""

WATCHED = "meshwright.watched"
"""The key of a proxy's runtime that switches these on."""

RUNTIME = "meshwright"
"""The resource of a proxy's runtime."""

FAILURE = "x-mesh-failure"
"""The header in which a sidecar tells callers that it could not reach its application, and how."""

LISTENER = "x-mesh-listener"
"""The header in which a gateway notes, for its own routes, the server name of the listener that a request came in by."""

NOWHERE = "nowhere"
"""No cluster has this name: a connection that is sent there is refused."""

LOCAL_CLUSTER = "local"
"""The bootstrap's cluster of the proxy's own service, for zone-aware routing."""

NOWHERE = "nowhere"
"""A cluster that there never is: whoever is sent there is refused."""


def cluster(service: Key, port: int, subset: str = "") -> str:
    """Also the name of its ClusterLoadAssignment. `subset` is the name of a ServiceSubset document of the service."""
    return f"{service}:{port}/{subset}" if subset else f"{service}:{port}"


def called(cluster: str) -> tuple[Key, int, str] | None:
    """The service, port and subset of a cluster that `cluster` named; None for one of another kind."""
    found = CLUSTER.fullmatch(cluster)
    if found is None:
        return None
    subset = found[4] or ""
    return Key(found[1], found[2]), int(found[3]), "" if subset.startswith("@") else subset


def direct_cluster(service: Key, port: int, account: str) -> str:
    """The cluster of the endpoints of that port whose service account is `account`, by their own addresses; and, for HTTP, the route
    configuration that leads there. `@` begins the name of no subset.
    """
    return f"{service}:{port}/@{account}"


def direct(address: str, port: int) -> str:
    """The listener of an endpoint's own address."""
    return f"{DIRECT}{address}:{port}"


def route(service: Key) -> str:
    """The route configuration of all HTTP ports of a service, told apart by authority."""
    return str(service)


def port_route(service: Key, port: int) -> str:
    """The route configuration of one HTTP port for listeners that lead nowhere else, whatever the authority."""
    return f"{service}:{port}"


def scopes(service: Key, caller_namespace: str) -> tuple[tuple[str, str], ...]:
    """Pairs of a scope's name and its key, which is a host name.

    A name that means the same to every caller is its own scope's name; a short one stands behind the caller's namespace.
    """
    everywhere = hostnames(service, "")
    return tuple(
        (host if host in everywhere else f"{caller_namespace}/{host}", host)
        for host in hostnames(service, caller_namespace)
    )


def gateway_listener(port: int) -> str:
    """The listener of a gateway on a port."""
    return f"gateway/{port}"


def gateway_datagrams(port: int) -> str:
    """The listener of a gateway on a port of UDP."""
    return f"gateway/{port}/udp"


def gateway_route(gateway: Key, port: int) -> str:
    """The route configuration of all hosts that a gateway takes HTTP for on a port."""
    return f"gateway/{gateway}:{port}"


def gateway_certificate(secret: Key) -> str:
    """The SDS secret with the certificate and the key of a Secret document."""
    return f"gateway/{secret}"


def gateway_authorities(*secrets: Key) -> str:
    """The SDS secret with the certificates of the authorities of Secret documents; of none: one that nobody has."""
    return f"gateway/{'+'.join(map(str, secrets))}/authorities" if secrets else NO_AUTHORITIES


def outbound_local(local_port: int) -> str:
    """The listener on an explicit local port."""
    return f"{OUTBOUND}/{local_port}"


def outbound_datagrams(local_port: int) -> str:
    """The listener for datagrams on an explicit local port."""
    return f"{OUTBOUND}/{local_port}/udp"


def inbound(sidecar_port: int) -> str:
    """The listener on which a sidecar takes mesh TLS."""
    return f"inbound/{sidecar_port}"


def virtual(service: Key, port: int) -> str:
    """The listener of a port of a service's virtual address. It has no socket, so nothing else can be on its address."""
    return f"virtual/{service}:{port}"


def inbound_cluster(app_port: int, protocol: Protocol, *, captured: bool = False) -> str:
    """The cluster of an application's own port. One port may be served as HTTP under one service and as TCP under another.

    `captured`: connections to it are intercepted.
    """
    return f"{'captured' if captured else 'inbound'}/{app_port}/{spoken(protocol)}"


def check_route(app_port: int) -> str:
    """The route configuration of the health checks of an application's port that come without mesh TLS."""
    return f"checks/{app_port}"


def inbound_chain(service: Key, port: ServicePort) -> str:
    """The filter chain for one port of one service."""
    return f"{service}:{port.port}"


def plaintext_chain(service: Key, port: ServicePort) -> str:
    """The filter chain for calls to that port without TLS."""
    return f"{inbound_chain(service, port)}/plaintext"


def own_tls_chain(service: Key, port: ServicePort) -> str:
    """The filter chain for the application's own TLS."""
    return f"{inbound_chain(service, port)}/own-tls"


def plaintext(cluster: str) -> str:
    """The stat prefix of what comes to the application of `cluster` without mesh TLS."""
    return f"{cluster}/plaintext"


def inbound_route(service: Key, port: ServicePort) -> str:
    """The route configuration behind that chain."""
    return f"inbound/{service}:{port.port}"


def spoken(protocol: Protocol) -> str:
    """What Envoy speaks on such a port: `http`, `http2` or `tcp`."""
    if protocol is Protocol.HTTP:
        return "http"
    return "http2" if protocol.is_http else "tcp"
