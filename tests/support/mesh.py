"""A whole mesh for tests: `meshwright serve`, applications and `meshwright proxy` sidecars, all real, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from api.shapes.status import Status
from mesh.names import Key
from meshwright.client import get_config_dump, get_status
from meshwright.errors import UnreachableError
from tests.support import binaries
from tests.support.ports import free_port
from tests.support.processes import Process, eventually, meshwright, start

APP = binaries.ROOT / "meshwright" / "demo" / "app.py"
LOOPBACK = "127.0.0.1"


@dataclass(slots=True)
class Instance:
    """One workload: its ports, and its processes once started."""

    service: str
    name: str
    uses: tuple[str, ...] | None = ()
    calls: str | None = None
    account: str | None = None
    address: str = LOOPBACK
    health: str = "passing"
    keys: str = "agent"
    app_port: int = field(default_factory=free_port)
    sidecar_port: int = field(default_factory=free_port)
    outbound_port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    app: Process | None = None
    sidecar: Process | None = None

    @property
    def identity(self) -> str:
        return f"spiffe://mesh.local/ns/default/sa/{self.account or self.service}"

    def document(self) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "services": [self.service],
            "serviceAccount": self.account or self.service,
            "address": self.address,
            "ports": [{"name": "http", "app": self.app_port, "sidecar": self.sidecar_port}],
            "outboundPort": self.outbound_port,
            "meshed": True,
            "health": self.health,
        }
        if self.uses is not None:
            spec["uses"] = list(self.uses)
        return a_document("Workload", self.name, spec)

    def consul_service(self) -> dict[str, Any]:
        """How it registers itself in Consul."""
        meta = {
            "protocol": "http",
            "port-name": "http",
            "app-port": str(self.app_port),
            "meshed": "true",
            "workload": self.name,
            "service-account": self.account or self.service,
            "outbound-port": str(self.outbound_port),
        }
        if self.uses is not None:
            meta["uses"] = ",".join(self.uses)
        return {
            "ID": self.name,
            "Name": self.service,
            "Address": self.address,
            "Port": self.sidecar_port,
            "Meta": meta,
        }


def a_document(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "meshwright.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": dict(spec),
    }


def a_service_document(name: str, port: int = 80, protocol: str = "http") -> dict[str, Any]:
    return a_document("Service", name, {"ports": [{"name": "http", "port": port, "protocol": protocol}]})


class Mesh:
    """An async context manager. Everything it starts lives in `folder` and ends with it."""

    def __init__(
        self, folder: Path, *, consul_url: str | None = None, files: bool = True, **options: str
    ) -> None:
        """`options` are further options of `serve`, for example `certificate_lifetime="30s"`."""
        self.folder = folder
        self.data = folder / "data"
        self.documents = folder / "documents"
        self._consul_url = consul_url
        self._files = files
        self._options = options
        self.xds_port, self.join_port, self.admin_port = free_port(), free_port(), free_port()
        self.plaintext_port, self.api_port = free_port(), free_port()
        self.server: Process | None = None
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        self.documents.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(process.stop() for process in reversed(self._processes)))

    # Documents

    def write(self, file: str, *documents: Mapping[str, Any]) -> None:
        """Replace a file of documents whole, as an editor does."""
        path, new = self.documents / file, self.documents / f".{file}.tmp"
        new.write_text(yaml.safe_dump_all([dict(each) for each in documents]))
        new.rename(path)

    def write_service(self, name: str, *instances: Instance) -> None:
        self.write(f"{name}.yaml", a_service_document(name), *(each.document() for each in instances))

    # The control plane

    def set(self, **options: str | None) -> dict[str, str | None]:
        """Options of `serve` from its next start on, None takes one away; what they were before."""
        before = {name: self._options.get(name) for name in options}
        for name, value in options.items():
            self._options.pop(name, None)
            if value is not None:
                self._options[name] = value
        return before

    async def serve(self, *, ready: bool = True) -> Process:
        command = [
            *("serve", "--data-dir", str(self.data), "--xds-address", f"{LOOPBACK}:{self.xds_port}"),
            *(
                "--join-address",
                f"{LOOPBACK}:{self.join_port}",
                "--admin-address",
                f"{LOOPBACK}:{self.admin_port}",
            ),
            *("--plaintext-address", f"{LOOPBACK}:{self.plaintext_port}"),
            *("--api-address", f"{LOOPBACK}:{self.api_port}"),
        ]
        if self._files:
            command += ["--documents", str(self.documents)]
        if self._consul_url:
            command += ["--consul-url", self._consul_url]
        for name, value in self._options.items():
            command += [f"--{name.replace('_', '-')}", value]
        self.server = await self._start("control-plane", *meshwright(*command))
        if ready:
            await eventually(self.is_ready, "the control plane is ready", self.server)
        return self.server

    async def is_ready(self) -> bool:
        status, _ = await self.get(f"http://{LOOPBACK}:{self.admin_port}/readyz")
        return status == 200

    async def metrics(self) -> str:
        _, text = await self.get(f"http://{LOOPBACK}:{self.admin_port}/metrics")
        return text

    async def metric(self, line_start: str) -> float:
        """The value of the first sample whose line begins so; 0 if there is none."""
        for line in (await self.metrics()).splitlines():
            if line.startswith(line_start):
                return float(line.rpartition(" ")[2])
        return 0.0

    async def status(self) -> Status:
        try:
            return await get_status(self.data)
        except UnreachableError as error:
            raise AssertionError(str(error)) from error

    async def config_dump(self, workload: str) -> Any:
        return json.loads(await get_config_dump(self.data, Key("default", workload)))

    # Workloads

    async def app(self, each: Instance) -> Process:
        command = ["--name", each.service, "--instance", each.name, "--port", str(each.app_port)]
        if each.calls:
            command += [
                "--next",
                f"http://{each.address}:{each.outbound_port}/",
                "--host-header",
                f"{each.calls}.mesh",
            ]
        each.app = await self._start(f"{each.name}-app", *meshwright()[:1], str(APP), *command)
        return each.app

    async def token(self, each: Instance) -> Path:
        path = self.folder / f"{each.name}.token"
        made = await start(
            f"{each.name}-token", self.folder,
            *meshwright("token", "create", "--data-dir", str(self.data), "--service-account", each.account or each.service),
            *("--workload", each.name),
        )  # fmt: skip
        assert await made.process.wait() == 0, made.tail()
        path.touch(mode=0o600)
        path.write_text(made.text().split()[-1])
        made.log.unlink()
        return path

    async def sidecar(self, each: Instance, *options: str, ready: bool = True) -> Process:
        """Join and start the sidecar of `each`. `options` are further ones of `proxy`, the last of a name counts."""
        token = await self.token(each)
        each.sidecar = await self._start(
            f"{each.name}-sidecar",
            *meshwright("proxy", "--workload", f"default/{each.name}"),
            *("--control-plane", f"{LOOPBACK}:{self.xds_port}", "--join", f"{LOOPBACK}:{self.join_port}"),
            *("--bundle", str(self.data / "roots.pem"), "--token-file", str(token)),
            *("--data-dir", str(self.folder / f"{each.name}-agent"), "--admin-port", str(each.admin_port)),
            *("--envoy", binaries.envoy(), "--drain-time", "1s", "--keys", each.keys, *options),
        )
        if ready:
            await self.sidecar_ready(each)
        return each.sidecar

    async def sidecar_ready(self, each: Instance) -> None:
        assert each.sidecar is not None

        async def live() -> bool:
            status, text = await self.get(f"http://{LOOPBACK}:{each.admin_port}/ready")
            return status == 200 and text.startswith("LIVE")

        await eventually(live, f"the sidecar of {each.name} is live", each.sidecar)

    async def up(self, *instances: Instance) -> None:
        """Applications and sidecars of all, started side by side."""
        await asyncio.gather(*(self.app(each) for each in instances))
        await asyncio.gather(*(self.sidecar(each) for each in instances))

    # Requests

    async def call(self, caller: Instance, host: str, path: str = "/") -> tuple[int, Any]:
        """A request that `caller`'s application makes: to its sidecar, by host name."""
        status, text = await self.get(
            f"http://{caller.address}:{caller.outbound_port}{path}", headers={"Host": host}
        )
        try:
            return status, json.loads(text)
        except json.JSONDecodeError:
            return status, text

    async def envoy(self, each: Instance, path: str) -> Any:
        """What the sidecar's own admin interface answers: JSON, or text."""
        _, text = await self.get(f"http://{LOOPBACK}:{each.admin_port}{path}")
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(text)
        return text

    async def endpoints(self, each: Instance, cluster: str) -> AbstractSet[str]:
        """The addresses that the sidecar of `each` sends to for `cluster`, from its own config dump."""
        found = await self.envoy(each, "/clusters?format=json")
        for status in found.get("cluster_statuses", []):
            if status["name"] == cluster:
                hosts = status.get("host_statuses", [])
                return {
                    f"{h['address']['socket_address']['address']}:{h['address']['socket_address']['port_value']}"
                    for h in hosts
                }
        return set()

    @staticmethod
    async def get(
        url: str, headers: Mapping[str, str] | None = None, patience: float = 10.0
    ) -> tuple[int, str]:
        """OSError, TimeoutError included, when there is no answer."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=patience)) as session,
                session.get(url, headers=dict(headers or {})) as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error

    async def _start(self, name: str, *command: str) -> Process:
        process = await start(name, self.folder, *command, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        self._processes.append(process)
        return process


class Load:
    """Constant load: `workers` that send one request after another, each on a kept connection. Counts every failure."""

    def __init__(self, url: str, host: str, workers: int = 4, pause: float = 0.005) -> None:
        self._url, self._host, self._workers, self._pause = url, host, workers, pause
        self.answered = 0
        self.failures: list[str] = []
        self.by_instance: dict[str, int] = {}
        self.callers: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def more(self, count: int) -> None:
        """Wait until `count` further requests were answered or failed."""
        target = self.answered + len(self.failures) + count

        async def reached() -> bool:
            return self.answered + len(self.failures) >= target

        await eventually(reached, f"{count} more requests")

    async def _work(self) -> None:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not self._stopping:
                began = time.monotonic()
                try:
                    async with session.get(self._url, headers={"Host": self._host}) as answer:
                        text = await answer.text()
                        if answer.status == 200:
                            self._count(json.loads(text))
                        else:
                            self.failures.append(f"{answer.status} {text[:200]}")
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    self.failures.append(f"{error!r} after {time.monotonic() - began:.2f} s")
                await asyncio.sleep(self._pause)

    def _count(self, body: dict[str, Any]) -> None:
        self.answered += 1
        instance = str(body.get("instance"))
        self.by_instance[instance] = self.by_instance.get(instance, 0) + 1
        self.callers.add(str(body.get("caller")))
