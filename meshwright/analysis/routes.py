"""Checks of routes: whether they hold anywhere, lead anywhere, and can be met at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Final

from mesh.conditions import route_conditions
from mesh.gateways import ReferenceGrant
from mesh.names import Key
from mesh.references import Condition
from mesh.routes import (
    BackendKind,
    ParentKind,
    RequestMirror,
    Route,
    RouteKind,
    UrlRewrite,
)
from mesh.workload import Health
from meshwright.analysis.finding import Check, Example, Found, Severity
from meshwright.analysis.sight import Sight

UNWATCHED: Final = timedelta(minutes=5)
"""A request time limit that is longer hides a callee that hangs."""


def _route(route: Route) -> str:
    return f"{route.kind} {route.key}"


def _unmet(reasons: frozenset[str], sight: Sight) -> Iterator[Found]:
    """Conditions of routes that are not met for one of `reasons`, as in the Gateway API."""
    for route, conditions in route_conditions(sight.state):
        for each in conditions:
            if not each.status and each.reason in reasons:
                yield Found(_route(route), _told(each), route.origin)


def _told(condition: Condition) -> str:
    return f"at {condition.parent}: {condition.message}"


def _for(*reasons: str) -> Callable[[Sight], Iterator[Found]]:
    return partial(_unmet, frozenset(reasons))


def equal_matches(sight: Sight) -> Iterator[Found]:
    for service, routes in sorted(sight.state.routing.attached.items()):
        seen: dict[tuple[object, ...], Route] = {}
        # The older comes first, then by name: the order of precedence among equals.
        for route in sorted(routes, key=lambda each: (each.created is None, str(each.created), each.key)):
            for number, rule in enumerate(route.rules):
                for match in rule.matches:
                    other = seen.setdefault((route.kind, route.key.namespace, route.hostnames, match), route)
                    if other is not route:
                        yield Found(
                            _route(route),
                            f"rules[{number}]: {_route(other)} has the same match at Service {service}, and precedence: this one is never reached",
                            route.origin,
                        )


def repeated_match(sight: Sight) -> Iterator[Found]:
    for route in sight.routes():
        seen: dict[object, int] = {}
        for number, rule in enumerate(route.rules):
            for match in rule.matches:
                first = seen.setdefault(match, number)
                if first != number:
                    yield Found(
                        _route(route),
                        f"rules[{number}] has a match of rules[{first}], which comes first: it is never reached by that",
                        route.origin,
                    )


def no_weight(sight: Sight) -> Iterator[Found]:
    for route in sight.routes():
        for number, rule in enumerate(route.rules):
            if rule.backends and not any(each.weight for each in rule.backends):
                yield Found(
                    _route(route),
                    f"rules[{number}]: all of its {len(rule.backends)} backends have weight 0: requests are answered with 500",
                    route.origin,
                )


def no_endpoint(sight: Sight) -> Iterator[Found]:
    for route in sight.routes():
        for backend in sorted(set(route.backends()), key=str):
            if backend.kind is not BackendKind.SERVICE or not backend.weight:
                continue
            service = sight.state.services.get(backend.key)
            if service is None or service.external is not None:
                continue
            if not any(each.health is not Health.CRITICAL for each in sight.members(backend.key)):
                yield Found(_route(route), f"its backend {backend} has no endpoint", route.origin)


def empty_subset(sight: Sight) -> Iterator[Found]:
    for subset in sight.subsets():
        wanted, members = set(subset.labels), sight.members(subset.service)
        said = ", ".join(f"{name}={value}" for name, value in subset.labels)
        if subset.service not in sight.state.services:
            yield Found(f"ServiceSubset {subset.key}", f"there is no service {subset.service}", subset.origin)
        elif not any(wanted <= set(each.labels) for each in members):
            yield Found(
                f"ServiceSubset {subset.key}",
                f"no workload of {subset.service} has the labels {said}",
                subset.origin,
            )


def unused_subset(sight: Sight) -> Iterator[Found]:
    used = {
        each.key for route in sight.routes() for each in route.backends() if each.kind is BackendKind.SUBSET
    }
    for subset in sight.subsets():
        if subset.key not in used:
            yield Found(f"ServiceSubset {subset.key}", "no route leads to it", subset.origin)


def unused_grant(sight: Sight) -> Iterator[Found]:
    crossing = {
        (str(route.kind), route.key.namespace, str(backend.kind), backend.key)
        for route in sight.routes()
        for backend in route.backends()
        if backend.key.namespace != route.key.namespace
    }
    for (kind, key), value in sorted(sight.state.declared.items(), key=lambda item: item[0]):
        if not isinstance(value, ReferenceGrant):
            continue
        routes = {str(each) for each in RouteKind}
        if not any(source.kind in routes for source in value.sources):
            continue  # of Gateways to Secrets: those are not looked at here
        if not any(
            (source.kind, source.namespace) == (of, space)
            and any(target.kind == to and (target.name or name.name) == name.name for target in value.targets)
            and name.namespace == key.namespace
            for of, space, to, name in crossing
            for source in value.sources
        ):
            yield Found(f"{kind} {key}", "no route needs what it permits", value.origin)


def mirrors_to_itself(sight: Sight) -> Iterator[Found]:
    for route in sight.routes():
        own = {each.key for each in route.parents if each.kind is ParentKind.SERVICE}
        for number, rule in enumerate(route.rules):
            served = {each.key for each in rule.backends} or own
            for each in rule.filters:
                if isinstance(each, RequestMirror) and each.backend.key in served:
                    yield Found(
                        _route(route),
                        f"rules[{number}] copies requests to {each.backend}, which answers them anyway: it gets each twice",
                        route.origin,
                    )


def only_some_hosts(sight: Sight) -> Iterator[Found]:
    for route in sight.routes():
        if (
            route.hostnames
            and route.parents
            and all(each.kind is ParentKind.SERVICE for each in route.parents)
        ):
            yield Found(
                _route(route),
                f"hostnames ({', '.join(route.hostnames)}) are not looked at inside the mesh: the parent says which service is meant",
                route.origin,
            )


def circle(sight: Sight) -> Iterator[Found]:
    """Two services whose routes lead to each other for every request: nobody ever answers."""
    to: dict[Key, set[Key]] = defaultdict(set)
    by: dict[tuple[Key, Key], Route] = {}
    for service, routes in sight.state.routing.attached.items():
        for route in routes:
            for rule in route.rules:
                for backend in rule.backends:
                    if backend.kind is BackendKind.SERVICE and backend.key != service and backend.weight:
                        to[service].add(backend.key)
                        by[service, backend.key] = route
    for service in sorted(to):
        for other in sorted(to[service]):
            if service in to.get(other, ()) and service < other:
                back = by[other, service]
                yield Found(
                    _route(by[service, other]),
                    f"it leads from {service} to {other}, and {_route(back)} back: routes are not followed twice, so each only changes "
                    "who answers, which is rarely meant",
                    by[service, other].origin,
                )


def rewrites_to_unknown(sight: Sight) -> Iterator[Found]:
    for route in sight.routes():
        for number, rule in enumerate(route.rules):
            backends = rule.backends
            for each in rule.filters:
                if not isinstance(each, UrlRewrite) or each.hostname is None or not backends:
                    continue
                known = {
                    name for backend in backends for name in (backend.key.name, f"{backend.key.name}.mesh")
                }
                if each.hostname.endswith(".mesh") and each.hostname not in known:
                    yield Found(
                        _route(route),
                        f"rules[{number}] calls its backend {each.hostname}, which is the name of another service of the mesh",
                        route.origin,
                    )


def unwatched(sight: Sight) -> Iterator[Found]:
    for route in sight.routes():
        for number, rule in enumerate(route.rules):
            limit = rule.timeouts.request if rule.timeouts else None
            if limit is not None and (not limit or limit > UNWATCHED):
                said = "no time limit" if not limit else f"a time limit of {limit.total_seconds():.0f} s"
                yield Found(_route(route), f"rules[{number}]: requests have {said}", route.origin)


def split_with_itself(sight: Sight) -> Iterator[Found]:
    """A service beside a subset of its own: what goes to the service goes to the workloads of the subset, too."""
    of = {each.key: each.service for each in sight.subsets()}
    for route in sight.routes():
        for number, rule in enumerate(route.rules):
            weighty = [each for each in rule.backends if each.weight]
            whole = {each.key for each in weighty if each.kind is BackendKind.SERVICE}
            for each in weighty:
                if each.kind is BackendKind.SUBSET and (service := of.get(each.key)) in whole:
                    yield Found(
                        _route(route),
                        f"rules[{number}] splits between service {service} and {each}, which is a part of it: the subset gets more than its share",
                        route.origin,
                    )


GATEWAY_API: Final = "apiVersion: gateway.networking.k8s.io/v1\n"


def _http(
    rules: str, parent: str = "{group: '', kind: Service, name: api}", name: str = "api", more: str = ""
) -> str:
    return f"{GATEWAY_API}kind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{parent}]\n{more}  rules: [{rules}]\n"


TO_API: Final = "{backendRefs: [{name: api, port: 80}]}"
SUBSET: Final = "kind: ServiceSubset\nmetadata: {name: api-v2}\nspec: {service: api, labels: {version: v2}}\n"
V2: Final = """kind: Workload
metadata: {name: api-2, labels: {version: v2}}
spec: {services: [api], serviceAccount: api, address: 10.0.2.2, ports: [{name: http, app: 8080, sidecar: 15101}], meshed: true, uses: []}
"""
REST: Final = "kind: ServiceSubset\nmetadata: {name: api-v1}\nspec: {service: api, labels: {version: v1}}\n"
V1: Final = V2.replace("api-2", "api-1").replace("v2", "v1").replace("10.0.2.2", "10.0.2.1")
SPLIT: Final = _http(
    "{backendRefs: [%s, {group: meshwright.dev, kind: ServiceSubset, name: api-v2, port: 80, weight: 1}]}"
)
TO_SUBSET: Final = _http(
    "{backendRefs: [{group: meshwright.dev, kind: ServiceSubset, name: api-v2, port: 80}]}"
)
EDGE: Final = f"""{GATEWAY_API}kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: meshwright
  listeners: [{{name: http, port: 8080, protocol: HTTP, hostname: "*.example.com"}}]
