"""Plans over a live mesh hold nobody up: captured in pieces, reckoned in a thread, one at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import yaml

from api.errors import NotFound, TooManyRequests, Unavailable, Unprocessable
from api.shapes.plan import PlanRequest
from envoy.render import Renderer
from mesh.events import SourceSnapshot
from mesh.workload import Workload
from meshwright.calls_seen import Lately as Seen
from meshwright.certificates import NoCertificates
from meshwright.plan.grouping import Sort
from meshwright.plan.planner import PIECE, WAITING, Live, Planner
from meshwright.plan.text import lines
from meshwright.publisher import Publisher
from pb.envoy.config.core.v3.base_pb2 import Node
from policies.transport import Lately
from tests.support.builders import a_service, a_snapshot, a_state, a_workload
from tests.support.policy_documents import declared
from xds.cache import ResourceCache
from xds.client import Client, Peer
from xds.server import XdsServer

SERVICES = 500
TARGETED = {"targetRefs": [{"kind": "Service", "name": "s1"}]}
TIMEOUT = {
    "apiVersion": "meshwright.dev/v1alpha1",
    "kind": "TimeoutPolicy",
    "metadata": {"name": "a"},
    "spec": {**TARGETED, "request": "3s"},
}


async def nobody(node: Node, peer: Peer) -> Client:
    raise NotImplementedError


def a_live(services: int, lately: Callable[[], Lately] = dict, more: tuple[Workload, ...] = ()) -> Live:
    """A mesh of so many services with a sidecar each, all of them attached."""
    values = [a_service(f"s{number}") for number in range(services)]
    workloads = [
        a_workload(f"s{number}-1", meshed=True, sidecar=15001, uses=["s1"]) for number in range(services)
    ]
    snapshot = a_snapshot(*values, *workloads, *more)
    state, _ = a_state().apply(SourceSnapshot("store", snapshot.services, snapshot.workloads))
    publisher = Publisher(state, Renderer())
    for key in state.workloads:
        publisher.attach(key, proved=True, proxyless=False)
    cache = ResourceCache()
    cache.open()
    return Live(
        lambda: state,
        publisher,
        XdsServer(cache, nobody),
        NoCertificates(),
        on_demand=False,
        lately=lambda: lately,
        seen=Seen,
        clock=lambda: datetime.now(UTC),
        store="store",
        envoy=lambda: None,
    )


async def test_a_plan_of_500_services_is_captured_in_pieces_and_reckoned_beside_the_loop() -> None:
    threads: list[int] = []

    def lately() -> Lately:
        threads.append(threading.get_ident())
        return {}

    planner, turns = Planner(a_live(SERVICES, lately)), 0

    async def turning() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(turning())
    try:
        plan = await planner.reckoned(PlanRequest.model_validate({"documents": [TIMEOUT]}))
    finally:
        task.cancel()
    assert plan.proxies == plan.of_proxies == SERVICES
    assert len(plan.resources) == 1
    # The loop went on between the pieces and while all was rendered; that was done elsewhere.
    assert turns > SERVICES // PIECE
    assert threads
    assert threading.get_ident() not in threads


async def test_one_plan_at_a_time_and_so_many_wait() -> None:
    planner = Planner(a_live(3))
    request = PlanRequest.model_validate({"documents": [TIMEOUT], "check": False})
    asked = [asyncio.create_task(planner.plan(request)) for _ in range(WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await planner.plan(request)
    answers = await asyncio.gather(*asked)
    assert all(each == answers[0] for each in answers)
    assert (await planner.plan(request)).proxies == 3


async def test_what_kubectl_would_take_is_not_refused() -> None:
    """Objects of the cluster are documents that people write: new ones, and those that are there."""
    live = replace(a_live(2), store=None, cluster="cluster")
    state, _ = live.state().apply(SourceSnapshot("cluster", declared=declared(yaml.safe_dump(TIMEOUT))))
    request = PlanRequest.model_validate({"documents": [TIMEOUT]})
    made = await Planner(live).reckoned(request)
    assert (made.refused, [each.kind for each in made.documents]) == ((), ["TimeoutPolicy"])
    later = PlanRequest.model_validate({"documents": [{**TIMEOUT, "spec": {**TARGETED, "request": "4s"}}]})
    changed = await Planner(replace(live, state=lambda: state)).reckoned(later)
    assert (changed.refused, [each.sort for each in changed.documents]) == ((), [Sort.CHANGED])


async def test_documents_that_are_wrong_are_told_with_every_mistake() -> None:
    wrong = {
        **TIMEOUT,
        "spec": {"targetRefs": [{"kind": "Service", "name": "s1"}], "request": "soon", "x": 1},
    }
    with pytest.raises(Unprocessable) as caught:
        await Planner(a_live(1)).plan(PlanRequest.model_validate({"documents": [wrong]}))
    assert {each.path for each in caught.value.errors} == {"spec.request", "spec.x"}
    assert {each.document for each in caught.value.errors} == {"TimeoutPolicy default/a"}


async def test_proxies_of_namespaces_that_may_not_be_viewed_are_counted_not_shown() -> None:
    request = PlanRequest.model_validate({"documents": [TIMEOUT], "check": False})
    theirs = a_workload("blog/web", meshed=True, sidecar=15001, uses=["s1"])
    planner = Planner(a_live(2, more=(theirs,)))
    whole = await planner.plan(request)
    assert {each for change in whole.resources for each in change.proxies} == {
        "blog/web", "default/s0-1", "default/s1-1",
    }  # fmt: skip
    assert whole.hidden_proxies == 0
    part = await planner.plan(request, lambda namespace: namespace == "default")
    assert {each for change in part.resources for each in change.proxies} == {"default/s0-1", "default/s1-1"}
    assert (part.proxies, part.hidden_proxies) == (3, 1)
    assert "and 1 more proxies, of namespaces that you may not view" in "\n".join(lines(part))
    none = await planner.plan(request, lambda _: False)
    assert (none.resources, none.hidden_proxies) == ((), 3)


async def test_before_everything_is_known_no_plan_is_made() -> None:
    live = replace(a_live(1), xds=XdsServer(ResourceCache(), nobody))
    with pytest.raises(Unavailable, match="try again"):
        await Planner(live).plan(PlanRequest.model_validate({"documents": [TIMEOUT]}))


async def test_without_a_store_there_is_no_revision() -> None:
    with pytest.raises(NotFound, match="no store"):
        await Planner(a_live(1)).plan(PlanRequest(revision=1))


async def test_that_there_is_no_envoy_is_told() -> None:
    answer = await Planner(a_live(2)).plan(PlanRequest.model_validate({"documents": [TIMEOUT]}))
    assert answer.check.result == "not-run"
    assert "meshwright envoy install" in answer.check.text


async def test_what_is_not_there_cannot_be_deleted() -> None:
    request = PlanRequest.model_validate({"delete": [{"kind": "TimeoutPolicy", "name": "none"}]})
    answer = await Planner(a_live(1)).plan(request)
    assert answer.refused == ("TimeoutPolicy default/none is not there: nothing to delete",)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": 7},
        {"apiVersion": "v1", "kind": "\ud800", "metadata": None},
        {"apiVersion": "meshwright.dev/v1alpha1", "kind": "Service", "metadata": {"name": "\u0000"}},
        {"apiVersion": "meshwright.dev/v1alpha1", "kind": "TimeoutPolicy", "metadata": [], "spec": 1e400},
        {**TIMEOUT, "metadata": {"name": "a", "annotations": {"\ud800": "\u2028\ufeff"}}},
        {**TIMEOUT, "spec": {"targetRefs": [{"kind": "Service", "name": "s1"}], "x": [[[[[[]]]]]] * 3}},
    ],
)
async def test_nonsense_is_unprocessable_and_nothing_worse(document: dict[str, object]) -> None:
    with pytest.raises(Unprocessable):
        await Planner(a_live(1)).plan(PlanRequest(documents=(document,)))
