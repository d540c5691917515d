"""Talking with an xDS session without gRPC: requests in, parsed responses out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pb.envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from xds import wire
from xds.cache import Generation, ResourceCache, ScopeChange
from xds.delta import DeltaSession
from xds.resource import Name, Resource, encode
from xds.session import Limits
from xds.sotw import SotwSession
from xds.state import Refusal

SCOPE = "everyone"


def a_resource(
    type_url: str,
    name: str,
    content: str = "1",
    *,
    needs: Iterable[Name] = (),
    origin: Iterable[str] = (),
    size: int = 0,
) -> Resource:
    """The body says name and content, in a field that no message has: sessions never look at it."""
    body = wire.field(1000, f"{name}={content}".encode() + b"." * size)
    return encode(type_url, name, body, tuple(origin), tuple(needs))


def read(body: bytes) -> str:
    """Name and content, as `a_resource` wrote them."""
    start = 2
    while body[start] & 0x80:
        start += 1
    return body[start + 1 :].decode()


def several(type_url: str, names: str, content: str = "1") -> tuple[Resource, ...]:
    """One for each of `names`, which are apart by spaces."""
    return tuple(a_resource(type_url, name, content) for name in names.split())


def a_cache(*put: Resource, scope: Hashable = SCOPE) -> ResourceCache:
    """An open cache with a scope."""
    cache = ResourceCache()
    cache.publish([ScopeChange(scope, put=put)])
    cache.open()
    return cache


def publish(
    cache: ResourceCache,
    *put: Resource,
    removed: Iterable[Name] = (),
    scope: Hashable = SCOPE,
    at: float | None = None,
) -> Generation:
    return cache.publish([ScopeChange(scope, put=put, removed=tuple(removed))], changed_at=at)


@dataclass(frozen=True, slots=True)
class Said:
    """A response. `names` of its resources, in alphabetical order; `bodies` by name."""

    type_url: str
    version: str
    nonce: str
    names: list[str]
    bodies: dict[str, str]
    removed: list[str]
    versions: dict[str, str]
    size: int


class _Talk:
    """What both protocols have in common. `now` is the time of every request and poll."""

    def __init__(self, cache: ResourceCache, *scopes: Hashable, **options: Any) -> None:
        self.cache = cache
        self.now = 0.0
        self.marked = 0
        self.acknowledged: list[str] = []
        self.refusals: list[tuple[str, Refusal]] = []
        self.converged: list[int] = []
        self.options: dict[str, Any] = {
            "on_marked": self._on_marked,
            "on_acknowledged": self.acknowledged.append,
            "on_refused": lambda kind, refusal: self.refusals.append((kind, refusal)),
            "on_converged": lambda generation: self.converged.append(generation.number),
            "limits": Limits(),
            **options,
        }
        self.scopes = scopes or (SCOPE,)

    def _on_marked(self) -> None:
        self.marked += 1


class DeltaTalk(_Talk):
    """The incremental protocol."""

    def __init__(self, cache: ResourceCache, *scopes: Hashable, **options: Any) -> None:
        super().__init__(cache, *scopes, **options)
        self.session = DeltaSession(cache, self.scopes, **self.options)

    def ask(
        self,
        type_url: str,
        *names: str,
        leave: Iterable[str] = (),
        holds: Mapping[str, str] | None = None,
    ) -> DeltaTalk:
        request = DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=names,
            resource_names_unsubscribe=leave,
            initial_resource_versions=holds or {},
        )
        self.session.receive(request, self.now)
        return self

    def poll(self) -> Said | None:
        answer = self.session.poll(self.now)
        if answer is None:
            return None
        type_url, count, body = answer
        response = DeltaDiscoveryResponse.FromString(body)
        assert response.type_url == type_url
        assert count == len(response.resources) + len(response.removed_resources)
        assert all(each.resource.type_url == type_url for each in response.resources)
        names = sorted(each.name for each in response.resources)
        assert len(names) == len(set(names))
        return Said(
            type_url=type_url,
            version=response.system_version_info,
            nonce=response.nonce,
            names=names,
            bodies={each.name: read(each.resource.value) for each in response.resources},
            removed=sorted(response.removed_resources),
            versions={each.name: each.version for each in response.resources},
            size=len(body),
        )

    def said(self) -> Said:
        """A response, which there has to be."""
        said = self.poll()
        assert said is not None
        return said

    def ack(self, said: Said, *names: str, leave: Iterable[str] = ()) -> DeltaTalk:
        self.session.receive(
            DeltaDiscoveryRequest(
                type_url=said.type_url,
                response_nonce=said.nonce,
                resource_names_subscribe=names,
                resource_names_unsubscribe=leave,
            ),
            self.now,
        )
        return self

    def nack(self, said: Said, message: str = "no") -> DeltaTalk:
        request = DeltaDiscoveryRequest(type_url=said.type_url, response_nonce=said.nonce)
        request.error_detail.code = 13
        request.error_detail.message = message
        self.session.receive(request, self.now)
        return self

    def poll_later(self) -> Said | None:
        """What there is to say when the session wants to be asked again, if it does."""
        due = self.session.poll_at()
        if due is None:
            return None
        self.now = max(due, self.now)
        return self.poll()

    def drain(self) -> list[Said]:
        """Acknowledge each response at once, until there are no more, now or when time has passed."""
        responses: list[Said] = []
        while (said := self.poll() or self.poll_later()) is not None:
            responses.append(said)
            assert len(responses) < 1000, "it never ends"
            self.ack(said)
        return responses


class SotwTalk(_Talk):
    """The state of the world. Remembers the names that it asked for, as every request repeats them."""

    def __init__(self, cache: ResourceCache, *scopes: Hashable, **options: Any) -> None:
        super().__init__(cache, *scopes, **options)
        self.session = SotwSession(cache, self.scopes, **self.options)
        self.names: dict[str, tuple[str, ...]] = {}
        self.last: dict[str, tuple[str, str]] = {}

    def ask(self, type_url: str, *names: str, version: str = "") -> SotwTalk:
        self.names[type_url] = names
        known, nonce = self.last.get(type_url, (version, ""))
        self._request(type_url, known, nonce)
        return self

    def _request(self, type_url: str, version: str, nonce: str, error: str | None = None) -> None:
        request = DiscoveryRequest(
            type_url=type_url, version_info=version, response_nonce=nonce, resource_names=self.names[type_url]
        )
        if error is not None:
            request.error_detail.code = 13
            request.error_detail.message = error
        self.session.receive(self.session.parse(request.SerializeToString()), self.now)

    def poll(self) -> Said | None:
        answer = self.session.poll(self.now)
        if answer is None:
            return None
        type_url, _, body = answer
        response = DiscoveryResponse.FromString(body)
        assert response.type_url == type_url
        assert all(each.type_url == type_url for each in response.resources)
        bodies = [read(each.value) for each in response.resources]
        names = sorted(each.partition("=")[0] for each in bodies)
        assert len(names) == len(set(names))
        return Said(
            type_url=type_url,
            version=response.version_info,
            nonce=response.nonce,
            names=names,
            bodies={each.partition("=")[0]: each for each in bodies},
            removed=[],
            versions={},
            size=len(body),
        )

    def said(self) -> Said:
        """A response, which there has to be."""
        said = self.poll()
        assert said is not None
        return said

    def ack(self, said: Said, *names: str) -> SotwTalk:
        if names:
            self.names[said.type_url] = names
        self.last[said.type_url] = (said.version, said.nonce)
        self._request(said.type_url, said.version, said.nonce)
        return self

    def nack(self, said: Said, message: str = "no") -> SotwTalk:
        before, _ = self.last.get(said.type_url, ("", ""))
        self.last[said.type_url] = (before, said.nonce)
        self._request(said.type_url, before, said.nonce, message)
        return self

    def poll_later(self) -> Said | None:
        """What there is to say when the session wants to be asked again, if it does."""
        due = self.session.poll_at()
        if due is None:
            return None
        self.now = max(due, self.now)
        return self.poll()

    def drain(self) -> list[Said]:
        """Acknowledge each response at once, until there are no more, now or when time has passed."""
        responses: list[Said] = []
        while (said := self.poll() or self.poll_later()) is not None:
            responses.append(said)
            assert len(responses) < 1000, "it never ends"
            self.ack(said)
        return responses
