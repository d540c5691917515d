"""Gateways in the publisher: who is given what, and what wakes them."""

from __future__ import annotations

from collections.abc import Iterable

from documents.parsing import parse
from envoy.render import Renderer
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.gateway_secrets import Loaded
from mesh.names import Key
from mesh.secrets import Bundle
from mesh.state import MeshState
from meshwright.publisher import Publisher, Update
from meshwright.scopes import Edge, EdgeSecrets, Outbound, Secrets, Seen
from policies.registry import KINDS
from tests.support.builders import a_service, service_document
from tests.support.publishing import told
from tests.unit.mesh.test_gateway_views import HTTP, HTTPS, SECRET, a_gateway, a_player, a_route
from xds.resource import Resource, encode
from xds.types import CLUSTER, LISTENER, ROUTE
from xds.types import SECRET as SECRET_TYPE

EDGE_1 = Key("default", "edge-1")


class Shelf:
    """Certificates that a test puts there."""

    def __init__(self) -> None:
        self.loaded = Loaded()
        self.bodies: dict[Key, bytes] = {}

    def put(self, key: Key, body: bytes) -> None:
        self.bodies[key] = body
        self.loaded = Loaded(frozenset(self.bodies))

    def resources(self, certificates: Iterable[Key], bundles: Iterable[Bundle]) -> tuple[Resource, ...]:
        del bundles  # none of these tests verifies anybody
        return tuple(
            encode(SECRET_TYPE, f"gateway/{key}", self.bodies[key])
            for key in certificates
            if key in self.bodies
        )


class World:
    def __init__(self, *documents: str) -> None:
        self.shelf = Shelf()
        self.state = MeshState("mesh.test")
        self.publisher = Publisher(self.state, Renderer(), certificates=self.shelf)
        parsed = parse("test.yaml", "".join(documents).encode(), KINDS)
        assert not parsed.errors, parsed.errors
        self.tell(
            SourceSnapshot(
                "test", tuple(parsed.services()), tuple(parsed.workloads()), tuple(parsed.declared())
            )
        )

    def tell(self, event: SourceSnapshot | SourceUpdate) -> Update:
        self.state, changes = self.state.apply(event)
        return told(self.publisher, self.state, changes)

    def declare(self, document: str) -> Update:
        parsed = parse("more.yaml", document.encode(), KINDS)
        assert not parsed.errors, parsed.errors
        return self.tell(SourceUpdate("test", declared=tuple(parsed.declared())))

    def attach(self, *, proved: bool = True) -> tuple[Seen, ...]:
        return self.publisher.attach(EDGE_1, proved=proved, proxyless=False)[0]


def names(update: Update, kind: str) -> set[str]:
    return {each.name for change in update.changes for each in change.put if each.type_url == kind}


BASE = (service_document("api"), service_document("other"), a_player())


def test_a_gateway_is_given_its_listeners_and_what_its_routes_lead_to() -> None:
    world = World(*BASE, a_gateway(HTTP), a_route("a"))
    outbound, edge, secrets, of_edge, *_ = world.attach()
    assert isinstance(outbound, Outbound)
    assert outbound.view.services == (Key("default", "api"),)
    assert isinstance(edge, Edge)
    assert secrets == Secrets(EDGE_1)
    assert of_edge == EdgeSecrets(Key("default", "edge"), ())


def test_a_route_is_a_change_for_the_gateway_alone() -> None:
    world = World(*BASE, a_gateway(HTTP), a_route("a"))
    world.attach()
    update = world.declare(a_route("b", "b.example.com", backend="name: other, port: 80"))
    assert set(update.rescoped) == {"default/edge-1"}
    assert names(update, ROUTE) >= {"gateway/default/edge:8080"}
    assert "default/other:80" in names(update, CLUSTER)


def test_a_backend_that_comes_is_found() -> None:
    world = World(*BASE, a_gateway(HTTP), a_route("a", backend="name: late, port: 80"))
    outbound = world.attach()[0]
    assert isinstance(outbound, Outbound)
    assert outbound.view.services == ()
    update = world.tell(SourceUpdate("test", services=(a_service("late"),)))
    (scopes,) = update.rescoped.values()
    assert isinstance(scopes[0], Outbound)
    assert scopes[0].view.services == (Key("default", "late"),)


def test_a_service_that_no_route_names_is_no_change() -> None:
    world = World(*BASE, a_gateway(HTTP), a_route("a"))
    world.attach()
    update = world.tell(SourceUpdate("test", services=(a_service("stranger"),)))
    assert not update.changes
    assert not update.rescoped


def test_keys_are_for_those_who_proved_to_play_the_gateway() -> None:
    world = World(*BASE, a_gateway(HTTPS), SECRET)
    world.shelf.put(Key("default", "a"), b"key")
    proved, plaintext = world.attach(), world.attach(proved=False)
    assert EdgeSecrets(Key("default", "edge"), (Key("default", "a"),)) in proved
    assert not any(isinstance(each, EdgeSecrets | Secrets) for each in plaintext)
    (edge,) = (each for each in plaintext if isinstance(each, Edge))
    assert edge.view.ports == ()


def test_a_renewed_certificate_is_one_secret_and_no_other_change() -> None:
    world = World(*BASE, a_gateway(HTTPS), SECRET)
    a = Key("default", "a")
    world.shelf.put(a, b"one")
    world.attach()
    world.shelf.put(a, b"two")
    update = world.publisher.renewed(frozenset({a}))
    assert [each.body for change in update.changes for each in change.put] == [b"two"]
    assert not update.rescoped


def test_a_certificate_that_comes_opens_its_listener() -> None:
    world = World(*BASE, a_gateway(HTTPS), SECRET)
    world.attach()
    a = Key("default", "a")
    world.shelf.put(a, b"one")
    update = world.publisher.renewed(frozenset({a}))
    assert names(update, SECRET_TYPE) == {"gateway/default/a"}
    assert names(update, LISTENER) == {"gateway/8443"}


def test_two_proxies_of_one_gateway_share_everything_but_their_own_keys() -> None:
    second = a_player().replace("edge-1", "edge-2")
    world = World(*BASE, second, a_gateway(HTTP), a_route("a"))
    one = world.attach()
    two, update = world.publisher.attach(Key("default", "edge-2"), proved=True, proxyless=False)
    assert set(one) ^ set(two) == {Secrets(EDGE_1), Secrets(Key("default", "edge-2"))}
    assert update.changes == []
