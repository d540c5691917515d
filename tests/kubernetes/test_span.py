"""One mesh over a cluster and Consul: processes on a machine of their own (a network namespace), which Consul knows, and pods call each
other over mutual TLS, and a service moves from one to the other while it is called.

The control plane is the test's own, on this machine: it reads both registries, and pods join it by their service accounts' tokens.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from inject.options import InjectOptions
from inject.pod import Injected, inject
from mesh.names import Key, virtual_address
from tests.support import binaries
from tests.support.consul_agent import ConsulAgent, consul_agent
from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.machine import Machine, a_machine
from tests.support.mesh import APP, Instance, Load, Mesh
from tests.support.processes import eventually, meshwright, start

PATIENCE = 180.0
IMAGE = "meshwright:dev"
BUNDLE = "2-bundle"


@dataclass(frozen=True)
class Span:
    """`mesh` serves; whoever is in `namespace` may be in Consul, on `machine`, or in the cluster."""

    cluster: Cluster
    consul: ConsulAgent
    mesh: Mesh
    machine: Machine
    namespace: str

    def instance(self, service: str) -> Instance:
        return Instance(service, f"{service}-vm", uses=None, address=self.machine.address)

    async def register(self, each: Instance) -> None:
        found = each.consul_service()
        await self.consul.register({**found, "Meta": {**found["Meta"], "namespace": self.namespace}})

    async def up(self, each: Instance) -> None:
        """Its application and its sidecar, ready to serve; not registered by this."""
        token = self.mesh.folder / f"{each.name}.token"
        made = await start(
            f"{each.name}-token", self.mesh.folder,
            *meshwright("token", "create", "--data-dir", str(self.mesh.data), "--service-account", each.service),
            *("--namespace", self.namespace, "--workload", each.name),
        )  # fmt: skip
        assert await made.process.wait() == 0, made.tail()
        token.touch(mode=0o600)
        token.write_text(made.text().split()[-1])
        machine, host = self.machine, self.cluster.host
        application = ("--name", each.service, "--instance", each.name, "--port", str(each.app_port))
        each.app = await self.mesh._start(
            f"{each.name}-app", *machine.command(sys.executable, str(APP), *application)
        )
        proxy = (
            *("proxy", "--workload", f"{self.namespace}/{each.name}", "--admin-port", str(each.admin_port)),
            *("--control-plane", f"{host}:{self.mesh.xds_port}", "--join", f"{host}:{self.mesh.join_port}"),
            *("--bundle", str(self.mesh.data / "roots.pem"), "--token-file", str(token)),
            *("--data-dir", str(self.mesh.folder / f"{each.name}-agent")),
            *("--envoy", binaries.envoy(), "--drain-time", "1s"),
        )
        each.sidecar = await self.mesh._start(f"{each.name}-sidecar", *machine.command(*meshwright(*proxy)))
        for port in (each.outbound_port, each.admin_port):  # for the test alone: they are loopback's
            await self.mesh._start(f"{each.name}-relay-{port}", *machine.relay(port))
        await eventually(
            lambda: self.live(each), f"{each.name} is live", each.app, each.sidecar, patience=PATIENCE
        )

    async def live(self, each: Instance) -> bool:
        status, text = await self.mesh.get(f"http://{each.address}:{each.admin_port}/ready")
        return status == 200 and text.startswith("LIVE")

    async def call(self, caller: Instance, host: str) -> tuple[int, Any]:
        """A request of a process on the machine, to its sidecar."""
        status, text = await self.mesh.get(
            f"http://{caller.address}:{caller.outbound_port}/", headers={"Host": host}
        )
        return status, json.loads(text) if status == 200 else text

    def deployment(self, name: str) -> dict[str, Any]:
        """Pods of the echo service with a sidecar that joins our control plane, and its account."""
        options = InjectOptions(
            image=IMAGE,
            control_plane=f"{self.cluster.host}:{self.mesh.xds_port}",
            join=f"{self.cluster.host}:{self.mesh.join_port}",
            leave_patience=20,
        )
        made = objects.deployment(name, account=name)
        injected = inject(made["spec"]["template"], options)
        assert isinstance(injected, Injected)
        for volume in injected.pod["spec"]["volumes"]:
            if "configMap" in volume:
                volume["configMap"]["name"] = (
                    BUNDLE  # an installation on this cluster has its own by that name
                )
        made["spec"]["template"] = injected.pod
        return made

    async def deploy(self, name: str) -> None:
        await self.cluster.apply(
            objects.service_account(name),
            objects.service(name),
            self.deployment(name),
            namespace=self.namespace,
        )
        await self.cluster.ready(self.namespace, f"deploy/{name}", patience=PATIENCE)


@asynccontextmanager
async def _a_machine(cluster: Cluster) -> AsyncIterator[Machine]:
    with a_machine(cluster) as made:
        yield made


@asynccontextmanager
async def spanning(cluster: Cluster, folder: Path) -> AsyncIterator[Span]:
    # Not by the webhook of an installation: these are of another mesh.
    labels = {"meshwright.dev/inject": "disabled"}
    async with (
        cluster.namespace("2-span", labels) as namespace,
        consul_agent() as consul,
        _a_machine(cluster) as machine,
    ):
        config = folder / "settings.yaml"
        settings = {
            "kubernetes": {"kubeconfig": str(cluster.kubeconfig)},
            "merge_namespaces": [namespace],
            "store": "none",
        }
        config.write_text(yaml.safe_dump(settings))
        async with Mesh(folder, consul_url=consul.url, files=False, config=str(config)) as mesh:
            mesh.set(xds_address=f"0.0.0.0:{mesh.xds_port}", join_address=f"0.0.0.0:{mesh.join_port}")
            await mesh.serve()
            bundle = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": BUNDLE},
                "data": {"roots.pem": (mesh.data / "roots.pem").read_text()},
            }
            await cluster.apply(bundle, namespace=namespace)
            yield Span(cluster, consul, mesh, machine, namespace)


@pytest.mark.timeout(600)
async def test_calls_go_both_ways_and_a_service_moves_under_load(installed: Cluster, tmp_path: Path) -> None:
    async with spanning(installed, tmp_path) as span:
        till, stock = span.instance("till"), span.instance("stock")
        for each in (till, stock):
            await span.register(each)
        await asyncio.gather(span.up(till), span.up(stock), span.deploy("echo"))
        host = f"echo.{span.namespace}"

        async def called_in_the_cluster() -> Any:
            status, answer = await span.call(till, host)
            return answer if status == 200 else None

        answer = await eventually(called_in_the_cluster, "a pod answers", patience=PATIENCE)
        certificate = answer["headers"]["x-forwarded-client-cert"]
        prefix = f"spiffe://mesh.local/ns/{span.namespace}/sa"
        assert f"URI={prefix}/till" in certificate
        assert f"By={prefix}/echo" in certificate

        # And back: by the virtual address of the service in Consul, which the pod's interception takes.
        there = virtual_address(Key(span.namespace, "till"))
        said = await installed.exec(
            span.namespace, "deploy/echo", "curl", "-sS", "--fail-with-body", "-m", "10", f"http://{there}/",
            container="echo",
        )  # fmt: skip
        assert json.loads(said)["caller"] == f"{prefix}/echo"

        async with Load(f"http://{till.address}:{till.outbound_port}/", f"stock.{span.namespace}") as load:
            await load.more(50)
            await span.deploy("stock")
            await _served_by(load, "None")  # a pod, which has no `instance`
            await span.consul.deregister(stock.name)
            await _no_more(load, stock.name)
            await span.register(stock)
            await _served_by(load, stock.name)
            await installed.run("-n", span.namespace, "scale", "deploy/stock", "--replicas=0")
            await _no_more(load, "None")
            await load.more(50)
        assert load.failures == []


async def _served_by(load: Load, instance: str) -> None:
    before = load.by_instance.get(instance, 0)

    async def more() -> bool:
        return load.by_instance.get(instance, 0) > before + 20

    await eventually(more, f"{instance} is called", patience=PATIENCE)


async def _no_more(load: Load, instance: str) -> None:
    """Until 100 requests in a row have gone elsewhere."""

    async def elsewhere() -> bool:
        before = load.by_instance.get(instance, 0)
        await load.more(100)
        return load.by_instance.get(instance, 0) == before

    await eventually(elsewhere, f"{instance} is called no more", patience=PATIENCE)
