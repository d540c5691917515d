"""What is made for Gateways, by the code alone: what changes, who else writes, and an API server that is away."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from inject.options import InjectOptions
from kube.access import ClusterOptions
from kube.client import Cluster as Client
from mesh.gateways import Gateway
from mesh.names import Key
from mesh.state import MeshState
from meshwright.kubernetes.gateway_manifests import GatewayOptions
from meshwright.kubernetes.gateways import Gateways
from policies.registry import KINDS
from store.kubernetes_held import Held
from store.kubernetes_objects import kept
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.line import a_line, kubeconfig
from tests.support.processes import eventually

NOBODYS = "5-nobodys"
"""A class that no controller of the cluster serves."""
CLASS = f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: {NOBODYS}, uid: c, generation: 1}}
spec: {{controllerName: meshwright.dev/gateway-controller}}
"""


class Desk:
    """A Gateway that is really there, so that what is made has an owner, and what the mesh says of it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.uid = ""
        self.held = Held()
        self.state = MeshState("mesh.local")

    @property
    def gateway(self) -> Gateway:
        found = self.state.declared["Gateway", Key(self.namespace, "edge")]
        assert isinstance(found, Gateway)
        return found

    def manifest(self, *ports: int, more: str = "") -> str:
        listed = ", ".join(f"{{name: p{each}, port: {each}, protocol: HTTP}}" for each in ports)
        return (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
            f"metadata: {{name: edge, namespace: {self.namespace}}}\n"
            f"spec: {{gatewayClassName: {NOBODYS}, listeners: [{listed}]{more}}}\n"
        )

    def say(self, text: str) -> None:
        found = yaml.safe_load(text)
        found["metadata"] |= {"uid": self.uid, "generation": 1}
        changes = {made.name: made for made in (kept(yaml.safe_load(CLASS)), kept(found))}
        self.held = self.held.with_changes(changes, "cluster", KINDS)
        self.state = MeshState("mesh.local").apply(self.held.documents.to_snapshot("cluster"))[0]

    @asynccontextmanager
    async def making(self, options: ClusterOptions) -> AsyncIterator[Gateways]:
        async with Client(options, clock=time.monotonic) as client:
            gateways = Gateways(
                client,
                lambda: self.state,
                lambda: self.held,
                GatewayOptions(InjectOptions(image="meshwright:dev"), "ClusterIP", replicas=0),
                cluster_ip=True,
                clock=time.monotonic,
                random=random.random,
            )
            task = asyncio.create_task(gateways.run())
            try:
                yield gateways
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def desk(cluster: Cluster) -> AsyncIterator[Desk]:
    async with cluster.namespace("5-made") as namespace:
        made = Desk(namespace)
        await cluster.apply(made.manifest(80))
        found = await cluster.get("gateway", "edge", namespace)
        made.uid = found["metadata"]["uid"]
        made.say(made.manifest(80))
        yield made


def reached(cluster: Cluster) -> ClusterOptions:
    return ClusterOptions(name="test", kubeconfig=str(cluster.kubeconfig))


async def test_ports_follow_the_listeners_and_nothing_is_written_twice(cluster: Cluster, desk: Desk) -> None:
    async def ports() -> list[int]:
        service = await cluster.get("service", "edge-meshwright", desk.namespace)
        return [each["port"] for each in service["spec"]["ports"]]

    async with desk.making(reached(cluster)) as gateways:
        for wanted in ([80], [80, 8080], [8080]):
            desk.say(desk.manifest(*wanted))

            async def there(wanted: list[int] = wanted) -> bool:
                return await ports() == wanted

            await cluster.eventually(there, f"ports {wanted}")
        made = gateways.made(desk.gateway)
        assert (made.problem, made.ready, len(made.addresses)) == ("", False, 1)
    first = await cluster.get("deployment", "edge-meshwright", desk.namespace)
    # Another replica takes over: what stands there is what it wishes for.
    async with desk.making(reached(cluster)) as gateways:

        async def looked() -> bool:
            return gateways.known

        await eventually(looked, "a whole look")
    second = await cluster.get("deployment", "edge-meshwright", desk.namespace)
    assert first["metadata"]["generation"] == second["metadata"]["generation"]


async def test_an_address_is_given_or_it_is_said_why_not(cluster: Cluster, desk: Desk) -> None:
    desk.say(desk.manifest(80, more=", addresses: [{value: 192.0.2.1}]"))
    async with desk.making(reached(cluster)) as gateways:

        async def refused() -> bool:
            return gateways.made(desk.gateway).problem.startswith("AddressNotUsable: ")

        await eventually(refused, "the address to be refused", patience=60)
        assert "192.0.2.1" in gateways.made(desk.gateway).problem
        assert gateways.made(desk.gateway).addresses == ()
        desk.say(desk.manifest(80))

        async def given() -> bool:
            made = gateways.made(desk.gateway)
            return made.problem == "" and len(made.addresses) == 1

        await eventually(given, "an address of the cluster's choice", patience=60)
        # An address that is out of range, or another Service's, takes nothing away that works.
        before = await cluster.get("service", "edge-meshwright", desk.namespace)
        first = await cluster.get("service", "kubernetes", "default")
        for wrong in ("192.0.2.1", first["spec"]["clusterIP"]):
            desk.say(desk.manifest(80, more=f", addresses: [{{value: {wrong}}}]"))

            async def told(wrong: str = wrong) -> bool:
                problem = gateways.made(desk.gateway).problem
                return problem.startswith("AddressNotUsable: ") and wrong in problem

            await eventually(told, f"{wrong} to be refused", patience=60)
            after = await cluster.get("service", "edge-meshwright", desk.namespace)
            assert after["spec"] == before["spec"]
        desk.say(desk.manifest(80))
        await eventually(given, "no address to be asked for any more", patience=60)
        # One that is free is taken.
        free = f"{before['spec']['clusterIP'].rpartition('.')[0]}.{random.randrange(200, 250)}"
        desk.say(desk.manifest(80, more=f", addresses: [{{value: {free}}}]"))

        async def moved() -> bool:
            made = gateways.made(desk.gateway)
            return (made.problem, made.addresses) == ("", (free,))

        await eventually(moved, f"address {free}", patience=60)


async def test_an_api_server_that_is_away_says_nothing_of_a_gateway(
    cluster: Cluster, desk: Desk, tmp_path: Path
) -> None:
    async with a_line(cluster) as line:
        path = await kubeconfig(cluster, line, tmp_path / "kubeconfig")
        async with desk.making(ClusterOptions(name="test", kubeconfig=str(path))) as gateways:

            async def given() -> bool:
                return len(gateways.made(desk.gateway).addresses) == 1

            await eventually(given, "an address", patience=60)
            line.cut()
            taken = line.taken
            desk.say(desk.manifest(8080))

            async def tried() -> bool:
                return line.taken > taken + 1

            await eventually(tried, "a try to write", patience=60)
            made = gateways.made(desk.gateway)
            assert (made.problem, len(made.addresses)) == ("", 1)
            line.mend()

            async def mended() -> bool:
                service = await cluster.get("service", "edge-meshwright", desk.namespace)
                return [each["port"] for each in service["spec"]["ports"]] == [8080]

            await cluster.eventually(mended, "the port that was asked for meanwhile")
