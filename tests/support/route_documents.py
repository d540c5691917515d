"""Documents of the Gateway API with terse defaults, as text: a test says only what it is about."""

from __future__ import annotations

GROUP = "gateway.networking.k8s.io"
TO_API = "backendRefs: [{name: api, port: 80}]"


def gateway_api(kind: str, spec: str, name: str = "api", version: str = "v1") -> str:
    """A document of `kind`; `spec` in flow style, without its braces. `name` may have a namespace."""
    namespace, _, name = name.rpartition("/")
    where = f", namespace: {namespace}" if namespace else ""
    return f"---\napiVersion: {GROUP}/{version}\nkind: {kind}\nmetadata: {{name: {name}{where}}}\nspec: {{{spec}}}\n"


def http_route(spec: str = f"rules: [{{{TO_API}}}]", name: str = "api") -> str:
    """Attached to the service api."""
    return gateway_api("HTTPRoute", f'parentRefs: [{{group: "", kind: Service, name: api}}], {spec}', name)


def http_rule(rule: str) -> str:
    return http_route(f"rules: [{{{rule}}}]")


def http_filter(one: str) -> str:
    return http_rule(f"filters: [{{{one}}}]")


def http_match(match: str) -> str:
    return http_rule(f"matches: [{{{match}}}]")


def grpc_route(spec: str, name: str = "api") -> str:
    return gateway_api("GRPCRoute", f'parentRefs: [{{group: "", kind: Service, name: api}}], {spec}', name)


def grpc_match(match: str) -> str:
    return grpc_route(f"rules: [{{matches: [{{{match}}}], {TO_API}}}]")


def gateway(*listeners: str, more: str = "") -> str:
    """Each of `listeners` in flow style, without its braces."""
    listed = ", ".join(f"{{{each}}}" for each in listeners)
    return gateway_api("Gateway", f"gatewayClassName: meshwright, listeners: [{listed}]{more}", "gw")
