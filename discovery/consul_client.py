"""Consul's HTTP API as Meshwright uses it: five reads, of which three are long polls.

It is py-consul's asyncio client with its HTTP layer replaced, because that one: has no limit on the size of an
answer; sends no consistency mode on health reads; can't have the long polls wait longer than the other reads; lets the
environment override the token it is given; leaves a cancelled response open; and uses deprecated aiohttp options.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import aiohttp
import consul.aio
import consul.base
import consul.exceptions
from consul.callback import CB
from pydantic import TypeAdapter, ValidationError

from discovery import consul_model as model
from discovery.consul_options import ConsulOptions
from discovery.errors import ConsulError, ConsulNonsense, ConsulRefused, ConsulUnreachable

T = TypeVar("T")
Params = list[tuple[str, Any]]

LONG_POLLS = 3
READS = 48
"""How many reads other than long polls run at once. Together far below the 200 connections that Consul allows one
client by default (`limits.http_max_conns_per_client`), however many services there are."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """`index` is X-Consul-Index, for the next long poll: 1 or more."""

    index: int
    value: T


class _Http(consul.aio.HTTPClient):  # type: ignore[misc]
    """The HTTP layer: see the top of this module."""

    def __init__(self, options: ConsulOptions) -> None:
        scheme, host, port = options.endpoint()
        # Not aio's own __init__, which opens a session of its own.
        consul.base.HTTPClient.__init__(self, host, port, scheme)
        self._options = options
        connector = aiohttp.TCPConnector(
            limit=LONG_POLLS + READS, ssl=options.tls() if scheme == "https" else True
        )
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False)

    def get(
        self,
        callback: Callable[[Any], Any],
        path: str,
        params: Params | None = None,
        headers: dict[str, str] | None = None,
        **_options: object,
    ) -> Awaitable[Any]:
        params = list(params or [])
        polling = any(name == "wait" for name, _ in params)
        if path.startswith("/v1/health/"):
            mode = self._options.consistency
            if mode == "consistent" or (mode == "stale" and polling):
                params.append((mode, "1"))
        seconds = self._options.timeout
        if polling:
            # Consul adds up to wait / 16 of jitter to a long poll; a client that gives up before never hears it out.
            seconds += self._options.wait * 17 / 16
        return self._read(callback, self.uri(path, params), headers, seconds)

    async def _read(
        self, callback: Callable[[Any], Any], uri: str, headers: dict[str, str] | None, seconds: float
    ) -> Any:
        limit = self._options.max_answer
        async with self._session.get(
            uri,
            headers=headers,
            allow_redirects=False,  # the token is for Consul and nobody else
            server_hostname=self._options.server_name,
            timeout=aiohttp.ClientTimeout(total=seconds, connect=self._options.timeout),
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise ConsulNonsense(
                        f"Consul's answer to {response.url.path} is larger than {limit} bytes: "
                        "raise the limit, or narrow what the source reads"
                    )
            if 300 <= response.status < 400:
                raise ConsulNonsense(
                    f"Consul's answer to {response.url.path} is a redirect ({response.status}): check the address"
                )
            text = body.decode("utf-8", errors="replace")
            return callback(consul.base.Response(response.status, response.headers, text))


class _Consul(consul.aio.Consul):  # type: ignore[misc]
    def __init__(self, options: ConsulOptions) -> None:
        self._options = options
        scheme, host, port = options.endpoint()
        super().__init__(
            host=host,
            port=port,
            scheme=scheme,
            verify=options.verify,
            dc=options.datacenter or None,
            consistency=options.consistency,
        )
        # Afterwards, for py-consul prefers the environment to what it is given.
        self.token = options.token or None

    def http_connect(self, *_address: object, **_tls: object) -> _Http:
        return _Http(self._options)


class ConsulClient:
    """An open connection pool. Use as an async context manager; every method raises ConsulError."""

    def __init__(self, options: ConsulOptions) -> None:
        self._options = options
        self._wait = f"{options.wait:g}s"
        self._consul: Any = None

    async def __aenter__(self) -> Self:
        self._consul = _Consul(self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consul.close()

    async def services(self, index: int | None = None) -> Answer[dict[str, list[str]]]:
        """The names of all services with all their tags. A long poll when `index` is given."""
        call = self._consul.catalog.services(index=index, wait=self._wait)
        return await self._ask("catalog/services", call, model.SERVICES)

    async def nodes(self, index: int | None = None) -> Answer[list[model.Node]]:
        """All nodes. A long poll when `index` is given."""
        call = self._consul.catalog.nodes(index=index, wait=self._wait)
        return await self._ask("catalog/nodes", call, model.NODES)

    async def troubled(self, index: int | None = None) -> Answer[list[model.Check]]:
        """All checks that are not passing. A long poll when `index` is given.

        The answer is small however large the catalog; its index moves whenever any check does.
        """
        return await self._checks([("filter", 'Status != "passing"')], index)

    async def checks(self) -> list[model.Check]:
        """All checks of all services and nodes."""
        return (await self._checks([], None)).value

    async def _checks(self, params: Params, index: int | None) -> Answer[list[model.Check]]:
        # py-consul's health.state() takes no filter.
        if self._options.datacenter:
            params = [*params, ("dc", self._options.datacenter)]
        if index is not None:
            params = [*params, ("index", index), ("wait", self._wait)]
        call = self._consul.http.get(
            CB.json(index=True),
            "/v1/health/state/any",
            params=params,
            headers=self._consul.prepare_headers(),
        )
        return await self._ask("health/state/any", call, model.CHECKS)

    async def instances(self, service: str) -> list[object]:
        """The elements of `health/service/<service>`, whatever their health, each unread (`model.ENTRY`)."""
        answer = await self._ask(
            f"health/service/{service}", self._consul.health.service(service), model.ENTRIES
        )
        return answer.value

    async def node_services(self, node: str) -> list[model.Registration]:
        """What is registered on `node`; empty if it is not there."""
        call = self._consul.catalog.node(node, consistency=self._fresh)
        answer = await self._ask(f"catalog/node/{node}", call, model.NODE_SERVICES)
        return list(answer.value.instances.values()) if answer.value else []

    @property
    def _fresh(self) -> str:
        return "default" if self._options.consistency == "stale" else self._options.consistency

    async def _ask(self, what: str, call: Awaitable[Any], shape: TypeAdapter[T]) -> Answer[T]:
        where = f"Consul at {self._options.address} ({what})"
        try:
            index, data = await call
            return Answer(_index(index, where), shape.validate_python(data))
        except ConsulError:
            raise
        except (consul.exceptions.ACLPermissionDenied, consul.exceptions.ACLDisabled) as error:
            raise ConsulRefused(
                f"{where} refused: {self._brief(error)}. Give the source a token that grants node:read and service:read"
            ) from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(str(step) for step in first["loc"])
            raise ConsulNonsense(f"{where} answered what Consul never does: {path}: {first['msg']}") from None
        except (consul.exceptions.ConsulException, ValueError) as error:
            kind = ConsulNonsense if "JSON" in str(error) or "index" in str(error) else ConsulUnreachable
            raise kind(f"{where}: {self._brief(error)}") from None
        except TimeoutError:
            raise ConsulUnreachable(
                f"{where} did not answer in time: is it overloaded, or a firewall between?"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConsulUnreachable(f"{where} cannot be reached: {self._brief(error)}") from None

    def _brief(self, error: Exception) -> str:
        """The first of what `error` says, on one line, and never the token."""
        text = re.sub(r"\s+", " ", str(error) or type(error).__name__)
        if self._options.token:
            text = text.replace(self._options.token, "<token>")
        return text[:300]


def _index(text: str, where: str) -> int:
    """X-Consul-Index. Below 1 it would make the next long poll return at once, so Consul's rules say to poll anew."""
    if not text.isdecimal():
        raise ConsulNonsense(
            f"{where} answered with the index {text[:40]!r}, which is no number: is it Consul?"
        )
    return max(1, int(text))
