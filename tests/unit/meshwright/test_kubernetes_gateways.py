"""What is written for Gateways, and when: what works is not taken away, nobody fights, and what says nothing new costs nothing.

The API server is a stand-in here, for what the real one cannot be made to do at will: to refuse one write, and to have somebody change an
object back each time. `tests/kubernetes/test_gateways_made.py` has the real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from inject.options import InjectOptions
from kube.client import EVERYTHING, Cluster, Page, Selector
from kube.errors import ApiError, Forbidden, Invalid, NotFound
from kube.resource import CONFIG_MAPS, DEPLOYMENTS, SERVICE_ACCOUNTS, SERVICES, Resource
from mesh.conditions import gateways as declared_gateways
from mesh.listener_sets import whole
from mesh.names import Key
from mesh.state import MeshState
from meshwright.kubernetes import gateways
from meshwright.kubernetes.gateway_manifests import DISRUPTION_BUDGETS, GatewayOptions, object_name
from meshwright.kubernetes.gateway_writes import PAUSE
from meshwright.kubernetes.gateways import AGAIN, Gateways
from policies.registry import KINDS
from store.kubernetes_held import Held
from store.kubernetes_objects import ClusterObject, kept
from tests.support.processes import eventually

API = "gateway.networking.k8s.io/v1"
CLASS = {"controllerName": "meshwright.dev/gateway-controller"}
ALL = {SERVICES, DEPLOYMENTS, SERVICE_ACCOUNTS, DISRUPTION_BUDGETS}
Place = tuple[Resource, str, str]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other sooner, so that many of them take no time."""
    monkeypatch.setattr(gateways, "EVERY", 0.01)


