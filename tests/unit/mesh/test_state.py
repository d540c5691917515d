from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from mesh.events import Changes, Declared, Event, SourceGone, SourceSnapshot, SourceUpdate
from mesh.external import External
from mesh.names import Key
from mesh.routes import BackendKind, Subset
from mesh.service import Protocol, Service
from mesh.state import Merging, MeshState
from mesh.workload import Health, Workload
from tests.support.builders import (
    HTTP,
    TRUST_DOMAIN,
    a_key,
    a_port,
    a_proxy,
    a_service,
    a_snapshot,
    a_state,
    a_workload,
)
from tests.support.routes import a_route, a_rule, at_service, to

API, WEB = a_key("api"), a_key("web")


def update(
    *values: Service | Workload, source: str = "test", without: tuple[Service | Workload, ...] = ()
) -> SourceUpdate:
    return SourceUpdate(
        source,
        tuple(each for each in values if isinstance(each, Service)),
        tuple(each for each in values if isinstance(each, Workload)),
        tuple(each.key for each in without if isinstance(each, Service)),
        tuple(each.key for each in without if isinstance(each, Workload)),
    )


def changes(state: MeshState, event: Event) -> Changes:
    return state.apply(event)[1]


def addresses(state: MeshState, service: Key = API) -> list[str]:
    return [f"{each.address}:{each.port}" for each in state.endpoints(service, HTTP)]


def test_the_same_event_again_changes_nothing() -> None:
    event = a_snapshot(a_service(), a_proxy())
    state, first = MeshState(TRUST_DOMAIN).apply(event)
    assert first == Changes(frozenset({API}), frozenset({API}), frozenset({a_key("api-1")}))
    again, second = state.apply(event)
    assert again == state
    assert second == Changes()
    assert not second


def test_endpoints_are_by_workload_and_leave_out_the_critical() -> None:
    state = a_state(
        a_service(),
        a_workload("api-2", address="10.0.0.2"),
        a_proxy("api-1", address="10.0.0.1"),
        a_workload("api-3", health=Health.CRITICAL),
        a_workload("api-4", ports=()),
        a_workload("other"),
    )
    assert addresses(state) == ["10.0.0.1:15101", "10.0.0.2:9001"]


def test_who_leaves_gets_no_traffic_whatever_its_source_says_until_it_is_back() -> None:
    state = a_state(a_service("api"), a_workload("api-1"), a_workload("api-2"))
    both = addresses(state)
    out, changed = state.without(frozenset({a_key("api-1"), a_key("gone")}))
    assert len(addresses(out)) == 1
    assert (changed.endpoints, changed.services, changed.workloads) == (
        frozenset({API}),
        frozenset(),
        frozenset(),
    )
    assert changed.urgent
    # Its source says something new of it: it is still leaving.
    again, _ = out.apply(update(a_workload("api-1", weight=7)))
    assert addresses(again) == addresses(out)
    back, changed = again.without(frozenset())
    assert addresses(back) == both
    assert (changed.endpoints, changed.urgent) == (frozenset({API}), False)


def test_an_endpoint_that_changes_concerns_endpoints_only() -> None:
    state = a_state(a_service(), a_workload("api-1"))
    assert changes(state, update(a_workload("api-1", weight=2))) == Changes(endpoints=frozenset({API}))


def test_an_endpoint_that_comes_is_not_urgent_and_one_that_goes_is() -> None:
    state, came = a_state(a_service(), a_workload("api-1")).apply(update(a_workload("api-2")))
    assert came == Changes(endpoints=frozenset({API}), workloads=frozenset({a_key("api-2")}))
    assert changes(state, update(without=(a_workload("api-2"),))) == dataclasses.replace(came, urgent=True)


