from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.external import External
from mesh.gateways import ReferenceGrant
from mesh.names import Key
from mesh.references import Condition, ConditionType, Lookup, Unresolved, problems, resolve
from mesh.routes import (
    Backend,
    BackendKind,
    ParentKind,
    ParentRef,
    RequestMirror,
    Route,
    RouteKind,
    Rule,
    Subset,
)
from tests.support.builders import a_key, a_port, a_service
from tests.support.routes import a_gateway, a_grant, a_listener, a_route, a_rule, at_gateway, at_service, to

SERVICES = {
    service.key: service
    for service in (
        a_service("api"),
        a_service("db", a_port("sql", 5432, "tcp")),
        a_service("two", a_port("http", 80), a_port("admin", 81)),
        a_service("shop/cart"),
        replace(a_service("stripe"), external=External(("api.stripe.com",))),
        replace(a_service("anywhere"), external=External(("*.example.com",))),
    )
}
SUBSETS = {
    subset.key: subset
    for subset in (
        Subset(a_key("api-v2"), a_key("api"), (("version", "v2"),)),
        Subset(a_key("lost"), a_key("gone"), (("version", "v2"),)),
        Subset(a_key("shop/cart-v2"), a_key("shop/cart"), (("version", "v2"),)),
        Subset(a_key("two-v2"), a_key("two"), (("version", "v2"),)),
    )
}
GATEWAYS = {a_key("gw"): a_gateway("gw", a_listener(hostname="*.example.com"))}


def lookup(*grants: ReferenceGrant) -> Lookup:
    return Lookup(
        services=SERVICES.get,
        subsets=SUBSETS.get,
        gateways=GATEWAYS.get,
        grants=lambda namespace: [each for each in grants if each.key.namespace == namespace],
    )


def why(route: Route, parent: ParentRef, backend: Backend) -> Unresolved | None:
    """Why the backend cannot be used, if so."""
    service = parent.key if parent.kind is ParentKind.SERVICE else None
    found = resolve(route, service, backend, lookup())
    return found if isinstance(found, Unresolved) else None


def accepted(route: Route) -> tuple[bool, str, str]:
    (condition,) = (each for each in problems(route, lookup()) if each.type is ConditionType.ACCEPTED)
    return condition.status, condition.reason, condition.message


@pytest.mark.parametrize(
    ("parent", "kind", "status", "reason", "message"),
    [
        (at_service(), RouteKind.HTTP, True, "Accepted", "Service default/api takes the route"),
        (
            at_service("nobody"),
            RouteKind.HTTP,
            False,
            "NoMatchingParent",
            "there is no Service default/nobody",
        ),
        (
            at_service(port=81),
            RouteKind.HTTP,
            False,
            "NoMatchingParent",
            "no port of Service default/api:81: it has http at 80 (http)",
        ),
        (
            at_service("db"),
            RouteKind.HTTP,
            False,
            "NoMatchingParent",
            (
                "no port of Service default/db speaks what HTTPRoute routes (grpc or http or http2): "
                "it has sql at 5432 (tcp)"
            ),
        ),
        (at_service("db"), RouteKind.TCP, True, "Accepted", "Service default/db takes the route"),
        (at_gateway(), RouteKind.HTTP, True, "Accepted", "Gateway default/gw takes the route"),
        (
            at_gateway("none"),
            RouteKind.HTTP,
            False,
            "NoMatchingParent",
            "no document declares Gateway default/none",
        ),
        (
            at_gateway(),
            RouteKind.TCP,
            False,
            "NotAllowedByListeners",
            "Gateway default/gw takes no TCPRoute of namespace default: see allowedRoutes of its listeners",
        ),
    ],
)
def test_whether_a_parent_takes_a_route(
    parent: ParentRef, kind: RouteKind, status: bool, reason: str, message: str
) -> None:
    assert accepted(a_route(kind=kind, parents=[parent])) == (status, reason, message)


def test_there_are_two_conditions_for_each_parent_in_their_order() -> None:
    route = a_route(parents=[at_gateway(), at_service()])
    assert problems(route, lookup()) == (
        Condition(
            at_gateway(), ConditionType.ACCEPTED, True, "Accepted", "Gateway default/gw takes the route"
        ),
        Condition(at_gateway(), ConditionType.RESOLVED_REFS, True, "ResolvedRefs", "all backends are there"),
        Condition(
            at_service(), ConditionType.ACCEPTED, True, "Accepted", "Service default/api takes the route"
        ),
        Condition(at_service(), ConditionType.RESOLVED_REFS, True, "ResolvedRefs", "all backends are there"),
    )


