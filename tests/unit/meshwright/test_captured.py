"""What intercepted callers are given besides, and what a change of one service costs them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from envoy.render import Rendered, Renderer
from mesh.events import SourceUpdate
from mesh.interception import Interception
from mesh.names import Key
from mesh.virtual import VirtualView
from mesh.workload import Health, Use, Workload, WorkloadPort
from meshwright.publisher import Publisher, Update
from meshwright.scopes import Captured
from tests.support.builders import a_key, a_port, a_service, a_state, a_workload
from tests.support.publishing import Holding, told
from xds.types import CLUSTER, ENDPOINT, LISTENER

WEB = Key("default", "web-1")


def names_of(update: Update) -> tuple[set[str], set[str]]:
    """Listeners put and removed for intercepted callers."""
    put, removed = set[str](), set[str]()
    for change in update.changes:
        if isinstance(change.scope, Captured):
            put |= {each.name for each in change.put}
            removed |= {name for _, name in change.removed}
    return put, removed


def test_a_change_of_one_service_touches_its_listeners_and_the_table_of_names_alone() -> None:
    workload = a_workload("web-1", services=(), address="10.0.0.1", meshed=True, interception=Interception())
    state = a_state(workload, a_service("api"), a_service("db", a_port("sql", 5432, "tcp")))
    publisher = Publisher(state, Renderer())
    scopes, update = publisher.attach(WEB, proved=True, proxyless=False)
    assert sum(isinstance(each, Captured) for each in scopes) == 1
    assert names_of(update) == ({"virtual/default/api:80", "virtual/default/db:5432", "names"}, set())
    (sql,) = [
        each for change in update.changes for each in change.put if each.name == "virtual/default/db:5432"
    ]
    assert sql.type_url == LISTENER
    assert set(sql.needs) == {(CLUSTER, "default/db:5432"), (ENDPOINT, "default/db:5432")}

    state, changes = state.apply(SourceUpdate("test", services=(a_service("new"),)))
    assert names_of(told(publisher, state, changes)) == ({"virtual/default/new:80", "names"}, set())
    # Another port is no other name.
    state, changes = state.apply(SourceUpdate("test", services=(a_service("new", a_port(port=81)),)))
    assert names_of(told(publisher, state, changes)) == (
        {"virtual/default/new:81"},
        {"virtual/default/new:80"},
    )
    # An endpoint is none of their business.
    state, changes = state.apply(SourceUpdate("test", workloads=(a_workload("new-1"),)))
    assert names_of(told(publisher, state, changes)) == (set(), set())
    state, changes = state.apply(SourceUpdate("test", removed_services=(a_key("new"),)))
    assert names_of(told(publisher, state, changes)) == ({"names"}, {"virtual/default/new:81"})


def test_others_are_given_none_of_it() -> None:
    state = a_state(a_workload("web-1", services=(), meshed=True), a_service("api"))
    scopes, _ = Publisher(state, Renderer()).attach(WEB, proved=True, proxyless=False)
    assert not any(isinstance(each, Captured) for each in scopes)


def test_the_table_does_not_depend_on_the_order_in_which_services_came() -> None:
    workload = a_workload("web-1", services=(), address="10.0.0.1", meshed=True, interception=Interception())
    tables = []
    for first, second in (("api", "db"), ("db", "api")):
        state = a_state(workload, a_service(first))
        publisher = Publisher(state, Renderer())
        publisher.attach(WEB, proved=True, proxyless=False)
        state, changes = state.apply(SourceUpdate("test", services=(a_service(second),)))
        update = told(publisher, state, changes)
        tables += [each.version for change in update.changes for each in change.put if each.name == "names"]
    assert tables[0] == tables[1]


def test_one_name_that_cannot_be_rendered_harms_no_other() -> None:
    """A fault that no document can cause."""

    class Failing(Renderer):
        fails = True

        def names(self, view: VirtualView) -> Rendered:
            if self.fails and view.service.name == "wrong":
                raise RuntimeError("nobody foresaw this")
            return super().names(view)

    workload = a_workload("web-1", services=(), address="10.0.0.1", meshed=True, interception=Interception())
    state, renderer = a_state(workload, a_service("api"), a_service("wrong")), Failing()
    publisher = Publisher(state, renderer)
    _, update = publisher.attach(WEB, proved=True, proxyless=False)
    assert names_of(update) == ({"virtual/default/api:80", "names"}, set())
    assert publisher.problems == {
        "virtual address of service default/wrong": "it cannot be rendered: RuntimeError: nobody foresaw this"
    }
    renderer.fails = False
    state, changes = state.apply(SourceUpdate("test", services=(a_service("wrong", a_port(port=81)),)))
    assert names_of(told(publisher, state, changes)) == ({"virtual/default/wrong:81", "names"}, set())
    assert publisher.problems == {}


SQL = a_port("sql", 5432, "tcp")
CALLER = a_workload("web-1", services=(), address="10.0.0.1", meshed=True, interception=Interception())


def an_instance(name: str, address: str, *services: str, **said: Any) -> Workload:
    ports = (WorkloadPort("sql", 5432),)
    return a_workload(name, services=services or ("db",), address=address, ports=ports, meshed=True, **said)


def test_an_endpoint_of_a_headless_service_is_a_listener_of_its_own() -> None:
    state = a_state(CALLER, a_service("db", SQL, headless=True), an_instance("db-0", "10.1.0.1"))
    renderer = Renderer()
    publisher = Publisher(state, renderer)
    _, update = publisher.attach(WEB, proved=True, proxyless=False)
    put, _ = names_of(update)
    assert put == {"virtual/default/db:5432", "direct/10.1.0.1:5432", "names"}
    (made,) = (
        each for change in update.changes for each in change.put if each.name == "direct/10.1.0.1:5432"
    )
    assert (CLUSTER, "default/db:5432/@db") in made.needs
    assert "default/db:5432/@db" in {each.name for change in update.changes for each in change.put}

    rendered = renderer.renderings["direct"]
    state, changes = state.apply(SourceUpdate("test", workloads=(an_instance("db-1", "10.1.0.2"),)))
    assert names_of(told(publisher, state, changes)) == ({"direct/10.1.0.2:5432"}, set())
    assert renderer.renderings["direct"] == rendered + 1
    # Whether it is ready decides nothing: who is connected stays so.
    critical = an_instance("db-1", "10.1.0.2", health=Health.CRITICAL)
    state, changes = state.apply(SourceUpdate("test", workloads=(critical,)))
    assert names_of(told(publisher, state, changes)) == (set(), set())
    state, changes = state.apply(SourceUpdate("test", removed_workloads=(a_key("db-1"),)))
    assert names_of(told(publisher, state, changes)) == (set(), {"direct/10.1.0.2:5432"})
    # As an ordinary service, it has none of them.
    state, changes = state.apply(SourceUpdate("test", services=(a_service("db", SQL),)))
    assert names_of(told(publisher, state, changes)) == (set(), {"direct/10.1.0.1:5432"})


def test_the_first_endpoint_finds_its_cluster_there() -> None:
    """Of the account that a service without workloads is taken to have, so that its coming changes nothing else of the service."""
    state = a_state(CALLER, a_service("db", SQL, headless=True))
    publisher, held = Publisher(state, Renderer()), Holding()
    held.attach(publisher, WEB)
    state, changes = state.apply(SourceUpdate("test", workloads=(an_instance("db-0", "10.1.0.1"),)))
    held.take(told(publisher, state, changes))
    names = {name for _, name, _ in held.resources()}
    assert {(LISTENER, "direct/10.1.0.1:5432"), (CLUSTER, "default/db:5432/@db")} <= names


def test_an_endpoint_of_two_headless_services_is_one_listener_which_the_other_inherits() -> None:
    state = a_state(
        CALLER,
        a_service("db", SQL, headless=True),
        a_service("replicas", SQL, headless=True),
        an_instance("db-0", "10.1.0.1", "db", "replicas"),
    )
    publisher, held = Publisher(state, Renderer()), Holding()
    held.attach(publisher, WEB)

    def leads_to() -> list[str]:
        bodies = [body for _, name, body in held.resources() if name == (LISTENER, "direct/10.1.0.1:5432")]
        return re.findall(r"default/\w+:5432/@db", "".join(repr(each) for each in bodies))[-1:]

    assert leads_to() == ["default/db:5432/@db"]
    state, changes = state.apply(SourceUpdate("test", removed_services=(a_key("db"),)))
    held.take(told(publisher, state, changes))
    assert leads_to() == ["default/replicas:5432/@db"]
    again = a_service("db", SQL, headless=True)
    state, changes = state.apply(SourceUpdate("test", services=(again,)))
    held.take(told(publisher, state, changes))
    assert leads_to() == ["default/db:5432/@db"]
    state, changes = state.apply(SourceUpdate("test", removed_workloads=(a_key("db-0"),)))
    held.take(told(publisher, state, changes))
    assert leads_to() == []


def test_only_what_a_caller_sees_makes_listeners() -> None:
    caller = replace(CALLER, uses=(Use(a_key("db")),))
    state = a_state(
        caller,
        a_service("db", SQL, headless=True),
        a_service("queue", SQL, headless=True),
        an_instance("db-0", "10.1.0.1"),
        an_instance("queue-0", "10.1.0.2", "queue"),
    )
    _, update = Publisher(state, Renderer()).attach(WEB, proved=True, proxyless=False)
    assert "direct/10.1.0.1:5432" in names_of(update)[0]
    assert "direct/10.1.0.2:5432" not in names_of(update)[0]
