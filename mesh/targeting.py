"""What a policy is attached to: a destination, and the callers that it concerns.

A policy names its destination (`targetRefs`) and, if it does not concern all of them, its callers (`from`). Here is
whether it applies to a given destination and caller; `mesh.merge` says which of several that apply prevails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from mesh.names import Key


class Level(IntEnum):
    """How near to a request a target is; of two policies that say different things, the nearer prevails.

    INLINE is for fields inside a route itself, which are nearer than any policy attached to that route.
    """

    MESH = 0
    NAMESPACE = 1
    SERVICE = 2
    WORKLOAD = 3
    ROUTE = 4
    INLINE = 5


@dataclass(frozen=True, slots=True, order=True)
class RouteName:
    """A route document: routes of different kinds may share a key."""

    kind: str
    key: Key


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as far as policies tell callers apart. `services` are those that the calling workload serves."""

    workload: Key
    service_account: str
    services: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """What is called, and by whom. None for what is not (yet) known: a policy that asks for it does not apply."""

    namespace: str
    service: Key | None = None
    workload: Key | None = None
    route: RouteName | None = None
    caller: Caller | None = None


@dataclass(frozen=True, slots=True, order=True)
class TargetRef:
    """A destination. Make one by the class methods; unused fields are empty."""

    level: Level
    namespace: str = ""
    name: str = ""
    kind: str = ""

    @classmethod
    def mesh(cls) -> TargetRef:
        return cls(Level.MESH)

    @classmethod
    def of_namespace(cls, namespace: str) -> TargetRef:
        return cls(Level.NAMESPACE, namespace)

    @classmethod
    def service(cls, key: Key) -> TargetRef:
        return cls(Level.SERVICE, key.namespace, key.name)

    @classmethod
    def workload(cls, key: Key) -> TargetRef:
        return cls(Level.WORKLOAD, key.namespace, key.name)

    @classmethod
    def route(cls, route: RouteName) -> TargetRef:
        return cls(Level.ROUTE, route.key.namespace, route.key.name, route.kind)

    @classmethod
    def inline(cls, route: RouteName) -> TargetRef:
        return cls(Level.INLINE, route.key.namespace, route.key.name, route.kind)

    def covers(self, subject: Subject) -> bool:
        key = Key(self.namespace, self.name)
        match self.level:
            case Level.MESH:
                return True
            case Level.NAMESPACE:
                return subject.namespace == self.namespace
            case Level.SERVICE:
                return subject.service == key
            case Level.WORKLOAD:
                return subject.workload == key
            case Level.ROUTE | Level.INLINE:
                return subject.route == RouteName(self.kind, key)

    def __str__(self) -> str:
        match self.level:
            case Level.MESH:
                return "the mesh"
            case Level.NAMESPACE:
                return f"namespace {self.namespace}"
            case Level.SERVICE | Level.WORKLOAD:
                return f"{self.level.name.lower()} {self.namespace}/{self.name}"
            case Level.ROUTE | Level.INLINE:
                return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class CallerRef:
    """Callers of one namespace: all of it, or those that meet every further condition given."""

    namespace: str
    service: str | None = None
    workload: str | None = None
    service_account: str | None = None

    def covers(self, caller: Caller) -> bool:
        return (
            caller.workload.namespace == self.namespace
            and (self.service is None or Key(self.namespace, self.service) in caller.services)
            and (self.workload is None or caller.workload.name == self.workload)
            and (self.service_account is None or caller.service_account == self.service_account)
        )


def concerns(callers: tuple[CallerRef, ...], caller: Caller | None) -> bool:
    """Whether a policy that names `callers` (none: everyone) concerns `caller`."""
    if not callers:
        return True
    return caller is not None and any(each.covers(caller) for each in callers)


def references(caller: Caller) -> Iterator[CallerRef]:
    """Every way to name `caller`: whoever names it does so by one of these (see `CallerRef.covers`)."""
    for service in (None, *caller.services):
        if service is not None and service.namespace != caller.workload.namespace:
            continue
        for workload in (None, caller.workload.name):
            for account in (None, caller.service_account):
                name = None if service is None else service.name
                yield CallerRef(caller.workload.namespace, name, workload, account)
