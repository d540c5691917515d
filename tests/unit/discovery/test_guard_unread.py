"""Documents that cannot be read when the control plane starts keep what they held."""

from __future__ import annotations

from discovery.guard import Guard, GuardSettings
from mesh.events import SourceSnapshot
from tests.support.builders import a_service, a_snapshot


def test_what_files_held_that_cannot_be_read_stays_until_they_can() -> None:
    """A start with a wrong file: the state on disk had its documents, the first snapshot has not."""
    mine, others = ("broken.yaml#1 Service default/api",), ("good.yaml#1 Service default/web",)
    before = a_snapshot(a_service("api", origin=mine), a_service("web", origin=others))
    guard = Guard("test", GuardSettings())
    guard.restore(before, held=False)
    guard.keep(frozenset({"broken.yaml"}))
    told = guard.receive(a_snapshot(a_service("web", origin=others)), 0.0)
    assert isinstance(told, SourceSnapshot)
    assert {service.key.name for service in told.services} == {"api", "web"}
    guard.keep(frozenset())
    told = guard.receive(a_snapshot(a_service("web", origin=others)), 1.0)
    assert isinstance(told, SourceSnapshot)
    assert {service.key.name for service in told.services} == {"web"}
