"""Editions of the mesh: what all sources say, but for some documents, of which some clients see another value.

The base is what all sources say. An edition is the base with an overlay: older values of some documents, or their absence. Each client
belongs to one edition, as those who use editions say (`Overlayer`): staged rollouts, and the quarantine of documents that Envoy refuses.

An edition has a state of the mesh of its own, which shares with that of the base what is equal, and is kept up to date event by event: what
an event says of overlaid documents is kept from it, all else passes. Where there is no edition but the base, none of this costs anything.
Why it is built so: docs/adr/0008-editions.md. No I/O, no clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from mesh.events import (
    Changes,
    Declared,
    DocumentName,
    Event,
    SourceGone,
    SourceSnapshot,
    SourceUpdate,
)
from mesh.names import Key
from mesh.service import Service
from mesh.state import MeshState
from mesh.workload import Workload
from meshwright.at_once import AtOnce
from meshwright.revisions import Held, held, revision_of
from meshwright.scopes import BASE
from policies.weave import Weaver

MOST = 24
"""Editions beside the base. Each costs the state of what differs, and the work of every event once more."""


@dataclass(frozen=True, slots=True)
class Instead:
    """What stands for a document in an edition: `value`, as if `source` said so, or nothing at all."""

    source: str
    value: Held | None


@dataclass(frozen=True, slots=True)
class Overlay:
    """By document, what stands for it. Names are sorted, so that equal overlays are equal values; it knows its hash."""

    entries: tuple[tuple[DocumentName, Instead], ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(self.entries))

    def __hash__(self) -> int:
        return self._hash

    def __bool__(self) -> bool:
        return bool(self.entries)

    @classmethod
    def of(cls, entries: Mapping[DocumentName, Instead]) -> Overlay:
        return cls(tuple(sorted(entries.items(), key=lambda each: each[0]))) if entries else NOTHING

    def get(self, name: DocumentName) -> Instead | None:
        return next((each for of, each in self.entries if of == name), None)

    def under(self, other: Overlay) -> Overlay:
        """Both; of what both speak of, `other` has it."""
        if not other or not self:
            return other or self
        return Overlay.of({**dict(self.entries), **dict(other.entries)})

    def name(self) -> str:
        """The same for the same content, after a restart and on every replica."""
        digest = hashlib.blake2b(digest_size=8)
        for (kind, key), each in self.entries:
            said = "" if each.value is None else revision_of(each.value)
            digest.update(f"{kind} {key} {each.source} {said}\n".encode())
        return digest.hexdigest()


NOTHING = Overlay()


@dataclass(frozen=True, slots=True)
class Member:
    """A client that is to be given an edition. `envoy`: what it is, to the minor version (`envoy 1.40`), as it says itself; empty: it
    does not say. `declared`: its workload, with labels and locality, as all sources say; None while no source declares it.
    """

    client: str
    workload: Key
    proved: bool
    proxyless: bool
    envoy: str = ""
    declared: Workload | None = None


class Overlayer(Protocol):
    """Says what clients see instead. Asked often, for each client that anything concerns: it has to be quick, and to return the same object
    for the same answer. When an answer may have changed, `Pipeline.reassign` has to be called.
    """

    def overlay(self, member: Member, below: Overlay) -> Overlay:
        """What `member` sees instead of what all sources say; `below`: what those before say already, which gives way to it."""
        ...


@dataclass(slots=True, eq=False)
class Edition:
    """`latest` is the state of all events so far, `state` that of what was published. `differs`: the services of which something may look
    otherwise than in the base. Its weaver and `at_once` speak of this state alone.
    """

    name: str
    overlay: Overlay
    state: MeshState
    latest: MeshState
    weaver: Weaver
    at_once: AtOnce
    differs: set[Key] = field(default_factory=set)
    names: frozenset[DocumentName] = frozenset()


class Editions:
    """All there are, and who belongs to which."""

    def __init__(self, state: MeshState, weaver: Weaver, most: int = MOST) -> None:
        self.base = Edition(BASE, NOTHING, state, state, weaver, AtOnce(state))
        self._most = most
        self._users: list[Overlayer] = []
        self._others: dict[str, Edition] = {}
        self._by_overlay: dict[Overlay, Edition] = {}
        self._combined: dict[tuple[Overlay, Overlay], Overlay] = {}

    def __len__(self) -> int:
        """Beside the base."""
        return len(self._others)

    def __iter__(self) -> Iterator[Edition]:
        yield self.base
        yield from self._others.values()

    def __contains__(self, name: object) -> bool:
        return name == BASE or name in self._others

    def __getitem__(self, name: str) -> Edition:
        return self._others[name] if name else self.base

    def use(self, user: Overlayer) -> None:
        """Ask `user` too; what it says goes before what those say that came earlier. Before streams come."""
        self._users.append(user)

    # Who belongs where

    def of(self, member: Member) -> Edition:
        """The edition of `member`, made if it is new. Where there would be too many, what the last users say is left out."""
        if not self._users:
            return self.base
        layers, below = [NOTHING], NOTHING
        for user in self._users:
            below = self._under(below, user.overlay(member, below))
            layers.append(below)
        for overlay in reversed(layers):
            edition = self._edition(overlay)
            if edition is not None:
                return edition
        return self.base

    def draft(self, overlay: Overlay) -> Edition:
        """One that nobody belongs to, to try something on: it is not kept up to date."""
        return self._made(overlay)

    def _under(self, below: Overlay, above: Overlay) -> Overlay:
        if not below or not above:
            return above or below
        found = self._combined.get((below, above))
        if found is None:
            if len(self._combined) >= 4 * self._most:
                self._combined.clear()
            found = self._combined[below, above] = below.under(above)
        return found

    def _edition(self, overlay: Overlay) -> Edition | None:
        if not overlay:
            return self.base
        found = self._by_overlay.get(overlay)
        if found is None and len(self._others) < self._most:
            # Of one content by one name, whatever its values were read from.
            found = self._others.get(overlay.name()) or self._made(overlay)
            self._others[found.name] = self._by_overlay[overlay] = found
        return found

    def _made(self, overlay: Overlay) -> Edition:
        state, changes = _overlaid(self.base.latest, overlay)
        differs = set(changes.services | changes.endpoints)
        at_once = AtOnce(state, like=self.base.at_once)
        differs |= at_once.refresh(state, differs)
        names = frozenset(name for name, _ in overlay.entries)
        return Edition(
            overlay.name(), overlay, state, state, self.base.weaver.beside(), at_once, differs, names
        )

    def forget(self, used: Iterable[str]) -> None:
        """Those of which no scope and no client is any more: all but `used`."""
        kept = {*used}
        for name in [each for each in self._others if each not in kept]:
            edition = self._others.pop(name)
            for overlay in [each for each, of in self._by_overlay.items() if of is edition]:
                del self._by_overlay[overlay]

    # What happens in the mesh

    def changed(self, state: MeshState, changes: Changes, event: Event | None = None) -> Changes:
        """`event` made the base `state`, and changed `changes`. What it changes in all editions together, the base among them."""
        self.base.latest = state
        for edition in self._others.values():
            if event is None:
                continue
            kept = _kept_from(event, edition)
            edition.latest, more = edition.latest.apply(kept)
            if kept is not event:
                edition.differs |= changes.services | changes.endpoints | more.services | more.endpoints
            changes |= more
        return changes

    def all_do(
        self, state: MeshState, changes: Changes, do: Callable[[MeshState], tuple[MeshState, Changes]]
    ) -> Changes:
        """As `changed`, for what no document says: every edition's state does what the base did."""
        self.base.latest = state
        for edition in self._others.values():
            edition.latest, more = do(edition.latest)
            changes |= more
        return changes

    def published(self, state: MeshState, changes: Changes) -> frozenset[Key]:
        """All that has happened is being published: `state` is that of the base. Which services are needed at once now, or no longer."""
        self.base.state = self.base.latest = state
        moved: set[Key] = set()
        for edition in self:
            edition.state = edition.latest
            found = edition.at_once.refresh(edition.state, changes.services)
            if edition is not self.base:
                edition.differs |= found
            moved |= found
        return frozenset(moved)


