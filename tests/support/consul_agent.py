"""A real Consul agent in development mode (`consul agent -dev`) on free ports, with ACLs or TLS if wanted."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.support import binaries
from tests.support.ports import free_ports


class PortTaken(RuntimeError):
    pass


@dataclass
class ConsulAgent:
    """`start()` returns once there is a leader; `stop()` may be followed by `start()` on the same ports, then empty."""

    token: str = ""
    tls: pathlib.Path | None = None
    """A folder with ca.pem, server.pem and server.key; clients must then show a certificate of that CA."""
    log: pathlib.Path | None = None
    ports: list[int] = field(default_factory=lambda: free_ports(4))
    _process: subprocess.Popen[bytes] | None = None
    _log: Any = None
    _session: aiohttp.ClientSession | None = None

    @property
    def address(self) -> str:
        """Where clients reach it: https with TLS."""
        return f"https://127.0.0.1:{self.ports[3]}" if self.tls else self.url

    @property
    def url(self) -> str:
        """Where it answers without TLS."""
        return f"http://127.0.0.1:{self.ports[0]}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers={"X-Consul-Token": self.token} if self.token else {})
        try:
            await self._first_start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _first_start(self) -> None:
        """On other ports if somebody took one of ours since they were found free."""
        for _ in range(3):
            try:
                return await self.start()
            except PortTaken:
                self.stop()
                self.ports = free_ports(4)
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        assert self._session is not None
        await self._session.close()

    async def start(self) -> None:
        http, server, serf, https = self.ports
        command = [
            *(binaries.consul(), "agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-node=agent"),
            *(f"-http-port={http}", f"-server-port={server}", f"-serf-lan-port={serf}"),
            *("-serf-wan-port=-1", "-dns-port=-1", "-grpc-port=-1", "-log-level=warn"),
        ]
        if self.token:
            tokens = f'{{master = "{self.token}", agent = "{self.token}"}}'
            command += ["-hcl", f'acl = {{enabled = true, default_policy = "deny", tokens = {tokens}}}']
        if self.tls:
            command += ["-hcl", f"ports = {{https = {https}}}"]
            command += ["-hcl", f'ca_file = "{self.tls}/ca.pem"\nverify_incoming_https = true']
            command += ["-hcl", f'cert_file = "{self.tls}/server.pem"\nkey_file = "{self.tls}/server.key"']
        self._log = self.log.open("a+b") if self.log else tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        async with asyncio.timeout(20):
            while not await self._settled():
                if self._process.poll() is not None:
                    self._log.seek(0)
                    said = self._log.read().decode()
                    taken = "address already in use" in said
                    raise (PortTaken if taken else RuntimeError)(f"consul ended: {said}")
                await asyncio.sleep(0.05)

    async def _settled(self) -> bool:
        """There is a leader, and it has registered itself."""
        with contextlib.suppress(aiohttp.ClientError, OSError):
            nodes = await self.get("/v1/health/service/consul")
            return bool(nodes) and all(node["Checks"] for node in nodes)
        return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None
            self._log.close()

    async def get(self, path: str) -> Any:
        assert self._session is not None
        async with self._session.get(self.url + path) as response:
            response.raise_for_status()
            return await response.json()

    async def put(self, path: str, body: object = None) -> Any:
        assert self._session is not None
        async with self._session.put(self.url + path, json=body) as response:
            if response.status != 200:
                raise RuntimeError(f"{path}: {response.status} {await response.text()}")
            return await response.json(content_type=None)

    async def register(self, service: Mapping[str, object]) -> None:
        """By a whole definition, as https://developer.hashicorp.com/consul/api-docs/agent/service has it."""
        await self.put("/v1/agent/service/register", service)

    async def add(
        self,
        name: str,
        number: int = 1,
        *,
        port: int | None = None,
        check: str | None = None,
        **fields: object,
    ) -> str:
        """Register `<name>-<number>`; `check` is the status of a check of its own. The instance's id."""
        ident = f"{name}-{number}"
        body = {
            "Name": name,
            "ID": ident,
            "Port": port or 8000 + number,
            "Address": f"127.0.0.{number}",
        } | fields
        if check is not None:
            body["Checks"] = [{"CheckID": f"{ident}:ttl", "Name": "ttl", "TTL": "10m", "Status": check}]
        await self.register(body)
        return ident

    async def deregister(self, ident: str) -> None:
        await self.put(f"/v1/agent/service/deregister/{ident}")

    async def set_check(self, ident: str, status: str) -> None:
        """Set the check of an instance, which gets one if it has none."""
        check = f"{ident}:ttl"
        if check in await self.get("/v1/agent/checks"):
            await self.put(f"/v1/agent/check/update/{check}", {"Status": status})
        else:
            body = {"ID": check, "Name": "ttl", "ServiceID": ident, "TTL": "10m", "Status": status}
            await self.put("/v1/agent/check/register", body)

    async def answer_that_changes(self, service: str) -> float:
        """When Consul next answers that the instances or checks of `service` have changed, by the monotonic clock."""
        assert self._session is not None
        address, index = f"{self.url}/v1/health/service/{service}", ""
        while True:
            async with self._session.get(
                address, params={"index": index, "wait": "60s"} if index else {}
            ) as response:
                await response.read()
                answered = time.monotonic()
                if index and response.headers["X-Consul-Index"] != index:
                    return answered
                index = response.headers["X-Consul-Index"]

    async def maintain(self, ident: str, *, enable: bool) -> None:
        await self.put(f"/v1/agent/service/maintenance/{ident}?enable={str(enable).lower()}")

    async def catalog(self, node: str, address: str, **fields: object) -> None:
        """Register in the catalog, as an agent on another node would."""
        await self.put("/v1/catalog/register", {"Node": node, "Address": address, **fields})


@contextlib.asynccontextmanager
async def consul_agent(
    folder: pathlib.Path | None = None, *, acl: bool = False, tls: pathlib.Path | None = None
) -> AsyncIterator[ConsulAgent]:
    """`folder`: where its log is kept, if anywhere."""
    log = folder / "consul.log" if folder else None
    async with ConsulAgent(token=str(uuid.uuid4()) if acl else "", tls=tls, log=log) as agent:
        yield agent
