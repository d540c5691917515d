"""Random policies on a small mesh, and what its sidecars are told of them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import strategies as st

from documents.parsing import parse
from documents.sets import DocumentSet
from envoy.render import Renderer
from mesh.names import Key
from mesh.state import MeshState
from meshwright.publisher import Publisher
from policies.registry import KINDS
from tests.support.builders import TRUST_DOMAIN
from tests.support.publishing import Holding, told
from xds.resource import Name

SMALL = """\
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: api}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: api-1}
spec: {services: [api], address: 127.0.0.2, meshed: true, ports: [{name: http, app: 9001, sidecar: 15101}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: web-1}
spec: {services: [web], address: 127.0.0.3, meshed: true, ports: [{name: http, app: 9001, sidecar: 15101}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: cart-1, namespace: shop}
spec: {services: [cart], address: 127.0.0.4, meshed: true, ports: [{name: http, app: 9001, sidecar: 15101}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules: [{backendRefs: [{name: api, port: 80}]}]
"""
WORKLOADS = (Key("default", "api-1"), Key("default", "web-1"), Key("shop", "cart-1"))

MESH = {"kind": "Mesh"}
NAMESPACES = ({"kind": "Namespace", "name": "default"}, {"kind": "Namespace", "name": "shop"})
SERVICES = (
    {"kind": "Service", "name": "api", "namespace": "default"},
    {"kind": "Service", "name": "cart", "namespace": "shop"},
)
WORKLOAD = {"kind": "Workload", "name": "api-1", "namespace": "default"}
ROUTE = {"kind": "HTTPRoute", "name": "api", "namespace": "default"}
WIDE = (MESH, *NAMESPACES)
TARGETS = {
    "TimeoutPolicy": (*WIDE, *SERVICES, ROUTE),
    "RetryPolicy": (*WIDE, *SERVICES, ROUTE),
    "CircuitBreaker": (*WIDE, *SERVICES),
    "OutlierDetection": (*WIDE, *SERVICES),
    "ConnectionLimit": (*WIDE, *SERVICES, WORKLOAD),
    "AccessLog": (*WIDE, *SERVICES, WORKLOAD),
    "RateLimit": (*WIDE, *SERVICES, WORKLOAD),
    "AccessPolicy": (*WIDE, *SERVICES, WORKLOAD),
    "MeshTLS": (*WIDE, *SERVICES, WORKLOAD),
}
CALLERS = ({"namespace": "shop"}, {"namespace": "default", "service": "web"})
NO_CALLERS = {"ConnectionLimit", "AccessLog", "AccessPolicy", "MeshTLS"}
NEVER_ENFORCED = {"RateLimit", "AccessPolicy"}
DURATIONS = st.integers(1, 60).map(lambda number: f"{number}s")
FIELDS: dict[str, dict[str, st.SearchStrategy[object]]] = {
    "TimeoutPolicy": {"request": DURATIONS, "idle": DURATIONS, "connect": DURATIONS, "perTry": DURATIONS},
    "RetryPolicy": {
        "attempts": st.integers(0, 9),
        "codes": st.lists(st.integers(500, 599), min_size=1, max_size=3),
        "backoff": st.fixed_dictionaries({"base": st.integers(1, 20).map(lambda number: f"{number}ms")}),
    },
    "CircuitBreaker": {"connections": st.integers(1, 99), "requests": st.integers(1, 99)},
    "OutlierDetection": {"consecutive5xx": st.integers(1, 9), "interval": DURATIONS},
    "ConnectionLimit": {"connections": st.integers(1, 99)},
    "AccessLog": {"format": st.sampled_from(["json", "text"])},
    "RateLimit": {"local": st.fixed_dictionaries({"requests": st.integers(1, 99)})},
    "AccessPolicy": {"default": st.just("deny")},
    "MeshTLS": {
        "mode": st.sampled_from(["strict", "permissive", "off"]),
        "minimumVersion": st.sampled_from(["1.2", "1.3"]),
    },
}


SWITCH: dict[str, object] = {"default": "deny"}
ACCESS: st.SearchStrategy[dict[str, object]] = st.one_of(
    st.just(SWITCH),
    st.fixed_dictionaries(
        {
            "action": st.sampled_from(["allow", "deny"]),
            "dryRun": st.booleans(),
            "rules": st.lists(
                st.sampled_from(
                    [
                        {"from": [{"service": "web", "namespace": "default"}]},
                        {"from": [{"notServices": ["shop/cart"]}], "to": [{"paths": ["/a/*"]}]},
                        {"to": [{"ports": ["http"], "methods": ["GET"]}]},
                        {},
                    ]
                ),
                min_size=1,
                max_size=2,
            ),
        }
    ),
)
"""What an access policy says, as a whole."""


@dataclass(frozen=True)
class Written:
    """A policy document. `spec` is JSON, so that equal ones are equal."""

    kind: str
    namespace: str
    name: str
    spec: str
    created: str = ""

    @property
    def text(self) -> str:
        metadata = {"name": self.name, "namespace": self.namespace}
        if self.created:
            metadata["creationTimestamp"] = self.created
        return json.dumps(
            {
                "apiVersion": "meshwright.dev/v1alpha1",
                "kind": self.kind,
                "metadata": metadata,
                "spec": json.loads(self.spec),
            }
        )


@st.composite
def policies(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(TARGETS)) -> Written:
    kind = draw(st.sampled_from(kinds))
    targets = draw(st.lists(st.sampled_from(TARGETS[kind]), min_size=1, max_size=2, unique_by=str))
    said = {name: draw(value) for name, value in FIELDS[kind].items() if draw(st.booleans())}
    if not said:
        name, value = next(iter(FIELDS[kind].items()))
        said[name] = draw(value)
    if kind == "AccessPolicy":
        said = draw(ACCESS)
    spec: dict[str, object] = {"targetRefs": targets, **said}
    if kind not in NO_CALLERS and draw(st.booleans()):
        spec["from"] = [draw(st.sampled_from(CALLERS))]
    if kind not in NEVER_ENFORCED and all(target in WIDE for target in targets):
        spec["enforced"] = draw(st.booleans())
    created = draw(st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]))
    namespace, name = draw(st.sampled_from(["default", "shop"])), draw(st.sampled_from("abcdef"))
    return Written(kind, namespace, name, json.dumps(spec), created)


def sets(kinds: tuple[str, ...] = tuple(TARGETS), most: int = 6) -> st.SearchStrategy[list[Written]]:
    """Policies, no two of the same kind and name."""
    return st.lists(
        policies(kinds), max_size=most, unique_by=lambda each: (each.kind, each.namespace, each.name)
    )


class Told:
    """A mesh with three sidecars, which are told of each change of documents: a file for each document."""

    def __init__(self) -> None:
        self.documents = DocumentSet()
        self.state = MeshState(TRUST_DOMAIN)
        self.publisher = Publisher(self.state, Renderer())
        self._holding = Holding()
        self.write(SMALL, "mesh.yaml")
        for workload in WORKLOADS:
            self._holding.attach(self.publisher, workload)

    def write(self, text: str, file: str = "policy.yaml") -> None:
        """One file is changed, or written."""
        self._settle(self.documents.with_files([parse(file, text.encode(), KINDS)]))

    def put(self, policy: Written) -> None:
        self.write(policy.text, f"{policy.kind}-{policy.namespace}-{policy.name}.yaml")

    def remove(self, policy: Written) -> None:
        self._settle(
            self.documents.with_files([], gone=[f"{policy.kind}-{policy.namespace}-{policy.name}.yaml"])
        )

    def gives(self) -> dict[Key, dict[Name, bytes]]:
        """Which resources each sidecar has been given, with their bytes."""
        given: dict[Key, dict[Name, bytes]] = {workload: {} for workload in WORKLOADS}
        for workload, name, body in self._holding.resources():
            given[workload][name] = body
        return given

    def _settle(self, documents: DocumentSet) -> None:
        assert not documents.errors, documents.errors
        self.documents = documents
        self.state, changes = self.state.apply(documents.to_snapshot("file"))
        self._holding.take(told(self.publisher, self.state, changes))
