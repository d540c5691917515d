"""AccessPolicy: what is refused of what users write, what several come to together, and the parts that Envoy gets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy.seams import NOTHING, Parts
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.service import Protocol
from mesh.state import MeshState
from mesh.views import inbound_view
from pb.envoy.config.listener.v3.listener_components_pb2 import Filter
from pb.envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from pb.envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network
from policies import access
from policies.access import EXAMPLE, KIND
from policies.access_messages import AUDIT, HTTP
from policies.weave import Weaver
from tests.support.builders import a_key, a_proxy, a_service
from tests.support.policy_documents import CALLEE, accepted, added, declared, of, on_route, refusals

RULES = "action: allow, rules: "
WRONG = [
    ("rules: [{}]", ["spec.action: what becomes of what the rules apply to is not said. Add action: allow, deny or audit; or default: deny, without rules"]),
    ("action: forbid, rules: [{}]", ["spec.action: 'forbid' is not known here. Use allow, deny or audit"]),
    ("action: deny", ["spec.rules: there is nothing to deny. Add rules; [{}] applies to everything"]),
    ("action: audit", ["spec.rules: there is nothing to audit. Add rules; [{}] applies to everything"]),
    ("action: allow", ["spec.rules: there is nothing to allow. Add rules; [{}] applies to everything. To let nobody in whom no other policy allows, write default: deny instead of action"]),
    ("action: allow, rules: []", ["spec.rules: the list is empty. Give at least 1"]),
    ("default: allow", ["spec.default: 'allow' is not known here. Use deny"]),
    ("default: deny, action: allow", ["spec.action: default: deny stands alone, without action. Remove action, or make two policies of it"]),
    ("default: deny, rules: [{}]", ["spec.rules: default: deny stands alone, without rules. Remove rules, or make two policies of it"]),
    ("action: audit, dryRun: true, rules: [{}]", ["spec.dryRun: an audit refuses nothing anyway. Remove dryRun"]),
    ("default: deny, from: [{service: web}]", ["spec.from: callers are named in rules. Move it: rules: [{from: [...]}]"]),
    (RULES + "[{form: [{service: web}]}]", ["spec.rules[0].form: unknown field 'form'. Did you mean from? Known here: from, to, when"]),
    (RULES + "[{from: [{}]}]", ["spec.rules[0].from[0]: a caller without any condition is everyone. Remove from, or write anyMeshIdentity: true"]),
    (RULES + "[{from: []}]", ["spec.rules[0].from: the list is empty. Give at least 1"]),
    (RULES + "[{from: [{service: web, serviceAccount: web}]}]", ["spec.rules[0].from[0]: both service and serviceAccount name identities. Keep one, or make two entries of them"]),
    (RULES + "[{from: [{service: web, trustDomain: other}]}]", ["spec.rules[0].from[0]: services of another trust domain are not known here. Name their serviceAccount instead"]),
    (RULES + "[{from: [{identity: 'spiffe://m/ns/a/sa/b', namespace: a}]}]", ["spec.rules[0].from[0]: identity says the rest, too. Keep identity alone, or leave it out"]),
    (RULES + "[{from: [{identity: web}]}]", ["spec.rules[0].from[0].identity: 'web' is not a SPIFFE id. Write it like spiffe://mesh.local/ns/shop/sa/cart, or with a * at the end, behind the trust domain and its slash"]),
    (RULES + "[{from: [{identity: 'spiffe://mesh*'}]}]", ["spec.rules[0].from[0].identity: 'spiffe://mesh*' is not a SPIFFE id. Write it like spiffe://mesh.local/ns/shop/sa/cart, or with a * at the end, behind the trust domain and its slash"]),
    (RULES + "[{from: [{ipBlocks: [10.0.0.1/8]}]}]", ["spec.rules[0].from[0].ipBlocks[0]: '10.0.0.1/8' has bits set beyond its length. Write it as 10.0.0.0/8"]),
    (RULES + "[{from: [{ipBlocks: [localhost]}]}]", ["spec.rules[0].from[0].ipBlocks[0]: 'localhost' is no block of addresses. Write it like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"]),
    (RULES + "[{from: [{trustDomain: Mesh}]}]", ["spec.rules[0].from[0].trustDomain: 'Mesh' is not a trust domain. Write it like mesh.local, in lower case"]),
    (RULES + "[{from: [{notServices: [a/b/c]}]}]", ["spec.rules[0].from[0].notServices[0]: 'a/b/c' is no service. Write <service>, or <namespace>/<service>"]),
    (RULES + "[{from: [{notServiceAccounts: [a/.]}]}]", ["spec.rules[0].from[0].notServiceAccounts[0]: 'a/.' is no service account. Write <service account>, or <namespace>/<service account>"]),
    (RULES + "[{to: [{}]}]", ["spec.rules[0].to[0]: an entry without any condition means every request. Remove it, or the whole of to"]),
    (RULES + "[{to: [{methods: [get]}]}]", ["spec.rules[0].to[0].methods[0]: 'get' is not a method. Write it in capitals, like GET"]),
    (RULES + "[{to: [{paths: ['*']}]}]", ["spec.rules[0].to[0].paths[0]: path '*' is every path. Remove paths, or write /* for every path that begins so"]),
    (RULES + "[{to: [{paths: [items]}]}]", ["spec.rules[0].to[0].paths[0]: path 'items' does not begin with a slash. Write it as /items"]),
    (RULES + "[{to: [{paths: ['/a?b']}]}]", ["spec.rules[0].to[0].paths[0]: path '/a?b' has a query or a fragment, which is no part of a path. Remove it"]),
    (RULES + "[{to: [{paths: ['/a/*/b']}]}]", ["spec.rules[0].to[0].paths[0]: path '/a/*/b' has a star in its middle, or two. A star stands at the end, or at the beginning"]),
    (RULES + "[{to: [{paths: ['/a/{*}/*']}]}]", ["spec.rules[0].to[0].paths[0]: path '/a/{*}/*' has a star and a {*}. Use {*} for one segment and {**} for any number of them"]),
    (RULES + "[{to: [{paths: ['/a/{id}']}]}]", ["spec.rules[0].to[0].paths[0]: path '/a/{id}' has a brace that is neither {*} nor {**}. Write {*} for one segment"]),
    (RULES + "[{to: [{paths: [/a//b, /a/../b, /%61, '/a%2Fb']}]}]", [f"spec.rules[0].to[0].paths[{n}]: path '{path}' is not what a request has after it was normalised. Write it without //, dot segments and backslashes, and with nothing encoded that need not be" for n, path in enumerate(["/a//b", "/a/../b", "/%61", "/a%2Fb"])]),
    (RULES + f"[{{to: [{{paths: ['/{'x' * 120}/{{*}}']}}]}}]", [f"spec.rules[0].to[0].paths[0]: path '/{'x' * 120}/{{*}}' is too long for a condition of Envoy. Make it shorter"]),
    (RULES + "[{to: [{hosts: ['*']}]}]", ["spec.rules[0].to[0].hosts[0]: host '*' is every host. Remove hosts"]),
    (RULES + "[{to: [{hosts: ['http://api']}]}]", ["spec.rules[0].to[0].hosts[0]: 'http://api' is not a host. Write it like api.mesh, api.mesh:8080 or *.example.com"]),
    (RULES + "[{to: [{ports: [0]}]}]", ["spec.rules[0].to[0].ports[0]: 0 is not a port. Use a number from 1 to 65535"]),
    (RULES + "[{to: [{grpc: [{service: Cart}], paths: [/a]}]}]", ["spec.rules[0].to[0]: grpc says method and path already. Remove methods and paths"]),
    (RULES + "[{to: [{grpc: [{service: shop/Cart}]}]}]", ["spec.rules[0].to[0].grpc[0].service: 'shop/Cart' is not the full name of a gRPC service. Write it like shop.v1.Cart"]),
    (RULES + "[{when: [{values: [a]}]}]", ["spec.rules[0].when[0]: a condition names either a header or a claim. Give one of header and claim"]),
    (RULES + "[{when: [{header: a, claim: b}]}]", ["spec.rules[0].when[0]: a condition names either a header or a claim. Give one of header and claim"]),
    (RULES + "[{when: [{header: Host, values: [a]}]}]", ["spec.rules[0].when[0]: host is not for conditions on headers. Use to: [{hosts: …}]"]),
    (RULES + "[{when: [{header: X-Forwarded-Client-Cert}]}]", ["spec.rules[0].when[0]: x-forwarded-client-cert is not for conditions on headers. Use from"]),
    (RULES + "[{when: [{header: ':path'}]}]", ["spec.rules[0].when[0].header: ':path' is not the name of a header. Write it like x-user-id, without a colon"]),
    (RULES + "[{when: [{header: x-level, values: [7]}]}]", ['spec.rules[0].when[0]: a header says text, not 7. Put it in quotes: "7"']),
    (RULES + "[{when: [{header: x-level, values: ['a*b']}]}]", ["spec.rules[0].when[0].values[0]: value 'a*b' has a star in its middle, or two. A star stands at the end, or at the beginning"]),
    (RULES + "[{when: [{claim: a, values: [90071992547409930]}]}]", ["spec.rules[0].when[0].values[0]: 90071992547409930 is no number that a claim can have. Use one up to 2^53, or text in quotes"]),
    (RULES + "[{when: [{claim: a, values: [[b]]}]}]", ["spec.rules[0].when[0].values[0]: a value is neither text nor a number, nor true or false. Give one of these"]),
    (RULES + "[{when: [{claim: 7}]}]", ["spec.rules[0].when[0].claim: the name of a claim is neither text nor a list of texts. Write it like groups"]),
    (RULES + "[{to: [{ports: [true]}]}]", ["spec.rules[0].to[0].ports[0]: a port is neither a number nor a name. Write it like 80 or http"]),
    (RULES + "[{to: [{ports: [HTTP]}]}]", ["spec.rules[0].to[0].ports[0]: 'HTTP' is not the name of a port. Use up to 63 lower-case letters, digits and '-'"]),
    (RULES + "[{when: [{claim: 'a..b'}]}]", ["spec.rules[0].when[0].claim: the name of a claim is empty. Write it like groups or realm_access.roles"]),
    (f"action: deny, rules: [{{when: [{{header: x-a, values: [{'y' * 120}]}}]}}]", ["spec.rules[0].when[0].values[0]: a value of 120 characters is too long for this condition. Shorten it, and put a * at its end"]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "said"), WRONG, ids=[spec[:60] for spec, _ in WRONG])
def test_wrong_documents(spec: str, said: list[str]) -> None:
    assert refusals("AccessPolicy", spec) == said


def test_access_policies_all_hold() -> None:
    said = "spec.enforced: access policies all hold, and a deny always wins. Remove enforced"
    assert refusals("AccessPolicy", "default: deny, enforced: true", "[{kind: Mesh}]") == [said]


def test_the_example() -> None:
    accepted(EXAMPLE)


# What several come to together


def policies(**said: str) -> str:
    """Documents of the namespace `default`, by name, which target the service `api`."""
    return "---".join(
        f"""
