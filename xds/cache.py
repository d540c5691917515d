"""Resources by scope, and who has to be told when they change. Sans-I/O: sessions are marked, not written to.

A scope maps a type to a persistent map of name to resource. A session looks through its scopes in order. What
sessions hold is kept as references to these maps, so 500 clients that hold the same share one of them.

`publish` does not visit the clients of a scope: sessions are grouped by what they subscribe to, which equal clients share, and a
group is asked once whether a name is its concern.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from immutables import Map

from xds import wire
from xds.on_request import OnRequest, Touched, at_once_of, scope_of
from xds.resource import Name, Resource

V = TypeVar("V")
Resources = Map[str, Resource]
Maps = tuple[Resources, ...]
"""The resources of one type in each scope of a session, in the session's order of scopes."""

NOTHING: Resources = Map()
CHUNK = 1024 * 1024
"""Bytes of resources in one response, about: gRPC clients take 4 MiB unless told otherwise."""


CHANGES = 16
"""How many changes of subscriptions are remembered, for the next client that changes alike."""


@dataclass(frozen=True, slots=True)
class ScopeChange:
    """`put` and `removed` (type URL and name) change a scope; with `replace`, `put` is all that it holds; `drop` ends it.

    `like`: another scope, from whose contents a scope that holds nothing yet begins, before it is changed.
    """

    scope: Hashable
    put: tuple[Resource, ...] = ()
    removed: tuple[Name, ...] = ()
    replace: bool = False
    drop: bool = False
    like: Hashable | None = None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Subscription:
    """What a stream wants of a type: everything (`wildcard`), and `names`. Equal ones are one object: see `ResourceCache.subscription`."""

    wildcard: bool
    names: frozenset[str]

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names


Group = tuple[Subscription, frozenset[str] | None]
"""Those who subscribe alike, and look at a scope alike: see `OnRequest.at_once`; None: they are given all there is."""


class Subscriber(Protocol):
    """A session, as the cache sees it."""

    def mark(self, type_url: str, names: Iterable[str], generation: Generation | None) -> None:
        """`names`, which it subscribes to, may have changed."""


@dataclass(slots=True, eq=False)
class Generation:
    """A publication, until all whom it concerned have acknowledged it. `changed_at` is of the caller's clock, in seconds."""

    number: int
    changed_at: float
    waiting: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some of an answer: the resources' names, their joined entries, and a version that stands for them."""

    names: tuple[str, ...]
    resources: bytes
    version: str


@dataclass(slots=True)
class _Scope:
    """`always`: of the maps, what is not `on_request`; a type that has nothing of that kind is not in it."""

    maps: dict[str, Resources] = field(default_factory=dict)
    always: dict[str, Resources] = field(default_factory=dict)
    groups: dict[str, dict[Group, set[Subscriber]]] = field(default_factory=dict)
    ready: bool = False
    waiting: set[Callable[[], None]] = field(default_factory=set)


