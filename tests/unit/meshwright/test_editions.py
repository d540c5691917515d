"""Editions: who sees other values of some documents, at which cost, and what becomes of it when documents change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy.render import Renderer
from mesh.events import DocumentName, Event, SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.state import MeshState
from meshwright.editions import NOTHING, Editions, Instead, Member, Overlay
from meshwright.publisher import Publisher, Update
from meshwright.revisions import Held, revision_of
from meshwright.scopes import Outbound
from policies.weave import Weaver
from tests.support.builders import a_service, a_snapshot, a_state, a_workload
from tests.support.policy_documents import declared
from xds.cache import ResourceCache
from xds.types import ROUTE

API, WEB_1, WEB_2 = Key("default", "api"), Key("default", "web-1"), Key("default", "web-2")
TIMEOUT: DocumentName = ("TimeoutPolicy", API)
SOURCE = "test"


def a_timeout(request: str) -> Held:
    (made,) = declared(
        "apiVersion: meshwright.dev/v1alpha1\nkind: TimeoutPolicy\nmetadata: {name: api}\n"
        f"spec: {{targetRefs: [{{kind: Service, name: api}}], request: {request}}}\n"
    )
    return made  # type: ignore[no-any-return]


@dataclass
class Told:
    """Somebody who uses editions: who sees what instead, by workload."""

    overlays: dict[Key, Overlay] = field(default_factory=dict)

    def overlay(self, member: Member, below: Overlay) -> Overlay:
        del below
        return self.overlays.get(member.workload, NOTHING)


class World:
    """A publisher, a cache and the pipeline's order of things, without its loop."""

    def __init__(self, *users: Told, values: tuple[object, ...] = ()) -> None:
        self.state: MeshState = a_state()
        self.renderer, self.cache = Renderer(), ResourceCache()
        self.publisher = Publisher(self.state, self.renderer)
        for user in users:
            self.publisher.editions.use(user)
        self.scopes: dict[str, tuple[object, ...]] = {}
        webs = [a_workload(f"web-{number}", uses=["api"]) for number in (1, 2, 3)]
        self.tell(a_snapshot(a_service("api"), a_service("web"), a_workload("api-1"), *webs, *values))  # type: ignore[arg-type]

    def tell(self, event: Event) -> Update:
        self.state, changes = self.state.apply(event)
        changes = self.publisher.editions.changed(self.state, changes, event)
        update = self.publisher.refresh(self.state, changes)
        self.take(update)
        moved = self.publisher.rescope(self.state, sorted(self.publisher.concerned(changes)))
        self.take(moved)
        return Update(update.changes + moved.changes, update.rescoped | moved.rescoped)

    def reassign(self) -> Update:
        update = self.publisher.rescope(self.state, [each.client for each in self.publisher.clients()])
        self.take(update)
        return update

    def attach(self, *workloads: Key) -> None:
        for each in workloads:
            scopes, update = self.publisher.attach(each, proved=True, proxyless=False)
            self.take(update)
            self.scopes[str(each)] = scopes

    def take(self, update: Update) -> None:
        self.cache.publish(update.changes)
        self.scopes.update(update.rescoped)

    def given(self, workload: Key) -> Mapping[tuple[str, str], bytes]:
        """What its proxy is to hold."""
        return {
            (each.type_url, each.name): each.body
            for scope in self.scopes[str(workload)]
            for each in self.cache.contents(scope)
        }

    def rendered(self) -> int:
        return self.renderer.renderings.total()


def put(value: Held) -> SourceUpdate:
    return SourceUpdate(SOURCE, declared=(value,))  # type: ignore[arg-type]


def instead(value: Held | None) -> Overlay:
    return Overlay.of({TIMEOUT: Instead(SOURCE, value)})


def a_world_with(*values: Held, users: tuple[Told, ...] = ()) -> World:
    world = World(*users)
    for value in values:
        world.tell(put(value))
    return world


def what_all_would_be_given(*values: Held) -> Mapping[tuple[str, str], bytes]:
    world = a_world_with(*values)
    world.attach(WEB_1)
    return world.given(WEB_1)


OLD, NEW = a_timeout("1s"), a_timeout("9s")


def test_who_sees_another_value_is_given_what_it_would_be_given_if_all_said_so() -> None:
    staged = Told({WEB_2: instead(OLD)})
    world = a_world_with(OLD, NEW, users=(staged,))
    world.attach(WEB_1, WEB_2)
    assert world.given(WEB_1) == what_all_would_be_given(NEW)
    assert world.given(WEB_2) == what_all_would_be_given(OLD)
    assert world.given(WEB_1) != world.given(WEB_2)


