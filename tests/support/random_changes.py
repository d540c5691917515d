"""Random changes of the documents of a small mesh: a few documents put or deleted together, of many kinds, all of them right."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Name = tuple[str, str, str]
"""Kind, namespace and name."""
Document = dict[str, Any]
OURS, GATEWAY_API = "meshwright.dev/v1alpha1", "gateway.networking.k8s.io/v1"
SERVICES = ("api", "web", "store", "cart")
CALLERS = ("web", "api")


def document(api_version: str, kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> Document:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": dict(spec),
    }


def service(name: str, protocol: str = "http", port: int = 80) -> Document:
    return document(OURS, "Service", name, {"ports": [{"name": "main", "port": port, "protocol": protocol}]})


def workload(name: str, of: str, number: int, **spec: Any) -> Document:
    labels = spec.pop("labels", {"version": "v1"})
    said = {
        "services": [of],
        "address": f"127.0.1.{number}",
        "meshed": True,
        "ports": [{"name": "main", "app": 9001, "sidecar": 15101}],
        **spec,
    }
    return document(OURS, "Workload", name, said, labels=labels)


def beginning() -> list[Document]:
    """Four services, one of them TCP, and six workloads."""
    return [
        *(service(each) for each in ("api", "web", "cart")),
        service("store", "tcp", 5432),
        workload("web-1", "web", 1, uses=["api", "cart"]),
        workload("web-2", "web", 2),
        workload("api-1", "api", 3, uses=["store"]),
        workload("api-2", "api", 4, labels={"version": "v2"}),
        workload("cart-1", "cart", 5, uses=[]),
        workload("store-1", "store", 6),
        document(OURS, "ServiceSubset", "api-v2", {"service": "api", "labels": {"version": "v2"}}),
    ]


SIDECARS = ("web-1", "web-2", "api-1", "api-2", "cart-1", "store-1")


@dataclass(slots=True)
class Changes:
    """`there`: what has been written and not deleted, besides the beginning."""

    random: random.Random
    there: dict[Name, Document] = field(default_factory=dict)

    def next(self) -> tuple[list[Document], list[Name]]:
        """Some documents to put, and some to delete."""
        put = {name_of(each): each for each in (self._put() for _ in range(self.random.randint(0, 2)))}
        gone = [name for name in self.there if name not in put and self.random.random() < 0.15][:2]
        if not put and not gone:
            made = self._put()
            put = {name_of(made): made}
        self.there |= {name: each for name, each in put.items() if name[2] not in SIDECARS}
        for name in gone:
            del self.there[name]
        return list(put.values()), gone

    def _put(self) -> Document:
        make = self.random.choice(
            (
                self._policy,
                self._policy,
                self._policy,
                self._route,
                self._workload,
                self._service,
                self._caller,
            )
        )
        return make()

    def _target(self, *kinds: str) -> dict[str, str]:
        kind = self.random.choice(kinds or ("Mesh", "Namespace", "Service", "Service"))
        if kind == "Mesh":
            return {"kind": "Mesh"}
        return {"kind": kind, "name": "default" if kind == "Namespace" else self.random.choice(SERVICES)}

    def _policy(self) -> Document:
        some, number = self.random, self.random.randint
        specs: dict[str, dict[str, Any]] = {
            "TimeoutPolicy": {"request": f"{number(1, 60)}s", "connect": f"{number(1, 9)}s"},
            "RetryPolicy": {"attempts": number(0, 5), "on": ["5xx", "reset"]},
            "CircuitBreaker": {"connections": number(1, 99)},
            "OutlierDetection": {"consecutive5xx": number(1, 9)},
            "ConnectionLimit": {"connections": number(1, 99)},
            "AccessLog": {"format": some.choice(("json", "text"))},
            "AccessPolicy": {
                "action": some.choice(("allow", "deny")),
                "rules": [{"from": [{"service": some.choice(CALLERS)}]}],
            },
        }
        kind = some.choice(tuple(specs))
        spec = {"targetRefs": [self._target()], **specs[kind]}
        if kind in {"TimeoutPolicy", "RetryPolicy", "CircuitBreaker"} and some.random() < 0.3:
            spec["from"] = [{"service": some.choice(CALLERS)}]
        return document(OURS, kind, f"p{number(1, 4)}", spec)

    def _route(self) -> Document:
        some = self.random
        backends: list[dict[str, Any]] = [
            {"name": some.choice(("api", "cart", "nowhere")), "port": 80, "weight": some.randint(0, 9)},
            {"group": "meshwright.dev", "kind": "ServiceSubset", "name": "api-v2", "port": 80, "weight": 1},
        ]
        rule: dict[str, Any] = {"backendRefs": some.sample(backends, some.randint(1, 2))}
        if some.random() < 0.7:
            rule["matches"] = [{"path": {"type": "PathPrefix", "value": f"/{some.choice('abc')}"}}]
        parent = {"group": "", "kind": "Service", "name": some.choice(("api", "web", "cart"))}
        return document(
            GATEWAY_API, "HTTPRoute", f"r{some.randint(1, 3)}", {"parentRefs": [parent], "rules": [rule]}
        )

    def _workload(self) -> Document:
        number = self.random.randint(10, 13)
        spec: dict[str, Any] = {
            "labels": {"version": self.random.choice(("v1", "v2"))},
            "health": self.random.choice(("passing", "warning", "critical")),
            "weight": self.random.randint(1, 5),
        }
        return workload(f"more-{number}", self.random.choice(("api", "web", "cart")), number, **spec)

    def _caller(self) -> Document:
        """The first workload with other calls: by name, or by a local port. It is never deleted."""
        uses = self.random.choice(
            (
                ["api", "cart"],
                ["api"],
                [{"service": "api", "localPort": 8080}, "cart"],
                ["api", "cart", "store"],
            )
        )
        return workload("web-1", "web", 1, uses=uses)

    def _service(self) -> Document:
        name = f"extra-{self.random.randint(1, 3)}"
        return service(name, self.random.choice(("http", "http2", "tcp")), self.random.choice((80, 81)))


def name_of(made: Document) -> Name:
    return made["kind"], made["metadata"]["namespace"], made["metadata"]["name"]
