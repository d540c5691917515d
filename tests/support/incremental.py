"""A small mesh whose documents change one by one, and what its proxies are told of that.

`POOL` has for each file what it may say; the first version is one that is there.
"""

from __future__ import annotations

from collections.abc import Mapping

from documents.errors import Dangling
from documents.parsing import parse
from documents.sets import DocumentSet
from envoy.render import Renderer
from mesh.state import MeshState
from meshwright.publisher import Publisher
from policies.registry import KINDS
from tests.support.builders import TRUST_DOMAIN, a_key, service_document, workload_document
from tests.support.publishing import Holding, told

ATTACHED = tuple(map(a_key, ("api-1", "web-1", "cap-1", "shop/cart-1", "edge-1")))
"""The workloads with proxies. They change, but are never gone: who is deregistered keeps what it had while it drains."""


def _service(name: str, port: int = 80, protocol: str = "http", more: str = "") -> str:
    return service_document(name, f"ports: [{{name: http, port: {port}, protocol: {protocol}}}]{more}")


def _workload(name: str, service: str, address: str, more: str = "") -> str:
    ports = "ports: [{name: http, app: 9001, sidecar: 15101}]"
    return workload_document(name, f"services: [{service}], address: {address}, meshed: true, {ports}{more}")


def _other(kind: str, name: str, spec: str, api: str = "meshwright.dev/v1alpha1") -> str:
    key = a_key(name)
    return (
        f"---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {key.name}, namespace: {key.namespace}}}\n"
        f"spec: {{{spec}}}\n"
    )


def _standard(kind: str, name: str, spec: str, version: str = "v1") -> str:
    return _other(kind, name, spec, f"gateway.networking.k8s.io/{version}")


def _route(name: str, parent: str, *backends: str) -> str:
    """Of the service `parent`."""
    of = a_key(parent)
    refers = f'parentRefs: [{{group: "", kind: Service, name: {of.name}, namespace: {of.namespace}}}]'
    return _standard("HTTPRoute", name, f"{refers}, rules: [{{backendRefs: [{', '.join(backends)}]}}]")


def _tcp_route(parent: str, backend: str) -> str:
    refers = f'parentRefs: [{{group: "", kind: Service, name: {parent}}}]'
    return _standard("TCPRoute", "tcp", f"{refers}, rules: [{{backendRefs: [{backend}]}}]", "v1alpha2")


def _gateway_route(backend: str) -> str:
    return _standard(
        "HTTPRoute", "edge", f"parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{backend}]}}]"
    )


def _gateway(port: int, sets: str = "None") -> str:
    listeners = f"{{name: http, port: {port}, protocol: HTTP}}, {{name: dns, port: 5300, protocol: UDP}}"
    allowed = f"allowedListeners: {{namespaces: {{from: {sets}}}}}"
    return _standard("Gateway", "edge", f"gatewayClassName: meshwright, {allowed}, listeners: [{listeners}]")


def _set(name: str, *listeners: str, gateway: str = "edge") -> str:
    listed = ", ".join(f"{{{each}}}" for each in listeners)
    return _standard(
        "ListenerSet", name, f"parentRef: {{name: {gateway}, namespace: default}}, listeners: [{listed}]"
    )


def _set_route(name: str, parent: str, backend: str) -> str:
    return _standard("HTTPRoute", name, f"parentRefs: [{parent}], rules: [{{backendRefs: [{backend}]}}]")


def _udp_route(parent: str, *backends: str) -> str:
    return _standard(
        "UDPRoute", "datagrams", f"parentRefs: [{parent}], rules: [{{backendRefs: [{', '.join(backends)}]}}]"
    )


def _subset(service: str, version: str) -> str:
    return _other("ServiceSubset", "api-v2", f"service: {service}, labels: {{version: {version}}}")


def _outside(host: str, port: int = 80, name: str = "out") -> str:
    return _other(
        "ExternalService", name, f"hosts: [{host}], ports: [{{name: http, port: {port}, protocol: http}}]"
    )


def _limit(*callers: str, target: str = "{kind: Service, name: api}") -> str:
    return _other(
        "RateLimit", "limit", f"targetRefs: [{target}], from: [{', '.join(callers)}], local: {{requests: 5}}"
    )


def _grant() -> str:
    froms = ", ".join(
        f"{{group: gateway.networking.k8s.io, kind: {kind}, namespace: default}}"
        for kind in ("HTTPRoute", "TCPRoute", "UDPRoute")
    )
    return _standard(
        "ReferenceGrant", "shop/grant", f'from: [{froms}], to: [{{group: "", kind: Service}}]', "v1beta1"
    )