class ResourceCache:
    """Use it from one thread. It answers nobody until `open` is called."""

    def __init__(self, remembered: int = 64) -> None:
        """`remembered`: how many joined first responses and type versions are kept for the next client that needs the same."""
        self.is_open = False
        self._scopes: dict[Hashable, _Scope] = {}
        self._maps: dict[tuple[tuple[Hashable, ...], str, Subscription | None], Maps] = {}
        self._generation = 0
        self._subscriptions: WeakValueDictionary[tuple[bool, frozenset[str]], Subscription] = (
            WeakValueDictionary()
        )
        self._changed: dict[tuple[Subscription, bool, frozenset[str], frozenset[str]], Subscription] = {}
        self._plans: _Recent[tuple[Chunk, ...]] = _Recent(remembered)
        self._version: _Recent[str] = _Recent(remembered)
        self._versions: _Recent[dict[str, str]] = _Recent(remembered)
        self._asked: _Recent[Resources] = _Recent(remembered)

    # For those who have resources

    def open(self) -> None:
        """From now on, streams are answered."""
        self.is_open = True
        for scope in self._scopes.values():
            if scope.ready:
                _call_all(scope.waiting)

    def publish(self, changes: Iterable[ScopeChange], *, changed_at: float | None = None) -> Generation:
        """Make `changes`, all at once, and mark the sessions that they concern. A resource of equal version changes nothing."""
        changes = tuple(changes)
        self._maps.clear()
        self._generation += 1
        generation = Generation(self._generation, changed_at if changed_at is not None else 0.0)
        counted = generation if changed_at is not None else None
        touched: list[tuple[_Scope, str, Touched]] = []
        woken: list[_Scope] = []
        for change in changes:
            if change.drop:
                dropped = self._scopes.get(change.scope)
                if dropped is not None:
                    touched.extend(
                        (dropped, kind, Touched(list(held))) for kind, held in dropped.maps.items()
                    )
                    dropped.maps, dropped.always, dropped.ready = {}, {}, False
                    self._discard(change.scope)
                continue
            scope = self._scopes.setdefault(change.scope, _Scope())
            if change.like is not None:
                touched.extend((scope, kind, each) for kind, each in self._begun(scope, change.like))
            touched.extend((scope, kind, each) for kind, each in _applied(scope, change).items())
            if not scope.ready:
                scope.ready = True
                woken.append(scope)
        for scope, kind, what in touched:
            for (subscription, at_once), subscribers in scope.groups.get(kind, {}).items():
                wanted = what.concerning(subscription.names, wildcard=subscription.wildcard, at_once=at_once)
                if wanted:
                    for subscriber in subscribers:
                        subscriber.mark(kind, wanted, counted)
        if self.is_open:
            for scope in woken:
                _call_all(scope.waiting)
        return generation

    def _begun(self, scope: _Scope, like: Hashable) -> list[tuple[str, Touched]]:
        """Give `scope` the maps of another: persistent ones, so that this costs nothing but for those who wait for it."""
        other = self._scopes[scope_of(like)]
        scope.maps, scope.always = dict(other.maps), dict(other.always)
        if not scope.groups:
            return []
        return [
            (kind, Touched(list(held), {name for name, each in held.items() if each.on_request}))
            for kind, held in scope.maps.items()
        ]

    def contents(self, scope: Hashable) -> Iterator[Resource]:
        """Everything in a scope, for dumps."""
        found = self._scopes.get(scope_of(scope))
        for resources in found.maps.values() if found else ():
            yield from resources.values()

    def maps_of(self, scope: Hashable) -> tuple[Resources, ...]:
        """What a scope holds, by type, as values that never change: for whoever reads it elsewhere, later."""
        found = self._scopes.get(scope_of(scope))
        return tuple(found.maps.values()) if found else ()

    # For sessions

    def ready(self, scopes: Iterable[Hashable]) -> bool:
        """Whether streams with these scopes may be answered: the cache is open and every scope was published."""
        if not self.is_open:
            return False
        for each in map(scope_of, scopes):
            found = self._scopes.get(each)
            if found is None or not found.ready:
                return False
        return True

    def when_ready(self, scopes: Iterable[Hashable], call: Callable[[], None]) -> None:
        """Call `call`, perhaps more than once, when one of the scopes that is not ready becomes so."""
        for each in map(scope_of, scopes):
            self._scopes.setdefault(each, _Scope()).waiting.add(call)

    def forget(self, scopes: Iterable[Hashable], call: Callable[[], None]) -> None:
        for each in map(scope_of, scopes):
            found = self._scopes.get(each)
            if found is not None:
                found.waiting.discard(call)
                self._discard(each)

    def maps(self, scopes: tuple[Hashable, ...], type_url: str, to: Subscription | None = None) -> Maps:
        """What there is for `to`; None: all that can be asked for. It is asked many times for each change, by all that are given the same:
        so it is made once until something changes.
        """
        by = (scopes, type_url, to if any(isinstance(each, OnRequest) for each in scopes) else None)
        made = self._maps.get(by)
        if made is None:
            made = tuple(each for scope in scopes for each in self._seen(scope, type_url, to))
            self._maps[by] = made
        return made

    def _seen(self, scope: Hashable, type_url: str, to: Subscription | None) -> Iterator[Resources]:
        found, at_once = self._scopes.get(scope_of(scope)), at_once_of(scope)
        if found is None:
            yield NOTHING
            return
        every = found.maps.get(type_url, NOTHING)
        always = found.always.get(type_url)
        if to is None or at_once is None or always is None:
            yield every
            return
        yield always
        # As much work as the client has names, and none where nothing of this type changed.
        yield self._asked.get(((every,), at_once, to, False), lambda: _named(every, to.names | at_once))

    def subscription(self, *, wildcard: bool, names: Iterable[str]) -> Subscription:
        """The one object that stands for this subscription, so that equal clients share its memory."""
        wanted = frozenset(names)
        found = self._subscriptions.get((wildcard, wanted))
        if found is None:
            found = Subscription(wildcard, wanted)
            self._subscriptions[wildcard, wanted] = found
        return found

    def changed(
        self, was: Subscription, *, wildcard: bool, asked: frozenset[str], left: frozenset[str]
    ) -> Subscription:
        """`was` with what is `asked` for besides and without what was `left`: made once for the many that change alike."""
        by = (was, wildcard, asked, left)
        found = self._changed.get(by)
        if found is None:
            found = self.subscription(wildcard=wildcard, names=(was.names | asked) - left)
            if len(self._changed) >= CHANGES:
                self._changed.clear()
            self._changed[by] = found
        return found

    def subscribe(
        self, subscriber: Subscriber, scopes: Iterable[Hashable], type_url: str, to: Subscription
    ) -> None:
        for each in scopes:
            groups = self._scopes.setdefault(scope_of(each), _Scope()).groups.setdefault(type_url, {})
            groups.setdefault((to, at_once_of(each)), set()).add(subscriber)

    def unsubscribe(
        self, subscriber: Subscriber, scopes: Iterable[Hashable], type_url: str, was: Subscription
    ) -> None:
        for each in scopes:
            scope, group = scope_of(each), (was, at_once_of(each))
            found = self._scopes.get(scope)
            subscribers = found.groups.get(type_url, {}).get(group) if found else None
            if found is None or subscribers is None:
                continue
            subscribers.discard(subscriber)
            if not subscribers:
                del found.groups[type_url][group]
                if not found.groups[type_url]:
                    del found.groups[type_url]
            self._discard(scope)

    def plan(self, maps: Maps, type_url: str, to: Subscription, *, delta: bool) -> tuple[Chunk, ...]:
        """All that `to` wants, in pieces of bounded size, joined once for all clients that want the same."""

        def make() -> tuple[Chunk, ...]:
            chunks, some, size = list[Chunk](), list[Resource](), 0
            for _, resource in wanted(maps, to):
                if some and delta and size + len(resource.delta) > CHUNK:
                    chunks.append(_chunk(some, delta=delta))
                    some, size = [], 0
                some.append(resource)
                size += len(resource.delta)
            chunks.append(_chunk(some, delta=delta))
            return tuple(chunks)

        return self._plans.get((maps, type_url, to, delta), make)

    def version(self, maps: Maps, to: Subscription) -> str:
        """A version of everything that `to` wants: the same whenever and wherever that is the same."""
        return self._version.get(
            (maps, "", to, False), lambda: version_of(resource for _, resource in wanted(maps, to))
        )

    def versions(self, maps: Maps, to: Subscription) -> dict[str, str]:
        """The version of each resource that `to` wants. Shared: to be read only."""
        return self._versions.get(
            (maps, "", to, False), lambda: {name: each.version for name, each in wanted(maps, to)}
        )

    def _discard(self, scope: Hashable) -> None:
        """Forget a scope that holds nothing and that nobody waits for or subscribes to."""
        found = self._scopes.get(scope)
        if found is not None and not found.ready and not found.groups and not found.waiting:
            del self._scopes[scope]


