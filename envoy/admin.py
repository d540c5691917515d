"""A client for Envoy's admin interface.

https://www.envoyproxy.io/docs/envoy/v1.40.0/operations/admin
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from envoy.errors import AdminFailed

REDACTED = "[redacted]"
PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
SECRET_FIELDS = frozenset({"private_key", "password", "session_ticket_keys", "generic_secret"})


@dataclass(frozen=True, slots=True)
class AdminClient:
    """Each call is one connection: there are few of them, and none is left behind when Envoy ends.

    `socket`, a path, takes the place of host and port. `timeout` is in seconds. All methods raise AdminFailed when Envoy
    does not answer, or answers with an error.
    """

    host: str = "127.0.0.1"
    port: int = 0
    socket: str | None = None
    timeout: float = 5.0

    @classmethod
    def at(cls, address: str) -> Self | None:
        """That of `address` as Envoy writes it into the file of `--admin-address-path`: `host:port`, or a socket's path. None for an empty one."""
        host, _, port = address.rpartition(":")
        if port.isdecimal():
            return cls(host.removeprefix("[").removesuffix("]"), int(port))
        return cls(socket=address) if address else None

    async def ready(self) -> bool:
        """Whether Envoy is LIVE: it has its first configuration and listens."""
        status, _ = await self._ask("GET", "/ready")
        return status == 200

    async def state(self) -> str:
        """`LIVE`, `DRAINING`, `PRE_INITIALIZING` or `INITIALIZING`."""
        _, text = await self._ask("GET", "/ready")
        return text.strip()

    async def config_dump(
        self, *, resource: str | None = None, mask: str | None = None, endpoints: bool = False
    ) -> Any:
        """What Envoy uses, as JSON values; private keys are taken out again, although Envoy does not show them.

        `resource` is a field of the dump (`dynamic_active_clusters`), `mask` a field mask. A dump that is no JSON (Envoy
        has made such after it refused a listener of an unknown type) comes back as its text, redacted.
        """
        query = {
            name: value
            for name, value in (
                ("resource", resource),
                ("mask", mask),
                ("include_eds", "on" if endpoints else None),
            )
            if value is not None
        }
        text = await self._fetch("GET", "/config_dump", query)
        try:
            return redact(json.loads(text))
        except json.JSONDecodeError:
            return redact(text)

    async def clusters(self) -> Any:
        """Clusters with their endpoints and health, as JSON values."""
        return json.loads(await self._fetch("GET", "/clusters", {"format": "json"}))

    async def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges whose names the regular expression `pattern` is found in."""
        query = {"format": "json", "type": "CountersGauges"} | ({"filter": pattern} if pattern else {})
        # With `CountersGauges` unknown to older Envoys, histograms come along: they have no "value".
        query.pop("type")
        found = json.loads(await self._fetch("GET", "/stats", query))
        return {
            each["name"]: int(each["value"]) for each in found["stats"] if isinstance(each.get("value"), int)
        }

    async def healthcheck_fail(self) -> None:
        """From now on Envoy says that it is unhealthy: HTTP/1 connections are closed after their next answer."""
        await self._fetch("POST", "/healthcheck/fail")

    async def drain_listeners(self, *, graceful: bool = True, inbound_only: bool = False) -> None:
        """Stop taking connections; `graceful` asks those there are to end, over the drain time, before that."""
        query = {
            name: ""
            for name, wanted in (
                ("graceful", graceful),
                ("skip_exit", graceful),
                ("inboundonly", inbound_only),
            )
            if wanted
        }
        await self._fetch("POST", "/drain_listeners", query)

    async def quit(self) -> None:
        await self._fetch("POST", "/quitquitquit")

    async def _fetch(self, method: str, path: str, query: dict[str, str] | None = None) -> str:
        status, text = await self._ask(method, path, query)
        if status != 200:
            raise AdminFailed(
                f"envoy's admin interface {self._where} answered {status} to {path}: {text[:500].strip()}"
            )
        return text

    async def _ask(self, method: str, path: str, query: dict[str, str] | None = None) -> tuple[int, str]:
        connector = aiohttp.UnixConnector(self.socket) if self.socket else aiohttp.TCPConnector()
        host = "localhost" if self.socket else f"[{self.host}]" if ":" in self.host else self.host
        url = f"http://{host}{path}" if self.socket else f"http://{host}:{self.port}{path}"
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, timeout=aiohttp.ClientTimeout(total=self.timeout), trust_env=False
                ) as session,
                session.request(method, url, params=query) as answer,
            ):
                return answer.status, await answer.text(errors="replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise AdminFailed(
                f"envoy's admin interface {self._where} does not answer {path}: {error!r}. Is Envoy running?"
            ) from error

    @property
    def _where(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


def redact(value: Any) -> Any:
    """`value` (JSON values) without anything private: fields that hold secrets, and PEM keys wherever they stand."""
    if isinstance(value, dict):
        return {name: REDACTED if name in SECRET_FIELDS else redact(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [redact(each) for each in value]
    return PRIVATE_KEY.sub(REDACTED, value) if isinstance(value, str) else value
