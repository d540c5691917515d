"""When the status of a Gateway is told whose proxy does not answer: after a while, once, and again when it answers.

Streams are stand-ins, for what a real proxy cannot be made to do at will: to hang.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import yaml

from mesh.events import SourceSnapshot, SourceUpdate
from mesh.gateways import Gateway
from mesh.names import Key
from mesh.service import Protocol, Service, ServicePort
from mesh.state import MeshState
from mesh.workload import Workload, WorkloadPort
from meshwright.certificates import Certificates
from meshwright.kubernetes import gateway_api
from meshwright.kubernetes.gateway_api import GatewayApiStatuses
from meshwright.kubernetes.gateway_statuses import Made
from meshwright.publisher import client_id
from policies.registry import KINDS
from store.kubernetes_held import Held
from store.kubernetes_kinds import CONTROLLER
from store.kubernetes_objects import kept
from xds.server import XdsServer

EDGE, PROXY = Key("infra", "edge"), Key("infra", "edge-1")
OBJECTS = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: meshwright}}
spec: {{controllerName: {CONTROLLER}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: infra, uid: u1, generation: 1}}
spec: {{gatewayClassName: meshwright, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
"""


@dataclass
class Mesh:
    """One Gateway, its proxy, which answers or does not, and a clock. It is the gateways, the reports and the streams of the source, too."""

    now: float = 100.0
    answers: bool = False
    known: bool = True
    moves: int = 0
    classes: dict[str, str] = field(default_factory=dict)

    def clock(self) -> float:
        return self.now

    def heard(self, since: float) -> bool:
        return self.answers

    def streams_of(self, client: str) -> list[Mesh]:
        return [self] if client == client_id(PROXY) else []

    def status(self, now: float) -> SimpleNamespace:
        return SimpleNamespace(id=client_id(PROXY), connected_at=0.0)

    def made(self, gateway: Gateway) -> Made:
        assert gateway.key == EDGE
        return Made(("10.0.0.7",), ready=True)

    def not_ready(self) -> str | None:
        return None

    def refused_listeners(self, clients: list[SimpleNamespace]) -> dict[Key, str]:
        assert [each.id for each in clients] == [client_id(PROXY)], "those who play gateways"
        return {}


class Told:
    """A source, asked as the writer asks it: when it waits, or `moves` is another value."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        here = cast("Any", mesh)
        self.source = GatewayApiStatuses(
            here,
            Certificates(None, Path("/nonexistent"), lambda: datetime(2026, 1, 1, tzinfo=UTC)),
            here,
            cast("XdsServer", here),
            clock=mesh.clock,
            wall=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        )
        objects = {each.name: each for each in map(kept, yaml.safe_load_all(OBJECTS))}
        self.held = Held().with_changes(objects, "cluster", KINDS)
        snapshot = self.held.documents.to_snapshot("cluster")
        self.state, _ = MeshState("test").apply(snapshot)
        player = Workload(PROXY, (), "default", "10.0.0.8", (), gateway=EDGE)
        self.state, _ = self.state.apply(SourceSnapshot("pods", workloads=(player,)))
        self.seen: object = None

    def asked(self) -> Iterator[str]:
        """Nothing if there is no reason to ask; else the reason of Programmed, or that it is left out."""
        moves = self.source.moves()
        if moves == self.seen and not self.source.waiting:
            return
        self.seen = moves
        told = {found.kind: status for found, status in self.source(self.state, self.held)}
        if "Gateway" not in told:
            yield "left out"
            return
        yield next(each["reason"] for each in told["Gateway"]["conditions"] if each["type"] == "Programmed")

    def during(self, seconds: float) -> list[str]:
        said: list[str] = []
        for _ in range(round(seconds * 10)):
            said += self.asked()
            self.mesh.now += 0.1
        return said


def test_who_does_not_answer_is_waited_for_once_and_told() -> None:
    told = Told(Mesh())
    first = told.during(gateway_api.PATIENCE - 0.2)
    assert set(first) == {"left out"}
    assert len(first) < 4, "it is asked when something moves, and not all the time"
    assert told.during(30) == ["Pending"]


def test_who_answers_late_is_told_when_it_does() -> None:
    told = Told(Mesh())
    told.during(30)
    told.mesh.answers = True
    assert told.during(30) == ["Programmed"]


def test_while_it_stays_behind_what_is_new_is_told_at_once() -> None:
    told = Told(Mesh())
    told.during(30)
    told.mesh.moves += 1
    assert told.during(0.1) == ["Pending"]


def test_endpoints_are_nothing_that_it_goes_by() -> None:
    """They change all the time, and are in no status of the Gateway API: to make all of these anew would take most of a core."""
    told = Told(Mesh(answers=True))
    api = Service(Key("shop", "api"), (ServicePort("http", 80, Protocol.HTTP),))
    served, _ = told.state.apply(SourceUpdate("pods", (api,)))
    ports = (WorkloadPort("http", 8080, None),)
    pod = Workload(Key("shop", "api-1"), (Key("shop", "api"),), "api", "10.0.0.9", ports)
    moved, changes = served.apply(SourceUpdate("pods", workloads=(pod,)))
    assert changes.endpoints
    same = zip(told.source.goes_by(served), told.source.goes_by(moved), strict=True)
    assert all(before is after for before, after in same)
    of_service = zip(told.source.goes_by(told.state), told.source.goes_by(served), strict=True)
    assert any(before is not after for before, after in of_service)


def test_who_answers_at_once_is_told_at_once() -> None:
    assert Told(Mesh(answers=True)).during(30) == ["Programmed"]