def wanted(maps: Maps, to: Subscription) -> Iterator[tuple[str, Resource]]:
    """Every resource that `to` wants, by name; where two scopes have a name, the first scope's."""
    if to.wildcard:
        for place, resources in enumerate(maps):
            for name, resource in resources.items():
                if not any(name in before for before in maps[:place]):
                    yield name, resource
        return
    for name in to.names:
        found = lookup(maps, name)
        if found is not None:
            yield name, found


def lookup(maps: Maps, name: str) -> Resource | None:
    for resources in maps:
        found = resources.get(name)
        if found is not None:
            return found
    return None


def version_of(resources: Iterable[Resource]) -> str:
    """A version of all of them, whatever their order."""
    mark = 0
    for resource in resources:
        mark ^= resource.mark
    return f"{mark:016x}"


def _chunk(resources: list[Resource], *, delta: bool) -> Chunk:
    return Chunk(
        names=tuple([each.name for each in resources]),
        resources=b"".join([each.delta if delta else each.sotw for each in resources]),
        version=version_of(resources),
    )


def removed_entries(names: Iterable[str]) -> bytes:
    return b"".join(map(wire.removed_entry, names))


def _applied(scope: _Scope, change: ScopeChange) -> dict[str, Touched]:
    """Change the maps of `scope`; what differs now, by type."""
    by_type: dict[str, dict[str, Resource | None]] = {}
    for resource in change.put:
        by_type.setdefault(resource.type_url, {})[resource.name] = resource
    for type_url, name in change.removed:
        by_type.setdefault(type_url, {})[name] = None
    if change.replace:
        for type_url, resources in scope.maps.items():
            new = by_type.setdefault(type_url, {})
            for name in resources:
                new.setdefault(name, None)
    changed: dict[str, Touched] = {}
    for type_url, entries in by_type.items():
        draft = scope.maps.get(type_url, NOTHING).mutate()
        touched = changed.setdefault(type_url, Touched())
        for name, new_one in entries.items():
            old = draft.get(name)
            if new_one is None:
                if old is not None:
                    del draft[name]
                    touched.note(name, old, None)
                continue
            draft[name] = new_one
            if old is None or (old.version, old.on_request) != (new_one.version, new_one.on_request):
                touched.note(name, old, new_one)
        before, scope.maps[type_url] = scope.maps.get(type_url, NOTHING), draft.finish()
        _set_aside(scope, type_url, before, entries)
    return changed


