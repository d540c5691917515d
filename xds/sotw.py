"""The state of the world: DiscoveryRequest and DiscoveryResponse, on ADS and on separate services.

For clusters, listeners and scoped routes a response holds everything that the client wants, and what is missing is removed. For
all other types a response holds only what changed, and nothing is ever removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pb.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from xds import wire
from xds.cache import Maps, lookup, wanted
from xds.resource import Resource
from xds.session import WILDCARD, Difference, Session
from xds.state import ABSENT, UNKNOWN, TypeState
from xds.types import WHOLE_IN_SOTW


class SotwSession(Session):
    delta: ClassVar[bool] = False

    def receive(self, request: DiscoveryRequest, now: float) -> None:
        """Take a request. ProtocolViolation if no client should send it."""
        state = self._state(request.type_url)
        type_url = self._kind(request.type_url)
        self._check_names(request.resource_names)
        names = set(request.resource_names)
        if state is None:
            wildcard = self._first_wildcard(type_url, names)
            state = self._subscribe(type_url, wildcard=wildcard, names=names - {WILDCARD})
            state.unplanned = state.subscription
            state.claimed_version = request.version_info
            return
        if request.response_nonce != str(state.nonces or ""):
            return  # stale: the client has not seen our last response yet, and will ask again when it has
        if state.in_flight is not None:
            if request.HasField("error_detail"):
                self._refused(state, request.error_detail.message, now)
            else:
                self._acknowledged(state)
        self._change(state, names)

    def _change(self, state: TypeState, names: set[str]) -> None:
        """The names of a request are all that the client wants: make that its subscription."""
        was = state.subscription
        # A client that began with an empty list goes on to mean everything by it; one that named names means nothing.
        wildcard = WILDCARD in names or (not names and was.wildcard)
        named = names - {WILDCARD}
        if wildcard == was.wildcard and named == was.names:
            return
        self._subscribe(state.type_url, wildcard=wildcard, names=named)
        fresh = named - was.names
        if wildcard and not was.wildcard:
            state.mark(name for name, _ in wanted(self._maps(state), state.subscription))
        if state.unplanned is not None:
            state.unplanned = state.subscription
        elif state.type_url in WHOLE_IN_SOTW:
            state.abandon()
            state.ask_again(fresh)
        elif fresh:
            if state.dirty or state.sent or state.queue or state.in_flight:
                state.abandon()
                state.ask_again(fresh)
            else:
                state.unplanned = self._cache.subscription(wildcard=False, names=fresh)

    def _plan(self, state: TypeState, maps: Maps) -> None:
        asked = state.unplanned
        state.unplanned = None
        if asked is None:
            return
        claimed, state.claimed_version = state.claimed_version, ""
        if claimed and claimed == self._cache.version(maps, state.subscription):
            state.base = maps  # a reconnect, and the client holds just this
            state.acknowledged_version = claimed
            return
        for chunk in self._cache.plan(maps, state.type_url, asked, delta=False):
            if chunk.names or state.type_url in WHOLE_IN_SOTW:
                state.queue.append((maps, chunk))

    def _respond(
        self, type_url: str, state: TypeState, differences: dict[str, Difference], now: float
    ) -> tuple[str, int, bytes] | None:
        if state.queue:
            if not self._may_add(type_url, differences):
                return None
            maps, chunk = state.queue.popleft()
            state.sent.append((maps, chunk))
            version = self._cache.version(maps, state.subscription)
            return self._response(state, version, chunk.names, chunk.resources, now)
        difference = differences.get(type_url)
        if difference is None:
            return None
        if type_url in WHOLE_IN_SOTW:
            return self._respond_whole(state, difference, differences, now)
        for name in (*difference.removed, *difference.unanswered):
            # There is no way to say "gone": the client forgets it with what refers to it.
            state.overlay[name] = ABSENT
            state.dirty.discard(name)
        if not difference.changed or not self._may_add(type_url, differences):
            return None
        self._told(state, difference.changed)
        version = self._cache.version(self._maps(state), state.subscription)
        names = tuple(resource.name for resource in difference.changed)
        return self._response(
            state, version, names, b"".join([each.sotw for each in difference.changed]), now
        )

    def _respond_whole(
        self, state: TypeState, difference: Difference, differences: dict[str, Difference], now: float
    ) -> tuple[str, int, bytes] | None:
        """Everything: what is new; what may not be removed yet, or was refused, as the client has it."""
        for name in difference.unanswered:
            state.overlay[name] = ABSENT
            state.dirty.discard(name)
        removing = not difference.changed and self._may_remove(state.type_url, differences)
        adding = bool(difference.changed) and self._may_add(state.type_url, differences)
        if not adding and not (removing and difference.removed):
            return None
        kept = () if removing else tuple(difference.removed)
        new = {resource.name for resource in difference.changed}
        maps = self._maps(state)
        if not kept and not state.quarantine and state.dirty <= new | set(difference.removed):
            whole = self._cache.plan(maps, state.type_url, state.subscription, delta=False)[0]
            version, count, resources = (
                self._cache.version(maps, state.subscription),
                len(whole.names),
                whole.resources,
            )
        else:
            entries = list(self._entries(state, maps, new, kept))
            mark = 0
            for each in entries:
                mark ^= each.mark
            version, count, resources = (
                f"{mark:016x}",
                len(entries),
                b"".join([each.sotw for each in entries]),
            )
        self._told(state, difference.changed)
        removed = tuple(difference.removed) if removing else ()
        for name in removed:
            state.overlay[name] = ABSENT
            state.dirty.discard(name)
        type_url, _, body = self._response(state, version, tuple(new), resources, now, removed)
        return type_url, count, body

    def _entries(
        self, state: TypeState, maps: Maps, new: set[str], kept: Iterable[str]
    ) -> Iterable[Resource]:
        for name, resource in wanted(maps, state.subscription):
            if name in new or state.held(name) == resource.version:
                yield resource
                continue
            old = lookup(state.base, name)
            if old is not None and state.held(name) in {old.version, UNKNOWN}:
                yield old
        for name in kept:
            old = lookup(state.base, name)
            if old is not None:
                yield old

    @staticmethod
    def _told(state: TypeState, changed: Iterable[Resource]) -> None:
        for resource in changed:
            state.overlay[resource.name] = resource.version
            state.dirty.discard(resource.name)

    def _maps(self, state: TypeState) -> Maps:
        return self._cache.maps(self.scopes, state.type_url)

    def _response(
        self,
        state: TypeState,
        version: str,
        names: tuple[str, ...],
        resources: bytes,
        now: float,
        removed: tuple[str, ...] = (),
    ) -> tuple[str, int, bytes]:
        nonce = state.next_nonce()
        self._sent(state, nonce, version, names, removed, now)
        return state.type_url, len(names), wire.sotw_response(state.type_url, version, resources, nonce)
