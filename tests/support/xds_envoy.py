"""A client without gRPC that behaves as Envoy does, in both protocols, for state machines that talk with sessions.

It applies each response at once, and answers it later: that of clusters only when those that changed have got their endpoints.
It asks for the endpoints of each cluster that it holds, and for the route configuration of each scoped route.
What is refused (any content that begins with "bad") is never applied; of the other resources of a refused response all, some
or none are, as `applies` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from tests.support.xds_talk import DeltaTalk, Said, SotwTalk
from xds.cache import ResourceCache
from xds.resource import Name, Resource
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE, WHOLE_IN_SOTW

EVERYTHING = (CLUSTER, LISTENER, SCOPED_ROUTE)
FOLLOWS = {CLUSTER: ENDPOINT, SCOPED_ROUTE: ROUTE}
"""Who holds one of the first asks for the one of the second that has its name."""


class Choices(Protocol):
    def applies(self, name: str) -> bool:
        """Whether this good resource of a refused response is applied."""

    def names_the_culprit(self) -> bool: ...

    def is_answered_meanwhile(self) -> bool:
        """Whether, of several first requests, one is answered before the next is read."""


class ModelEnvoy:
    """`known` finds the resource of a body: what is held is resources, so that it is known what they refer to."""

    def __init__(
        self,
        cache: ResourceCache,
        scopes: tuple[str, ...],
        known: dict[tuple[str, str], Resource],
        choices: Choices,
        *,
        delta: bool,
    ) -> None:
        self.cache, self.scopes, self.known, self.choices, self.delta = cache, scopes, known, choices, delta
        self.held: dict[str, dict[str, Resource]] = {kind: {} for kind in (*EVERYTHING, ENDPOINT, ROUTE)}
        self.accepted: dict[str, str] = {}
        self.received = 0
        self.told_gone: set[Name] = set()
        self.named: set[str] = set()
        self.connect()

    def connect(self) -> None:
        """With what it holds, if it holds something: it is a reconnect then."""
        self.inbox: list[Said] = []
        self.unanswered: list[tuple[Said, str | None]] = []
        self.warming: set[str] = set()
        self.asked: dict[str, set[str]] = {}
        self.talk: DeltaTalk | SotwTalk
        if self.delta:
            self.talk = DeltaTalk(self.cache, *self.scopes)
            for kind in EVERYTHING:
                names = ("*", *sorted(self.named)) if kind == CLUSTER and self.named else ()
                self.talk.ask(kind, *names, holds=self._versions(kind))
                self._meanwhile()
        else:
            self.talk = SotwTalk(self.cache, *self.scopes)
            for kind in EVERYTHING:
                self.talk.ask(kind, version=self.accepted.get(kind, ""))
                self._meanwhile()
        for kind in FOLLOWS.values():
            self._follow(kind)
            self._meanwhile()

    def _meanwhile(self) -> None:
        """The server may answer one of the first requests before it reads the next, but they are all sent before that is read."""
        if self.choices.is_answered_meanwhile() and (said := self.talk.poll()) is not None:
            self.inbox.append(said)

    def _versions(self, kind: str) -> dict[str, str]:
        return {name: each.version for name, each in self.held[kind].items()}

    # What it is told

    def receive(self) -> bool:
        """Take one response, if there is one."""
        said = self.inbox.pop(0) if self.inbox else self.talk.poll()
        if said is None:
            return False
        self.received += 1
        kind, held = said.type_url, self.held[said.type_url]
        new = {name: self.known[kind, body] for name, body in said.bodies.items()}
        bad = sorted(name for name, body in said.bodies.items() if body.partition("=")[2].startswith("bad"))
        applied = {
            name: each
            for name, each in new.items()
            if name not in bad and (not bad or kind == CLUSTER or self.choices.applies(name))
        }
        if kind == CLUSTER:
            changed = {name for name, each in applied.items() if held.get(name) != each}
            self.warming |= changed
        if kind == ENDPOINT:
            self.warming -= applied.keys()
        gone = set(said.removed)
        if not self.delta and kind in WHOLE_IN_SOTW and not bad:
            gone = held.keys() - new.keys()
        held.update(applied)
        for name in gone:
            held.pop(name, None)
            self.told_gone.add((kind, name))
            if kind == CLUSTER:
                self.warming.discard(name)
        error = None
        if bad:
            named = self.choices.names_the_culprit() and kind != ENDPOINT
            error = f"Error adding/updating {', '.join(bad)}: no" if named else "something is wrong"
        else:
            self.accepted[kind] = said.version
        self.unanswered.append((said, error))
        if kind in FOLLOWS:
            self._follow(FOLLOWS[kind])
        return True

    def _follow(self, kind: str) -> None:
        source = next(first for first, second in FOLLOWS.items() if second == kind)
        wants = set(self.held[source])
        first = kind not in self.asked
        asked = self.asked.get(kind, set())
        if wants == asked and not first:
            return
        self.asked[kind] = wants
        held = self.held[kind]
        if isinstance(self.talk, DeltaTalk):
            holds = self._versions(kind) if first else None
            self.talk.ask(kind, *sorted(wants - asked), leave=sorted(asked - wants), holds=holds)
        elif wants or not first or kind in self.accepted:
            # Of a type that it has asked for once, Envoy says its version to the next stream, even with no names.
            self.talk.ask(kind, *sorted(wants), version=self.accepted.get(kind, "") if first else "")
        else:
            del self.asked[kind]
        for name in held.keys() - wants:
            del held[name]

    # What it answers

    def answerable(self) -> list[int]:
        """Places in `unanswered`: of each type the first, and clusters only when nothing warms."""
        seen: set[str] = set()
        places = []
        for place, (said, _) in enumerate(self.unanswered):
            if said.type_url in seen:
                continue
            seen.add(said.type_url)
            waits = said.type_url == CLUSTER and any(self._has_endpoints(name) for name in self.warming)
            if not waits:
                places.append(place)
        return places

    def _has_endpoints(self, name: str) -> bool:
        """Whether there are endpoints to wait for; Envoy would wait in vain for 15 s."""
        return any(name in resources for resources in self.cache.maps(self.talk.session.scopes, ENDPOINT))

    def answer(self, place: int) -> None:
        said, error = self.unanswered.pop(place)
        if error is None:
            self.talk.ack(said)
        else:
            self.talk.nack(said, error)

    def settle(self, each_time: Callable[[], None]) -> None:
        """Take and answer everything until nothing more comes; `each_time` is called after each response."""
        for _ in range(3000):
            if self.receive():
                each_time()
                continue
            places = self.answerable()
            if not places:
                due = self.talk.session.poll_at()
                if due is None or self.unanswered:
                    break
                self.talk.now = due
                continue
            self.answer(places[0])
        else:
            raise AssertionError("it never ends")
        assert not self.unanswered, f"stuck: clusters wait for the endpoints of {self.warming}"

    # What must hold always

    def dangling(self) -> Iterable[tuple[Name, Name]]:
        """What it holds, and what that refers to and it does not hold."""
        for resources in self.held.values():
            for resource in resources.values():
                for kind, name in resource.needs:
                    if kind == CLUSTER and name not in self.held[kind]:
                        yield (resource.type_url, resource.name), (kind, name)
