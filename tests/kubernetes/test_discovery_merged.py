"""One service in two registries: the endpoints of both, and a move from one to the other in which somebody always serves."""

from __future__ import annotations

import random
from typing import Any

from discovery.consul import ConsulSource
from discovery.consul_options import ConsulOptions
from mesh.names import Key
from mesh.state import Merging, MeshState
from tests.support.consul_agent import consul_agent
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.discovered import a_source, discovering


def a_service(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "stock", "namespace": namespace},
        "spec": {"ports": [{"name": "http", "port": 80, "appProtocol": "http"}]},
    }


def a_slice(namespace: str, *addresses: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "stock-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": "stock"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
    }


def an_instance(namespace: str, number: int) -> dict[str, Any]:
    meta = {
        "namespace": namespace,
        "protocol": "http",
        "meshed": "true",
        "app-port": "8080",
        "workload": f"vm-{number}",
    }
    return {
        "ID": f"stock-{number}",
        "Name": "stock",
        "Address": f"198.51.100.{number}",
        "Port": 15101,
        "Meta": {**meta, "service-account": "stock"},
    }


async def test_a_service_in_both_has_the_endpoints_of_both_and_moves_without_a_gap(cluster: Cluster) -> None:
    async with cluster.namespace("2-merged") as namespace, consul_agent() as consul:
        stock = Key(namespace, "stock")
        for number in (1, 2, 3):
            await consul.register(an_instance(namespace, number))
        registry = ConsulSource(ConsulOptions(address=consul.url), name="consul", random=random.random)
        state = MeshState(
            "mesh.local", order=("kubernetes", "consul"), merging=Merging(namespaces=frozenset({namespace}))
        )
        async with discovering(a_source(cluster.kubeconfig), registry, state=state) as seen:
            await seen.until(lambda: seen.live(stock) == {"vm-1", "vm-2", "vm-3"}, "the instances in Consul")
            seen.watch(stock)
            await cluster.apply(a_service(namespace), a_slice(namespace, "192.0.2.1", "192.0.2.2"))
            both = {"vm-1", "vm-2", "vm-3", "stock.192-0-2-1", "stock.192-0-2-2"}
            await seen.until(lambda: seen.live(stock) == both, "the endpoints of both")
            given = await cluster.get("service", "stock", namespace)
            assert seen.state.services[stock].address == given["spec"]["clusterIP"], (
                "the first source decides"
            )
            meshed = {each.workload.name: each.meshed for each in _endpoints(seen.state, stock)}
            assert meshed == {name: name.startswith("vm") for name in both}
            for number in (1, 2, 3):
                await consul.deregister(f"stock-{number}")
            await seen.until(
                lambda: seen.live(stock) == {"stock.192-0-2-1", "stock.192-0-2-2"},
                "it lives in the cluster alone",
            )
            assert seen.smallest[stock] == 2, "somebody served all the time"


def _endpoints(state: MeshState, service: Key) -> Any:
    return state.endpoints(service, state.services[service].ports[0])