def test_what_is_urgent() -> None:
    state = a_state(a_service(), a_service("web"), a_workload("api-1", services=("api", "web")))
    for urgent in (
        a_workload("api-1", services=("api", "web"), health=Health.CRITICAL),
        a_workload("api-1", services=("api",)),
        a_workload("api-1", services=("api", "web"), address="10.0.0.9"),
        a_workload("api-1", services=("api", "web"), app=9002),
        a_workload("api-1", services=("api", "web"), sidecar=15101, meshed=True),
    ):
        assert changes(state, update(urgent)).urgent, urgent
    for calm in (
        a_workload("api-1", services=("api", "web"), health=Health.WARNING),
        a_workload("api-1", services=("api", "web"), weight=3),
        a_workload("api-1", services=("api", "web"), uses=("api",)),
    ):
        assert not changes(state, update(calm)).urgent, calm
    assert changes(state, update(without=(a_service("web"),))).urgent


def test_a_critical_one_that_goes_is_not_urgent() -> None:
    state = a_state(a_service(), a_workload("api-1", health=Health.CRITICAL))
    assert not changes(state, update(without=(a_workload("api-1"),))).urgent


def test_another_identity_makes_another_service_for_its_callers() -> None:
    state = a_state(a_service(), a_workload("api-1"))
    result = changes(state, update(a_workload("api-2", service_account="second")))
    assert result.services == {API}
    fixed = a_state(a_service(service_accounts=["api"]), a_workload("api-1"))
    assert changes(fixed, update(a_workload("api-2", service_account="second"))).services == frozenset()


def test_identities_are_never_empty() -> None:
    state = a_state(a_service())
    assert [str(each) for each in state.identities(API)] == ["spiffe://mesh.test/ns/default/sa/api"]


def test_a_snapshot_removes_what_it_does_not_name() -> None:
    state, result = a_state(a_service(), a_workload("api-1"), a_service("web")).apply(
        a_snapshot(a_service("web"))
    )
    assert set(state.services) == {WEB}
    assert not state.workloads
    assert not state.members
    assert result == Changes(frozenset({API}), frozenset(), frozenset({a_key("api-1")}), urgent=True)


def test_workloads_may_come_before_their_service() -> None:
    state = a_state(a_workload("api-1"))
    state, result = state.apply(update(a_service()))
    assert result == Changes(services=frozenset({API}), endpoints=frozenset({API}))
    assert addresses(state) == ["127.0.0.1:9001"]


def test_only_what_decides_the_own_sidecar_changes_a_workload() -> None:
    state = a_state(a_service(), a_proxy("api-1"))
    assert changes(state, update(a_proxy("api-1", uses=("web",)))).workloads == {a_key("api-1")}
    labelled = dataclasses.replace(a_proxy("api-1"), labels=(("a", "b"),))
    assert changes(state, update(labelled)) == Changes(endpoints=frozenset({API}))


def test_another_origin_is_kept_and_is_no_change() -> None:
    state = a_state(a_service(origin=("a.yaml#1",)), a_workload("api-1", origin=("a.yaml#2",)))
    moved, result = state.apply(
        update(a_service(origin=("b.yaml#1",)), a_workload("api-1", origin=("b.yaml#2",)))
    )
    assert result == Changes()
    assert moved.services[API].origin == ("b.yaml#1",)
    assert moved.workloads[a_key("api-1")].origin == ("b.yaml#2",)


def test_the_first_source_has_a_service_and_the_second_is_left_out() -> None:
    state = a_state(a_service(), a_workload("api-1"), source="first", order=("first", "second"))
    other = a_service("api", a_port("sql", 5432, Protocol.TCP))
    state, result = state.apply(a_snapshot(other, a_workload("api-2"), source="second"))
    assert state.services[API] == a_service()
    assert state.members[API] == (a_key("api-1"),)
    assert result == Changes(workloads=frozenset({a_key("api-2")}))
    assert sorted(state.conflicts()) == [
        (
            "service default/api of source second is left out: source first declares it too. "
            "Rename one, or switch merging on for the service or its namespace"
        ),
        (
            "workload default/api-2 of source second does not serve default/api, which is that of source first. "
            "Switch merging on for the service or its namespace"
        ),
    ]


def test_the_second_takes_over_when_the_first_is_gone() -> None:
    state = a_state(a_service(), a_workload("api-1"), source="first")
    state, _ = state.apply(a_snapshot(a_workload("api-2", address="10.0.0.2"), source="second"))
    assert addresses(state) == ["127.0.0.1:9001"]
    state, result = state.apply(SourceGone("first"))
    assert result.urgent
    assert a_key("api-1") not in state.workloads
    assert state.members[API] == (a_key("api-2"),)
    assert not list(state.conflicts())


