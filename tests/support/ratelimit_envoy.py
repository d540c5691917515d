"""Real Envoys whose rate limit filter asks a service of ours, and that service on a port of its own."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio

from envoy.launcher import EnvoyProcess, LaunchOptions
from ratelimit.counters import Counters
from ratelimit.limits import Rules
from ratelimit.service import Failure, RateLimits
from tests.support import binaries
from tests.support.ports import free_ports

BOOTSTRAP = """
node: {{id: {name}, cluster: {name}}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: app
    address: {{socket_address: {{address: 127.0.0.1, port_value: {app}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: app
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters:
          - name: limits
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
              metadata:
              - {{metadata_namespace: limits, value: {{own: {{requests_per_unit: 3, unit: HOUR}}}}}}
          - name: ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: mesh
              timeout: 5s
              failure_mode_deny: true
              enable_x_ratelimit_headers: DRAFT_VERSION_03
              rate_limit_service:
                transport_api_version: V3
                grpc_service: {{envoy_grpc: {{cluster_name: ratelimit}}}}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{path: /free}}
                route: {{cluster: app}}
              - match: {{path: /caller}}
                route:
                  cluster: app
                  rate_limits:
                  - actions: [{{request_headers: {{header_name: x-caller, descriptor_key: caller}}}}]
              - match: {{path: /own}}
                route:
                  cluster: app
                  rate_limits:
                  - actions: [{{generic_key: {{descriptor_value: own}}}}]
                    limit: {{dynamic_metadata: {{metadata_key: {{key: limits, path: [{{key: own}}]}}}}}}
  clusters:
  - name: app
    connect_timeout: 1s
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {app}}}}}}}
  - name: ratelimit
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: ratelimit
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {service}}}}}}}
"""


class Seen:
    """An observer that counts."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.reasons: list[str] = []

    def answered(self, domain: str, *, over: bool) -> None:
        self.outcomes["over" if over else "ok"] += 1

    def blind(self, domain: str, failure: Failure, reason: str) -> None:
        self.outcomes[f"blind {failure.value}"] += 1
        self.reasons.append(reason)

    def invalid(self, domain: str, reason: str) -> None:
        self.outcomes["invalid"] += 1
        self.reasons.append(reason)


@contextlib.asynccontextmanager
async def serving(
    counters: Counters,
    rules: Rules | None = None,
    *,
    failure: Failure = Failure.ALLOW,
    seen: Seen | None = None,
) -> AsyncIterator[int]:
    """The service on a port of its own, which is returned."""
    server = grpc.aio.server()
    RateLimits(counters, seen or Seen(), rules=rules, failure=failure).add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def limited_envoy(folder: Path, name: str, service_port: int) -> AsyncIterator[int]:
    """An Envoy that answers 200 to what the service lets through; the port to ask.

    `/caller` is limited by the header x-caller (`caller`), `/own` by a limit that the proxy sends along: 3 an hour.
    `/free` does not ask the service.
    """
    port, app = free_ports(2)
    path = folder / f"{name}.yaml"
    path.write_text(BOOTSTRAP.format(name=name, port=port, app=app, service=service_port))
    options = LaunchOptions(
        Path(binaries.envoy()), path, log=folder / f"{name}.log", concurrency=1, drain_time=2
    )
    process = await EnvoyProcess.start(options)
    try:
        await process.wait_ready(30)
        yield port
    finally:
        await process.stop()