apiVersion: meshwright.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: {name.replace("_", "-")}}}
spec: {{targetRefs: [{{kind: Service, name: api}}], {spec}}}
"""
        for name, spec in said.items()
    )


def mesh(documents: str) -> MeshState:
    proxy = a_proxy("api-1", services=("api",), sidecar=15101)
    known = SourceSnapshot("s", (a_service("api"), a_service("web")), (proxy,), declared(documents))
    return MeshState("mesh.test").apply(known)[0]


def woven(state: MeshState) -> Parts:
    weaver, proxy = Weaver(), state.workloads[a_key("api-1")]
    seams = weaver.listeners(state, proxy, inbound_view(state, proxy))
    assert weaver.problems == {}
    return seams.chain("default/api:80")


def config(parts: Parts, name: str = HTTP) -> RBAC:
    return RBACPerRoute.FromString(on_route(parts)[name]).rbac if name in on_route(parts) else RBAC()


def refused(said: str) -> list[str]:
    return sorted(config(woven(mesh(said))).rules.policies)


def test_names_under_which_calls_are_refused() -> None:
    allow, deny = "action: allow, rules: [{from: [{service: web}]}]", "action: deny, rules: [{}]"
    assert refused(policies(a=allow)) == ["~default/a"]
    assert refused(policies(a=allow, switch="default: deny")) == ["~default/switch,default/a"]
    assert refused(policies(b=deny, a=deny)) == ["default/a", "default/b"]
    assert refused(policies(z=deny, a=allow)) == ["default/z", "~default/a"]
    assert refused(policies(a=allow, b=allow, c=allow, d=allow, e=allow)) == [
        "~default/a,default/b,default/c,+2"
    ]


def test_what_allows_everything_and_what_denies_nobody_need_no_rule() -> None:
    assert refused(policies(a="action: allow, rules: [{}]", b="default: deny")) == []
    assert refused(policies(a="action: deny, rules: [{from: [{service: ghost}]}]")) == []
    assert woven(mesh(policies(a="action: allow, rules: [{}]"))) == NOTHING


def test_on_trial() -> None:
    allow, deny = "action: allow, rules: [{from: [{service: web}]}]", "action: deny, rules: [{}]"
    both = config(woven(mesh(policies(a=f"dryRun: true, {allow}", b=f"dryRun: true, {deny}"))))
    assert (len(both.rules.policies), sorted(both.shadow_rules.policies)) == (0, ["default/b", "~default/a"])
    assert both.shadow_rules_stat_prefix == "dry_run_"
    beside = config(woven(mesh(policies(a=f"dryRun: true, {allow}", b=allow))))
    assert sorted(beside.rules.policies) == ["~default/b"]
    assert not beside.HasField("shadow_rules"), "where there is an allow, one more refuses nothing"
    audit = woven(mesh(policies(a="action: audit, rules: [{}]")))
    assert list(on_route(audit)) == [AUDIT]
    assert list(config(audit, AUDIT).shadow_rules.policies) == ["default/a"]


def test_on_tcp_and_on_the_ports_of_a_gateway() -> None:
    (made,) = added(KIND, "{default: deny}", of(CALLEE, Protocol.TCP)).network_filters
    rbac = network.RBAC.FromString(Filter.FromString(made).typed_config.value)
    assert (rbac.stat_prefix, list(rbac.rules.policies)) == ("default/api:80", ["~default/p"])
    edge = replace(CALLEE, gateway=True)
    assert added(KIND, "{default: deny}", edge) == NOTHING, "the routes say it, which are those of all ports"
    assert list(config(added(KIND, "{default: deny}", replace(edge, port=None))).rules.policies) == [
        "~default/p"
    ]


@pytest.mark.parametrize("action", ["allow", "deny"])
def test_rules_that_name_ports_of_a_gateway(action: str) -> None:
    """What stands on the routes refuses nothing that is let in on some port; the rest stands on the port."""
    said = f"{{action: {action}, rules: [{{to: [{{ports: [80]}}]}}, {{to: [{{paths: [/a]}}]}}]}}"
    edge = replace(CALLEE, gateway=True)
    found = {port: added(KIND, said, replace(edge, port=port)) for port in (None, 80, 81)}
    rules = {port: RBAC.FromString(each.config) for port in (80, 81) for each in found[port].http_filters}
    on_routes = list(config(found[None]).rules.policies)
    if action == "allow":
        assert (on_routes, list(rules)) == ([], [81])
        assert list(rules[81].rules.policies) == ["~default/p"]
    else:
        assert (on_routes, list(rules)) == (["default/p"], [80])
        assert rules[80].rules.policies["default/p"].principals[0].any


def test_what_nobody_foresaw_lets_nobody_in() -> None:
    parts = access.closed(CALLEE)
    assert list(config(parts).rules.policies) == ["default/p"]
    assert config(parts).rules.policies["default/p"].principals[0].any


def test_a_service_is_known_by_the_identities_that_it_has_now() -> None:
    said = policies(
        a="action: allow, rules: [{from: [{service: web, namespace: default}, {namespace: default, service: late}]}]"
    )
    state = mesh(said)
    assert b"spiffe://mesh.test/ns/default/sa/web" in woven(state).route
    assert b"/sa/late" not in woven(state).route
    newer, changes = state.apply(SourceUpdate("s", services=(a_service("late"),)))
    assert a_key("api-1") in changes.workloads, "its sidecar is told"
    assert b"spiffe://mesh.test/ns/default/sa/late" in woven(newer).route
    renamed, changes = newer.apply(
        SourceUpdate("s", workloads=(replace(a_proxy("web-1", services=("web",)), service_account="other"),))
    )
    assert a_key("api-1") in changes.workloads
    assert b"/sa/other" in woven(renamed).route


SPECS = (
    "default: deny",
    "action: allow, rules: [{from: [{service: web}]}]",
    "action: allow, rules: [{to: [{paths: [/a/*], methods: [GET, POST]}]}]",
    "action: deny, rules: [{to: [{paths: [/admin]}]}]",
    "action: deny, dryRun: true, rules: [{from: [{notNamespaces: [shop]}]}]",
    "action: allow, dryRun: true, rules: [{to: [{hosts: [api.mesh]}]}]",
    "action: audit, rules: [{when: [{header: x-a}]}]",
)


@given(
    st.lists(st.sampled_from(SPECS), max_size=6).flatmap(
        lambda said: st.tuples(st.just(said), st.permutations(range(len(said))))
    )
)
def test_the_order_of_policies_does_not_matter_to_the_byte(
    drawn: tuple[Sequence[str], Sequence[int]],
) -> None:
    said, order = drawn
    names = [f"p{number}" for number in range(len(said))]
    one = mesh(policies(**dict(zip(names, said, strict=True))))
    other = MeshState("mesh.test").apply(
        SourceSnapshot("s", tuple(one.services.values()), tuple(one.workloads.values()))
    )[0]
    for place in order:
        other, _ = other.apply(SourceUpdate("s", declared=declared(policies(**{names[place]: said[place]}))))
    assert replace(woven(one), origin=()) == replace(woven(other), origin=())


def test_policies_of_all_levels_hold_together() -> None:
    targets = ("kind: Mesh", "kind: Namespace", "kind: Service, name: api", "kind: Workload, name: api-1")
    documents = [
        policies(**{name: "action: deny, rules: [{}]"}).replace("kind: Service, name: api", target)
        for name, target in zip("abcd", targets, strict=True)
    ]
    for order in itertools.permutations(documents):
        assert refused("---".join(order)) == [str(Key("default", each)) for each in "abcd"]
