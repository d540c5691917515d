"""EgressPolicy: what becomes of calls to hosts that nobody in the mesh knows. Enforced by the sidecar of the workload that calls.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/dynamic_forward_proxy_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/rbac_filter
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from documents.envelope import Part, Problem, wrong
from envoy import names
from envoy.packing import pack, type_url
from envoy.seams import FilterOrder, HttpFilter, Parts, serialised
from mesh.targeting import Level
from pb.envoy.config.rbac.v3 import rbac_pb2
from pb.envoy.config.rbac.v3.rbac_pb2 import Permission, Policy
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from pb.envoy.extensions.rbac.matchers.upstream_ip_port.v3.upstream_ip_port_matcher_pb2 import (
    UpstreamIpPortMatcher,
)
from policies.document import PolicyDocument, Targeting
from policies.kind import PolicyKind, Side, Where

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: EgressPolicy
metadata: {name: unknown}
spec:
  targetRefs: [{kind: Namespace}]
  unknown: allow
"""

FILTER: Final = "meshwright.addresses_outside"
ADDRESS_MATCHER: Final = "envoy.rbac.matchers.upstream_ip_port"
NEVER: Final = (
    "127.0.0.0/8",
    "::1/128",
    "0.0.0.0/8",
    "::/128",
    "169.254.0.0/16",
    "fe80::/10",
    "::ffff:0:0/96",
)
"""Addresses that no name from outside leads to, unless a policy says otherwise: the host itself and its link, where clouds keep
credentials (https://owasp.org/www-community/attacks/Server_Side_Request_Forgery), and IPv4 in disguise."""


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise wrong(f"{text!r} is not a network: {error}", "Write it as 10.0.0.0/8") from error


Network = Annotated[str, AfterValidator(_network)]


class Unknown(StrEnum):
    ALLOW = "allow"
    REGISTRY_ONLY = "registryOnly"


class EgressFields(Part):
    unknown: Unknown | None = Field(
        None,
        strict=False,
        description="allow: HTTP to a host that nobody in the mesh knows goes to whatever that name resolves to. registryOnly: it is "
        "answered 404, and an intercepted connection to an address that nobody knows is closed. If no policy says: 404, and "
        "intercepted connections go where they were going.",
    )
    never: list[Network] | None = Field(
        None,
        description="With allow: networks that such names must not lead to; a request that would is answered 403. By default "
        f"{', '.join(NEVER)}.",
    )


class EgressSpec(Targeting, EgressFields):
    pass


class EgressPolicy(PolicyDocument):
    """What becomes of calls to hosts that nobody in the mesh knows.

    Names of the mesh, and names without a dot, are never looked for outside. A change holds for new connections at once, and for
    those that are open within 45 seconds.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["EgressPolicy"]
    spec: EgressSpec

    def own_problems(self) -> Iterator[Problem]:
        if self.spec.from_:
            yield Problem(
                ("spec", "from"),
                "an EgressPolicy concerns the calls of its targets",
                "Remove from, and name the callers in targetRefs",
            )


def effect(fields: EgressFields, where: Where) -> Parts:
    if where.side is not Side.CALLER:
        return Parts()  # calls to the workload
    if fields.unknown is not Unknown.ALLOW:
        return Parts(refuse_unknown=fields.unknown is Unknown.REGISTRY_ONLY)
    rules = RBACPerRoute()
    rules.rbac.rules.action = rbac_pb2.RBAC.DENY
    policy = rules.rbac.rules.policies["addresses"]
    policy.principals.add().any = True
    for network in NEVER if fields.never is None else fields.never:
        _add(policy, network)
    route = Route(name=names.UNKNOWN)
    if policy.permissions:
        pack(route.typed_per_filter_config[FILTER], rules)
    # Without rules it lets everything pass. A disabled one could not be enabled: the route is found too late, see `envoy.fallback`.
    added = HttpFilter(FilterOrder.ADDRESSES, FILTER, type_url(RBAC), serialised(RBAC()))
    return Parts(http_filters=(added,), unknown=serialised(route))


def _add(policy: Policy, network: str) -> None:
    """The address is the one that the filter before has resolved, and that will be connected to."""
    parsed = ipaddress.ip_network(network)
    matcher = UpstreamIpPortMatcher()
    matcher.upstream_ip.address_prefix = str(parsed.network_address)
    matcher.upstream_ip.prefix_len.value = parsed.prefixlen
    permission: Permission = policy.permissions.add()
    permission.matcher.name = ADDRESS_MATCHER
    pack(permission.matcher.typed_config, matcher)


KIND: Final = PolicyKind(
    EgressPolicy,
    EgressFields,
    Side.LISTENER,
    effect,
    levels=frozenset({Level.MESH, Level.NAMESPACE, Level.WORKLOAD}),
)
