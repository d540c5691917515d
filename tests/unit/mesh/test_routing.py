"""The index of routes: what is put in comes out again, whatever the order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.events import Declared, SourceUpdate
from mesh.names import Key
from mesh.routes import BackendKind, ParentRef, Route, Subset
from mesh.routing import Routing, backend_view, reachable
from tests.support.builders import a_key, a_service, a_state
from tests.support.routes import a_route, a_rule, at_gateway, at_service, to

PARENTS = (at_service("api"), at_service("store"), at_gateway())
NAMES = st.sampled_from(("api", "store", "other"))


@st.composite
def routes(draw: st.DrawFn) -> Route:
    parents: list[ParentRef] = draw(st.lists(st.sampled_from(PARENTS), unique=True))
    backends = [to(each) for each in draw(st.lists(NAMES, max_size=3))]
    return a_route(draw(st.sampled_from("abcdef")), a_rule(backends=backends), parents=parents)


@given(st.lists(routes(), unique_by=lambda each: each.key))
def test_what_is_taken_out_leaves_what_was_there_without_it(found: list[Route]) -> None:
    whole = Routing()
    for each in found:
        whole = whole.put(each)
    half = Routing()
    for each in found[::2]:
        half = half.put(each)
    left = whole
    for each in found[1::2]:
        left = left.without(each)
    assert left == half
    for each in found[::2]:
        left = left.without(each)
    assert left == Routing()


def test_two_routes_of_a_gateway_may_name_one_service() -> None:
    one, other = (a_route(name, parents=(at_gateway(),)) for name in ("a", "b"))
    routing = Routing().put(one).put(other)
    assert Key("default", "api") not in routing.referring
    assert routing.without(one).without(other) == Routing()


def test_a_subset_whose_service_is_not_there_names_that_service() -> None:
    """Who waits for it watches the service, which may come; what has the name of the subset never does."""
    subset = Subset(a_key("api-v2"), a_key("api"), (("version", "v2"),))
    state, _ = a_state().apply(SourceUpdate("test", declared=(Declared("ServiceSubset", subset),)))
    found = backend_view(state, a_route(), to("api-v2", kind=BackendKind.SUBSET))
    assert found.problem == "BackendNotFound: there is no Service default/api"
    assert found.service == a_key("api")


def test_what_is_reached_is_where_the_routes_of_what_is_used_lead() -> None:
    """Not where the routes of that lead: requests go to the endpoints of a backend, whoever calls it by itself."""
    routes = [
        a_route(name, a_rule(backends=[to(backend)]), parents=[at_service(name)])
        for name, backend in (("a", "b"), ("b", "c"), ("gone", "c"))
    ]
    state, _ = a_state(*map(a_service, "abc")).apply(
        SourceUpdate("test", declared=tuple(Declared("HTTPRoute", each) for each in routes))
    )

    def reached(name: str) -> set[str]:
        return {each.name for each in reachable(state, [a_key(name)], "default")}

    assert reached("a") == {"a", "b"}
    assert reached("b") == {"b", "c"}
    assert reached("gone") == {"gone"}