def test_merging_joins_the_workloads_of_two_sources_under_the_first_ones_service() -> None:
    for merging in (Merging(services=frozenset({API})), Merging(namespaces=frozenset({"default"}))):
        state = a_state(
            a_service("api", a_port("http", 8080)),
            a_workload("api-2"),
            source="b",
            order=("a", "b"),
            merging=merging,
        )
        state, _ = state.apply(a_snapshot(a_service(), a_workload("api-1"), source="a"))
        assert state.services[API] == a_service()
        assert state.members[API] == (a_key("api-1"), a_key("api-2"))
        assert not list(state.conflicts())


def test_a_workload_of_two_sources_is_that_of_the_first() -> None:
    state = a_state(a_service(), a_workload("api-1"), source="b")
    state, _ = state.apply(a_snapshot(a_workload("api-1", address="10.0.0.1"), source="a"))
    assert state.workloads[a_key("api-1")].address == "10.0.0.1"
    assert sorted(state.conflicts()) == [
        (
            "workload default/api-1 of source a does not serve default/api, which is that of source b. "
            "Switch merging on for the service or its namespace"
        ),
        "workload default/api-1 of source b is left out: source a declares it too. Rename one",
    ]


# Few names and values, so that they meet often.
services = st.builds(
    a_service,
    st.sampled_from(["api", "web"]),
    st.sampled_from([HTTP, a_port("http", 8080), a_port("sql", 5432, Protocol.TCP)]),
    service_accounts=st.sampled_from([(), ("api",)]),
)
workloads = st.builds(
    a_workload,
    st.sampled_from(["api-1", "api-2", "web-1"]),
    services=st.sampled_from([(), ("api",), ("web",), ("api", "web")]),
    service_account=st.sampled_from(["api", "web"]),
    address=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    meshed=st.booleans(),
    sidecar=st.sampled_from([None, 15101]),
    uses=st.sampled_from([None, (), ("api",)]),
    health=st.sampled_from(Health),
    weight=st.integers(1, 2),
)


def unique(values: list[Service | Workload]) -> list[Service | Workload]:
    return list({(type(each), each.key): each for each in values}.values())


values = st.lists(services | workloads, max_size=5).map(unique)
source_names = st.sampled_from(["a", "b", "c"])


def _an_update(source: str, put: list[Service | Workload], drop: list[Service | Workload]) -> SourceUpdate:
    names = {(type(each), each.key) for each in put}
    return update(
        *put, source=source, without=tuple(each for each in drop if (type(each), each.key) not in names)
    )


events = st.lists(
    st.builds(lambda source, made: a_snapshot(*made, source=source), source_names, values)
    | st.builds(_an_update, source_names, values, values)
    | st.builds(SourceGone, source_names),
    max_size=8,
)
mergings = st.sampled_from(
    [Merging(), Merging(services=frozenset({API})), Merging(namespaces=frozenset({"default"}))]
)
orders = st.sampled_from([(), ("b",), ("c", "a")])


def said(state: MeshState) -> dict[str, SourceSnapshot]:
    """What each source has said in the end, as one snapshot."""
    return {
        source: SourceSnapshot(source, tuple(view.services.values()), tuple(view.workloads.values()))
        for source, view in state.sources.items()
    }


@given(events, orders, mergings, st.data())
def test_any_history_ends_as_one_snapshot_of_each_source_in_any_order(
    history: list[Event], order: tuple[str, ...], merging: Merging, data: st.DataObject
) -> None:
    empty = MeshState(TRUST_DOMAIN, order, merging)
    state = empty
    for event in history:
        state, _ = state.apply(event)
    fresh = empty
    for snapshot in data.draw(st.permutations(list(said(state).values()))):
        fresh, _ = fresh.apply(snapshot)
    assert fresh == state