def _overlaid(state: MeshState, overlay: Overlay) -> tuple[MeshState, Changes]:
    """`state` as it were if every source said of the documents of `overlay` what that says."""
    told: dict[str, list[Held]] = {}
    gone: dict[str, list[DocumentName]] = {}
    for name, instead in overlay.entries:
        for source in state.sources:
            if held(state, source, name) is not None and (source != instead.source or instead.value is None):
                gone.setdefault(source, []).append(name)
        if instead.value is not None:
            told.setdefault(instead.source, []).append(instead.value)
    changes = Changes()
    for source in sorted({*told, *gone}):
        state, more = state.apply(_update(source, told.get(source, ()), gone.get(source, ())))
        changes |= more
    return state, changes


def _update(source: str, put: Iterable[Held], gone: Iterable[DocumentName]) -> SourceUpdate:
    put, gone = tuple(put), tuple(gone)
    return SourceUpdate(
        source,
        services=tuple(each for each in put if isinstance(each, Service)),
        workloads=tuple(each for each in put if isinstance(each, Workload)),
        removed_services=tuple(key for kind, key in gone if kind == "Service"),
        removed_workloads=tuple(key for kind, key in gone if kind == "Workload"),
        declared=tuple(each for each in put if isinstance(each, Declared)),
        removed_declared=tuple(name for name in gone if name[0] not in {"Service", "Workload"}),
    )


def _kept_from(event: Event, edition: Edition) -> Event:
    """`event` without what it says of overlaid documents; the event itself where it says nothing of them."""
    if isinstance(event, SourceGone):
        return event
    names = edition.names
    services = tuple(each for each in event.services if ("Service", each.key) not in names)
    workloads = tuple(each for each in event.workloads if ("Workload", each.key) not in names)
    declared = tuple(each for each in event.declared if each.name not in names)
    if isinstance(event, SourceSnapshot):
        # What a whole answer does not name is gone: so it has to name what stands for others.
        own = [
            each.value
            for _, each in edition.overlay.entries
            if each.source == event.source and each.value is not None
        ]
        whole = _update(event.source, own, ())
        return replace(
            event,
            services=(*services, *whole.services),
            workloads=(*workloads, *whole.workloads),
            declared=(*declared, *whole.declared),
        )
    less = replace(
        event,
        services=services,
        workloads=workloads,
        declared=declared,
        removed_services=tuple(each for each in event.removed_services if ("Service", each) not in names),
        removed_workloads=tuple(each for each in event.removed_workloads if ("Workload", each) not in names),
        removed_declared=tuple(each for each in event.removed_declared if each not in names),
    )
    return event if _entries(less) == _entries(event) else less


def _entries(event: SourceUpdate) -> int:
    """How many there are."""
    return sum(
        map(
            len,
            (
                event.services,
                event.workloads,
                event.declared,
                event.removed_services,
                event.removed_workloads,
                event.removed_declared,
            ),
        )
    )