def _set_aside(scope: _Scope, type_url: str, before: Resources, entries: dict[str, Resource | None]) -> None:
    """Bring `always` up to date with what `entries` made of a map that was `before`."""
    always = scope.always.get(type_url)
    if always is None:
        if not any(each is not None and each.on_request for each in entries.values()):
            return  # as in nearly every type of every scope
        always = before
    draft = always.mutate()
    for name, each in entries.items():
        if each is not None and not each.on_request:
            draft[name] = each
        elif name in draft:
            del draft[name]
    scope.always[type_url] = draft.finish()


def _named(every: Resources, names: Iterable[str]) -> Resources:
    found = ((name, every.get(name)) for name in names)
    return Map({name: each for name, each in found if each is not None and each.on_request})


def _call_all(calls: set[Callable[[], None]]) -> None:
    for call in tuple(calls):
        call()


class _Recent(Generic[V]):
    """The last few results for equal arguments. Maps are told apart by identity: they are persistent and never change."""

    def __init__(self, size: int) -> None:
        self._size = size
        # The maps are kept beside the result, so that an id is not taken by another map meanwhile.
        self._results: OrderedDict[Hashable, tuple[Maps, V]] = OrderedDict()

    def get(self, key: tuple[Maps, Hashable, Subscription, bool], make: Callable[[], V]) -> V:
        maps, *rest = key
        by = (tuple(map(id, maps)), *rest)
        found = self._results.get(by)
        if found is not None:
            self._results.move_to_end(by)
            return found[1]
        result = make()
        self._results[by] = (maps, result)
        if len(self._results) > self._size:
            self._results.popitem(last=False)
        return result
