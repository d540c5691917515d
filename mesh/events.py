"""What sources tell the mesh, and what the mesh says has changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mesh.names import Key
from mesh.service import Service
from mesh.workload import Workload


class Value(Protocol):
    """A frozen, hashable value that a document declares: a route, a policy, a subset."""

    @property
    def key(self) -> Key: ...
    @property
    def origin(self) -> tuple[str, ...]: ...


DocumentName = tuple[str, Key]
"""The kind and key of a document."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a document other than a service or a workload declares. `text` is the document itself, to be read again one day, and `line`
    the one of its file, from 1, that it begins on; 0 where it was not written in lines.
    """

    kind: str
    value: Value
    text: str = field(default="", repr=False, compare=False)
    line: int = field(default=1, compare=False)

    @property
    def name(self) -> DocumentName:
        return self.kind, self.value.key


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """The whole answer of a source: what it does not name, it does not have."""

    source: str
    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    declared: tuple[Declared, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceUpdate:
    """A part of what a source has, changed since it last spoke. A key is never both put and removed.

    `certain`: each removal was told by itself, so that many of them are no sign of a registry that has lost something.
    """

    source: str
    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    removed_services: tuple[Key, ...] = ()
    removed_workloads: tuple[Key, ...] = ()
    declared: tuple[Declared, ...] = ()
    removed_declared: tuple[DocumentName, ...] = ()
    certain: bool = False


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
    `callers`: which policies concern which callers may have changed. `urgent`: somebody was removed or became critical, which is
    never delayed.
    """

    services: frozenset[Key] = frozenset()
    endpoints: frozenset[Key] = frozenset()
    workloads: frozenset[Key] = frozenset()
    urgent: bool = False
    callers: bool = False

    def __bool__(self) -> bool:
        return bool(self.services or self.endpoints or self.workloads or self.callers)

    def __or__(self, other: Changes) -> Changes:
        return Changes(
            self.services | other.services,
            self.endpoints | other.endpoints,
            self.workloads | other.workloads,
            self.urgent or other.urgent,
            self.callers or other.callers,
        )
