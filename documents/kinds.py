"""The kinds that documents may have. Whoever reads documents is handed such a tuple, so that policies can join it."""

from __future__ import annotations

from documents.envelope import API_VERSION, Envelope, Kind
from documents.external_service import ExternalServiceDocument
from documents.gateway_api.backend_tls_policy import BackendTlsPolicyDocument
from documents.gateway_api.common import GROUP
from documents.gateway_api.gateway import GatewayDocument
from documents.gateway_api.grpc_route import GrpcRouteDocument
from documents.gateway_api.http_route import HttpRouteDocument
from documents.gateway_api.listener_set import ListenerSetDocument
from documents.gateway_api.reference_grant import ReferenceGrantDocument
from documents.gateway_api.tcp_route import TcpRouteDocument
from documents.gateway_api.tls_route import TlsRouteDocument
from documents.gateway_api.udp_route import UdpRouteDocument
from documents.secret import SecretDocument
from documents.service import ServiceDocument
from documents.subset import SubsetDocument
from documents.workload import WorkloadDocument

SERVICE = Kind(API_VERSION, "Service", ServiceDocument)
WORKLOAD = Kind(API_VERSION, "Workload", WorkloadDocument)
EXTERNAL_SERVICE = Kind(API_VERSION, "ExternalService", ExternalServiceDocument)
SECRET = Kind(API_VERSION, "Secret", SecretDocument)
SUBSET = Kind(API_VERSION, "ServiceSubset", SubsetDocument)


def _gateway_api(name: str, model: type[Envelope], *older: str) -> tuple[Kind, ...]:
    """A kind of the Gateway API in its version v1, and in the older ones that it was published in."""
    return tuple(Kind(f"{GROUP}/{version}", name, model) for version in ("v1", *older))


GATEWAY_API: tuple[Kind, ...] = (
    *_gateway_api("HTTPRoute", HttpRouteDocument, "v1beta1"),
    *_gateway_api("GRPCRoute", GrpcRouteDocument, "v1alpha2"),
    *_gateway_api("TCPRoute", TcpRouteDocument, "v1alpha2"),
    *_gateway_api("TLSRoute", TlsRouteDocument, "v1alpha3", "v1alpha2"),
    *_gateway_api("UDPRoute", UdpRouteDocument, "v1alpha2"),
    *_gateway_api("Gateway", GatewayDocument, "v1beta1"),
    *_gateway_api("ListenerSet", ListenerSetDocument),
    *_gateway_api("ReferenceGrant", ReferenceGrantDocument, "v1beta1"),
    *_gateway_api("BackendTLSPolicy", BackendTlsPolicyDocument, "v1alpha3"),
)

KINDS: tuple[Kind, ...] = (SERVICE, WORKLOAD, SUBSET, SECRET, EXTERNAL_SERVICE, *GATEWAY_API)