---
kind: Workload
metadata: {{name: edge-1}}
spec: {{gateway: edge, serviceAccount: edge, address: 10.0.8.1, meshed: true}}
---
"""
AT_EDGE: Final = "{name: edge}"
BILLING: Final = """kind: Service
metadata: {name: bill, namespace: money}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
"""
TO_BILLING: Final = _http("{backendRefs: [{name: bill, namespace: money, port: 80}]}")
GRANT: Final = """---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: routes, namespace: money}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: '', kind: Service}]
"""
LIMIT: Final = "{timeouts: {request: %s}, backendRefs: [{name: api, port: 80}]}"

CHECKS: Final = (
    Check(
        "MW0201",
        "A route whose parent is not there",
        Severity.ERROR,
        "It holds nowhere.",
        "Correct the name, namespace or port of the parent, or declare it.",
        _for("NoMatchingParent"),
        Example(_http(TO_API, "{group: '', kind: Service, name: apo}")),
        Example(_http(TO_API)),
    ),
    Check(
        "MW0202",
        "A route that no listener takes",
        Severity.ERROR,
        "The listeners of the gateway take routes of other kinds or namespaces.",
        "Change `allowedRoutes` of a listener, or move the route.",
        _for("NotAllowedByListeners"),
        Example(
            EDGE
            + f"{GATEWAY_API}kind: TCPRoute\nmetadata: {{name: api}}\nspec: {{parentRefs: [{AT_EDGE}], rules: [{TO_API}]}}\n".replace(
                "gateway.networking.k8s.io/v1\nkind: TCPRoute",
                "gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute",
            )
        ),
        Example(EDGE + _http(TO_API, AT_EDGE)),
    ),
    Check(
        "MW0203",
        "A route with host names of no listener",
        Severity.ERROR,
        "No listener of the gateway takes requests for these hosts.",
        "Give the route host names that a listener has, or the listener these.",
        _for("NoMatchingListenerHostname"),
        Example(EDGE + _http(TO_API, AT_EDGE, more="  hostnames: [shop.example.org]\n")),
        Example(EDGE + _http(TO_API, AT_EDGE, more="  hostnames: [shop.example.com]\n")),
    ),
    Check(
        "MW0204",
        "A route to a backend that is not there",
        Severity.ERROR,
        "Its share of the requests is answered with 500.",
        "Correct the name or port of the backend, or declare it.",
        _for("BackendNotFound"),
        Example(_http("{backendRefs: [{name: apo, port: 80}]}")),
        Example(_http(TO_API)),
    ),
    Check(
        "MW0205",
        "A route to another namespace, without a grant",
        Severity.ERROR,
        "Its share of the requests is answered with 500, as if the backend were not there.",
        "Write a ReferenceGrant in the namespace of the backend.",
        _for("RefNotPermitted"),
        Example(BILLING + TO_BILLING),
        Example(BILLING + TO_BILLING + GRANT),
    ),
    Check(
        "MW0206",
        "A route whose backend speaks another protocol",
        Severity.ERROR,
        "An HTTP route cannot lead to a port of TCP, nor a GRPCRoute to one of HTTP/1.1.",
        "Declare the protocol of the port, or use the kind of route that fits.",
        _for("UnsupportedProtocol"),
        Example(
            "kind: Service\nmetadata: {name: store}\nspec: {ports: [{name: http, port: 80, protocol: tcp}]}\n---\n"
            + _http("{backendRefs: [{name: store, port: 80}]}")
        ),
        Example(_http("{backendRefs: [{name: store, port: 80}]}")),
    ),
    Check(
        "MW0207",
        "A route that another has taken the place of",
        Severity.ERROR,
        "A listener follows either HTTPRoutes or GRPCRoutes for one host name.",
        "Give each its own host name.",
        _for("Conflicted"),
        Example(
            EDGE
            + _http(TO_API, AT_EDGE, more="  hostnames: [a.example.com]\n")
            + f"---\nkind: Service\nmetadata: {{name: calls}}\nspec: {{ports: [{{name: grpc, port: 80, protocol: grpc}}]}}\n---\n{GATEWAY_API}kind: GRPCRoute\nmetadata: {{name: calls}}\nspec: {{parentRefs: [{AT_EDGE}], hostnames: [a.example.com], rules: [{{backendRefs: [{{name: calls, port: 80}}]}}]}}\n"
        ),
        Example(EDGE + _http(TO_API, AT_EDGE, more="  hostnames: [a.example.com]\n")),
    ),
    Check(
        "MW0209",
        "A route of which another has the same match",
        Severity.WARNING,
        "Of equals the older has precedence, then the first by name: the other is never reached.",
        "Take one of them away, or make its match narrower.",
        equal_matches,
        Example(_http(TO_API) + "---\n" + _http(TO_API, name="api-again")),
        Example(_http(TO_API)),
    ),
    Check(
        "MW0210",
        "A rule that repeats a match of the same route",
        Severity.WARNING,
        "The first rule has it: the later one is never reached.",
        "Take it away, or make its match narrower.",
        repeated_match,
        Example(
            _http(
                "{matches: [{path: {type: PathPrefix, value: /a}}], backendRefs: [{name: api, port: 80}]}, {matches: [{path: {type: PathPrefix, value: /a}}], backendRefs: [{name: store, port: 80}]}"
            )
        ),
        Example(
            _http(
                "{matches: [{path: {type: PathPrefix, value: /a}}], backendRefs: [{name: api, port: 80}]}, {matches: [{path: {type: PathPrefix, value: /b}}], backendRefs: [{name: store, port: 80}]}"
            )
        ),
    ),
    Check(
        "MW0211",
        "A split in which nothing has weight",
        Severity.ERROR,
        "Requests of the rule are answered with 500.",
        "Give one backend a weight.",
        no_weight,
        Example(_http("{backendRefs: [{name: api, port: 80, weight: 0}]}")),
        Example(_http(TO_API)),
    ),
    Check(
        "MW0212",
        "A route to a backend without endpoints",
        Severity.ERROR,
        "Its share of the requests is answered with 503.",
        "Start a workload of it, or take the backend out of the route.",
        no_endpoint,
        Example(
            "kind: Service\nmetadata: {name: api-next}\nspec: {ports: [{name: http, port: 80, protocol: http}]}\n---\n"
            + _http("{backendRefs: [{name: api-next, port: 80}]}")
        ),
        Example(_http(TO_API)),
    ),
    Check(
        "MW0213",
        "A subset that no workload belongs to",
        Severity.ERROR,
        "Requests to it are answered with 503.",
        "Correct its labels, or those of the workloads (in Consul: tags and meta).",
        empty_subset,
        Example(SUBSET + "---\n" + TO_SUBSET),
        Example(V2 + "---\n" + SUBSET + "---\n" + TO_SUBSET),
    ),
    Check(
        "MW0214",
        "A subset that no route leads to",
        Severity.INFO,
        "It takes no traffic.",
        "Delete it, or name it in a route.",
        unused_subset,
        Example(V2 + "---\n" + SUBSET),
        Example(V2 + "---\n" + SUBSET + "---\n" + TO_SUBSET),
    ),
    Check(
        "MW0215",
        "A grant that nobody needs",
        Severity.INFO,
        "It permits what nobody does, and will permit it to whoever comes.",
        "Delete it.",
        unused_grant,
        Example(BILLING + GRANT.removeprefix("---\n")),
        Example(BILLING + TO_BILLING + GRANT),
    ),
    Check(
        "MW0216",
        "Requests are copied to whom they go to",
        Severity.WARNING,
        "The backend gets each request twice, and writes may be made twice.",
        "Mirror to another service or subset.",
        mirrors_to_itself,
        Example(
            _http(
                "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: api, port: 80}}}], backendRefs: [{name: api, port: 80}]}"
            )
        ),
        Example(
            _http(
                "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: store, port: 80}}}], backendRefs: [{name: api, port: 80}]}"
            )
        ),
    ),
    Check(
        "MW0217",
        "Host names in a route of the mesh",
        Severity.WARNING,
        "Inside the mesh the parent says which service is meant; host names narrow nothing there (GAMMA).",
        "Leave `hostnames` out, or match the header `host`.",
        only_some_hosts,
        Example(_http(TO_API, more="  hostnames: [api.example.com]\n")),
        Example(_http(TO_API)),
    ),
    Check(
        "MW0218",
        "Two services whose routes lead to each other",
        Severity.WARNING,
        "Routes of a backend are not followed once more: callers of each are answered by the other.",
        "Take one of the routes away, or name subsets.",
        circle,
        Example(
            _http("{backendRefs: [{name: store, port: 80}]}")
            + "---\n"
            + _http(TO_API, "{group: '', kind: Service, name: store}", "store")
        ),
        Example(_http("{backendRefs: [{name: store, port: 80}]}")),
    ),
    Check(
        "MW0219",
        "A backend is called by the name of another service",
        Severity.WARNING,
        "The rewritten host is that of another service of the mesh, which the backend does not serve.",
        "Rewrite to the backend's own name, or leave the host as it is.",
        rewrites_to_unknown,
        Example(
            _http(
                "{filters: [{type: URLRewrite, urlRewrite: {hostname: store.mesh}}], backendRefs: [{name: api, port: 80}]}"
            )
        ),
        Example(
            _http(
                "{filters: [{type: URLRewrite, urlRewrite: {hostname: api.mesh}}], backendRefs: [{name: api, port: 80}]}"
            )
        ),
    ),
    Check(
        "MW0220",
        "Requests of a route have no, or a very long, time limit",
        Severity.INFO,
        "A callee that hangs holds its callers, and their callers, for as long.",
        "Say `timeouts.request`; for streams use a TimeoutPolicy with `idle`.",
        unwatched,
        Example(_http(LIMIT % "0s")),
        Example(_http(LIMIT % "10s")),
    ),
    Check(
        "MW0221",
        "A split between a service and its own subset",
        Severity.WARNING,
        "The service's share goes to all of its workloads, those of the subset too: with 9 for the service and 1 for a subset of half of its "
        "workloads, the subset gets 55% instead of 10%.",
        "Write a second ServiceSubset for the other workloads, and split between the two.",
        split_with_itself,
        Example(
            "---\n".join((V1, V2, SUBSET, SPLIT % "{name: api, port: 80, weight: 9}")),
        ),
        Example(
            "---\n".join(
                (
                    V1,
                    V2,
                    SUBSET,
                    REST,
                    SPLIT % "{group: meshwright.dev, kind: ServiceSubset, name: api-v1, port: 80, weight: 9}",
                )
            ),
        ),
    ),
)
