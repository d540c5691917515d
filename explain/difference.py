"""Where what a proxy has is not what the mesh says: of the resources that a request meets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from google.protobuf.message import Message

from explain.answer import Branch, Explanation, Source, Step
from explain.resources import Held, Resources
from explain.route_words import NOBODY
from explain.text import summary
from explain.wording import share
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration


class Watched:
    """Passes on what it is asked, and knows what that was: `Resources`. `endpoints`: who is asked for those."""

    def __init__(self, resources: Resources, endpoints: Resources) -> None:
        self._resources, self._endpoints = resources, endpoints
        self.asked: dict[tuple[str, str], None] = {}

    def listener(self, name: str) -> Held[Listener] | None:
        self.asked["listener", name] = None
        return self._resources.listener(name)

    def listeners(self) -> Iterator[Held[Listener]]:
        return self._resources.listeners()

    def scope(self, key: str) -> Held[ScopedRouteConfiguration] | None:
        self.asked["scope", key] = None
        return self._resources.scope(key)

    def routes(self, name: str) -> Held[RouteConfiguration] | None:
        self.asked["routes", name] = None
        return self._resources.routes(name)

    def cluster(self, name: str) -> Held[Cluster] | None:
        self.asked["cluster", name] = None
        return self._resources.cluster(name)

    def endpoints(self, cluster: str) -> Held[ClusterLoadAssignment] | None:
        self.asked["endpoints", cluster] = None
        return self._endpoints.endpoints(cluster)


def differences(watched: Watched, model: Resources) -> Iterator[str]:
    """A line for each resource that was asked for and is not the same."""
    for kind, name in watched.asked:
        here, there = _get(watched, kind, name), _get(model, kind, name)
        if here is None and there is None:
            continue
        if here is None:
            yield f"{kind} {name}: the mesh has it, and the proxy does not"
        elif there is None:
            yield f"{kind} {name}: the proxy has it, and the mesh does not"
        else:
            unequal = _unequal(here, there)
            if unequal:
                yield f"{kind} {name}: not the same in {', '.join(unequal)}"


def otherwise(of_proxy: Explanation, of_model: Explanation) -> Iterator[str]:
    """What the client would see if the proxy had what the mesh says; nothing where that is the same."""
    if of_proxy.outcomes() == of_model.outcomes():
        return
    for part, outcome in of_model.outcomes():
        yield f"by what the mesh says, {share(part)} would see {summary(outcome)}"


NOT_NOW = "what the mesh says is otherwise"


def without_wrong_sources(of_proxy: Branch, of_model: Branch, proxy: str) -> Branch:
    """`of_proxy`, where what `proxy` has differs from what the mesh says: no document stands beside what it does not say."""
    model = {each for each in of_model.every_step() if each.proxy == proxy}
    details = {(each.stage, one) for each in model for one in each.details}

    def step(each: Step) -> Step:
        if each.proxy != proxy or each in model:
            return each
        named = tuple(source for source in each.sources if any(str(source) in one for one in each.details))
        lines = tuple(
            one if (each.stage, one) in details else _without_reason(one, named) for one in each.details
        )
        kept = tuple(source for source in named if any(str(source) in one for one in lines))
        return replace(each, details=lines, sources=kept)

    def branch(each: Branch) -> Branch:
        return replace(each, steps=tuple(map(step, each.steps)), branches=tuple(map(branch, each.branches)))

    return branch(of_proxy)


def _without_reason(detail: str, sources: tuple[Source, ...]) -> str:
    for reason in (NOBODY, *map(str, sources)):
        if detail.endswith(f": {reason}"):
            return f"{detail.removesuffix(reason)}{NOT_NOW}"
    return detail


def _get(resources: Resources, kind: str, name: str) -> Message | None:
    held: Held[Message] | None
    match kind:
        case "listener":
            held = resources.listener(name)
        case "scope":
            held = resources.scope(name)
        case "routes":
            held = resources.routes(name)
        case "cluster":
            held = resources.cluster(name)
        case _:
            held = resources.endpoints(name)
    return None if held is None else held.message


def _unequal(here: Message, there: Message) -> list[str]:
    """The fields of the two that differ, by name. Of endpoints, the addresses: Envoy shows more of them than it was given."""
    if isinstance(here, ClusterLoadAssignment) and isinstance(there, ClusterLoadAssignment):
        return ["endpoints"] if _addresses(here) != _addresses(there) else []
    one, other = dict(_fields(here)), dict(_fields(there))
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _fields(message: Message) -> Iterable[tuple[str, object]]:
    return ((each.name, value) for each, value in message.ListFields())


def _addresses(of: ClusterLoadAssignment) -> set[tuple[str, int]]:
    return {
        (each.endpoint.address.socket_address.address, each.endpoint.address.socket_address.port_value)
        for group in of.endpoints
        for each in group.lb_endpoints
    }
