"""The incremental protocol: DeltaDiscoveryRequest and DeltaDiscoveryResponse, on ADS and on separate services."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from xds import wire
from xds.cache import CHUNK, Subscription, lookup, removed_entries, version_of
from xds.ordering import Difference, Order
from xds.resource import Resource
from xds.session import WILDCARD, Session
from xds.state import ABSENT, NEW, UNKNOWN, InFlight, TypeState
from xds.types import CLUSTER, ENDPOINT

_NOTHING = Difference()


class DeltaSession(Session):
    delta: ClassVar[bool] = True

    def parse(self, data: bytes) -> DeltaDiscoveryRequest:
        """The request, for `receive`. DecodeError if it is none."""
        return DeltaDiscoveryRequest.FromString(data)

    def receive(self, request: DeltaDiscoveryRequest, now: float) -> None:
        """Take a request. ProtocolViolation if no client should send it."""
        state = self._state(request.type_url)
        type_url = self._kind(request.type_url)
        add, leave = request.resource_names_subscribe, request.resource_names_unsubscribe
        self._check_names(add)
        if state is None:
            wildcard = self._first_wildcard(type_url, add)
            state = self._first(type_url, wildcard=wildcard, names=frozenset(add) - {WILDCARD})
            if request.initial_resource_versions:
                state.claimed = dict(request.initial_resource_versions)
                self._resumed = self._resumed or type_url == CLUSTER
                if self._resumed_at is None and self._only_type is None:
                    self._resumed_at = now
            return
        if request.response_nonce:
            error = request.error_detail.message if request.HasField("error_detail") else None
            self._answered(state, request.response_nonce, error, now)
        # An ACK may change the subscription as well; so may a request with a nonce of long ago.
        if add or leave:
            self._change(state, frozenset(add), frozenset(leave))

    def _change(self, state: TypeState, add: frozenset[str], leave: frozenset[str]) -> None:
        was = state.subscription
        wildcard = (was.wildcard or WILDCARD in add) and WILDCARD not in leave
        asked = add - {WILDCARD} - leave
        if state.claimed is not None:
            for name in leave:
                state.claimed.pop(name, None)  # it no longer holds what it said
            for name in asked & state.claimed.keys():
                state.claimed[name] = UNKNOWN  # it is to be answered, whatever it holds
        new = self._cache.changed(was, wildcard=wildcard, asked=asked, left=leave)
        self._change_to(state, new, asked=asked, left=leave & was.names if leave else ())
        if wildcard and state.unplanned is not state.subscription:
            # It has forgotten them, whatever the wildcard says.
            state.ask_new(leave - {WILDCARD})

    def _says_removed(self, type_url: str) -> bool:  # noqa: ARG002 (of any type)
        return True

    def _plan(self, state: TypeState) -> None:
        asked, maps = state.unplanned, self._maps(state.type_url)
        state.unplanned = None
        if asked is None:
            return
        claimed, state.claimed = state.claimed, None
        if claimed is not None:
            self._resume(state, asked, claimed)
            return
        if state.dirty:
            state.dirty.difference_update(asked.names)
        plan = self._cache.plan(maps, state.type_url, asked, delta=True)
        # Everything of nothing is an answer too: without it a client would wait for its time limit.
        state.queue.extend((maps, chunk) for chunk in plan if chunk.names or asked.wildcard)
        if not asked.wildcard and sum(len(chunk.names) for chunk in plan) == len(asked.names):
            return  # all of them are there, as they nearly always are
        for name in [name for name in asked.names if lookup(maps, name) is None]:
            state.overlay[name] = NEW
            state.dirty.add(name)

    def _resume(self, state: TypeState, asked: Subscription, claimed: dict[str, str]) -> None:
        """A reconnect: send what differs from what the client says it holds."""
        maps = self._maps(state.type_url)
        versions = self._cache.versions(maps, asked)
        state.base = maps
        if claimed != versions:
            for name, version in claimed.items():
                if asked.wants(name) and versions.get(name) != version:
                    state.overlay[name] = version
                    state.dirty.add(name)
            for name in versions.keys() - claimed.keys():
                state.overlay[name] = NEW if name in asked.names else ABSENT
                state.dirty.add(name)
        for name in asked.names - versions.keys() - claimed.keys():
            state.overlay[name] = NEW
            state.dirty.add(name)
        if state.type_url == ENDPOINT and self._warming:
            state.ask([name for name in self._warming if asked.wants(name) and name in claimed])
            self._warming.clear()

    def _respond(self, state: TypeState, order: Order, now: float) -> tuple[str, int, bytes] | None:
        type_url = state.type_url
        if state.queue:
            if not order.may_add(type_url):
                return None
            maps, chunk = state.queue.popleft()
            state.sent.append((maps, chunk.names))
            nonce = state.next_nonce()
            self._sent(state, InFlight(nonce, chunk.version, chunk.names, (), now, maps=maps))
            return (
                type_url,
                len(chunk.names),
                wire.delta_response(type_url, chunk.version, chunk.resources, b"", nonce),
            )
        difference = order.difference(type_url) or _NOTHING
        changed = _bounded(difference.changed) if difference.changed and order.may_add(type_url) else []
        gone = difference.unanswered
        if difference.removed and not difference.changed and order.may_remove(type_url):
            gone = [*gone, *difference.removed]
        gone = _bounded_names(gone) if gone else gone
        owed = state.owed and not difference.changed and order.may_add(type_url)
        if not (changed or gone or owed):
            return None
        before = state.tell(changed, gone)
        state.dirty.update(each.name for each in changed if each.name in difference.leaving)
        nonce, version, names = state.next_nonce(), version_of(changed), tuple(each.name for each in changed)
        self._sent(
            state, InFlight(nonce, version, names, tuple(gone), now, told=tuple(changed), before=before)
        )
        resources = b"".join([each.delta for each in changed])
        body = wire.delta_response(type_url, version, resources, removed_entries(gone), nonce)
        return type_url, len(names) + len(gone), body


def _bounded(resources: list[Resource]) -> list[Resource]:
    """As many as one response may hold."""
    size = 0
    for place, resource in enumerate(resources):
        size += len(resource.delta)
        if size > CHUNK and place:
            return resources[:place]
    return resources


def _bounded_names(names: Iterable[str]) -> list[str]:
    """As many as one response may hold."""
    some, size = list[str](), 0
    for name in names:
        size += len(name) + 4
        if size > CHUNK and some:
            break
        some.append(name)
    return some