@given(events, orders, mergings)
def test_changes_are_exactly_what_proxies_can_see(
    history: list[Event], order: tuple[str, ...], merging: Merging
) -> None:
    state = MeshState(TRUST_DOMAIN, order, merging)
    for event in history:
        old, (state, told) = state, state.apply(event)
        keys = set(old.services) | set(state.services)
        assert told.services == {key for key in keys if _service(old, key) != _service(state, key)}
        for key in state.services:
            if _endpoints(old, key) != _endpoints(state, key):
                assert key in told.endpoints
        assert told.endpoints <= set(state.services)
        names = set(old.workloads) | set(state.workloads)
        gone_or_come = {key for key in names if (key in old.workloads) != (key in state.workloads)}
        assert gone_or_come <= told.workloads
        for key in state.services:
            if key in old.services and old.services[key].ports == state.services[key].ports:
                lost = {_spot(each) for each in _endpoints(old, key)} - {
                    _spot(each) for each in _endpoints(state, key)
                }
                assert not lost or told.urgent


def _spot(each: object) -> tuple[object, object]:
    return getattr(each, "workload", None), (getattr(each, "address", None), getattr(each, "port", None))


def _service(state: MeshState, key: Key) -> object:
    return (state.services[key], state.identities(key)) if key in state.services else None


def _endpoints(state: MeshState, key: Key) -> list[object]:
    if key not in state.services:
        return []
    return [each for port in state.services[key].ports for each in state.endpoints(key, port)]


@given(events)
def test_members_are_who_serves(history: list[Event]) -> None:
    state = MeshState(TRUST_DOMAIN)
    for event in history:
        state, _ = state.apply(event)
    expected: dict[Key, list[Key]] = {}
    for key, workload in sorted(state.workloads.items()):
        for service in workload.services:
            expected.setdefault(service, []).append(key)
    assert dict(state.members) == {service: tuple(keys) for service, keys in expected.items()}


@given(events)
def test_each_source_knows_who_of_its_own_serves_what(history: list[Event]) -> None:
    """So that a service that comes or goes costs what it has, and not what the source has."""
    state = MeshState(TRUST_DOMAIN)
    for event in history:
        state, _ = state.apply(event)
        for view in state.sources.values():
            served = {service for each in view.workloads.values() for service in each.services}
            assert dict(view.members) == {
                service: tuple(sorted(k for k, each in view.workloads.items() if service in each.services))
                for service in served
            }


def test_a_subsets_service_concerns_those_whose_routes_lead_to_the_subset() -> None:
    subset = Subset(a_key("api-v2"), API, (("version", "v2"),))
    backend = to("api-v2", kind=BackendKind.SUBSET)
    route = a_route("web", a_rule(backends=[backend]), parents=[at_service("web")])
    state, _ = a_state(a_service("web")).apply(
        SourceUpdate("test", declared=(Declared("ServiceSubset", subset), Declared("HTTPRoute", route)))
    )
    for event in (
        update(a_service("api")),
        update(a_service("api", a_port(port=81))),
        update(without=(a_service("api"),)),
    ):
        state, said = state.apply(event)
        assert said.services == {API, WEB}, event


def test_what_a_service_outside_is_called_concerns_those_whose_routes_lead_to_it() -> None:
    def outside(*hosts: str) -> Service:
        return dataclasses.replace(a_service("out"), external=External(hosts))

    backend = to("out", kind=BackendKind.EXTERNAL)
    route = a_route("web", a_rule(backends=[backend]), parents=[at_service("web")])
    state, _ = a_state(a_service("web"), outside("a.example.com")).apply(
        SourceUpdate("test", declared=(Declared("HTTPRoute", route),))
    )
    for host in ("b.example.com", "*.example.com"):
        state, said = state.apply(update(outside(host)))
        assert said.services == {a_key("out"), WEB}, host


def test_whom_other_trust_domains_let_in_concerns_every_workload() -> None:
    state = a_state(a_service("api"), a_workload("api-1"), a_workload("web-1"))
    assert state.federated_with(()) == (state, Changes())
    federated, changes = state.federated_with(["c.example", "b.example"])
    assert federated.federated == ("b.example", "c.example")
    assert changes == Changes(workloads=frozenset({a_key("api-1"), a_key("web-1")}))
    assert federated.federated_with(["b.example", "c.example"]) == (federated, Changes())
    assert federated.federated_with([])[0] == state
