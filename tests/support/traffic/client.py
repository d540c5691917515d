"""Requests that an application of the mesh makes, through the outbound port of its own sidecar."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tests.support.ports import LOOPBACK
from tests.support.traffic.members import Member

PATIENCE = 15.0
"""Seconds until a request counts as failed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller got. `status` 0: no whole answer, `error` says why. `body` is as it came, compressed or not. `seconds` is
    from the request to the end of the answer; `head_seconds`, to its head. Header names are case-insensitive; `headers.getall` tells of several.
    """

    status: int
    headers: CIMultiDict[str]
    body: bytes
    seconds: float
    head_seconds: float = 0.0
    error: str = ""

    @property
    def text(self) -> str:
        return self.decoded().decode(errors="replace")

    def decoded(self) -> bytes:
        """The body without gzip or deflate."""
        match self.headers.get("content-encoding", ""):
            case "gzip":
                return gzip.decompress(self.body)
            case "deflate":
                return zlib.decompress(self.body)
            case _:
                return self.body

    @property
    def json(self) -> Any:
        """ValueError, with the answer, if it is none."""
        try:
            return json.loads(self.decoded())
        except ValueError as error:
            raise ValueError(f"the answer is not JSON: {self!r}") from error

    @property
    def workload(self) -> str:
        """Who answered; empty where no server of ours did."""
        return self.headers.get("x-workload", "")

    @property
    def seen(self) -> dict[str, str]:
        """The request's headers as the server saw them, in lower case."""
        found: dict[str, str] = self.json["headers"]
        return found


class Client:
    """The caller. Connections are kept, as applications do; none is tried again behind the test's back."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=PATIENCE),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent", "Accept"),
            trust_env=False,
        )
        # aiohttp sends an idempotent request again when a kept connection breaks: a test of resets must see them.
        self._session._retry_connection = False
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        via: Member,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
        port: int | None = None,
    ) -> Answer:
        """`url`'s authority becomes the Host header; the connection goes to the sidecar's outbound port, or to `port`."""
        assert self._session is not None
        asked = URL(url, encoded=True)
        target = URL(f"http://{LOOPBACK}:{port or via.outbound_port}{asked.raw_path_qs or '/'}", encoded=True)
        sent = CIMultiDict(headers)
        sent.setdefault("host", url.split("://", 1)[1].split("/", 1)[0].split("?", 1)[0])
        began = time.monotonic()
        got = CIMultiDict[str]()
        status, head, pieces = 0, 0.0, b""
        try:
            async with self._session.request(
                method, target, headers=sent, data=body, allow_redirects=False
            ) as answer:
                head = time.monotonic() - began
                status, got = answer.status, CIMultiDict(answer.headers)
                pieces = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Answer(
                0, got, pieces, time.monotonic() - began, head, error=f"{error!r} (status {status})"
            )
        return Answer(status, got, pieces, time.monotonic() - began, head)

    async def many(
        self, n: int, method: str, url: str, *, rate: float | None, concurrency: int, **options: Any
    ) -> list[Answer]:
        """`n` answers in the order of the requests. `rate` is requests a second; None is as fast as `concurrency` allows."""
        slots = asyncio.Semaphore(concurrency)
        began = time.monotonic()

        async def one(number: int) -> Answer:
            if rate is not None:
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            async with slots:
                return await self.request(method, url, **options)

        return list(await asyncio.gather(*(one(number) for number in range(n))))


def shares(answers: Iterable[Answer], label: str = "") -> Counter[str]:
    """Answers by workload; by the value of `label` if one is named. Those that no server of ours gave count as `status <n>`."""
    found: Counter[str] = Counter()
    for each in answers:
        if not each.workload:
            found[f"status {each.status}"] += 1
        else:
            found[str(each.json["labels"].get(label, "")) if label else each.workload] += 1
    return found


def statuses(answers: Iterable[Answer]) -> Counter[int]:
    return Counter(each.status for each in answers)
