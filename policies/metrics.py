"""Metrics: a port on which a sidecar shows its metrics to Prometheus, and nothing else.

Envoy's admin interface, where they are, can also stop Envoy, so it stays on loopback; a listener of its own leads to this one page
(the cluster is `envoy.bootstrap.ADMIN`). Metrics nobody has counted yet are left out, and by default all but the usual families, so that the
number of series is bounded by the services that a workload really calls.
https://www.envoyproxy.io/docs/envoy/v1.40.0/operations/admin#get--stats-prometheus
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Final, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field

from documents.envelope import Part, Port, Problem, wrong
from documents.expressions import Expression
from envoy.bootstrap import ADMIN
from envoy.connection import HCM, ROUTER
from envoy.packing import LDS, listen_on, pack
from envoy.seams import NOTHING, ExtraResource, Parts, serialised
from mesh.targeting import Level
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from policies.document import PolicyDocument, Targeting
from policies.kind import ANYWHERE, PolicyKind, Side, Where
from policies.observing import for_everyone, of_sidecars

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: Metrics
metadata: {name: web}
spec:
  targetRefs: [{kind: Workload, name: web-1}]
  port: 15090
  include: [upstream_cx_protocol_error$]
"""
PORT: Final = 15090
PATHS: Final = ("/metrics", "/stats/prometheus")

STANDARD: Final = (
    r"^http\..*\.downstream_(rq_total|rq_[1-5]xx|rq_time|rq_active|cx_total|cx_active|rq_timeout)$",
    r"^http\..*\.(no_route|rbac\..*|.*rate_limit.*)$",
    r"^cluster\..*\.upstream_rq_(total|[1-5]xx|time|active|timeout|per_try_timeout|retry.*|pending_overflow)$",
    r"^cluster\..*\.upstream_cx_(total|active|connect_fail|connect_timeout|overflow|[rt]x_bytes_total)$",
    r"^cluster\..*\.(membership_(healthy|total)|outlier_detection\.ejections_(active|enforced_total))$",
    r"^cluster\..*\.(health_check\.failure|ssl\.(connection_error|fail_verify_.*))$",
    r"^tcp\..*\.downstream_cx_(total|[rt]x_bytes_total|no_route)$",
    r"^listener\..*\.(ssl\.(connection_error|fail_verify_.*)|downstream_cx_(total|active))$",
    r"^server\.(live|uptime|memory_allocated|concurrency|days_until_first_cert_expiring)$",
    r"^control_plane\.connected_state$",
)
"""By Envoy's own names: how much, how fast, how it ended, and whether the proxy itself is well."""


def _address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise wrong(f"{text!r} is not an IP address", "Use one of the proxy's host, 0.0.0.0 or ::") from error
    return text


class MetricsFields(Part):
    enabled: bool | None = Field(
        None,
        description="`false` shows nothing, whatever is said from farther away. By default true where a policy applies.",
    )
    port: Port | None = Field(
        None,
        description=f"The port on the proxy's host, for `GET /metrics` and `GET /stats/prometheus`. Sidecars that share a host need one each: "
        f"target the workloads. By default {PORT}.",
    )
    address: Annotated[str, AfterValidator(_address)] | None = Field(
        None, description="The address to listen on, in plaintext. By default 0.0.0.0: all of IPv4."
    )
    detail: Literal["standard", "all"] | None = Field(
        None,
        description="`standard`: requests, connections, bytes, time, retries, ejections and failed checks, by service. `all`: every one of Envoy's "
        "metrics. By default standard.",
    )
    include: list[Expression] | None = Field(
        None,
        description="Further metrics beside the standard ones: regular expressions (RE2) of what is found in Envoy's own names of them, such as "
        "`circuit_breakers`. By default none.",
    )


class MetricsSpec(Targeting, MetricsFields):
    pass


class Metrics(PolicyDocument):
    """What Prometheus may scrape."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["Metrics"]
    spec: MetricsSpec

    def own_problems(self) -> Iterator[Problem]:
        yield from for_everyone(self.spec, "Metrics", "Remove from, and target the workloads")
        if self.spec.detail == "all" and self.spec.include is not None:
            yield Problem(("spec", "include"), "all metrics are shown anyway", "Remove it, or detail")


def effect(fields: MetricsFields, where: Where) -> Parts:
    if fields.enabled is False or not _is_of_the_whole_proxy(where):
        return NOTHING
    port = fields.port or PORT
    made = Listener(name=f"metrics/{port}", stat_prefix="metrics", ignore_global_conn_limit=True)
    listen_on(made.address, fields.address or "0.0.0.0", port)
    # As of every listener here: two proxies that take one port must not share it unseen.
    made.enable_reuse_port.value = False
    added = made.filter_chains.add().filters.add()
    added.name = HCM
    pack(added.typed_config, _manager(fields))
    return Parts(resources=(ExtraResource(LDS, made.name, serialised(made)),))


def _is_of_the_whole_proxy(where: Where) -> bool:
    """One listener for each: a sidecar's comes with those for its own calls, a gateway's with what is of none of its ports."""
    if where.side is Side.CALLER:
        return where.service is None
    return where.port is None


def _manager(fields: MetricsFields) -> HttpConnectionManager:
    manager = HttpConnectionManager(stat_prefix="metrics", codec_type=HttpConnectionManager.AUTO)
    manager.use_remote_address.value = True
    manager.request_headers_timeout.seconds = 10
    manager.stream_idle_timeout.seconds = 30
    manager.route_config.validate_clusters.value = (
        False  # an Envoy whose bootstrap is not ours may lack it: a 503
    )
    host = manager.route_config.virtual_hosts.add()
    host.name = "metrics"
    host.domains.append("*")
    for path in PATHS:
        route = host.routes.add()
        route.match.path = path
        # The path with its query: whoever could add one would choose the series, and how many there are.
        for name, exact in ((":path", path), (":method", "GET")):
            header = route.match.headers.add()
            header.name = name
            header.string_match.exact = exact
        route.route.cluster = ADMIN
        route.route.prefix_rewrite = _page(fields)
        route.route.timeout.seconds = 30
    router = manager.http_filters.add()
    router.name = ROUTER
    pack(router.typed_config, Router(suppress_envoy_headers=True))
    return manager


def _page(fields: MetricsFields) -> str:
    page = "/stats/prometheus?usedonly"
    if fields.detail == "all":
        return page
    wanted = "|".join(f"({each})" for each in (*STANDARD, *(fields.include or ())))
    return f"{page}&filter={quote(wanted, safe='')}"


KIND = PolicyKind(
    Metrics,
    MetricsFields,
    Side.LISTENER,
    effect,
    levels=ANYWHERE - {Level.ROUTE, Level.SERVICE},
    unfit={
        Level.ROUTE: of_sidecars("Metrics"),
        Level.SERVICE: (
            "Metrics are those of a whole sidecar, not of a service",
            "Target workloads, the namespace or the mesh",
        ),
    },
)