class Server:
    """Objects that are applied, and whoever follows them."""

    name = "test"

    def __init__(self) -> None:
        self.there: dict[Place, dict[str, Any]] = {}
        self.calls: list[tuple[str, Resource]] = []
        self.events: list[tuple[Resource, dict[str, Any]]] = []
        self.told = asyncio.Condition()
        self.refuses: Callable[[dict[str, Any], bool], ApiError | None] = lambda _manifest, _dry: None
        self.forbids: set[Resource] = set()
        self.uids = 0

    def did(self, what: str) -> int:
        return sum(each == what for each, _ in self.calls)

    async def put(self, place: Place, found: dict[str, Any]) -> None:
        self.there[place] = found
        await self._tell("MODIFIED", place[0], found)

    async def _tell(self, what: str, resource: Resource, found: dict[str, Any]) -> None:
        found["metadata"]["resourceVersion"] = str(len(self.events) + 1)
        event = {"apiVersion": resource.api_version, "kind": resource.kind, **copy.deepcopy(found)}
        async with self.told:
            self.events.append((resource, {"type": what, "object": event}))
            self.told.notify_all()

    async def page(
        self, resource: Resource, selector: Selector = EVERYTHING, *, more: str = "", limit: int = 0
    ) -> Page:
        del selector, more, limit
        found = tuple(copy.deepcopy(each) for place, each in self.there.items() if place[0] == resource)
        return Page(found, str(len(self.events)), "")

    async def watch(
        self,
        resource: Resource,
        version: str,
        selector: Selector = EVERYTHING,
        *,
        seconds: int,
        opened: Callable[[], None],
    ) -> AsyncIterator[list[dict[str, Any]]]:
        del selector, seconds
        opened()
        at = int(version)
        while True:
            async with self.told:
                while len(self.events) == at:
                    await self.told.wait()
                new, at = self.events[at:], len(self.events)
            if batch := [event for of, event in new if of == resource]:
                yield batch

    async def apply(
        self, resource: Resource, manifest: dict[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.calls.append(("try" if dry_run else "apply", resource))
        if (refusal := self.refuses(manifest, dry_run)) is not None:
            raise refusal
        made = copy.deepcopy(manifest)
        metadata = made["metadata"]
        place = resource, metadata["namespace"], metadata["name"]
        before = self.there.get(place)
        self.uids += 1
        metadata["uid"] = before["metadata"]["uid"] if before is not None else f"made-{self.uids}"
        metadata["generation"] = 1
        if before is not None:
            same = before.get("spec") == made.get("spec")
            metadata["generation"] = before["metadata"]["generation"] + (not same)
        if resource is SERVICES:
            given = before["spec"]["clusterIP"] if before is not None else "10.0.0.9"
            made["spec"].setdefault("clusterIP", given)
            assert before is None or made["spec"]["clusterIP"] == given, "it cannot be changed in place"
        if not dry_run:
            await self.put(place, made)
        return made

    async def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any]:
        await asyncio.sleep(0)
        self.calls.append(("get", resource))
        found = self.there.get((resource, namespace, name))
        if found is None:
            raise NotFound(f"no {resource.kind} {namespace}/{name}")
        return copy.deepcopy(found)

    async def delete(self, resource: Resource, name: str, namespace: str = "", *, uid: str = "") -> None:
        await asyncio.sleep(0)
        self.calls.append(("delete", resource))
        if resource in self.forbids:
            raise Forbidden(f"delete {resource.kind}: a rule is missing")
        found = self.there.pop((resource, namespace, name), None)
        if found is None:
            raise NotFound(f"no {resource.kind} {namespace}/{name}")
        assert found["metadata"]["uid"] == uid
        await self._tell("DELETED", resource, found)


class Desk:
    """What is in the cluster, and the part under test beside it. `now` is its clock."""

    def __init__(self) -> None:
        self.server = Server()
        self.now = 1000.0
        self.held = Held()
        self.state = MeshState("mesh.local")
        self.generation = 0
        self.looks = 0
        self.gateways = Gateways(
            cast("Cluster", self.server),
            lambda: self.state,
            self.look,
            GatewayOptions(InjectOptions(image="meshwright:1"), "ClusterIP"),
            cluster_ip=True,
            clock=lambda: self.now,
            random=lambda: 0.5,
        )
        self.say("GatewayClass", "meshwright", CLASS, namespace="")

    def say(
        self,
        kind: str,
        name: str,
        spec: Mapping[str, Any],
        *,
        namespace: str = "shop",
    ) -> None:
        self.generation += 1
        metadata: dict[str, Any] = {
            "name": name,
            "uid": f"of-{name}",
            "generation": self.generation,
            "resourceVersion": "1",
        }
        if namespace:
            metadata["namespace"] = namespace
        found: dict[str, Any] = {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": dict(spec)}
        self.take(kept(found))

    def take(self, found: ClusterObject) -> None:
        self.held = self.held.with_changes({found.name: found}, "cluster", KINDS)
        self.state = MeshState("mesh.local").apply(self.held.documents.to_snapshot("cluster"))[0]

    def a_gateway(self, name: str = "edge", **spec: Any) -> None:
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        self.say("Gateway", name, {"gatewayClassName": "meshwright", "listeners": [listener], **spec})

    def problem(self, name: str = "edge") -> str:
        found = next(each for each in declared_gateways(self.state) if each.key.name == name)
        return self.gateways.made(found).problem

    def look(self) -> Held:
        self.looks += 1
        return self.held

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """The part at work, when what there is to do is done."""
        task = asyncio.create_task(self.gateways.run())
        try:
            await self.settle()
            yield self.server
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def settle(self) -> None:
        """Until nothing was asked of the server for five looks."""
        asked, since = -1, self.looks

        async def settled() -> bool:
            nonlocal asked, since
            if len(self.server.calls) != asked:
                asked, since = len(self.server.calls), self.looks
            return self.gateways.known and self.looks - since >= 5

        await eventually(settled, "nothing to be asked any more", patience=30)

    def service(self, name: str = "edge") -> dict[str, Any]:
        return self.server.there[SERVICES, "shop", object_name(name)]


def addressed(address: str) -> dict[str, Any]:
    return {"addresses": [{"type": "IPAddress", "value": address}]}


def but_10_0(manifest: dict[str, Any], _dry: bool) -> ApiError | None:
    given = manifest.get("spec", {}).get("clusterIP", "10.0.0.9")
    return None if given.startswith("10.0.") else Invalid(f"422: {given} is not in the valid range")


async def test_a_service_is_not_taken_away_for_an_address_that_the_server_would_not_take() -> None:
    desk = Desk()
    desk.server.refuses = but_10_0
    desk.a_gateway(**addressed("10.0.0.1"))
    async with desk.running() as server:
        first = desk.service()["metadata"]["uid"]
        desk.a_gateway(**addressed("192.0.2.1"))
        await desk.settle()
        assert (desk.service()["metadata"]["uid"], server.did("delete")) == (first, 0)
        assert desk.problem().startswith("AddressNotUsable: 422: 192.0.2.1")
        # One that can be had is taken.
        desk.a_gateway(**addressed("10.0.0.2"))
        await desk.settle()
        assert (desk.service()["spec"]["clusterIP"], desk.problem()) == ("10.0.0.2", "")


async def test_a_service_comes_back_where_its_new_address_is_refused_for_all_that_and_is_left_alone() -> None:
    desk = Desk()

    def taken(manifest: dict[str, Any], dry: bool) -> ApiError | None:
        asked = manifest.get("spec", {}).get("clusterIP")
        return Invalid("422: it is already allocated") if asked == "10.0.0.2" and not dry else None

    desk.server.refuses = taken
    desk.a_gateway(**addressed("10.0.0.1"))
    async with desk.running() as server:
        desk.service()["spec"]["ports"][0]["nodePort"] = 30080
        desk.a_gateway(**addressed("10.0.0.2"))
        await desk.settle()
        assert desk.service()["spec"]["clusterIP"] == "10.0.0.1"
        assert desk.service()["spec"]["ports"][0]["nodePort"] == 30080
        assert "AddressNotUsable: 422: it is already allocated; " in desk.problem()
        for _ in range(3):
            desk.now += 10 * AGAIN
            await desk.settle()
        assert server.did("delete") == 1
        # Taken out and put back, it is tried again.
        desk.server.refuses = lambda _manifest, _dry: None
        desk.a_gateway()
        await desk.settle()
        desk.a_gateway(**addressed("10.0.0.2"))
        await desk.settle()
        assert (desk.service()["spec"]["clusterIP"], desk.problem()) == ("10.0.0.2", "")


async def test_gateways_whose_names_are_alike_have_objects_of_their_own() -> None:
    desk = Desk()
    desk.a_gateway("a.b")
    desk.a_gateway("a-b")
    async with desk.running() as server:
        assert server.did("apply") == 2 * len(ALL)
        for name in ("a.b", "a-b"):
            assert desk.service(name)["metadata"]["ownerReferences"][0]["name"] == name


async def test_what_belongs_to_another_gateway_is_left_to_it() -> None:
    desk = Desk()
    desk.a_gateway("edge")
    async with desk.running() as server:
        desk.service()["metadata"]["ownerReferences"][0]["name"] = "other"
        await server.put((SERVICES, "shop", object_name("edge")), desk.service())
        await desk.settle()
        assert server.did("apply") == len(ALL)
        assert desk.problem() == (
            "NoResources: Service shop/edge-meshwright belongs to Gateway shop/other: give one of the two another name"
        )


async def test_what_somebody_made_under_the_name_of_a_gateway_s_object_stays_theirs() -> None:
    desk = Desk()
    place = SERVICES, "shop", object_name("edge")
    metadata = {"name": place[2], "namespace": "shop", "uid": "theirs"}
    theirs = {"metadata": metadata, "spec": {"selector": {"app": "mine"}, "clusterIP": "10.0.0.9"}}
    desk.server.there[place] = copy.deepcopy(theirs)
    desk.a_gateway("edge")
    async with desk.running() as server:
        assert server.there[place] == theirs
        assert "was not made for Gateway edge: delete it" in desk.problem()


async def test_whoever_changes_an_object_back_each_time_is_not_fought_without_a_pause() -> None:
    desk = Desk()
    desk.a_gateway()
    async with desk.running() as server:
        place, wished = (SERVICES, "shop", object_name("edge")), copy.deepcopy(desk.service())
        for round_ in range(1, 3):
            for port in range(8000, 8003):
                other = copy.deepcopy(wished)
                other["spec"]["ports"][0]["port"] = port
                await server.put(place, other)
                await desk.settle()
            assert desk.service()["spec"]["ports"][0]["port"] == 8002
            assert server.did("apply") == len(ALL) + round_ - 1
            desk.now += PAUSE
            await desk.settle()
            assert desk.service()["spec"] == wished["spec"]
            assert server.did("apply") == len(ALL) + round_


async def test_parameters_are_read_once_in_a_while_and_not_whenever_something_is_written() -> None:
    desk = Desk()
    reference = {"parametersRef": {"group": "", "kind": "ConfigMap", "name": "p"}}
    names = [f"g{n}" for n in range(5)]
    desk.server.there[CONFIG_MAPS, "shop", "p"] = {"metadata": {}, "data": {"replicas": "2"}}
    for name in names:
        desk.a_gateway(name, infrastructure=reference)
    async with desk.running() as server:
        assert server.calls.count(("get", CONFIG_MAPS)) == 1
        for name in names:
            desk.a_gateway(name, infrastructure=reference, allowedListeners={"namespaces": {"from": "All"}})
            await desk.settle()
        assert server.calls.count(("get", CONFIG_MAPS)) == 1
        server.there[CONFIG_MAPS, "shop", "p"]["data"]["replicas"] = "3"
        desk.now += AGAIN
        await desk.settle()
        assert server.calls.count(("get", CONFIG_MAPS)) == 2
        assert all(
            server.there[DEPLOYMENTS, "shop", object_name(each)]["spec"]["replicas"] == 3 for each in names
        )
        # Another name is another thing to read, at once.
        desk.a_gateway("g0", infrastructure={"parametersRef": {**reference["parametersRef"], "name": "q"}})
        await desk.settle()
        assert desk.problem("g0").startswith("InvalidParameters: no ConfigMap shop/q")


async def test_statuses_are_no_reason_to_look_at_all_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.a_gateway()
    looks = 0

    def counted(*given: Any) -> Any:
        nonlocal looks
        looks += 1
        return whole(*given)

    monkeypatch.setattr(gateways, "whole", counted)
    async with desk.running():
        before = looks
        for number in range(3):
            gateway = desk.held.objects["Gateway", Key("shop", "edge")]
            desk.take(replace(gateway, status={"number": number}, resource_version=f"1{number}"))
            await desk.settle()
        assert looks == before
        desk.a_gateway(infrastructure={"labels": {"team": "edge"}})
        await desk.settle()
        assert desk.service()["metadata"]["labels"]["team"] == "edge"


async def test_what_was_made_goes_with_the_class_and_nothing_else_of_its_name_does() -> None:
    desk = Desk()
    desk.say("GatewayClass", "other", {"controllerName": "example.com/other"}, namespace="")
    desk.a_gateway()
    account = SERVICE_ACCOUNTS, "shop", object_name("edge")
    async with desk.running() as server:
        somebodys = {"metadata": {"name": account[2], "namespace": "shop", "uid": "x"}}
        await server.put(account, somebodys)
        server.forbids = {DISRUPTION_BUDGETS}
        desk.a_gateway(gatewayClassName="other")
        await desk.settle()
        # What is refused ends nothing, and is tried again.
        assert {resource for resource, *_ in server.there} == {
            SERVICE_ACCOUNTS,
            DISRUPTION_BUDGETS,
            DEPLOYMENTS,
        }
        server.forbids = set()
        desk.now += AGAIN
        await desk.settle()
        assert server.there == {account: somebodys}