def test_absence_is_as_if_nobody_had_ever_written_it() -> None:
    world = a_world_with(NEW, users=(Told({WEB_1: instead(None)}),))
    world.attach(WEB_1)
    assert world.given(WEB_1) == what_all_would_be_given()


def test_moving_to_another_edition_renders_and_publishes_what_differs_alone() -> None:
    staged = Told()
    world = a_world_with(OLD, NEW, users=(staged,))
    world.attach(WEB_1, WEB_2)
    before = world.rendered()
    staged.overlays[WEB_2] = instead(OLD)
    update = world.reassign()
    assert list(update.rescoped) == [str(WEB_2)]
    (change,) = [each for each in update.changes if isinstance(each.scope, Outbound)]
    # The service's cluster has no time limit in it, its routes have.
    assert {each.type_url for each in change.put} == {ROUTE}
    assert world.rendered() == before + 1, "the service with the older value, nothing else"
    staged.overlays[WEB_1] = instead(OLD)
    assert world.reassign().changes == [], "an edition is one, however many belong to it"
    assert world.given(WEB_1) == world.given(WEB_2) == what_all_would_be_given(OLD)


def test_what_does_not_concern_the_documents_passes_to_every_edition() -> None:
    world = a_world_with(NEW, users=(Told({WEB_2: instead(OLD)}),))
    world.attach(WEB_1, WEB_2)
    before = world.rendered()
    update = world.tell(SourceUpdate(SOURCE, workloads=(a_workload("api-1", app=9009),)))
    assert world.rendered() - before == 1, "both editions share what is equal"
    assert {len(each.put) for each in update.changes} == {1}
    differing = {name for name, body in world.given(WEB_1).items() if world.given(WEB_2)[name] != body}
    assert {kind for kind, _ in differing} == {ROUTE}


def test_a_whole_answer_of_a_source_leaves_overlays_in_force() -> None:
    world = a_world_with(NEW, users=(Told({WEB_2: instead(OLD)}),))
    world.attach(WEB_1, WEB_2)
    before = world.given(WEB_2)
    view = world.state.sources[SOURCE]
    snapshot = SourceSnapshot(
        SOURCE, tuple(view.services.values()), tuple(view.workloads.values()), tuple(view.declared.values())
    )
    world.tell(snapshot)
    assert world.given(WEB_2) == before == what_all_would_be_given(OLD)


def test_a_change_of_an_overlaid_document_reaches_the_others_alone() -> None:
    newest = a_timeout("5s")
    world = a_world_with(NEW, users=(Told({WEB_2: instead(OLD)}),))
    world.attach(WEB_1, WEB_2)
    world.tell(put(newest))
    assert world.given(WEB_1) == what_all_would_be_given(newest)
    assert world.given(WEB_2) == what_all_would_be_given(OLD)


def test_a_scope_that_is_opened_late_differs_by_all_that_has_changed_since() -> None:
    staged = Told({WEB_2: instead(OLD)})
    world = a_world_with(OLD, users=(staged,))
    world.attach(WEB_1, WEB_2)
    world.tell(put(NEW))
    # Another view of the mesh, and so another scope, which begins as the one of the base.
    for name in ("web-4", "web-5"):
        world.tell(SourceUpdate(SOURCE, workloads=(a_workload(name, uses=["api", "web"]),)))
    four, five = Key("default", "web-4"), Key("default", "web-5")
    staged.overlays[five] = instead(OLD)
    world.attach(four, five)
    routes = {name for name, body in world.given(four).items() if world.given(five)[name] != body}
    assert {kind for kind, _ in routes} == {ROUTE}
    assert {name: world.given(five)[name] for name in routes} == {
        name: world.given(WEB_2)[name] for name in routes
    }


def test_of_two_who_speak_of_a_document_the_later_one_is_heard() -> None:
    staged, stopped = Told({WEB_1: instead(OLD)}), Told({WEB_1: instead(None)})
    world = a_world_with(NEW, users=(staged, stopped))
    world.attach(WEB_1)
    assert world.given(WEB_1) == what_all_would_be_given()
    stopped.overlays.clear()
    world.reassign()
    assert world.given(WEB_1) == what_all_would_be_given(OLD)


