"""The incremental protocol: DeltaDiscoveryRequest and DeltaDiscoveryResponse, on ADS and on separate services."""

from __future__ import annotations

from typing import ClassVar

from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from xds import wire
from xds.cache import CHUNK, Maps, lookup, removed_entries, wanted
from xds.session import WILDCARD, Difference, Session
from xds.state import ABSENT, UNKNOWN, TypeState


class DeltaSession(Session):
    delta: ClassVar[bool] = True

    def receive(self, request: DeltaDiscoveryRequest, now: float) -> None:
        """Take a request. ProtocolViolation if no client should send it."""
        state = self._state(request.type_url)
        type_url = self._kind(request.type_url)
        self._check_names(request.resource_names_subscribe)
        if state is None:
            self._first(type_url, request)
            return
        if request.response_nonce and state.in_flight and request.response_nonce == state.in_flight.nonce:
            if request.HasField("error_detail"):
                self._refused(state, request.error_detail.message, now)
            else:
                self._acknowledged(state)
        # An ACK may change the subscription as well; so may a request with a nonce of long ago.
        if request.resource_names_subscribe or request.resource_names_unsubscribe:
            self._change(
                state, set(request.resource_names_subscribe), set(request.resource_names_unsubscribe)
            )

    def _first(self, type_url: str, request: DeltaDiscoveryRequest) -> None:
        names = set(request.resource_names_subscribe)
        wildcard = self._first_wildcard(type_url, names)
        state = self._subscribe(type_url, wildcard=wildcard, names=names - {WILDCARD})
        state.unplanned = state.subscription
        if request.initial_resource_versions:
            state.claimed = dict(request.initial_resource_versions)

    def _change(self, state: TypeState, add: set[str], leave: set[str]) -> None:
        was = state.subscription
        wildcard = (was.wildcard or WILDCARD in add) and WILDCARD not in leave
        self._subscribe(state.type_url, wildcard=wildcard, names=(was.names | add - {WILDCARD}) - leave)
        named = add - {WILDCARD}
        if wildcard and not was.wildcard:
            # Everything, of which what is held already need not be sent again.
            maps = self._cache.maps(self.scopes, state.type_url)
            state.mark(name for name, _ in wanted(maps, state.subscription))
        if leave:
            state.abandon()
            for name in leave - {WILDCARD}:
                # The client has forgotten it, whatever the wildcard says.
                state.overlay[name] = UNKNOWN
                state.dirty.add(name)
        if not named:
            return
        fresh = self._cache.subscription(wildcard=False, names=named)
        if state.unplanned is not None:
            both = state.unplanned
            state.unplanned = self._cache.subscription(wildcard=both.wildcard, names=both.names | named)
        elif state.dirty or state.sent or state.queue or state.in_flight:
            state.abandon()
            state.ask_again(named)
        else:
            state.unplanned = fresh

    def _plan(self, state: TypeState, maps: Maps) -> None:
        asked = state.unplanned
        state.unplanned = None
        if asked is None:
            return
        if state.claimed is not None:
            # A reconnect: send what differs from what the client says it holds.
            state.overlay.update(state.claimed)
            state.dirty.update(name for name in state.claimed if state.subscription.wants(name))
            state.dirty.update(
                name for name, each in wanted(maps, asked) if state.claimed.get(name) != each.version
            )
            for name in asked.names - state.claimed.keys():
                if lookup(maps, name) is None:
                    state.overlay[name] = UNKNOWN
                    state.dirty.add(name)
            state.claimed = None
            return
        plan = self._cache.plan(maps, state.type_url, asked, delta=True)
        # Everything of nothing is an answer too: without it a client would wait for its time limit.
        state.queue.extend((maps, chunk) for chunk in plan if chunk.names or asked.wildcard)
        if not asked.wildcard and sum(len(chunk.names) for chunk in plan) == len(asked.names):
            return  # all of them are there, as they nearly always are
        for name in [name for name in asked.names if lookup(maps, name) is None]:
            state.overlay[name] = UNKNOWN
            state.dirty.add(name)

    def _respond(
        self, type_url: str, state: TypeState, differences: dict[str, Difference], now: float
    ) -> tuple[str, int, bytes] | None:
        if state.queue:
            if not self._may_add(type_url, differences):
                return None
            maps, chunk = state.queue.popleft()
            state.sent.append((maps, chunk))
            return self._response(state, chunk.names, chunk.resources, (), now)
        difference = differences.get(type_url)
        if difference is None:
            return None
        changed = difference.changed if self._may_add(type_url, differences) else []
        gone = [*difference.unanswered]
        if not changed and not difference.changed and self._may_remove(type_url, differences):
            gone += difference.removed
        if not changed and not gone:
            return None
        size, some = 0, list(changed)
        for place, resource in enumerate(changed):
            size += len(resource.delta)
            if size > CHUNK and place:
                some = changed[:place]
                break
        for resource in some:
            state.overlay[resource.name] = resource.version
            state.dirty.discard(resource.name)
        for name in gone:
            state.overlay[name] = ABSENT
            state.dirty.discard(name)
        names = tuple(resource.name for resource in some)
        return self._response(state, names, b"".join([resource.delta for resource in some]), tuple(gone), now)

    def _response(
        self, state: TypeState, names: tuple[str, ...], resources: bytes, removed: tuple[str, ...], now: float
    ) -> tuple[str, int, bytes]:
        nonce = state.next_nonce()
        version = self._cache.version(self._cache.maps(self.scopes, state.type_url), state.subscription)
        self._sent(state, nonce, version, names, removed, now)
        body = wire.delta_response(state.type_url, version, resources, removed_entries(removed), nonce)
        return state.type_url, len(names) + len(removed), body
