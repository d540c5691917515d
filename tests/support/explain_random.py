"""Random small meshes, as documents, and random requests to them: for what an explanation and a real Envoy make of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from documents.parsing import parse
from explain.question import Question
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.state import MeshState
from policies.registry import KINDS
from tests.support.access_random import CLAIMS, PATHS, VALUES, Draw
from tests.support.builders import TRUST_DOMAIN
from tests.support.ports import LOOPBACK
from tests.support.tokens import AUDIENCE, Issuer

POLICY, ROUTE = "meshwright.dev/v1alpha1", "gateway.networking.k8s.io/v1"
SERVICES = tuple(f"s{number}" for number in range(8))
CALLER = "web-1"
SIDECARS = {"left": "v1", "right": "v2"}
"""Workloads with a sidecar that serve, and the label `version` of each."""
BARE = "bare"
"""The one that has none."""
EDGE, GATEWAY = "edge-1", Key("default", "edge")
"""The workload that plays the gateway."""
HOSTS = ("shop.example.com", "x.example.com", "a.b.example.com", "www.example.org", "elsewhere.example")
LISTENERS = ("", "*.example.com", "shop.example.com")
"""Host names of the gateway's listeners; the first has none."""
PREFIXES = ("/", "/a", "/a/b", "/b", "/x%20y", "/pkg.Svc", "/~u")
EXPRESSIONS = ("/a.*", "/[ab]", "(?i)/A/?.*", "/b/.+/c", ".*\\.css", "/.{0,3}")
QUERY = (("q", "1"), ("q", "2"), ("r", "a b"), ("r", ""))
SENT_QUERY = ("q=1", "q=2", "q=1&q=2", "q=2&q=1", "r=a%20b", "r=a+b", "q", "r=", "q=1&r=a%20b", "")
METHODS = ("GET", "POST", "PUT", "DELETE")
HEADERS = ("x-a", "x-b")
ORIGINS = ("https://a.example", "https://x.b.example", "http://a.example:8080")


@dataclass(frozen=True, slots=True)
class Ports:
    """`outbound`: of each sidecar. `application`: by workload. `sidecar`: by workload and service. `edge`: of the gateway."""

    outbound: dict[str, int]
    application: dict[str, int]
    sidecar: dict[tuple[str, str], int]
    edge: int


