"""BackendTLSPolicies: which of them holds for a port, and what a change of one concerns."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from mesh.events import Changes, Declared, SourceUpdate
from mesh.external import External, Origination
from mesh.gateways import BackendTlsPolicy, ObjectRef, SubjectKind, SubjectName, TlsTarget
from mesh.names import Key
from mesh.routes import BackendKind
from mesh.state import MeshState
from mesh.views import service_view
from tests.support.builders import a_key, a_port, a_service, a_state

KIND = "BackendTLSPolicy"
ADMIN = a_port("admin", 8080)


def policy(name: str, hostname: str, target: TlsTarget, **more: object) -> BackendTlsPolicy:
    return BackendTlsPolicy(a_key(name), (target,), hostname, **more)  # type: ignore[arg-type]


def target(section: str | None = None, kind: BackendKind = BackendKind.SERVICE) -> TlsTarget:
    return TlsTarget(kind, a_key("api"), section)


def declared(state: MeshState, *policies: BackendTlsPolicy) -> tuple[MeshState, Changes]:
    return state.apply(SourceUpdate("tls", declared=tuple(Declared(KIND, each) for each in policies)))


def hosts(state: MeshState) -> dict[int, str | None]:
    return {port: said.sni for port, said in service_view(state, a_key("api")).tls}


def test_one_for_a_port_comes_before_one_for_all() -> None:
    state = a_state(a_service("api", a_port(), ADMIN))
    state, changes = declared(state, policy("all", "all", target()), policy("z", "admin", target("admin")))
    assert changes.services == {a_key("api")}
    assert hosts(state) == {80: "all", 8080: "admin"}
    state, changes = state.apply(SourceUpdate("tls", removed_declared=((KIND, a_key("z")),)))
    assert changes.services == {a_key("api")}
    assert hosts(state) == {80: "all", 8080: "all"}
    state, _ = state.apply(SourceUpdate("tls", removed_declared=((KIND, a_key("all")),)))
    assert hosts(state) == {}
    assert not state.backend_tls


def test_the_older_comes_first() -> None:
    first = policy("z", "old", target(), created=datetime(2020, 1, 1, tzinfo=UTC))
    second = policy("a", "new", target(), created=datetime(2021, 1, 1, tzinfo=UTC))
    state, _ = declared(a_state(a_service("api")), second, first, policy("0", "undated", target()))
    assert hosts(state) == {80: "old"}


def test_a_target_is_meant_as_the_kind_that_it_is() -> None:
    outside = target(kind=BackendKind.EXTERNAL)
    state, _ = declared(a_state(a_service("api")), policy("p", "x", outside))
    assert hosts(state) == {}
    external = replace(a_service("api"), external=External(("api.example.com",)))
    state, _ = declared(a_state(external), policy("p", "x", outside))
    assert hosts(state) == {80: "x"}


def test_whose_authorities_are_needed_concerns_every_caller() -> None:
    names = (SubjectName(SubjectKind.HOSTNAME, "*.x.y"), SubjectName(SubjectKind.URI, "spiffe://x/y"))
    secret = ObjectRef("Secret", Key("default", "ca"))
    state, changes = declared(
        a_state(a_service("api")), policy("p", "x", target(), authorities=(secret,), names=names)
    )
    assert changes.callers
    ((_, said),) = service_view(state, a_key("api")).tls
    assert said == Origination("x", ("*.x.y",), ("spiffe://x/y",), authorities=(secret.key,))
    state, changes = declared(state, policy("p", "other", target(), authorities=(secret,)))
    assert not changes.callers
    another = ObjectRef(
        "ConfigMap", Key("default", "another")
    )  # the Secret document of that name stands for it
    state, changes = declared(state, policy("p", "other", target(), authorities=(secret, another)))
    assert changes.callers
    ((_, said),) = service_view(state, a_key("api")).tls
    assert said.authorities == (another.key, secret.key)
