from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.addresses import address_of, reserved_to
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.service import Service
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


CLUSTER_IP, OTHER_FAMILY = "10.96.0.7", "fd00::7"


def of_the_cluster(name: str, namespace: str = "shop") -> Service:
    key = Key(namespace, name)
    return replace(
        a_service(name, address=CLUSTER_IP),
        key=key,
        reserved=(CLUSTER_IP, OTHER_FAMILY),
        origin=(f"Service {key}",),
    )


def claiming(namespace: str, name: str, address: str | None) -> Service:
    return replace(a_service(name, address=address), key=Key(namespace, name))


@pytest.mark.parametrize("namespace", ["evil", "zzz", "shop"])
@pytest.mark.parametrize("cluster_first", [True, False])
def test_what_a_cluster_gave_to_a_service_no_document_takes(namespace: str, cluster_first: bool) -> None:
    """Documents rank before clusters, and whoever has a namespace may write them."""
    api, thief = Key("shop", "api"), Key(namespace, "hijack")
    events = [
        SourceSnapshot("kubernetes", (of_the_cluster("api"),)),
        SourceSnapshot("cluster", (claiming(namespace, "hijack", CLUSTER_IP),)),
    ]
    state = MeshState(TRUST_DOMAIN, order=("cluster", "kubernetes"))
    for event in events if cluster_first else reversed(events):
        state, changes = state.apply(event)
        assert thief not in state.services or cluster_first or thief in changes.services
    assert (address_of(state, api), address_of(state, thief)) == (CLUSTER_IP, None)
    assert (reserved_to(state, CLUSTER_IP, thief), reserved_to(state, CLUSTER_IP, api)) == (api, None)
    assert reserved_to(state, OTHER_FAMILY, thief) == api
    (line,) = state.conflicts()
    assert line == (
        f"service {thief} has no virtual address: 10.96.0.7 is an address that its cluster has given to Service shop/api, "
        "which keeps it. Give another spec.address, or none"
    )
    state, changes = state.apply(SourceUpdate("kubernetes", removed_services=(api,)))
    assert address_of(state, thief) == CLUSTER_IP, "it is nobody else's any more"
    assert thief in changes.services


def test_who_declares_a_service_anew_loses_nothing_of_it_to_others() -> None:
    """A document by the same name is the same service: it may have the address, and no other document may."""
    state = MeshState(TRUST_DOMAIN, order=("cluster", "kubernetes"))
    state, _ = state.apply(SourceSnapshot("kubernetes", (of_the_cluster("api"),)))
    thief = claiming("evil", "hijack", CLUSTER_IP)
    state, _ = state.apply(SourceSnapshot("cluster", (claiming("shop", "api", CLUSTER_IP), thief)))
    assert (address_of(state, Key("shop", "api")), address_of(state, thief.key)) == (CLUSTER_IP, None)
    state, _ = state.apply(SourceSnapshot("cluster", (claiming("shop", "api", None), thief)))
    assert address_of(state, thief.key) is None
    assert str(address_of(state, Key("shop", "api"))).startswith("2")
    assert len([each for each in state.conflicts() if "no virtual address" in each]) == 1


def test_of_two_clusters_that_gave_the_same_address_the_first_has_it() -> None:
    state = MeshState(TRUST_DOMAIN, order=("east", "west"))
    for source, name in (("west", "api"), ("east", "web")):
        state, _ = state.apply(SourceSnapshot(source, (of_the_cluster(name),)))
    assert (address_of(state, Key("shop", "web")), address_of(state, Key("shop", "api"))) == (
        CLUSTER_IP,
        None,
    )