def _tls(host: str) -> str:
    validation = f"validation: {{wellKnownCACertificates: System, hostname: {host}}}"
    return _standard(
        "BackendTLSPolicy", "tls", f'targetRefs: [{{group: "", kind: Service, name: api}}], {validation}'
    )


API = "{name: api, port: 80}"
CART = "{name: cart, namespace: shop, port: 80}"
SUBSET = "{group: meshwright.dev, kind: ServiceSubset, name: api-v2, port: 80}"
OUTSIDE = "{group: meshwright.dev, kind: ExternalService, name: out, port: 80}"
USES = ", uses: [{service: web}, {service: db, localPort: 7001}, {service: dns, localPort: 7002}]"
DNS, DNS2 = "{name: dns, port: 80}", "{name: dns2, namespace: shop, port: 80}"
SET, SET_2 = "{kind: ListenerSet, name: set}", "{kind: ListenerSet, name: set-2, namespace: shop}"
SHARED = "name: http, port: 8090, protocol: HTTP, hostname: a.b"
TO_API = "targetRefs: [{kind: Service, name: api}]"

HEADLESS = ", headless: true"

POOL: Mapping[str, tuple[str | None, ...]] = {
    "api": (_service("api"), _service("api", 81), None, _service("api", more=HEADLESS)),
    "web": (_service("web"), _service("web", protocol="http2"), None),
    "cart": (_service("shop/cart"), _service("shop/cart", protocol="grpc"), None),
    "db": (_service("db", protocol="tcp"), None, _service("db", protocol="tcp", more=HEADLESS)),
    "db2": (_service("db2", protocol="tcp"), None, _service("db2", protocol="tcp", more=HEADLESS)),
    "db-1": (
        _workload("db-1", "db, db2", "127.0.0.7"),
        _workload("db-1", "db2, db", "127.0.0.17", ", serviceAccount: other"),
        None,
    ),
    "db-2": (
        None,
        _workload("db-2", "db2", "127.0.0.7"),
        _workload("db-2", "db2", "127.0.0.7").replace("meshed: true", "meshed: false"),
    ),
    "dns": (_service("dns", protocol="udp"), _service("dns", protocol="tcp"), None),
    "dns2": (_service("shop/dns2", protocol="udp"), None),
    "dns-1": (_workload("dns-1", "dns", "127.0.0.6"), None),
    "out": (_outside("a.example.com"), _outside("b.example.com"), _outside('"*.example.com"'), None),
    "out-2": (None, _outside("a.example.com", 81, "out-2")),
    "api-1": (
        _workload("api-1", "api", "127.0.0.2").replace(
            "namespace: default}", "namespace: default, labels: {version: v2}}"
        ),
        _workload("api-1", "api", "127.0.0.2", ", serviceAccount: zed"),
        _workload("api-1", "web", "127.0.0.2"),
    ),
    "api-2": (None, _workload("api-2", "api", "127.0.0.12", ", serviceAccount: other")),
    "web-1": (
        _workload("web-1", "web", "127.0.0.3", USES),
        _workload("web-1", "web", "127.0.0.3", ", serviceAccount: zed"),
        _workload("web-1", "api", "127.0.0.3"),
    ),
    "web-2": (None, _workload("web-2", "web", "127.0.0.13", ", serviceAccount: other")),
    "cap-1": (
        _workload("cap-1", "web", "127.0.0.5", ", interception: {}, uses: [api, db]"),
        _workload("cap-1", "web", "127.0.0.5", ", interception: {}"),
    ),
    "cart-1": (_workload("shop/cart-1", "cart", "127.0.0.4"),),
    "edge-1": (
        workload_document("edge-1", "address: 127.0.0.9, gateway: edge, serviceAccount: edge"),
        workload_document("edge-1", "address: 127.0.0.9, gateway: edge, serviceAccount: zed"),
    ),
    "gateway": (_gateway(8080, "All"), _gateway(8081, "Same"), _gateway(8080), None),
    "set": (
        _set("set", SHARED, "name: own, port: 8091, protocol: HTTP"),
        _set("set", SHARED, gateway="other"),
        _set("set", "name: http, port: 8080, protocol: HTTP, hostname: b.c"),
        None,
    ),
    "set-2": (
        None,
        _set(
            "shop/set-2",
            SHARED,
            "name: dns, port: 5301, protocol: UDP, allowedRoutes: {namespaces: {from: All}}",
        ),
        _set("shop/set-2", "name: http, port: 8091, protocol: TCP"),
    ),
    "set-route": (_set_route("sets", SET, API), _set_route("sets", f"{SET}, {{name: edge}}", SUBSET), None),
    "set-route-2": (
        None,
        _set_route("shop/sets", f"{SET_2}, {{kind: ListenerSet, name: set, namespace: default}}", CART),
    ),
    "udp-route": (
        _udp_route('{group: "", kind: Service, name: dns}', DNS2, DNS),
        _udp_route("{name: edge}", DNS, DNS2),
        _udp_route(SET_2, DNS),
        None,
    ),
    "gateway-route": (*map(_gateway_route, (SUBSET, API, CART, OUTSIDE)), None),
    "subset": (_subset("api", "v2"), _subset("api", "v3"), _subset("web", "v2"), None),
    "route-1": (_route("r1", "api", CART), _route("r1", "web", API), None),
    "route-2": (_route("shop/r2", "api", "{name: cart, port: 80}"), None),
    "route-3": (_route("r3", "web", SUBSET), _route("r3", "web", OUTSIDE, API), None),
    "tcp-route": (_tcp_route("db", "{name: db2, port: 80}"), _tcp_route("db2", "{name: db, port: 80}"), None),
    "grant": (_grant(), None),
    "tls": (None, _tls("a.example.com"), _tls("b.example.com")),
    "limit": (
        _limit("{service: web}"),
        _limit("{workload: web-1}"),
        _limit("{serviceAccount: zed}"),
        _limit("{service: web}", "{namespace: shop}", target="{kind: Workload, name: edge-1}"),
        _limit("{service: api}", target="{kind: Mesh}"),
        None,
    ),
    "timeouts": (
        _other("TimeoutPolicy", "p1", f"{TO_API}, request: 2s, from: [{{serviceAccount: zed}}]"),
        _other("TimeoutPolicy", "p1", "targetRefs: [{kind: HTTPRoute, name: r1}], request: 3s"),
        None,
    ),
    "retries": (
        _other("RetryPolicy", "p2", 'targetRefs: [{kind: Namespace, name: shop}], attempts: 3, "on": [5xx]'),
        _other("RetryPolicy", "p2", 'targetRefs: [{kind: HTTPRoute, name: edge}], attempts: 2, "on": [5xx]'),
        None,
    ),
    "log": (
        _other("AccessLog", "p3", "targetRefs: [{kind: Namespace, name: default}], format: json"),
        _other("AccessLog", "p3", "targetRefs: [{kind: Workload, name: edge-1}], format: json"),
        _other("AccessLog", "p3", f"{TO_API}, format: json"),
        None,
    ),
    "balancing": (_other("LoadBalancing", "p4", f"{TO_API}, locality: {{}}"), None),
    "connections": (
        _other("ConnectionLimit", "p5", f"{TO_API}, connections: 3"),
        _other("ConnectionLimit", "p5", "targetRefs: [{kind: Workload, name: web-1}], connections: 3"),
        None,
    ),
    "mesh-tls": (
        _other("MeshTLS", "p8", f"{TO_API}, mode: off"),
        _other("MeshTLS", "p8", "targetRefs: [{kind: Mesh}], mode: off"),
        _other("MeshTLS", "p8", "targetRefs: [{kind: Workload, name: api-1}], mode: off"),
        _other("MeshTLS", "p8", "targetRefs: [{kind: Namespace, name: shop}], mode: permissive"),
        None,
    ),
    "faults": (
        _other(
            "FaultInjection",
            "p7",
            f"{TO_API}, abort: {{httpStatus: 503, percent: 5}}, from: [{{service: web}}]",
        ),
        None,
    ),
}


