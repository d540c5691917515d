"""What checks look at, frozen: the state of the mesh, and how the control plane and its proxies are, if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from api.shapes.acknowledgements import Acknowledgements
from api.shapes.status import PlaintextReport, Status
from mesh.names import Key
from mesh.policy import Policy
from mesh.routes import Route, Subset
from mesh.service import Service
from mesh.state import MeshState
from mesh.workload import Workload
from policies.effects import Merges, Vain, vain


@dataclass(frozen=True, slots=True)
class Live:
    """A running control plane. `plaintext`: who calls without mesh TLS; `newest`: how far the newest revision is;
    `replicas`: how many control planes there are, each of which knows only the proxies that are connected to it.
    """

    status: Status
    now: datetime
    plaintext: PlaintextReport | None = None
    newest: Acknowledgements | None = None
    replicas: int = 1


@dataclass(frozen=True)
class Sight:
    """`live` is None for documents alone."""

    state: MeshState
    live: Live | None = None

    @cached_property
    def in_vain(self) -> tuple[tuple[Policy, Vain], ...]:
        """What policies say in vain: reckoned once, for all checks."""
        merges: Merges = {}
        return tuple(
            (policy, each) for policy in self.policies() for each in vain(self.state, policy, merges=merges)
        )

    def services(self) -> Iterator[Service]:
        """Those of the mesh, by key; not those outside."""
        for _, service in sorted(self.state.services.items()):
            if service.external is None:
                yield service

    def workloads(self) -> Iterator[Workload]:
        for _, workload in sorted(self.state.workloads.items()):
            yield workload

    def members(self, service: Key) -> tuple[Workload, ...]:
        return tuple(self.state.workloads[key] for key in self.state.members.get(service, ()))

    def routes(self) -> Iterator[Route]:
        for _, value in sorted(self.state.declared.items(), key=lambda item: item[0]):
            if isinstance(value, Route):
                yield value

    def subsets(self) -> Iterator[Subset]:
        for _, value in sorted(self.state.declared.items(), key=lambda item: item[0]):
            if isinstance(value, Subset):
                yield value

    def policies(self, *kinds: str) -> Iterator[Policy]:
        """Of these kinds, by name; all kinds if none is named."""
        for (kind, _), policy in sorted(self.state.policies.policies.items()):
            if not kinds or kind in kinds:
                yield policy
