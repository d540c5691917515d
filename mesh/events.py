"""What sources tell the mesh, and what the mesh says has changed."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.names import Key
from mesh.service import Service
from mesh.workload import Workload


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """The whole answer of a source: what it does not name, it does not have."""

    source: str
    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceUpdate:
    """A part of what a source has, changed since it last spoke. A key is never both put and removed."""

    source: str
    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    removed_services: tuple[Key, ...] = ()
    removed_workloads: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceGone:
    """The source was taken out of the configuration: nothing of it remains."""

    source: str


Event = SourceSnapshot | SourceUpdate | SourceGone


@dataclass(frozen=True, slots=True)
class Changes:
    """What an event changed, in terms of what proxies see.

    `services`: declared, changed or removed, or whose accepted identities changed. `endpoints`: services whose
    endpoints changed. `workloads`: whose own view changed (its ports, what it uses, whether it is there).
    `urgent`: somebody was removed or became critical, which is never delayed.
    """

    services: frozenset[Key] = frozenset()
    endpoints: frozenset[Key] = frozenset()
    workloads: frozenset[Key] = frozenset()
    urgent: bool = False

    def __bool__(self) -> bool:
        return bool(self.services or self.endpoints or self.workloads)

    def __or__(self, other: Changes) -> Changes:
        return Changes(
            self.services | other.services,
            self.endpoints | other.endpoints,
            self.workloads | other.workloads,
            self.urgent or other.urgent,
        )
