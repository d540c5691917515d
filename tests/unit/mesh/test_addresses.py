from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.addresses import address_of
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.state import MeshState
from tests.support.builders import TRUST_DOMAIN, a_key, a_service, a_state

API, WEB = a_key("api"), a_key("web")
SHARED = "240.0.0.7"


def test_an_address_is_that_of_the_source_which_is_ranked_first() -> None:
    state = MeshState(TRUST_DOMAIN, order=("files", "consul"))
    state, _ = state.apply(SourceSnapshot("consul", (a_service("api", address=SHARED),)))
    assert address_of(state, API) == SHARED
    state, changes = state.apply(SourceSnapshot("files", (a_service("web", address=SHARED),)))
    assert (address_of(state, API), address_of(state, WEB)) == (None, SHARED)
    assert changes.services == {API, WEB}, "what has lost its address is another to its callers, too"
    (line,) = state.conflicts()
    assert line == (
        "service default/api has no virtual address: services default/web and default/api both have 240.0.0.7, "
        "which stands for one. Set spec.address of one of them"
    )

    state, changes = state.apply(SourceUpdate("files", removed_services=(WEB,)))
    assert address_of(state, API) == SHARED
    assert API in changes.services
    assert not list(state.conflicts())


def test_within_a_source_the_first_by_name_has_it() -> None:
    state = a_state(a_service("web", address=SHARED), a_service("api", address=SHARED))
    assert (address_of(state, API), address_of(state, WEB)) == (SHARED, None)


@given(st.permutations([("a", 1), ("b", 1), ("b", 2), ("c", 1), ("a", 2), ("c", 0), ("b", 1), ("a", 0)]))
def test_the_order_of_events_makes_no_difference(steps: list[tuple[str, int]]) -> None:
    """0 removes a service, 1 and 2 are two addresses."""
    state = MeshState(TRUST_DOMAIN)
    last: dict[str, int] = {}
    for name, number in steps:
        last[name] = number
        if number:
            event = SourceUpdate("test", services=(a_service(name, address=f"240.0.0.{number}"),))
        else:
            event = SourceUpdate("test", removed_services=(a_key(name),))
        state, _ = state.apply(event)
    there = [a_service(name, address=f"240.0.0.{number}") for name, number in last.items() if number]
    again = a_state(*there)
    assert state.addresses == again.addresses