def test_editions_that_nobody_has_are_forgotten_with_their_scopes() -> None:
    staged = Told({WEB_2: instead(OLD)})
    world = a_world_with(NEW, users=(staged,))
    world.attach(WEB_1, WEB_2)
    assert len(world.publisher.editions) == 1
    staged.overlays.clear()
    world.reassign()
    world.publisher.sweep(now=1000.0)
    assert len(world.publisher.editions) == 0
    assert world.given(WEB_2) == what_all_would_be_given(NEW)


def test_without_users_there_is_one_edition_and_no_more_work() -> None:
    world = a_world_with(NEW)
    world.attach(WEB_1, WEB_2)
    assert len(world.publisher.editions) == 0
    before = world.rendered()
    world.tell(SourceUpdate(SOURCE, workloads=(a_workload("api-1", app=9009),)))
    assert world.rendered() - before == 1


def test_of_too_many_editions_the_last_users_share_is_left_out() -> None:
    state = a_state()
    editions = Editions(state, Weaver(), most=1)
    staged, stopped = Told({WEB_1: instead(OLD), WEB_2: instead(OLD)}), Told({WEB_2: instead(None)})
    editions.use(staged)
    editions.use(stopped)
    one, two = (editions.of(Member(str(key), key, proved=True, proxyless=False)) for key in (WEB_1, WEB_2))
    assert one is two
    assert one.overlay == instead(OLD)


def test_services_and_workloads_can_be_overlaid_too() -> None:
    name: DocumentName = ("Workload", Key("default", "api-1"))
    other = a_workload("api-1", app=7777)
    world = World(Told({WEB_2: Overlay.of({name: Instead(SOURCE, other)})}))
    world.attach(WEB_1, WEB_2)
    assert world.given(WEB_1) != world.given(WEB_2)
    world.tell(SourceUpdate(SOURCE, workloads=(a_workload("api-1", app=7777),)))
    assert world.given(WEB_1) == world.given(WEB_2)


def test_an_edition_has_the_same_name_whatever_made_it() -> None:
    assert instead(OLD).name() == instead(a_timeout("1s")).name()
    assert instead(OLD).name() != instead(NEW).name() != instead(None).name()


def test_a_revision_is_what_a_document_says_however_it_is_written() -> None:
    (one,) = declared(
        "# why\napiVersion: meshwright.dev/v1alpha1\nkind: TimeoutPolicy\nmetadata:\n  name: api\n"
        "spec:\n  request: 1s\n  targetRefs:\n  - {name: api, kind: Service}\n"
    )
    assert revision_of(one) == revision_of(OLD)
    assert revision_of(OLD) != revision_of(NEW)
    service = a_service("api")
    assert revision_of(service) == revision_of(replace(service, origin=("elsewhere",)))


Step = tuple[str, str]


@pytest.mark.parametrize("values", [("1s", "2s", None)])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["document", "overlay 1", "overlay 2", "port"]), st.sampled_from([0, 1, 2])
        ),
        max_size=12,
    )
)
def test_whatever_happens_in_whatever_order_each_is_given_what_its_values_mean(
    values: tuple[str | None, ...], steps: list[tuple[str, int]]
) -> None:
    """The model: a world without editions, in which the document says what the client sees."""
    staged = Told()
    world = World(staged)
    world.attach(WEB_1, WEB_2)
    said = [None if each is None else a_timeout(each) for each in values]
    head: Held | None = None
    port = 9001
    seen: dict[Key, int | None] = {WEB_1: None, WEB_2: None}
    for what, choice in steps:
        if what == "document":
            head = said[choice]
            world.tell(put(head) if head else SourceUpdate(SOURCE, removed_declared=(TIMEOUT,)))
        elif what == "port":
            port = 9001 + choice
            world.tell(SourceUpdate(SOURCE, workloads=(a_workload("api-1", app=port),)))
        else:
            web = WEB_1 if what.endswith("1") else WEB_2
            seen[web] = choice
            staged.overlays[web] = instead(said[choice])
            world.reassign()
    for web, choice_of in seen.items():
        value = head if choice_of is None else said[choice_of]
        model = a_world_with(*([value] if value else []))
        model.tell(SourceUpdate(SOURCE, workloads=(a_workload("api-1", app=port),)))
        model.attach(web)
        assert world.given(web) == model.given(web)


def test_scopes_say_of_which_edition_they_are() -> None:
    world = a_world_with(NEW, users=(Told({WEB_2: instead(OLD)}),))
    world.attach(WEB_1, WEB_2)
    of = [scopes[0] for scopes in (world.scopes[str(WEB_1)], world.scopes[str(WEB_2)])]
    assert [each.edition for each in of if isinstance(each, Outbound)] == ["", instead(OLD).name()]
