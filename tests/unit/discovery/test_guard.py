"""The guard's rules one by one, and what holds whatever a source says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from discovery.guard import Guard, GuardSettings, Said
from discovery.source import SourceReset
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.identity import Identity
from mesh.names import Key
from mesh.service import Protocol, Service, ServicePort
from mesh.state import MeshState
from mesh.workload import Health, Workload, WorkloadPort

LIVE, DEAD = Health.PASSING, Health.CRITICAL


def key(name: str) -> Key:
    return Key("default", name)


def a_service(name: str = "api") -> Service:
    return Service(key(name), (ServicePort("http", 80, Protocol.HTTP),))


def a_workload(name: str, *services: str, health: Health = LIVE) -> Workload:
    serves = tuple(key(each) for each in services or ("api",))
    return Workload(key(name), serves, "api", "127.0.0.1", (WorkloadPort("http", 9000),), health=health)


def instances(
    count: int, service: str = "api", *, health: Health = LIVE, first: int = 0
) -> tuple[Workload, ...]:
    return tuple(a_workload(f"{service}-{n}", service, health=health) for n in range(first, first + count))


def snapshot(*workloads: Workload, services: Iterable[str] = ("api",)) -> SourceSnapshot:
    return SourceSnapshot("s", tuple(a_service(name) for name in services), workloads)


def removing(*names: str) -> SourceUpdate:
    return SourceUpdate("s", removed_workloads=tuple(key(name) for name in names))


class Mesh:
    """A guard, and the mesh that believes it."""

    def __init__(self, *workloads: Workload, services: Iterable[str] = ("api",)) -> None:
        self.guard = Guard("s", GuardSettings())
        self.state = MeshState("mesh.test")
        self.say(snapshot(*workloads, services=services))

    def say(self, said: Said, now: float = 0) -> None:
        self.apply(self.guard.receive(said, now))

    def apply(self, told: Said | None) -> None:
        if told is not None:
            self.state, _ = self.state.apply(told)

    def live(self, service: str = "api") -> set[str]:
        found = self.state.services.get(key(service))
        return (
            {each.workload.name for each in self.state.endpoints(key(service), found.ports[0])}
            if found
            else set()
        )


def names(count: int, service: str = "api", first: int = 0) -> set[str]:
    return {f"{service}-{n}" for n in range(first, first + count)}


def test_five_of_ten_in_one_answer_are_held() -> None:
    mesh = Mesh(*instances(10))
    mesh.say(removing(*names(5)), now=7)
    assert mesh.live() == names(10)
    (hold,) = mesh.guard.holds()
    assert (hold.service, hold.endpoints, hold.since, hold.ends) == (key("api"), 5, 7, 607)
    assert hold.why == "one answer removed 5 of 10 endpoints"


def test_four_of_eight_or_five_of_eleven_are_not_held() -> None:
    mesh = Mesh(*instances(8))
    mesh.say(removing(*names(4)))
    assert mesh.live() == names(4, first=4)
    mesh = Mesh(*instances(11))
    mesh.say(removing(*names(5)))
    assert mesh.live() == names(6, first=5)
    assert not mesh.guard.holds()


def test_critical_all_at_once_is_a_removal() -> None:
    mesh = Mesh(*instances(6))
    mesh.say(SourceUpdate("s", workloads=instances(6, health=DEAD)))
    assert mesh.live() == names(6)
    # One of them is deregistered by itself; another comes back; both count.
    mesh.say(removing("api-0"))
    assert mesh.live() == names(5, first=1)
    mesh.say(SourceUpdate("s", workloads=(a_workload("api-1"),)))
    assert mesh.guard.holds()[0].endpoints == 4


def test_one_after_the_other_is_honoured_to_the_last() -> None:
    mesh = Mesh(*instances(10))
    for n in range(10):
        mesh.say(removing(f"api-{n}"))
        assert mesh.live() == names(9 - n, first=n + 1)
    mesh = Mesh(*instances(10))
    for n in range(10):
        mesh.say(snapshot(*instances(9 - n, first=n + 1)))
        assert mesh.live() == names(9 - n, first=n + 1)


def test_a_removal_during_a_hold_is_honoured_at_once() -> None:
    mesh = Mesh(*instances(10))
    mesh.say(removing(*names(6)))
    mesh.say(removing("api-9"))
    assert mesh.live() == names(9)


def test_what_the_same_answer_adds_is_applied() -> None:
    mesh = Mesh(*instances(10))
    mesh.say(snapshot(*instances(3, first=9)))
    assert mesh.live() == names(12)


def test_a_hold_ends_when_half_have_come_back_under_any_name() -> None:
    mesh = Mesh(*instances(10))
    mesh.say(removing(*names(10)))
    mesh.say(SourceUpdate("s", workloads=instances(4, first=20)))
    assert len(mesh.live()) == 14
    mesh.say(SourceUpdate("s", workloads=instances(1, first=24)))
    assert mesh.live() == names(5, first=20)
    assert not mesh.guard.holds()


def test_all_replaced_in_one_answer_is_no_loss() -> None:
    mesh = Mesh(*instances(10))
    mesh.say(snapshot(*instances(10, first=10)))
    assert mesh.live() == names(10, first=10)


def test_a_hold_ends_by_time_and_by_command() -> None:
    mesh = Mesh(*instances(10))
    mesh.say(removing(*names(5)), now=1)
    assert mesh.guard.next_due() == 601
    assert mesh.guard.due(600) is None
    mesh.apply(mesh.guard.due(601))
    assert mesh.live() == names(5, first=5)
    assert mesh.guard.next_due() is None

    mesh = Mesh(*instances(10))
    mesh.say(removing(*names(5)))
    assert mesh.guard.release(key("other")) == (0, None)
    count, told = mesh.guard.release(key("api"))
    mesh.apply(told)
    assert count == 1
    assert mesh.live() == names(5, first=5)


def test_a_service_that_vanishes_is_held_with_its_endpoints() -> None:
    mesh = Mesh(*instances(5), *instances(2, "web"), services=("api", "web"))
    mesh.say(snapshot(*instances(2, "web"), services=("web",)))
    assert mesh.live() == names(5)
    mesh.say(snapshot(services=()))
    assert mesh.live() == names(5)
    assert mesh.live("web") == names(2, "web")
    _, told = mesh.guard.release(None)
    mesh.apply(told)
    assert not mesh.state.services
    assert not mesh.state.workloads


def test_an_empty_catalog_is_held_but_not_the_removal_of_the_only_one() -> None:
    mesh = Mesh(*instances(2))
    mesh.say(snapshot(services=()))
    assert mesh.live() == names(2)
    assert mesh.guard.holds()[0].why == "the catalog is empty"
    mesh = Mesh(*instances(2))
    mesh.say(removing("api-0", "api-1"))
    assert mesh.live() == names(2)
    for nothing in (snapshot(services=()), removing("api-0")):
        mesh = Mesh(*instances(1))
        mesh.say(nothing)
        assert not mesh.live()


def crowd(count: int, each: int) -> dict[str, tuple[Workload, ...]]:
    return {f"s{n}": instances(each, f"s{n}") for n in range(count)}


def test_many_small_services_that_go_at_once_are_held_each() -> None:
    services = crowd(1000, 1)
    everything = [each for them in services.values() for each in them]
    mesh = Mesh(*everything, *instances(4), services=(*services, "api"))
    mesh.say(
        SourceUpdate(
            "s",
            removed_services=tuple(key(name) for name in services),
            removed_workloads=tuple(each.key for each in everything),
        ),
        now=3,
    )
    assert all(mesh.live(name) == names(1, name) for name in services)
    holds = mesh.guard.holds()
    assert len(holds) == 1000
    assert {(hold.why, hold.ends) for hold in holds} == {
        ("one answer removed 1000 of all 1004 endpoints of the source", 603)
    }
    # What is deregistered by itself meanwhile goes at once, and what comes back is live.
    mesh.say(removing("api-0"))
    assert mesh.live() == names(3, first=1)
    mesh.say(SourceUpdate("s", (a_service("s7"),), services["s7"]))
    assert len(mesh.guard.holds()) == 999


def test_a_snapshot_that_lacks_most_services_is_held_and_what_it_keeps_is_believed() -> None:
    services = crowd(40, 3)
    mesh = Mesh(
        *(each for them in services.values() for each in them), *instances(20), services=(*services, "api")
    )
    mesh.say(snapshot(*instances(19, first=1)))
    assert all(mesh.live(name) == names(3, name) for name in services)
    assert mesh.live() == names(19, first=1)
    assert len(mesh.guard.holds()) == 40


def test_less_than_half_of_the_source_is_believed_and_so_are_four() -> None:
    for count, gone, held in ((20, 9, 0), (20, 10, 10), (8, 4, 0), (9, 5, 5)):
        services = crowd(count, 1)
        mesh = Mesh(*(each for them in services.values() for each in them), services=services)
        mesh.say(removing(*(f"s{n}-0" for n in range(gone))))
        assert len(mesh.guard.holds()) == held
        assert sum(len(mesh.live(name)) for name in services) == count - (0 if held else gone)


def test_services_that_are_all_renamed_are_no_loss() -> None:
    old, new = crowd(20, 1), {f"t{n}": instances(1, f"t{n}") for n in range(20)}
    mesh = Mesh(*(each for them in old.values() for each in them), services=old)
    mesh.say(snapshot(*(each for them in new.values() for each in them), services=new))
    assert not mesh.guard.holds()
    assert set(mesh.state.services) == {key(name) for name in new}


def test_one_workload_of_many_services_is_one_endpoint_of_the_source() -> None:
    many = tuple(f"s{n}" for n in range(9))
    mesh = Mesh(a_workload("w-0", *many), a_workload("w-1", *many), services=many)
    mesh.say(removing("w-0"))
    assert not mesh.guard.holds()
    assert all(mesh.live(name) == {"w-1"} for name in many)


def test_after_a_reset_half_of_however_few_are_held_once() -> None:
    mesh = Mesh(*instances(2), *instances(3, "web"), services=("api", "web"))
    mesh.guard.distrust(SourceReset("s", "it forgot"))
    mesh.say(snapshot(a_workload("api-0"), *instances(2, "web"), services=("api", "web")))
    assert mesh.live() == names(2)
    assert mesh.live("web") == names(2, "web")
    assert [hold.why for hold in mesh.guard.holds()] == ["it forgot"]
    mesh.say(snapshot(a_workload("api-0"), a_workload("web-0", "web"), services=("api", "web")))
    assert mesh.live("web") == {"web-0"}


def test_a_restored_state_is_guarded() -> None:
    guard = Guard("s", GuardSettings())
    guard.restore(snapshot(*instances(1)), held=False)
    assert guard.receive(snapshot(services=()), 0) == snapshot(*instances(1))
    guard = Guard("s", GuardSettings())
    guard.restore(snapshot(*instances(4)), held=False)
    assert guard.receive(snapshot(*instances(1)), 0) == snapshot(*instances(1))
    guard = Guard("s", GuardSettings())
    guard.restore(snapshot(*instances(4)), held=True)
    told = guard.receive(snapshot(*instances(1)), 0)
    assert told is not None
    assert len(told.workloads) == 4


def test_a_workload_of_two_services_is_held_for_the_one_alone() -> None:
    both = tuple(a_workload(f"w-{n}", "api", "web") for n in range(5))
    many_web = instances(9, "web")
    mesh = Mesh(*both, *many_web, services=("api", "web"))
    mesh.say(snapshot(*many_web, services=("api", "web")))
    assert mesh.live() == names(5, "w")  # all five of api
    assert mesh.live("web") == names(9, "web")  # five of fourteen


def test_a_workload_held_for_two_services_that_it_served_at_different_times() -> None:
    mesh = Mesh(*(a_workload(f"w-{n}", "api") for n in range(3)))
    mesh.say(snapshot(services=()))
    mesh.say(snapshot(a_workload("w-0", "web"), a_workload("x", "web"), services=("web",)))
    mesh.say(snapshot(services=()))
    assert mesh.live() == names(3, "w")
    assert mesh.live("web") == {"w-0", "x"}


def test_without_the_guard_nothing_is_held() -> None:
    guard = Guard("s", GuardSettings(enabled=False))
    guard.receive(snapshot(*instances(10)), 0)
    assert guard.receive(snapshot(services=()), 0) == snapshot(services=())
    assert not guard.holds()


SERVICES = ("a", "b")
WORKLOADS = tuple(f"w-{n}" for n in range(14))
states = st.dictionaries(
    st.sampled_from(WORKLOADS),
    st.tuples(
        st.sampled_from([("a",), ("b",), ("a", "b")]), st.sampled_from([LIVE, LIVE, Health.WARNING, DEAD])
    ),
)


class AnySource(RuleBasedStateMachine):
    """Whatever a source says: live endpoints are always told, and what is told besides is visibly held."""

    def __init__(self) -> None:
        super().__init__()
        self.guard = Guard("s", GuardSettings())
        self.state = MeshState("mesh.test")
        self.said = MeshState("mesh.test")  # as if there were no guard
        self.now = 0.0

    def say(self, said: Said) -> None:
        self.said, _ = self.said.apply(said)
        told = self.guard.receive(said, self.now)
        if told is not None:
            self.state, _ = self.state.apply(told)

    @rule(state=states, services=st.sets(st.sampled_from(SERVICES)))
    def whole(self, state: dict[str, tuple[tuple[str, ...], Health]], services: set[str]) -> None:
        workloads = [a_workload(name, *serves, health=health) for name, (serves, health) in state.items()]
        self.say(snapshot(*workloads, services=sorted(services)))

    @rule(state=states, data=st.data())
    def part(self, state: dict[str, tuple[tuple[str, ...], Health]], data: st.DataObject) -> None:
        gone = data.draw(st.sets(st.sampled_from(WORKLOADS))) - state.keys()
        workloads = tuple(
            a_workload(name, *serves, health=health) for name, (serves, health) in state.items()
        )
        self.say(SourceUpdate("s", workloads=workloads, removed_workloads=tuple(key(name) for name in gone)))

    @rule(name=st.sampled_from(WORKLOADS), dead=st.booleans())
    def one_goes(self, name: str, dead: bool) -> None:
        workload = self.said.workloads.get(key(name))
        if workload is None:
            return
        was_held = key(name) in self.guard._holders
        if dead:
            self.say(
                SourceUpdate(
                    "s", workloads=(a_workload(name, *(s.name for s in workload.services), health=DEAD),)
                )
            )
        else:
            self.say(removing(name))
        if not was_held:
            assert all(key(name) not in self.endpoints(self.state, service) for service in SERVICES)

    @rule()
    def reset(self) -> None:
        self.guard.distrust(SourceReset("s", "reset"))

    @rule(seconds=st.sampled_from([1.0, 300.0, 600.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds
        told = self.guard.due(self.now)
        if told is not None:
            self.state, _ = self.state.apply(told)
        assert all(self.now < hold.ends <= self.now + 600 for hold in self.guard.holds())

    @rule(service=st.sampled_from([None, *SERVICES]))
    def release(self, service: str | None) -> None:
        _, told = self.guard.release(None if service is None else key(service))
        if told is not None:
            self.state, _ = self.state.apply(told)

    @staticmethod
    def endpoints(state: MeshState, service: str) -> set[Key]:
        found = state.services.get(key(service))
        return {each.workload for each in state.endpoints(key(service), found.ports[0])} if found else set()

    @invariant()
    def live_endpoints_are_told_and_others_are_held(self) -> None:
        for service in SERVICES:
            live, told = self.endpoints(self.said, service), self.endpoints(self.state, service)
            holding = self.guard._holds.get(key(service))
            held = set(holding.workloads) if holding else set()
            assert live | held <= told
            # A service that is held after it has gone has the endpoints that still name it, too.
            naming = {
                each.key
                for each in self.said.workloads.values()
                if key(service) in each.services and each.health is not DEAD
            }
            assert told - live - held <= (
                naming if held and key(service) not in self.said.services else set()
            )
        if not self.guard.holds():
            assert (self.state.services, self.state.workloads) == (self.said.services, self.said.workloads)

    @invariant()
    def the_live_endpoints_of_the_source_are_known(self) -> None:
        live = set[Key]().union(*(self.endpoints(self.said, service) for service in SERVICES))
        assert self.guard._live_anywhere == live

    @invariant()
    def what_was_told_is_known(self) -> None:
        told = self.guard.told()
        assert {each.key: each for each in told.workloads} == dict(self.state.workloads)
        assert {each.key: each for each in told.services} == dict(self.state.services)

    @invariant()
    def identities_are_never_empty(self) -> None:
        for service in self.state.services:
            assert self.state.identities(service)[0] in {
                Identity("mesh.test", "default", "api"),
                Identity("mesh.test", "default", service.name),
            }


TestAnySource = AnySource.TestCase
TestAnySource.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)


@given(count=st.integers(1, 30), gone=st.integers(0, 30))
def test_held_exactly_from_half_and_five_or_when_nothing_is_left(count: int, gone: int) -> None:
    gone = min(count, gone)
    mesh = Mesh(*instances(count))
    mesh.say(SourceUpdate("s", removed_workloads=tuple(key(name) for name in names(gone))))
    emptied = gone == count > 1
    assert bool(mesh.guard.holds()) == (emptied or (gone >= 5 and 2 * gone >= count))


def test_what_was_told_one_by_one_is_never_held() -> None:
    mesh = Mesh(*instances(10))
    mesh.say(replace(removing(*names(10)), certain=True))
    assert mesh.live() == set()
    assert not mesh.guard.holds()
