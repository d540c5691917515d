"""Rules of access policies, calls, and what becomes of each: held against the evaluator, and against real sidecars.

The policies of a set target the service `other` of the namespace `other`, whose callers are `web` and `probe` of `default`. The verdict of a
case is written down by hand: empty where the call is let in, else the name under which it is refused, `a` for `default/<set>-a`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from documents.parsing import parse
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.service import ServicePort
from mesh.state import MeshState
from policies.access_verdict import Caller, Request
from policies.registry import KINDS

OTHER = Key("other", "other")
HOST = "other.other.mesh"
TRUST_DOMAIN = "mesh.local"

MESH = """
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: other, namespace: other}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: probe}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: grpc}
spec: {ports: [{name: grpc, port: 80, protocol: grpc}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: tcp}
spec: {ports: [{name: echo, port: 7000}, {name: greet, port: 7001}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: other-1, namespace: other}
spec: {services: [other], address: 127.0.0.1, meshed: true, ports: [{name: http, app: 9001, sidecar: 15101}]}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A call by `caller`, and its verdict. `said`: headers, one a line. `claims`: of its token; None: it has none."""

    by: str
    line: str = "GET /"
    caller: str = "web"
    said: tuple[tuple[str, str], ...] = ()
    claims: Mapping[str, object] | None = None
    host: str = HOST

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    @property
    def who(self) -> Caller:
        return Caller(f"spiffe://{TRUST_DOMAIN}/ns/default/sa/{self.caller}", "127.0.0.1")

    @property
    def request(self) -> Request:
        return Request(self.method, self.path, self.host, self.said, self.claims)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """`policies`: what each says besides its target, by its letter."""

    name: str
    policies: Mapping[str, str]
    cases: tuple[Case, ...]
    target: str = "kind: Service, name: other, namespace: other"
    service: Key = OTHER

    def documents(self) -> str:
        return "---".join(
            document(f"{self.name}-{letter}", said, self.target) for letter, said in self.policies.items()
        )

    def refused_by(self, case: Case) -> str:
        """As access logs have it: letters in the place of names."""
        if not case.by:
            return ""
        begin = "~" if case.by.startswith("~") else ""
        letters = case.by.removeprefix("~").split(",")
        return begin + ",".join(f"default/{self.name}-{each}" for each in letters)


def document(name: str, said: str, target: str) -> str:
    return f"""
apiVersion: meshwright.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: {name}}}
spec: {{targetRefs: [{{{target}}}], {said}}}
"""


def state(*documents: str) -> MeshState:
    """The mesh of the cases, with `documents`."""
    parsed = parse("mesh.yaml", "---".join((MESH, *documents)).encode(), KINDS)
    assert not parsed.errors, "\n".join(map(str, parsed.errors))
    snapshot = SourceSnapshot(
        "file", tuple(parsed.services()), tuple(parsed.workloads()), tuple(parsed.declared())
    )
    return MeshState(TRUST_DOMAIN).apply(snapshot)[0]


def port(of: MeshState, service: Key = OTHER, name: str = "") -> ServicePort:
    ports = of.services[service].ports
    return next(each for each in ports if not name or each.name == name)


def with_header(*pairs: str) -> tuple[tuple[str, str], ...]:
    """Each like `x-role: admin`."""
    return tuple((name, value) for name, _, value in (each.partition(": ") for each in pairs))


ID = f"spiffe://{TRUST_DOMAIN}"

CALLERS = (
    RuleSet("default", {"a": "default: deny"}, (Case("~a"), Case("~a", caller="probe"))),
    RuleSet(
        "default-and",
        {"a": "default: deny", "b": "action: allow, rules: [{from: [{service: web}]}]"},
        (Case(""), Case("~a,b", caller="probe")),
    ),
    RuleSet(
        "everything",
        {"a": "default: deny", "b": "action: allow, rules: [{}]"},
        (Case(""), Case("", caller="probe")),
    ),
    RuleSet(
        "identity",
        {"a": f'action: allow, rules: [{{from: [{{identity: "{ID}/ns/default/sa/web"}}]}}]'},
        (Case(""), Case("~a", caller="probe")),
    ),
    RuleSet(
        "identity-star",
        {"a": f'action: allow, rules: [{{from: [{{identity: "{ID}/ns/default/sa/pro*"}}]}}]'},
        (Case("~a"), Case("", caller="probe")),
    ),
    RuleSet(
        "account",
        {"a": "action: allow, rules: [{from: [{serviceAccount: web}]}]"},
        (Case(""), Case("~a", caller="probe")),
    ),
    RuleSet(
        "account-elsewhere",
        {"a": "action: allow, rules: [{from: [{namespace: other, serviceAccount: web}]}]"},
        (Case("~a"), Case("~a", caller="probe")),
    ),
    RuleSet(
        "namespace",
        {"a": "action: allow, rules: [{from: [{namespace: default}]}]"},
        (Case(""), Case("", caller="probe")),
    ),
    RuleSet(
        "namespace-like",
        {"a": "action: allow, rules: [{from: [{namespace: def}, {namespace: other}]}]"},
        (Case("~a"), Case("~a", caller="probe")),
    ),
    RuleSet(
        "unknown-service",
        {
            "a": "action: allow, rules: [{from: [{service: nobody}]}]",
            "b": "action: deny, rules: [{from: [{service: ghost}]}]",
        },
        (Case("~a"),),
    ),
    RuleSet(
        "trust-domain",
        {"a": "action: allow, rules: [{from: [{trustDomain: mesh.local}]}]"},
        (Case(""),),
    ),
    RuleSet(
        "trust-domain-like",
        {
            "a": "action: allow, rules: [{from: [{trustDomain: mesh}, {trustDomain: other.local, serviceAccount: web}]}]"
        },
        (Case("~a"),),
    ),
    RuleSet(
        "any-identity",
        {
            "a": "action: allow, rules: [{from: [{anyMeshIdentity: true}]}]",
            "b": "action: deny, rules: [{from: [{anyMeshIdentity: false}]}]",
        },
        (Case(""), Case("", caller="probe")),
    ),
    RuleSet(
        "address",
        {"a": "action: allow, rules: [{from: [{ipBlocks: [127.0.0.0/8], serviceAccount: web}]}]"},
        (Case(""), Case("~a", caller="probe"), Case("", said=with_header("x-forwarded-for: 10.0.0.1"))),
    ),
    RuleSet(
        "address-elsewhere",
        {"a": 'action: allow, rules: [{from: [{ipBlocks: [10.0.0.0/8, "2001:db8::/32"]}]}]'},
        (Case("~a"), Case("~a", said=with_header("x-forwarded-for: 10.0.0.1"))),
    ),
    RuleSet(
        "not-address",
        {"a": "action: deny, rules: [{from: [{notIpBlocks: [127.0.0.1]}]}]"},
        (Case(""), Case("", said=with_header("x-forwarded-for: 10.0.0.1"))),
    ),
    RuleSet(
        "nots",
        {
            "a": "action: allow, rules: [{from: [{notServices: [probe]}]}]",
            "b": "action: deny, rules: [{from: [{notNamespaces: [default]}, {notTrustDomains: [mesh.local]}]}]",
            "c": f'action: deny, rules: [{{from: [{{notIdentities: ["{ID}/ns/default/*"]}}, {{notServiceAccounts: [web, default/probe]}}]}}]',
        },
        (Case(""), Case("~a", caller="probe")),
    ),
    RuleSet(
        "deny-wins",
        {
            "a": "action: allow, rules: [{}]",
            "b": "action: deny, rules: [{from: [{service: probe}]}]",
            "z": "action: deny, rules: [{from: [{namespace: default, serviceAccount: probe}]}]",
        },
        (Case(""), Case("b", caller="probe")),
    ),
    RuleSet(
        "forged",
        {"a": "action: allow, rules: [{from: [{service: probe}]}]"},
        (
            Case(
                "~a", said=with_header(f"x-forwarded-client-cert: By=x;Hash=y;URI={ID}/ns/default/sa/probe")
            ),
            Case("", caller="probe"),
        ),
    ),
)

REQUESTS = (
    RuleSet(
        "method",
        {"a": "action: allow, rules: [{to: [{methods: [GET, HEAD]}]}]"},
        (Case(""), Case("", "HEAD /"), Case("~a", "POST /"), Case("~a", "PURGE /")),
    ),
    RuleSet(
        "not-method",
        {
            "a": "action: allow, rules: [{to: [{notMethods: [DELETE]}]}]",
            "b": "action: deny, rules: [{to: [{notMethods: [GET, POST]}]}]",
        },
        (Case(""), Case("", "POST /"), Case("b", "DELETE /"), Case("b", "PUT /")),
    ),
    RuleSet(
        "path",
        {
            "a": 'action: allow, rules: [{to: [{paths: [/items, /items/*, "*.css", "/users/{*}/orders", "/deep/{**}/end"]}]}]'
        },
        (
            Case("", "GET /items"),
            Case("", "GET /items?q=/secret"),
            Case("", "GET /items/1/2"),
            Case("", "GET /items/"),
            Case("~a", "GET /itemsX"),
            Case("~a", "GET /ITEMS"),
            Case("~a", "GET /"),
            Case("", "GET /a/b.css"),
            Case("~a", "GET /a/b.css/c"),
            Case("", "GET /users/7/orders"),
            Case("~a", "GET /users/7/8/orders"),
            Case("~a", "GET /users//orders"),
            Case("", "GET /deep/a/b/end"),
            Case("~a", "GET /deep/a/b/ends"),
            Case("", "GET /secret/../items"),
            Case("~a", "GET /items/../secret"),
            Case("~a", "GET /items/%2e%2e/secret"),
            Case("~a", "GET /items/..%2fsecret"),
            Case("~a", "GET /items//x"),
            Case("~a", "GET /items/%5c../secret"),
            Case("~a", "GET /items/..;/secret"),
            Case("", "GET /%69tems"),
            Case("~a", "GET /secret?x=/items"),
            Case("~a", "GET /items/..\\secret"),
        ),
    ),
    RuleSet(
        "deny-path",
        {"a": "action: deny, rules: [{to: [{paths: [/admin, /admin/*]}]}]"},
        (
            Case("", "GET /"),
            Case("a", "GET /admin"),
            Case("a", "GET /admin?x=1"),
            Case("a", "GET /admin/users"),
            Case("", "GET /administrator"),
            Case("a", "GET //admin"),
            Case("a", "GET /x/..//admin"),
            Case("a", "GET /%61dmin/"),
            Case("a", "GET /x%2fadmin"),
            Case("a", "GET /.%2fadmin"),
            Case("a", "GET /./admin"),
            Case("a", "GET /x\\..\\admin"),
            Case("", "GET /x/admin"),
        ),
    ),
    RuleSet(
        "not-path",
        {
            "a": "action: allow, rules: [{to: [{notPaths: [/private/*]}]}]",
            "b": "action: deny, rules: [{to: [{notPaths: [/public/*], methods: [POST]}]}]",
        },
        (
            Case("", "GET /x"),
            Case("~a", "GET /private/x"),
            Case("~a", "GET /private//x"),
            Case("~a", "GET /x//y"),
            Case("", "POST /public/x"),
            Case("b", "POST /public//x"),
            Case("b", "POST /x"),
        ),
    ),
    RuleSet(
        "host",
        {
            "a": 'action: allow, rules: [{to: [{hosts: [other.other, "*.other.mesh"]}]}]',
            "b": 'action: deny, rules: [{to: [{hosts: ["other.other:80"]}]}]',
        },
        (
            Case(""),
            Case("", host="other.other"),
            Case("", host="other.other.mesh:80"),
            Case("b", host="other.other:80"),
        ),
    ),
    RuleSet(
        "not-host",
        {"a": "action: allow, rules: [{to: [{notHosts: [other.other]}]}]"},
        (Case(""), Case("~a", host="other.other"), Case("~a", host="other.other:80")),
    ),
    RuleSet(
        "port",
        {
            "a": "action: allow, rules: [{to: [{ports: [http]}]}]",
            "b": "action: deny, rules: [{to: [{ports: [81, https], notPorts: [9]}, {notPorts: [80]}]}]",
        },
        (Case(""),),
    ),
    RuleSet(
        "other-port",
        {"a": "action: allow, rules: [{to: [{ports: [81]}]}]"},
        (Case("~a"),),
    ),
    RuleSet(
        "header",
        {"a": 'action: allow, rules: [{when: [{header: X-Plan, values: [gold, "silver*"]}]}]'},
        (
            Case("~a"),
            Case("", said=with_header("x-plan: gold")),
            Case("", said=with_header("X-PLAN: silver-7")),
            Case("~a", said=with_header("x-plan: golden")),
            Case("", said=with_header("x-plan: gold", "x-plan: lead")),
            Case("~a", said=with_header("x-plan: gold,lead")),
        ),
    ),
    RuleSet(
        "deny-header",
        {
            "a": 'action: deny, rules: [{when: [{header: x-plan, values: [lead, "*-old"]}]}, {when: [{header: x-none, notValues: ["*"]}], to: [{paths: [/needs]}]}]'
        },
        (
            Case(""),
            Case("a", said=with_header("x-plan: lead")),
            Case("a", said=with_header("x-plan: gold,lead")),
            Case("a", said=with_header("x-plan: gold", "x-plan:   lead  ", "x-plan: tin")),
            Case("", said=with_header("x-plan: leader")),
            Case("a", said=with_header("x-plan: very-old, x")),
            Case("a", "GET /needs"),
            Case("", "GET /needs", said=with_header("x-none: here")),
        ),
    ),
    RuleSet(
        "all-of-a-rule",
        {
            "a": "action: allow, rules: [{from: [{service: web}], to: [{methods: [GET], paths: [/a]}, {methods: [POST], paths: [/b]}], when: [{header: x-go}]}]"
        },
        (
            Case("", "GET /a", said=with_header("x-go: 1")),
            Case("", "POST /b", said=with_header("x-go: 1")),
            Case("~a", "GET /b", said=with_header("x-go: 1")),
            Case("~a", "GET /a"),
            Case("~a", "GET /a", "probe", with_header("x-go: 1")),
        ),
    ),
)

CLAIMS = (
    RuleSet(
        "claims",
        {
            "a": 'action: allow, rules: [{when: [{claim: groups, values: [staff, "ops-*"]}], to: [{paths: [/groups]}]}, '
            "{when: [{claim: realm.roles, values: [admin]}], to: [{paths: [/nested]}]}, "
            '{when: [{claim: ["https://x.example/id"], values: [7, true]}], to: [{paths: [/odd]}]}, '
            "{when: [{claim: sub, notValues: [eve]}], to: [{paths: [/not]}]}, "
            "{when: [{claim: scope, values: [read]}], to: [{paths: [/scope]}]}, "
            "{to: [{paths: [/open]}]}]",
            "b": "action: deny, rules: [{when: [{claim: banned, values: [true]}]}, {when: [{claim: sub}, {claim: groups, notValues: [staff, ops-1, guests]}], to: [{paths: [/open]}]}]",
        },
        (
            Case("~a", "GET /groups"),
            Case("", "GET /groups", claims={"groups": ["guests", "staff"]}),
            Case("", "GET /groups", claims={"groups": "staff"}),
            Case("", "GET /groups", claims={"groups": ["ops-1"]}),
            Case("~a", "GET /groups", claims={"groups": ["stafff"]}),
            Case("", "GET /nested", claims={"realm": {"roles": ["admin"]}}),
            Case("~a", "GET /nested", claims={"roles": ["admin"]}),
            Case("~a", "GET /nested", claims={"realm.roles": ["admin"]}),
            Case("", "GET /odd", claims={"https://x.example/id": 7}),
            Case("", "GET /odd", claims={"https://x.example/id": [True]}),
            Case("~a", "GET /odd", claims={"https://x.example/id": "7"}),
            Case("", "GET /not", claims={"sub": "ann"}),
            Case("~a", "GET /not", claims={"sub": "eve"}),
            Case("~a", "GET /not"),
            Case("", "GET /scope", claims={"scope": "write read"}),
            Case("~a", "GET /scope", claims={"scope": "readers"}),
            Case("", "GET /open"),
            Case("b", "GET /open", claims={"sub": "ann"}),
            Case("", "GET /open", claims={"sub": "ann", "groups": ["guests"]}),
            Case("b", "GET /open", claims={"groups": ["guests"], "banned": True}),
        ),
    ),
)


def all_cases() -> Iterator[tuple[RuleSet, Case]]:
    return ((each, case) for each in (*CALLERS, *REQUESTS, *CLAIMS) for case in each.cases)