class MeshDraw:
    """The same for the same seed. `issuers`: of tokens, the last of whom nobody trusts."""

    def __init__(self, seed: int, ports: Ports, issuers: Sequence[Issuer]) -> None:
        self._draw = Draw(seed)
        self._ports = ports
        self._issuers = issuers

    def state(self) -> MeshState:
        """A mesh of the documents that are right; random ones need not be."""
        documents = [each for each in self._documents() if not _parsed([each]).errors]
        parsed = _parsed(documents)
        assert not parsed.errors, "\n".join(str(each) for each in parsed.errors)
        snapshot = SourceSnapshot(
            "file", tuple(parsed.services()), tuple(parsed.workloads()), tuple(parsed.declared())
        )
        return MeshState(TRUST_DOMAIN).apply(snapshot)[0]

    def question(self) -> Question:
        draw = self._draw
        headers = [(draw.one(HEADERS), draw.one(VALUES[:8]).strip()) for _ in range(draw.one((0, 0, 1, 2)))]
        if draw.often(0.15):
            headers.append(("origin", draw.one(ORIGINS)))
            headers.append(("access-control-request-method", draw.one(METHODS)))
        path = draw.one(PATHS).partition("?")[0]
        query = draw.one(SENT_QUERY) if draw.often(0.4) else ""
        sent = Question(
            method="OPTIONS" if draw.often(0.1) else draw.one(METHODS),
            path=f"{path}?{query}" if query else path,
            headers=tuple(headers),
        )
        if draw.often(0.3):
            claims = draw.one(tuple(CLAIMS.values())) | {
                "iss": draw.one(self._issuers).name,
                "aud": draw.one((AUDIENCE, "others", [AUDIENCE, "others"])),
            }
            sent = replace(sent, claims=claims)
        if draw.often(0.3):
            host = draw.one(HOSTS)
            authority = f"{host}:{self._ports.edge}" if draw.often(0.5) else host
            return replace(
                sent, authority=authority, gateway=GATEWAY, port=self._ports.edge, address=LOOPBACK
            )
        service = draw.one((*SERVICES, *SERVICES, *SERVICES, "nobody"))
        host = draw.one((service, f"{service}.default", f"{service}.mesh", f"{service}.default.mesh:80"))
        return replace(sent, caller=CALLER, authority=f"{service}:81" if draw.often(0.03) else host)

    # Documents

    def _documents(self) -> list[dict[str, Any]]:
        made = [self._service(each) for each in SERVICES]
        made.append(self._caller())
        made.extend(self._sidecar(name) for name in SIDECARS)
        made.append(_document("Workload", BARE, self._bare()))
        made.extend(self._edge())
        for each in SERVICES:
            made.extend(
                _document(
                    "ServiceSubset", f"{each}-{version}", {"service": each, "labels": {"version": version}}
                )
                for version in SIDECARS.values()
            )
            if self._draw.often(0.8):
                made.append(self._route(each))
            made.extend(self._policies(each))
        return made

    def _service(self, name: str) -> dict[str, Any]:
        return _document("Service", name, {"ports": [{"name": name, "port": 80, "protocol": "http"}]})

    def _caller(self) -> dict[str, Any]:
        said = {
            "serviceAccount": "web",
            "address": "127.0.0.1",
            "meshed": True,
            "outboundPort": self._ports.outbound[CALLER],
        }
        return _document("Workload", CALLER, said)

    def _sidecar(self, name: str) -> dict[str, Any]:
        """It serves most of them; one at least is served by nobody."""
        served = [each for each in SERVICES[:-1] if self._draw.often(0.7)]
        ports = [
            {"name": each, "app": self._ports.application[name], "sidecar": self._ports.sidecar[name, each]}
            for each in served
        ]
        return _document(
            "Workload",
            name,
            {
                "services": served,
                "serviceAccount": "served",
                "address": "127.0.0.1",
                "meshed": True,
                "ports": ports,
                "outboundPort": self._ports.outbound[name],
                "health": "critical" if self._draw.often(0.1) else "passing",
            },
            labels={"version": SIDECARS[name]},
        )

    def _bare(self) -> dict[str, Any]:
        served = [each for each in SERVICES[:-1] if self._draw.often(0.2)]
        ports = [{"name": each, "app": self._ports.application[BARE]} for each in served]
        return {"services": served, "serviceAccount": "served", "address": "127.0.0.1", "ports": ports}

    def _edge(self) -> Iterator[dict[str, Any]]:
        yield _document(
            "Workload", EDGE, {"gateway": GATEWAY.name, "address": LOOPBACK, "serviceAccount": "web"}
        )
        listeners = [
            {"name": f"l{number}", "port": self._ports.edge, "protocol": "HTTP"}
            | ({"hostname": host} if host else {})
            for number, host in enumerate(LISTENERS)
            if not host or self._draw.often(0.7)
        ]
        spec: dict[str, Any] = {"gatewayClassName": "meshwright", "listeners": listeners}
        yield _document("Gateway", GATEWAY.name, spec, version=ROUTE)
        for number in self._draw.times(3):
            spec = {
                "parentRefs": [{"name": GATEWAY.name}],
                "rules": [
                    *(self._rule(self._draw.one(SERVICES)) for _ in self._draw.times(3)),
                    *self._last(self._draw.one(SERVICES)),
                ],
            }
            if self._draw.often(0.7):
                spec["hostnames"] = self._draw.some((*HOSTS, "*.example.com", "*.b.example.com"))
            yield _document("HTTPRoute", f"edge-{number}", spec, version=ROUTE)
        if self._draw.often(0.5):
            target = {"targetRefs": [{"kind": "Workload", "name": EDGE}]}
            yield _document("AccessPolicy", "p-edge", target | self._draw.policy())

    def _route(self, service: str) -> dict[str, Any]:
        spec = {
            "parentRefs": [{"group": "", "kind": "Service", "name": service}],
            "rules": [*(self._rule(service) for _ in self._draw.times(4)), *self._last(service)],
        }
        return _document("HTTPRoute", f"r-{service}", spec, version=ROUTE)

    def _last(self, service: str) -> list[dict[str, Any]]:
        """Mostly a rule for whatever the others leave."""
        return [{"backendRefs": [self._backend(service)]}] if self._draw.often(0.7) else []

    def _rule(self, service: str) -> dict[str, Any]:
        draw, rule = self._draw, dict[str, Any]()
        prefixed = draw.often(0.5)
        if draw.often(0.85):
            some = 1 if prefixed else draw.one((1, 1, 2))
            rule["matches"] = [self._match(prefixed=prefixed) for _ in range(some)]
        filters = self._filters(prefixed=prefixed and "matches" in rule)
        redirects = any(each["type"] == "RequestRedirect" for each in filters)
        if not redirects:
            rule["backendRefs"] = [self._backend(service) for _ in self._draw.times(3)]
        if filters:
            rule["filters"] = filters
        if draw.often(0.2):
            rule["timeouts"] = {"request": "20s"}
        return rule

    def _match(self, *, prefixed: bool) -> dict[str, Any]:
        draw, made = self._draw, dict[str, Any]()
        if prefixed:
            made["path"] = {"type": "PathPrefix", "value": draw.one(PREFIXES)}
        elif draw.often(0.7):
            regex = draw.often(0.4)
            value = draw.one(EXPRESSIONS) if regex else draw.one(("/a", "/a/b", "/b", "/", "/a/"))
            made["path"] = {"type": "RegularExpression" if regex else "Exact", "value": value}
        if draw.often(0.3):
            made["method"] = draw.one(METHODS)
        if draw.often(0.3):
            regex = draw.often(0.4)
            value = "g.*|lead" if regex else draw.one(("gold", "lead", "gold,lead"))
            kind = "RegularExpression" if regex else "Exact"
            made["headers"] = [{"name": draw.one(HEADERS), "value": value, "type": kind}]
        if draw.often(0.25):
            name, value = draw.one(QUERY)
            made["queryParams"] = [{"name": name, "value": value or "1"}]
        return made

    def _filters(self, *, prefixed: bool) -> list[dict[str, Any]]:
        draw = self._draw
        if draw.often(0.15):
            return [{"type": "RequestRedirect", "requestRedirect": self._redirect(prefixed=prefixed)}]
        found: list[dict[str, Any]] = []
        if draw.often(0.35):
            modifier: dict[str, Any] = {}
            for what in draw.some(("set", "add", "remove"), 2):
                name = draw.one(HEADERS)
                modifier[what] = (
                    [name] if what == "remove" else [{"name": name, "value": draw.one(("gold", "tin"))}]
                )
            found.append({"type": "RequestHeaderModifier", "requestHeaderModifier": modifier})
        if draw.often(0.3):
            rewrite: dict[str, Any] = {}
            if draw.often(0.5):
                rewrite["hostname"] = draw.one(("x.example.com", "api"))
            if draw.often(0.7) or not rewrite:
                rewrite["path"] = self._path(prefixed=prefixed)
            found.append({"type": "URLRewrite", "urlRewrite": rewrite})
        if draw.often(0.15):
            cors = {
                "allowOrigins": [draw.one(("https://a.example", "https://*.b.example", "*"))],
                "allowMethods": ["GET"],
            }
            found.append({"type": "CORS", "cors": cors})
        return found

    def _redirect(self, *, prefixed: bool) -> dict[str, Any]:
        choices: dict[str, Callable[[], object]] = {
            "scheme": lambda: self._draw.one(("http", "https")),
            "hostname": lambda: "elsewhere.example",
            "port": lambda: self._draw.one((80, 443, 8443)),
            "statusCode": lambda: self._draw.one((301, 302, 303, 307, 308)),
            "path": lambda: self._path(prefixed=prefixed),
        }
        return {name: choices[name]() for name in self._draw.some(tuple(choices), 3)}

    def _path(self, *, prefixed: bool) -> dict[str, Any]:
        if prefixed and self._draw.often(0.6):
            return {"type": "ReplacePrefixMatch", "replacePrefixMatch": self._draw.one(("/", "/n", "/a/b/"))}
        return {"type": "ReplaceFullPath", "replaceFullPath": self._draw.one(("/", "/a", "/full/path"))}

    def _backend(self, service: str) -> dict[str, Any]:
        draw = self._draw
        weight = {"weight": draw.one((0, 1, 1, 3))} if draw.often(0.5) else {}
        if draw.often(0.4):
            name = f"{draw.one((service, service, *SERVICES))}-{draw.one(tuple(SIDECARS.values()))}"
            made: dict[str, Any] = {
                "group": "meshwright.dev",
                "kind": "ServiceSubset",
                "name": name,
                "port": 80,
            }
        else:
            made = {"name": draw.one((service, service, *SERVICES, "ghost")), "port": 80}
        if draw.often(0.1):
            header = {"set": [{"name": "x-a", "value": "gold"}]}
            made["filters"] = [{"type": "RequestHeaderModifier", "requestHeaderModifier": header}]
        return made | weight

    def _policies(self, service: str) -> list[dict[str, Any]]:
        draw, made = self._draw, list[dict[str, Any]]()
        target = {"targetRefs": [{"kind": "Service", "name": service}]}
        if draw.often(0.5):
            made.extend(
                _document("AccessPolicy", f"p-{service}-{number}", target | said)
                for number, said in enumerate(draw.policies()[:2])
            )
        if draw.often(0.3):
            made.append(_document("RequestAuthentication", f"a-{service}", target | self._authentication()))
        if draw.often(0.2):
            fault: dict[str, Any] = {"abort": {"httpStatus": draw.one((418, 500, 503)), "percent": 100}}
            if draw.often(0.7):
                fault["headers"] = [{"name": draw.one(HEADERS), "value": draw.one(("gold", "lead"))}]
            made.append(_document("FaultInjection", f"f-{service}", target | fault))
        if draw.often(0.3):
            made.append(_document("RetryPolicy", f"t-{service}", target | {"attempts": draw.one((0, 1, 3))}))
        if draw.often(0.2):
            made.append(
                _document("MeshTLS", f"m-{service}", target | {"mode": draw.one(("permissive", "off"))})
            )
        return made

    def _authentication(self) -> dict[str, Any]:
        draw, modes = self._draw, ("required", "optional", "off")
        issuers = [
            {
                "name": each.name.rpartition("/")[2],
                "issuer": each.name,
                "jwks": {"inline": each.jwks},
                "audiences": [AUDIENCE] if draw.often(0.5) else [],
                "forward": draw.often(0.7),
                "claims": [{"claim": "sub", "header": "x-a"}] if draw.often(0.3) else [],
            }
            for each in draw.some(self._issuers[:-1])
        ]
        said: dict[str, Any] = {"issuers": issuers, "mode": draw.one(modes)}
        if said["mode"] == "optional":
            said["allowInvalid"] = draw.often(0.4)
        if draw.often(0.5):
            match: dict[str, Any] = {
                "paths": [draw.one(({"prefix": "/a"}, {"exact": "/b"}, {"regex": "/a.*"}))]
            }
            if draw.often(0.3):
                match = {"methods": ["GET", "PUT"]}
            said["rules"] = [{"match": match, "mode": draw.one(modes)}]
        return said


def _document(
    kind: str, name: str, spec: dict[str, Any], *, version: str = POLICY, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _parsed(documents: Sequence[dict[str, Any]]) -> Any:
    return parse("mesh.yaml", yaml.safe_dump_all(documents).encode(), KINDS)
