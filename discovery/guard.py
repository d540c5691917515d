"""Holds what a source takes away all at once. Sans I/O: `now` is an argument, in seconds of any steady clock.

What is held: one answer that removes at least half and at least five of a service's endpoints; one that removes at least
half and at least five of all that the source has (without as many new ones), or leaves nothing of it, and there each service
that loses at least half of its endpoints, however few; and likewise what the next whole answer removes, where the source
lost its history (`SourceReset`) or the state that a start found on disk had holds. Removed means gone, critical, or no
longer of the service. Everything else that an answer says is honoured at once: individual
removals, and what it adds, whatever it removes besides.

A hold is of one service: the endpoints that went stay as they were. It ends when half have come back (as many live
endpoints as there were less half of those that went, under whatever names, since a scheduler gives new ones), after
`longest`, or by `release`. An endpoint held as critical and then deregistered by itself is let go at once.

An answer that says of itself that it is certain is never held: its removals were told one by one.

A source that fails says nothing, so nothing of it changes: that needs no hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from discovery.source import SourceReset
from discovery.told import difference
from mesh.events import Declared, DocumentName, SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.service import Service
from mesh.workload import Health, Workload

Said = SourceSnapshot | SourceUpdate
V = TypeVar("V", Service, Workload)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """`fewest` endpoints of a service, or of the source, must one answer remove, besides half of them, to be held for at
    most `longest` seconds.
    """

    fewest: int = 5
    longest: float = 600.0
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Hold:
    """For the operator. `since` and `ends` are of the clock that `now` is of."""

    source: str
    service: Key
    endpoints: int
    since: float
    ends: float
    why: str


@dataclass(slots=True)
class _Held:
    """`workloads` are those that went, as they were; they shrink as they come back or are let go. `went` is how many
    went in all, `stayed` how many live endpoints remained.
    """

    service: Service
    since: float
    ends: float
    why: str
    stayed: int
    went: int
    workloads: dict[Key, Workload] = field(default_factory=dict)

    def over(self, live: int) -> bool:
        return not self.workloads or 2 * (live - self.stayed) >= self.went


@dataclass(slots=True)
class _Touched:
    """What an answer changed, as it was before."""

    services: dict[Key, Service | None] = field(default_factory=dict)
    workloads: dict[Key, Workload | None] = field(default_factory=dict)
    live: dict[Key, frozenset[Key]] = field(default_factory=dict)
    loss: str | None = None
    """Why the answer is not believed as a whole, if it takes too much of all that the source has."""


class Guard:
    """Of one source. `receive` takes what the source says and gives what the mesh may be told.

    The work of an update grows with what it changes.
    """

    def __init__(self, source: str, settings: GuardSettings) -> None:
        self._source = source
        self._settings = settings
        # As the source says; `_members` has the workloads of each service that are not critical.
        self._services: dict[Key, Service] = {}
        self._workloads: dict[Key, Workload] = {}
        self._members: dict[Key, set[Key]] = {}
        self._live_anywhere: set[Key] = set()  # the workloads that are members of any service there is
        # As the mesh was told.
        self._told_services: dict[Key, Service] = {}
        self._declared: dict[DocumentName, Declared] = {}
        self._told_workloads: dict[Key, Workload] = {}
        self._holds: dict[Key, _Held] = {}
        self._holders: dict[Key, set[Key]] = {}  # workload → the services that hold it
        self._dirty_services: set[Key] = set()
        self._dirty_workloads: set[Key] = set()
        self._suspect: str | None = None
        self._restored = False
        self._unread: frozenset[str] = frozenset()
        self._certain = False

    def restore(self, snapshot: SourceSnapshot, *, held: bool) -> SourceSnapshot:
        """Begin with the last good state, which is the event to apply. `held`: it was written while there were holds."""
        self._take(snapshot)
        self._tell()
        self._restored = True
        if held:
            self._suspect = "the first answer after a start, and endpoints were held before it"
        return snapshot

    def distrust(self, reset: SourceReset) -> None:
        """The next snapshot may lack what is still there."""
        self._suspect = reset.reason

    def keep(self, files: frozenset[str]) -> None:
        """The next snapshot lacks what these documents held, for they cannot be read: that stays as the mesh was told it."""
        self._unread = files

    def receive(self, said: Said, now: float) -> Said | None:
        """What is to be applied: a snapshot for a snapshot; None if nothing is."""
        if isinstance(said, SourceSnapshot) and self._unread:
            said = self._with_unread(said)
        self._certain = isinstance(said, SourceUpdate) and said.certain
        suspect = None if self._certain else self._suspicion(said)
        touched = self._take(said)
        for service in touched.live:
            self._judge(service, touched, suspect, now)
        update = self._tell()
        if isinstance(said, SourceSnapshot):
            self._restored = False
            return self.told() if self._holds else said
        return self._with_declared(said, update)

    def _with_declared(self, said: SourceUpdate, update: SourceUpdate | None) -> SourceUpdate | None:
        """Routes and policies are never held: their owner wrote what they say."""
        if not said.declared and not said.removed_declared:
            return update
        return replace(
            update or SourceUpdate(self._source),
            declared=said.declared,
            removed_declared=said.removed_declared,
        )

    def _with_unread(self, said: SourceSnapshot) -> SourceSnapshot:
        def kept(told: dict[Key, V], put: tuple[V, ...]) -> tuple[V, ...]:
            named = {each.key for each in put}
            return tuple(
                each for key, each in told.items() if key not in named and self._is_unread(each.origin)
            )

        return replace(
            said,
            services=(*said.services, *kept(self._told_services, said.services)),
            workloads=(*said.workloads, *kept(self._told_workloads, said.workloads)),
            declared=(*said.declared, *self._unread_declared(said)),
        )

    def _unread_declared(self, said: SourceSnapshot) -> Iterator[Declared]:
        named = {each.name for each in said.declared}
        for name, each in self._declared.items():
            origin = each.value.origin
            if name not in named and self._is_unread(origin):
                yield each

    def _is_unread(self, origin: tuple[str, ...]) -> bool:
        """Whether it is from one of the files that cannot be read; of the store, each document is one, named by kind and key."""
        if not origin:
            return False
        file, subject = origin[0].partition("#")[0], " ".join(origin[0].rsplit(" ", 2)[1:])
        return file in self._unread or subject in self._unread

    def due(self, now: float) -> SourceUpdate | None:
        """End the holds whose time has come. What is to be applied."""
        return self._end([key for key, held in self._holds.items() if held.ends <= now])

    def next_due(self) -> float | None:
        """When `due` must be called next; None while nothing is held."""
        return min((held.ends for held in self._holds.values()), default=None)

    def release(self, service: Key | None) -> tuple[int, SourceUpdate | None]:
        """End the hold of `service`, or every hold. How many ended, and what is to be applied."""
        keys = [key for key in self._holds if service is None or key == service]
        return len(keys), self._end(keys)

    def holds(self) -> tuple[Hold, ...]:
        return tuple(
            Hold(self._source, key, len(held.workloads), held.since, held.ends, held.why)
            for key, held in sorted(self._holds.items())
        )

    def told(self) -> SourceSnapshot:
        """All that the mesh was told: what the source says, and what is held."""
        return SourceSnapshot(
            self._source,
            tuple(self._told_services.values()),
            tuple(self._told_workloads.values()),
            tuple(self._declared.values()),
        )

    @property
    def counts(self) -> tuple[int, int]:
        """How many services and workloads the mesh was told of."""
        return len(self._told_services), len(self._told_workloads)

    def _suspicion(self, said: Said) -> str | None:
        """Why an answer is not believed where it removes half of a service's endpoints, however few."""
        # The one workload of a whole mesh may well be removed by itself, unless we have only just started.
        many = len(self._workloads) > (0 if self._restored else 1)
        if isinstance(said, SourceUpdate):
            emptied = not said.workloads and self._workloads.keys() <= set(said.removed_workloads)
            return "the catalog is empty" if many and emptied else None
        suspect, self._suspect = self._suspect, None
        if not said.workloads and many:
            return suspect or "the catalog is empty"
        return suspect

    def _take(self, said: Said) -> _Touched:
        """Make what the source says ours."""
        if isinstance(said, SourceSnapshot):
            self._declared.clear()
        else:
            for name in said.removed_declared:
                self._declared.pop(name, None)
        self._declared.update({each.name: each for each in said.declared})
        services: dict[Key, Service | None] = {each.key: each for each in said.services}
        workloads: dict[Key, Workload | None] = {each.key: each for each in said.workloads}
        if isinstance(said, SourceSnapshot):
            services |= dict.fromkeys(self._services.keys() - services.keys())
            workloads |= dict.fromkeys(self._workloads.keys() - workloads.keys())
        else:
            services |= dict.fromkeys(said.removed_services)
            workloads |= dict.fromkeys(said.removed_workloads)
        touched = _Touched()
        for key, service in services.items():
            if self._services.get(key) == service:
                continue
            touched.services[key] = self._services.get(key)
            touched.live[key] = self._live(key)
        for key, workload in workloads.items():
            old = self._workloads.get(key)
            if old == workload:
                continue
            touched.workloads[key] = old
            for each in (*_serves(old), *_serves(workload), *self._holders.get(key, ())):
                if each not in touched.live:
                    touched.live[each] = self._live(each)
        for key in touched.services:
            _put(self._services, key, services[key])
        for key, old in touched.workloads.items():
            new = workloads[key]
            _put(self._workloads, key, new)
            for each in _serves(old):
                self._members[each].discard(key)
            for each in _serves(new):
                self._members.setdefault(each, set()).add(key)
        for each in touched.live:
            if not self._members.get(each, True):
                del self._members[each]
        self._dirty_services.update(touched.services)
        self._dirty_workloads.update(touched.workloads)
        touched.loss = self._loss(touched)
        return touched

    def _loss(self, touched: _Touched) -> str | None:
        """Count what came and went of the whole source; why it went too suddenly, if it did."""
        before = len(self._live_anywhere)
        changed = set[Key]().union(*(was ^ self._live(service) for service, was in touched.live.items()))
        now = {
            key
            for key in changed
            if any(each in self._services for each in _serves(self._workloads.get(key)))
        }
        gone = len((changed - now) & self._live_anywhere)
        came = len(now - self._live_anywhere)
        self._live_anywhere.difference_update(changed)
        self._live_anywhere.update(now)
        if 2 * came >= gone or not self._sudden(gone, before, None):
            return None
        return f"one answer removed {gone} of all {before} endpoints of the source"

    def _live(self, service: Key) -> frozenset[Key]:
        return frozenset(self._members.get(service, ())) if service in self._services else frozenset()

    def _judge(self, service: Key, touched: _Touched, suspect: str | None, now: float) -> None:
        """Begin, widen, narrow or end the hold of `service`."""
        before, after = touched.live[service], self._live(service)
        held = self._holds.get(service)
        if held is not None:
            for key in held.workloads.keys() & after:
                self._let_go(service, held, key)
            self._honour_deregistered(service, held, touched, suspect)
        gone = before - after
        if gone and self._sudden(len(gone), len(before), suspect or touched.loss):
            if held is None:
                was = touched.services.get(service) or self._services[service]
                held = self._holds[service] = _Held(was, since=now, ends=0, why="", stayed=0, went=0)
                self._dirty_services.add(service)
            held.service = touched.services.get(service) or self._services.get(service) or held.service
            held.ends = now + self._settings.longest
            held.why = suspect or f"one answer removed {len(gone)} of {len(before)} endpoints"
            if touched.loss and not suspect and not self._sudden(len(gone), len(before), None):
                held.why = touched.loss
            held.stayed = len(before) - len(gone)
            held.went = len(held.workloads) + len(gone)
            for key in gone:
                was_workload = touched.workloads.get(key) or self._workloads[key]
                held.workloads[key] = was_workload
                self._holders.setdefault(key, set()).add(service)
                self._dirty_workloads.add(key)
        elif held is not None:
            held.stayed = max(0, held.stayed - len(gone))
        if held is not None and held.over(len(after)):
            self._drop(service)

    def _honour_deregistered(self, service: Key, held: _Held, touched: _Touched, suspect: str | None) -> None:
        """Let go of those that were held as critical, and that the source has now removed by themselves."""
        removed = [
            key
            for key in held.workloads
            if touched.workloads.get(key) is not None
            and key not in self._workloads
            and key not in touched.live[service]
        ]
        if (
            suspect is None
            and touched.loss is None
            and not self._sudden(len(removed), len(held.workloads), None)
        ):
            for key in removed:
                self._let_go(service, held, key)
                held.went -= 1

    def _sudden(self, gone: int, of: int, suspect: str | None) -> bool:
        return (
            self._settings.enabled
            and not self._certain
            and 2 * gone >= of
            and (suspect is not None or gone >= self._settings.fewest)
        )

    def _let_go(self, service: Key, held: _Held, workload: Key) -> None:
        del held.workloads[workload]
        holders = self._holders[workload]
        holders.discard(service)
        if not holders:
            del self._holders[workload]
        self._dirty_workloads.add(workload)

    def _drop(self, service: Key) -> None:
        held = self._holds[service]
        for key in list(held.workloads):
            self._let_go(service, held, key)
        del self._holds[service]
        self._dirty_services.add(service)

    def _end(self, services: Iterable[Key]) -> SourceUpdate | None:
        for service in services:
            self._drop(service)
        return self._tell()

    def _tell(self) -> SourceUpdate | None:
        """Bring what the mesh was told up to date for everything that may have changed; the difference."""
        services, removed_services = difference(self._told_services, self._dirty_services, self._service)
        workloads, removed_workloads = difference(
            self._told_workloads, self._dirty_workloads, self._effective
        )
        self._dirty_services.clear()
        self._dirty_workloads.clear()
        if not (services or workloads or removed_services or removed_workloads):
            return None
        return SourceUpdate(self._source, services, workloads, removed_services, removed_workloads)

    def _service(self, key: Key) -> Service | None:
        """A service as the source says; while it is held, as it was."""
        held = self._holds.get(key)
        return self._services.get(key) or (held.service if held else None)

    def _effective(self, key: Key) -> Workload | None:
        """A workload as the source says; while services hold it, as it was, for these and for those it still serves."""
        said, holders = self._workloads.get(key), self._holders.get(key)
        if not holders:
            return said
        latest = max(holders, key=lambda service: (self._holds[service].ends, service))
        was = self._holds[latest].workloads[key]
        kept = tuple(service for service in was.services if service in holders)
        # Held for one service at a time at which it served it, and for another at another time.
        kept += tuple(sorted(holders.difference(kept)))
        others = tuple(service for service in _serves(said) if service not in holders)
        return replace(was, services=kept + others)


def _serves(workload: Workload | None) -> tuple[Key, ...]:
    return workload.services if workload is not None and workload.health is not Health.CRITICAL else ()


def _put(values: dict[Key, V], key: Key, value: V | None) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value
