"""Consul's HTTP API as the store uses it: transactions, reads and long polls of the KV store, and sessions.

Not py-consul, which `discovery` uses for its reads: its transactions send no ACL token, and it does not tell an answer that
nothing was done (409) from one that says nothing (5xx).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from discovery.consul_options import ConsulOptions
from store.errors import StoreCorrupt, StoreTooLarge, StoreUnavailable

CONNECTIONS = 32
Operation = Mapping[str, object]
"""One operation on the KV store: https://developer.hashicorp.com/consul/api-docs/txn#kv-operations"""


class Away(Exception):
    """No answer that says anything: no connection, a time-out, no leader. `sent`: what was asked may yet be done."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class Pair(BaseModel):
    """A key, without the name that a transaction wraps around it."""

    model_config = ConfigDict(frozen=True)

    Key: str
    Value: str | None = None
    Flags: int = 0
    ModifyIndex: int
    Session: str | None = None

    @property
    def value(self) -> bytes:
        return base64.b64decode(self.Value or "")


class _Result(BaseModel):
    KV: Pair


class _Results(BaseModel):
    Results: list[_Result] | None = None


class _Session(BaseModel):
    ID: str


_PAIRS = TypeAdapter(list[Pair])
_KEYS = TypeAdapter(list[str])
_SESSION = TypeAdapter(_Session)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    index: int
    body: bytes


class ConsulHttp:
    """An open connection pool. Every method raises Away, and StoreUnavailable where asking again is of no use."""

    def __init__(self, options: ConsulOptions) -> None:
        self._options = options
        scheme, host, port = options.endpoint()
        self._base = f"{scheme}://{host}:{port}/v1/"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS, ssl=options.tls() if scheme == "https" else True
            ),
            headers={"X-Consul-Token": options.token} if options.token else {},
            trust_env=False,
        )

    @property
    def address(self) -> str:
        return self._options.address

    async def close(self) -> None:
        await self._session.close()

    async def transaction(self, operations: Sequence[Operation]) -> list[Pair] | None:
        """The pairs that it read or wrote; None if one of the operations did not apply, so that none was done."""
        body = json.dumps([{"KV": each} for each in operations]).encode()
        # Read-only ones too: an answer that lacks what was acknowledged would be taken for damage.
        answer = await self._ask("PUT", "txn", {"consistent": "1"}, body, accept=(200, 409))
        if answer.status == 409:
            return None
        try:
            return [each.KV for each in _Results.model_validate_json(answer.body).Results or ()]
        except ValidationError as error:
            raise self._nonsense("txn", error) from error

    async def read(self, key: str) -> Pair | None:
        """As the last write that was acknowledged left it."""
        return (await self._read(key, {"consistent": "1"}))[0]

    async def poll(self, key: str, index: int, wait: float) -> tuple[Pair | None, int]:
        """When the key has changed since `index`, or after `wait` seconds; with the index to go on from."""
        pair, now = await self._read(
            key, {"index": str(index), "wait": f"{wait:g}s"} if index else {}, wait * 17 / 16
        )
        return pair, now if now >= index else 0  # Consul's rule for an index that went back: begin anew.

    async def tree(self, prefix: str) -> list[Pair]:
        """All pairs whose keys begin so."""
        answer = await self._ask("GET", _kv(prefix), {"recurse": "1", "consistent": "1"}, accept=(200, 404))
        return self._parsed(_PAIRS, answer) if answer.status == 200 else []

    async def keys(self, prefix: str) -> list[str]:
        answer = await self._ask("GET", _kv(prefix), {"keys": "1", "consistent": "1"}, accept=(200, 404))
        return self._parsed(_KEYS, answer) if answer.status == 200 else []

    async def put(self, key: str, value: bytes, *, acquire: str | None = None) -> bool:
        """Whether it was done: not if another session holds the key."""
        answer = await self._ask("PUT", _kv(key), {"acquire": acquire} if acquire else {}, value)
        return answer.body.strip() == b"true"

    async def release(self, key: str, session: str) -> None:
        await self._ask("PUT", _kv(key), {"release": session}, b"")

    async def delete(self, key: str) -> None:
        await self._ask("DELETE", _kv(key), {})

    async def open_session(self, name: str, ttl: float, *, behavior: str, delay: float) -> str:
        """A session that ends when it was not renewed for `ttl` seconds (10 at least), or up to twice as long.

        It does not end with the health of Consul's own agent (by default it would): then a lock could go to another before its
        holder can know.
        """
        body = {
            "Name": name,
            "TTL": f"{max(10.0, ttl):g}s",
            "Behavior": behavior,
            "LockDelay": f"{delay:g}s",
            "NodeChecks": [],
        }
        answer = await self._ask("PUT", "session/create", {}, json.dumps(body).encode())
        opened: _Session = self._parsed(_SESSION, answer)
        return opened.ID

    async def renew(self, session: str) -> bool:
        """False if there is no such session any more."""
        answer = await self._ask("PUT", f"session/renew/{session}", {}, accept=(200, 404))
        return answer.status == 200

    async def end_session(self, session: str) -> None:
        await self._ask("PUT", f"session/destroy/{session}", {})

    async def _read(self, key: str, params: dict[str, str], wait: float = 0.0) -> tuple[Pair | None, int]:
        answer = await self._ask("GET", _kv(key), params, wait=wait, accept=(200, 404))
        pairs = self._parsed(_PAIRS, answer) if answer.status == 200 else []
        return next(iter(pairs), None), max(1, answer.index)

    async def _ask(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        body: bytes | None = None,
        *,
        wait: float = 0.0,
        accept: tuple[int, ...] = (200,),
    ) -> _Answer:
        if self._options.datacenter:
            params = {**params, "dc": self._options.datacenter}
        options = self._options
        try:
            async with self._session.request(
                method,
                self._base + path,
                params=params,
                data=body,
                allow_redirects=False,  # the token is for Consul and nobody else
                server_hostname=options.server_name,
                timeout=aiohttp.ClientTimeout(total=options.timeout + wait, connect=options.timeout),
            ) as response:
                said = await response.read()
                index = response.headers.get("X-Consul-Index", "0")
                answer = _Answer(response.status, int(index) if index.isdecimal() else 0, said)
        except aiohttp.ClientConnectorError as error:
            raise Away(f"it cannot be reached: {self._brief(str(error))}", sent=False) from None
        except TimeoutError:
            raise Away("it did not answer in time", sent=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Away(f"it gave no answer: {self._brief(str(error))}", sent=True) from None
        if answer.status in accept:
            return answer
        text = self._brief(answer.body.decode(errors="replace"))
        where = f"Consul at {self.address} ({path.partition('/')[0]})"
        if answer.status in {401, 403}:
            raise StoreUnavailable(
                f"{where} refused: {text}. Give the store a token that grants key:write on its prefix and session:write"
            )
        if answer.status == 413 or "too large" in text:
            raise StoreTooLarge(
                f"{where}: {text}. Raise Consul's limits.txn_max_req_len, or write less at once"
            )
        if answer.status >= 500 or answer.status == 429:
            raise Away(f"it answered {answer.status}: {text}", sent=True)
        raise StoreUnavailable(f"{where} answered {answer.status}: {text}. Is it Consul 1.8 or newer?")

    def _parsed(self, shape: TypeAdapter[Any], answer: _Answer) -> Any:
        try:
            return shape.validate_json(answer.body)
        except ValidationError as error:
            raise self._nonsense("kv", error) from error

    def _nonsense(self, what: str, error: ValidationError) -> StoreCorrupt:
        first = error.errors(include_url=False, include_input=False)[0]
        return StoreCorrupt(
            f"Consul at {self.address} ({what}) answered what Consul never does: {first['msg']}. Is it Consul?"
        )

    def _brief(self, text: str) -> str:
        """The first of it, on one line, and never the token."""
        text = re.sub(r"\s+", " ", text).strip()
        if self._options.token:
            text = text.replace(self._options.token, "<token>")
        return text[:300]


def _kv(key: str) -> str:
    return f"kv/{quote(key)}"