class Followed:
    """Documents and what the proxies of ATTACHED, once they are attached, hold because of them."""

    def __init__(self, documents: DocumentSet | None = None) -> None:
        self.documents = documents or DocumentSet()
        self._state = MeshState(TRUST_DOMAIN)
        self._publisher = Publisher(self._state, Renderer())
        self._holding = Holding()
        self._settle()

    def write(self, files: Mapping[str, str | None]) -> None:
        """All at once; None: the file is gone."""
        parsed = [
            parse(f"{name}.yaml", text.encode(), KINDS) for name, text in files.items() if text is not None
        ]
        gone = [f"{name}.yaml" for name, text in files.items() if text is None]
        self.documents = self.documents.with_files(parsed, gone=gone)
        wrong = [each for each in self.documents.errors if not isinstance(each, Dangling)]
        assert not wrong, wrong
        self._settle()

    def attach(self) -> None:
        for workload in ATTACHED:
            self._holding.attach(self._publisher, workload)

    def gives(self) -> dict[tuple[str, str, str], bytes]:
        """The bytes of each resource of each proxy, by workload, type and name."""
        return {
            (str(workload), kind.rpartition(".")[2], name): body
            for workload, (kind, name), body in self._holding.resources()
        }

    def _settle(self) -> None:
        self._state, changes = self._state.apply(self.documents.to_snapshot("file"))
        self._holding.take(told(self._publisher, self._state, changes))