@pytest.mark.parametrize(
    ("backend", "kind", "said"),
    [
        (to("api"), RouteKind.HTTP, None),
        (to("api-v2", kind=BackendKind.SUBSET), RouteKind.HTTP, None),
        (to("api-v2", None, kind=BackendKind.SUBSET), RouteKind.HTTP, None),
        (to("stripe", kind=BackendKind.EXTERNAL), RouteKind.HTTP, None),
        (to("db", 5432), RouteKind.TCP, None),
        (to("gone"), RouteKind.HTTP, "BackendNotFound: there is no Service default/gone"),
        (
            to("gone", kind=BackendKind.SUBSET),
            RouteKind.HTTP,
            "BackendNotFound: there is no ServiceSubset default/gone",
        ),
        (
            to("lost", kind=BackendKind.SUBSET),
            RouteKind.HTTP,
            "BackendNotFound: there is no Service default/gone",
        ),
        (
            to("gone", kind=BackendKind.EXTERNAL),
            RouteKind.HTTP,
            "BackendNotFound: there is no ExternalService default/gone",
        ),
        (
            to("stripe", 81, kind=BackendKind.EXTERNAL),
            RouteKind.HTTP,
            (
                "BackendNotFound: ExternalService default/stripe:81: there is no port 81; "
                "Service default/stripe has http at 80 (http)"
            ),
        ),
        (
            to("stripe", kind=BackendKind.EXTERNAL),
            RouteKind.GRPC,
            (
                "UnsupportedProtocol: ExternalService default/stripe:80: port 80 of Service default/stripe "
                "speaks http, and GRPCRoute needs grpc or http2"
            ),
        ),
        (
            to("anywhere", kind=BackendKind.EXTERNAL),
            RouteKind.HTTP,
            (
                "UnsupportedValue: ExternalService default/anywhere:80: which host of *.example.com is meant "
                "is not said. Declare an ExternalService for that host"
            ),
        ),
        (
            to("api", kind=BackendKind.EXTERNAL),
            RouteKind.HTTP,
            (
                "BackendNotFound: default/api is a service of the mesh: refer to it as Service, "
                "not ExternalService"
            ),
        ),
        (
            to("api", 8080),
            RouteKind.HTTP,
            (
                "BackendNotFound: Service default/api:8080: there is no port 8080; "
                "Service default/api has http at 80 (http)"
            ),
        ),
        (
            to("two-v2", None, kind=BackendKind.SUBSET),
            RouteKind.HTTP,
            (
                "BackendNotFound: ServiceSubset default/two-v2: which port is not said; "
                "Service default/two has http at 80 (http), admin at 81 (http)"
            ),
        ),
        (
            to("db", 5432),
            RouteKind.HTTP,
            (
                "UnsupportedProtocol: Service default/db:5432: port 5432 of Service default/db speaks tcp, "
                "and HTTPRoute needs grpc or http or http2"
            ),
        ),
        (
            replace(to("api"), grpc=True),
            RouteKind.HTTP,
            (
                "UnsupportedProtocol: Service default/api:80: port 80 of Service default/api speaks http, "
                "and gRPC needs grpc or http2"
            ),
        ),
        (
            to("api"),
            RouteKind.GRPC,
            (
                "UnsupportedProtocol: Service default/api:80: port 80 of Service default/api speaks http, "
                "and GRPCRoute needs grpc or http2"
            ),
        ),
    ],
)
def test_why_a_backend_cannot_be_used(backend: Backend, kind: RouteKind, said: str | None) -> None:
    found = why(a_route(kind=kind), at_service(), backend)
    assert (None if found is None else f"{found.reason}: {found.message}") == said


def test_another_namespace_must_grant_what_refers_to_it() -> None:
    route = a_route("api", a_rule(backends=[to("shop/cart")]), parents=[at_gateway(), at_service()])

    def resolved(*grants: ReferenceGrant) -> list[tuple[bool, str]]:
        conditions = problems(route, lookup(*grants))
        return [(each.status, each.reason) for each in conditions if each.type is ConditionType.RESOLVED_REFS]

    assert resolved() == [(False, "RefNotPermitted")] * 2
    assert resolved(a_grant("shop")) == [(True, "ResolvedRefs")] * 2
    assert resolved(a_grant("shop", name="cart")) == [(True, "ResolvedRefs")] * 2
    for other in (
        a_grant("shop", name="other"),
        a_grant("shop", of="elsewhere"),
        a_grant("shop", kind="GRPCRoute"),
        a_grant("shop", to_kind="ServiceSubset"),
        a_grant("elsewhere"),
    ):
        assert resolved(other) == [(False, "RefNotPermitted")] * 2, other


@pytest.mark.parametrize("backend", [to("shop/cart"), to("shop/cart-v2", kind=BackendKind.SUBSET)])
def test_a_consumer_route_may_lead_to_its_own_parent(backend: Backend) -> None:
    route = a_route()
    assert why(route, at_service("shop/cart"), backend) is None
    for parent in (at_service(), at_gateway()):
        found = why(route, parent, backend)
        assert found is not None
        assert found.reason == "RefNotPermitted"


def test_a_subset_with_the_name_of_the_parent_is_not_the_parent() -> None:
    subset = Subset(a_key("shop/cart"), a_key("shop/other"), (("version", "v2"),))
    found = resolve(
        a_route(),
        a_key("shop/cart"),
        to("shop/cart", kind=BackendKind.SUBSET),
        replace(lookup(), subsets={subset.key: subset}.get),
    )
    assert isinstance(found, Unresolved)
    assert found.reason == "RefNotPermitted"


def test_what_is_not_permitted_does_not_tell_whether_it_is_there() -> None:
    for name in ("shop/cart", "shop/gone"):
        found = why(a_route(), at_gateway(), to(name))
        assert found is not None
        assert found.message == (
            "no ReferenceGrant in namespace shop permits HTTPRoute of namespace default to refer to "
            f"Service {Key.parse(name)}"
        )


def test_all_that_is_wrong_is_told_mirrors_too_and_each_once() -> None:
    rule = Rule(
        filters=(RequestMirror(to("gone")),), backends=(to("lost", kind=BackendKind.SUBSET), to("nobody"))
    )
    (condition,) = (
        each
        for each in problems(a_route("api", rule, rule), lookup())
        if each.type is ConditionType.RESOLVED_REFS
    )
    assert condition == Condition(
        at_service(),
        ConditionType.RESOLVED_REFS,
        False,
        "BackendNotFound",
        "there is no Service default/gone; there is no Service default/nobody",
    )
