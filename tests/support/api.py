"""The REST API of a running control plane, as a test calls it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from meshwright.data_dir import SOCKET


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    text: str = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    def __repr__(self) -> str:
        return f"{self.status} {self.text[:2000]}"


@dataclass(frozen=True, slots=True)
class Api:
    """By the socket of the data directory, or at `url` with `token`."""

    data_dir: Path

    async def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        media: str = "application/json",
    ) -> Answered:
        """`body` that is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {**({"Content-Type": media} if data is not None else {}), **(headers or {})}
        connector = aiohttp.UnixConnector(str(self.data_dir / SOCKET))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(
                method,
                f"http://meshwright{path}",
                data=None if data is None else io.BytesIO(data),
                headers=sent,
            ) as answer,
        ):
            return Answered(answer.status, answer.headers.copy(), await answer.text())
