"""Small questions to servers that this room does not trust more than it must: bounded in time and size, redirected nowhere."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import aiohttp

TIMEOUT: Final = 5.0
"""Seconds for the whole of an answer."""
MAXIMUM_BYTES: Final = 256 * 1024


class NoAnswer(Exception):
    """The server can't be reached, or what it says is no answer. The message never has what was sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def document(self) -> Mapping[str, Any]:
        """The body as a JSON object; NoAnswer if it is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise NoAnswer("the answer is not a JSON object")
        return document


async def ask(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    ca_file: Path | None = None,
    tls: ssl.SSLContext | None = None,
    method: str = "GET",
    body: Mapping[str, Any] | None = None,
) -> Answer:
    """What `url` answers. `ca_file` vouches for the server in place of the system's authorities, or `tls` says how it is verified. `body`
    goes as JSON. NoAnswer.
    """
    try:
        verified: ssl.SSLContext | bool = True if tls is None else tls
        if ca_file is not None:
            verified = await asyncio.to_thread(ssl.create_default_context, cafile=str(ca_file))
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=verified),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT),
                trust_env=False,
            ) as session,
            session.request(method, url, headers=headers, json=body, allow_redirects=False) as answer,
        ):
            read = bytearray()
            async for chunk in answer.content.iter_any():
                read += chunk
                if len(read) > MAXIMUM_BYTES:
                    raise NoAnswer(f"{url} answered more than {MAXIMUM_BYTES} bytes")
            return Answer(answer.status, bytes(read))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # TimeoutError, which is an OSError, has no words of its own.
        raise NoAnswer(f"{url} does not answer: {type(error).__name__}: {error}".rstrip(": ")) from None


def check_url(url: str) -> str:
    """`url`, if keys may be taken from it: by TLS, or from this host. ValueError otherwise."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url
    try:
        local = parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        local = False
    if parts.scheme == "http" and local:
        return url
    raise ValueError("must be an https URL: whoever can change the keys can be anybody")
