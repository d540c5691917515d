"""From a question to the request that it is about, and into the first proxy."""

from __future__ import annotations

from explain import connections, filter_access
from explain.answer import Branch, Step
from explain.local_replies import closed
from explain.question import Question
from explain.request import Request
from explain.resources import Resources
from explain.sight import Sight
from explain.walk import Walk
from mesh.names import DEFAULT_PORT
from mesh.workload import Workload
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.config.listener.v3.listener_pb2 import Listener


def in_chain(
    walk: Walk, chain: FilterChain, resources: Resources, request: Request | None, sight: Sight, of: Workload
) -> Branch:
    """What a chain of filters does with a request, or with a connection where it is None."""
    steps: tuple[Step, ...] = ()
    for each in connections.access(chain):
        passing = filter_access.connection(each, sight)
        walk.cautions.update(dict.fromkeys(passing.cautions))
        steps = (*steps, *passing.steps)
        if not passing.goes_on:
            return Branch(steps, passing.ended[0][1])
    manager, proxy = connections.manager(chain), connections.tcp_proxy(chain)
    if manager is not None and request is not None:
        return walk.http(manager, resources, request, sight, of).after(*steps)
    if proxy is not None:
        return walk.arrivals.by_tcp(proxy, resources, sight, of).after(*steps)
    why = "HTTP is expected there, and nothing else"
    return Branch((*steps, sight.step("connection", f"closed: {why}")), closed(why, "Ask in HTTP"))


def the_request(question: Question, authority: str, scheme: str) -> Request:
    if (
        question.port is not None
        and ":" not in authority
        and question.port != DEFAULT_PORT
        and not question.authority
    ):
        authority = f"{authority}:{question.port}"
    return Request(question.method, question.path, authority, question.headers, None, scheme, question.claims)


def words_of(request: Request | None) -> str:
    return "" if request is None else f"{request.method} {request.scheme}://{request.authority}{request.path}"


def port_of(listener: Listener) -> int:
    return listener.address.socket_address.port_value
