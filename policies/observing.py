"""What the policies that tell of traffic share: where they send what they tell, and whom they can concern."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from documents.envelope import Problem, wrong
from envoy.clusters import HTTP_OPTIONS
from envoy.packing import CDS, listen_on, pack
from envoy.seams import ExtraResource, serialised
from mesh.identity import Identity
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.grpc_service_pb2 import GrpcService
from pb.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from policies.document import Targeting
from policies.kind import Where

ADDRESS = r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):[0-9]{1,5}$"
_ADDRESS = re.compile(ADDRESS)


def _address(text: str) -> str:
    if not _ADDRESS.match(text) or not 1 <= int(text.rpartition(":")[2]) <= 65535:
        raise wrong(f"{text!r} is not host:port", "Write it like otel.example.org:4317 or [2001:db8::1]:4317")
    return text


Address = Annotated[str, AfterValidator(_address), WithJsonSchema({"type": "string", "pattern": ADDRESS})]
"""`host:port` of a collector, an IPv6 address in brackets. It is called in plaintext, outside the mesh."""


def collector(protocol: str, address: str, *, http2: bool) -> ExtraResource:
    """The cluster of a collector; equal for everybody who names the same one."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    made = Cluster(
        name=f"{protocol}/{address}", type=Cluster.STATIC if _literal(host) else Cluster.STRICT_DNS
    )
    made.connect_timeout.seconds = 5
    made.load_assignment.cluster_name = made.name
    listen_on(made.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address, host, int(port))
    if http2:
        options = HttpProtocolOptions()
        http = options.explicit_http_config.http2_protocol_options
        # A collector that is gone without a word is noticed; what is told meanwhile is lost, and no request waits for it.
        http.connection_keepalive.interval.seconds = 30
        http.connection_keepalive.timeout.seconds = 10
        pack(made.typed_extension_protocol_options[HTTP_OPTIONS], options)
    return ExtraResource(CDS, made.name, serialised(made))


def call(service: GrpcService, cluster: ExtraResource) -> None:
    """Make `service` the collector of `cluster`, over gRPC."""
    service.envoy_grpc.cluster_name = cluster.name
    service.timeout.seconds = 5


def service_name(where: Where) -> str:
    """By what collectors know the sidecar's workload, `<service account>.<namespace>`: it comes from the identity."""
    identity = Identity.parse(where.identity)
    return f"{identity.service_account}.{identity.namespace}"


def for_everyone(targeting: Targeting, kind: str, remedy: str) -> Iterator[Problem]:
    """Problems of a policy that says who calls."""
    if targeting.from_:
        yield Problem(("spec", "from"), f"{kind} cannot differ by caller", remedy)


def of_sidecars(kind: str) -> tuple[str, str]:
    """What is wrong with a policy of `kind` for a route, and the way out."""
    return f"{kind} concerns sidecars, not routes", "Target the Service that the route is attached to"


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
