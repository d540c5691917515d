"""The state of the world: DiscoveryRequest and DiscoveryResponse, on ADS and on separate services.

For clusters, listeners and scoped routes a response holds everything that the client wants, and what is missing is removed. For
all other types a response holds only what changed, and nothing is ever removed.

The version of a response is a hash of what the client holds with it. So a client that comes back with the version of everything
that it wants now needs no answer; for a response that leaves something out, it is a version that never equals such a one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from pb.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from xds import wire
from xds.cache import lookup, version_of, wanted
from xds.ordering import Difference, Order
from xds.resource import Resource
from xds.session import WILDCARD, Session
from xds.state import UNKNOWN, InFlight, TypeState
from xds.types import CLUSTER, ENDPOINT, WHOLE_IN_SOTW

PARTIAL = "~"
"""Ends the version of a response with which the client does not hold everything yet."""


class SotwSession(Session):
    delta: ClassVar[bool] = False
    _shortened: DiscoveryRequest | None = None

    def parse(self, data: bytes) -> DiscoveryRequest:
        """The request, for `receive`. Each acknowledgement names again, mostly in the same bytes, all that the client wants: such names
        are left out, for to read them is most of the work. DecodeError if it is none.
        """
        for state in self.states.values():
            if state.named is not None and (rest := wire.without_names(data, state.type_url, state.named)):
                request = DiscoveryRequest.FromString(rest)
                if not request.resource_names:
                    self._shortened = request
                    return request
        return DiscoveryRequest.FromString(data)

    def receive(self, request: DiscoveryRequest, now: float) -> None:
        """Take a request. ProtocolViolation if no client should send it."""
        state = self._state(request.type_url)
        type_url = self._kind(request.type_url)
        if request is self._shortened and state is not None:
            self._shortened = None
            self._answers(state, request, now)
            return
        names = set(request.resource_names)
        if state is None or names != state.subscription.names:  # each acknowledgement names them all again
            self._check_names(names)
        if state is None:
            state = self._first(
                type_url, wildcard=self._first_wildcard(type_url, names), names=names - {WILDCARD}
            )
            state.unnamed = not names
            state.named = _mark(request)
            state.claimed_version = request.version_info
            self._resumed = self._resumed or (type_url == CLUSTER and bool(request.version_info))
            return
        # With any other nonce the client has not seen our last response yet, and will name again what it wants when it has.
        if self._answers(state, request, now):
            self._change(state, names)
            state.named = _mark(request)

    def _answers(self, state: TypeState, request: DiscoveryRequest, now: float) -> bool:
        """Take what the request says of our responses; whether it answers the last one."""
        error = request.error_detail.message if request.HasField("error_detail") else None
        self._answered(state, request.response_nonce, error, now)
        return request.response_nonce == str(state.nonces or "")

    def _change(self, state: TypeState, names: set[str]) -> None:
        """The names of a request are all that the client wants: make that its subscription."""
        was = state.subscription
        # A client that never named anything goes on to mean everything by an empty list; any other means nothing by it.
        state.unnamed = state.unnamed and not names
        wildcard = WILDCARD in names or (state.unnamed and was.wildcard)
        named = names - {WILDCARD} if WILDCARD in names else names
        if wildcard != was.wildcard or named != was.names:
            if not named <= was.names or (wildcard and not was.wildcard):
                state.claimed_version = ""  # it held that before it wanted these
            new = self._cache.subscription(wildcard=wildcard, names=named)
            self._change_to(state, new, asked=named - was.names, left=was.names - named)

    def _says_removed(self, type_url: str) -> bool:
        return type_url in WHOLE_IN_SOTW

    def _plan(self, state: TypeState) -> None:
        asked, maps = state.unplanned, self._maps(state.type_url)
        state.unplanned = None
        if asked is None:
            return
        if state.dirty:
            state.dirty.difference_update(asked.names)
        claimed, state.claimed_version = state.claimed_version, ""
        warming = state.type_url == ENDPOINT and bool(self._warming)
        if state.type_url == ENDPOINT:
            self._warming.clear()
        if claimed and not warming and claimed == self._cache.version(maps, state.subscription):
            state.base = maps  # a reconnect, and the client holds just this
            state.version = state.acknowledged_version = claimed
            return
        for chunk in self._cache.plan(maps, state.type_url, asked, delta=False):
            if chunk.names or state.type_url in WHOLE_IN_SOTW:
                state.queue.append((maps, chunk))

    def _respond(self, state: TypeState, order: Order, now: float) -> tuple[str, int, bytes] | None:
        type_url = state.type_url
        if state.queue:
            if not order.may_add(type_url):
                return None
            maps, chunk = state.queue.popleft()
            state.sent.append((maps, chunk.names))
            version = self._version(state) if type_url not in WHOLE_IN_SOTW else chunk.version
            flight = InFlight(state.next_nonce(), version, chunk.names, (), now, maps=maps)
            return self._response(state, flight, chunk.resources)
        difference = order.difference(type_url)
        if type_url in WHOLE_IN_SOTW:
            return self._respond_whole(state, difference or Difference(), order, now)
        state.owed = False  # no answer is what says that there is nothing
        if difference is None:
            return None
        changed = difference.changed
        if not changed or not order.may_add(type_url):
            return None
        before = state.tell(changed, ())
        state.dirty.update(difference.leaving)
        names = tuple(resource.name for resource in changed)
        flight = InFlight(
            state.next_nonce(), self._version(state), names, (), now, told=tuple(changed), before=before
        )
        return self._response(state, flight, b"".join([each.sotw for each in changed]))

    def _respond_whole(
        self, state: TypeState, difference: Difference, order: Order, now: float
    ) -> tuple[str, int, bytes] | None:
        """Everything: what is new; what may not be removed yet, or was refused, as the client has it."""
        adding = difference.changed if order.may_add(state.type_url) else []
        removing = difference.removed if not difference.changed and order.may_remove(state.type_url) else []
        owed = state.owed and not difference.changed and order.may_add(state.type_url)
        if not (adding or removing or difference.unanswered or owed):
            return None
        gone = (*removing, *difference.unanswered)
        before = state.tell(adding, gone)
        maps = self._maps(state.type_url)
        doubted: list[Resource] = []
        if not state.quarantine and not state.dirty:
            whole = self._cache.plan(maps, state.type_url, state.subscription, delta=False)[0]
            version, resources = whole.version, whole.resources
        else:
            entries = list(self._entries(state))
            doubted = [each for each in entries if state.held(each.name) == UNKNOWN]
            version, resources = version_of(entries), b"".join([each.sotw for each in entries])
        names = tuple(each.name for each in adding)
        flight = InFlight(state.next_nonce(), version, names, gone, now, told=tuple(adding), before=before)
        return self._response(state, flight, resources, doubted)

    def _entries(self, state: TypeState) -> Iterator[Resource]:
        """What the client is to hold with this response, while some of what it wants stays back."""
        maps = self._maps(state.type_url)
        for name, resource in wanted(maps, state.subscription):
            if state.held(name) == resource.version:
                yield resource
            else:
                yield from _as_before(state, name)
        for name in state.dirty:
            if lookup(maps, name) is None:
                yield from _as_before(state, name)

    def _version(self, state: TypeState) -> str:
        """That of everything, if the client holds all of it with what is sent now."""
        everything = self._cache.version(self._maps(state.type_url), state.subscription)
        return everything + PARTIAL if state.dirty or state.quarantine or state.queue else everything

    def _response(
        self, state: TypeState, flight: InFlight, resources: bytes, doubted: Iterable[Resource] = ()
    ) -> tuple[str, int, bytes]:
        self._sent(state, flight, doubted)
        body = wire.sotw_response(state.type_url, flight.version, resources, flight.nonce)
        return state.type_url, len(flight.names), body


def _mark(request: DiscoveryRequest) -> wire.Mark | None:
    """What tells the same names in the next request; None: there are none."""
    if not request.resource_names:
        return None
    return wire.mark(DiscoveryRequest(resource_names=request.resource_names).SerializeToString())


def _as_before(state: TypeState, name: str) -> Iterable[Resource]:
    before = state.before(name)
    return (before,) if isinstance(before, Resource) else ()
