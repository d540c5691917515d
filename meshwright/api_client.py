"""The REST API as the command line sees it: requests, answers, and an error of ours for each way to fail."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ValidationError

from api.unseen import HEADER
from meshwright.errors import (
    ConflictError,
    ForbiddenError,
    LateError,
    MeshwrightError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)
from meshwright.targets import OnThisMachine, OverHttps, Target

PREFIX = "/api/v1"
PATIENCE = 30.0
"""Seconds until an answer has to be there. Some are reckoned over the whole mesh."""
WRITING = 45.0
"""The same for a write of documents: the control plane itself gives up after 30 when its store does not answer, and then says what is known."""
_WRITTEN = frozenset({"batch", "documents", "rollback"})
"""What the paths of such writes begin with."""
REACH = 5.0
"""Seconds until a connection has to be there."""
LINE = 16 * 1024 * 1024
"""Bytes that one line of a stream may have."""

Model = TypeVar("Model", bound=BaseModel)
Query = Mapping[str, str | int | bool | None]

_COMMANDS = {
    "GET /api/v1/documents": "`meshwright get all -A`",
    "GET /api/v1/proxies": "`meshwright status`",
    "GET /api/v1/quarantine": "`meshwright quarantine list`",
    "GET /api/v1/sources": "`meshwright status`",
}
"""What the API advises, as people do it here."""
_BY_STATUS: dict[int, type[MeshwrightError]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    408: LateError,
    409: ConflictError,
    412: ConflictError,
    502: UnreachableError,
    503: UnreachableError,
    504: LateError,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`: what JSON says; None for an empty one. `etag` without its quotes."""

    status: int
    body: Any
    etag: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Api:
    """A conversation with one control plane: an async context manager. Paths are below /api/v1, made by `path()`.

    Every method raises UnreachableError if nobody answers, and what `refusal()` makes of an answer that says no.
    """

    def __init__(
        self,
        target: Target,
        *,
        namespace: str = "default",
        patience: float = PATIENCE,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`namespace`: where a command names none. `tell` is given, once, what answers say of themselves that people should know."""
        self.target = target
        self.namespace = namespace
        self._patience = patience
        self._tell = tell
        self._told: str | None = None
        self._base = ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Nothing is asked yet: who needs no control plane notices nothing of one that is away."""
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, query: Query | None = None) -> Answer:
        return await self.send("GET", path, query=query)

    async def read(self, kind: type[Model], path: str, query: Query | None = None) -> Model:
        """The answer as a model. UnreachableError if it is of another version."""
        return self.model(kind, (await self.get(path, query)).body)

    @staticmethod
    def model(kind: type[Model], body: Any) -> Model:
        try:
            return kind.model_validate_json(json.dumps(body))
        except ValidationError as error:
            raise UnreachableError(
                "the control plane's answer is not one of this version: run the `meshwright` that it was started with"
            ) from error

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        patience: float | None = None,
    ) -> Answer:
        """`body` is sent as JSON, None as nothing. `patience`: seconds, where an answer may take long."""
        sent = None if body is None else json.dumps(body).encode()
        async with self._asked(method, path, sent, query, headers, content_type, patience) as answer:
            return await _answer(answer, self.target)

    async def stream(self, path: str, query: Query | None = None) -> AsyncIterator[Any]:
        """Lines of JSON until the other side ends it. Empty lines (heartbeats) are left out."""
        async with self._asked("GET", path, None, query, None, "application/json", 0.0) as answer:
            if answer.status >= 400:
                await _answer(answer, self.target)
            async for line in answer.content:
                if line.strip():
                    yield json.loads(line)

    def _connected(self) -> tuple[str, aiohttp.ClientSession]:
        if self._session is None:
            self._base, connector = _connector(self.target)
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers={"Accept": "application/json", **_authorization(self.target)},
                read_bufsize=LINE,
            )
        return self._base, self._session

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        sent: bytes | None,
        query: Query | None,
        headers: Mapping[str, str] | None,
        content_type: str,
        patience: float | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """`patience` 0: for as long as it takes."""
        base, session = self._connected()
        writes = method != "GET" and path.partition("/")[0] in _WRITTEN
        wait = patience if patience is not None else max(self._patience, WRITING if writes else 0.0)
        try:
            async with session.request(
                method,
                f"{base}{PREFIX}/{path}",
                params=_query(query),
                data=sent,
                headers={**({"Content-Type": content_type} if sent is not None else {}), **(headers or {})},
                timeout=aiohttp.ClientTimeout(total=wait or None, sock_connect=REACH),
                allow_redirects=False,
            ) as answer:
                said = answer.headers.get(HEADER)
                if said is not None and self._told is None:
                    self._told = said
                    self._tell(said)
                yield answer
        except TimeoutError as error:
            doubt = (
                ". It may have been written: look at `meshwright history` before you write again"
                if writes and not isinstance(error, aiohttp.ConnectionTimeoutError)
                else ""
            )
            raise UnreachableError(
                f"no answer from {self.target} in time: is the control plane stopped, or overloaded?{doubt}"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(_unreachable(self.target, error)) from error


def path(*segments: str) -> str:
    """`documents/HTTPRoute/shop/web%2Fx`: what is foreign is quoted."""
    return "/".join(quote(each, safe="") for each in segments)


_SENT = re.compile(r"^(?:documents|delete)\[\d+\]\.?")
Place: TypeAlias = Callable[[str, str], str | None]
"""Where a document (`<kind> <namespace>/<name>`) has a field: `<file>:<line>`. None if it is not known."""


def refusal(status: int, body: Any) -> MeshwrightError:
    """What an answer of 400 and above means. `body` is a problem of RFC 9457, or text."""
    kind = _BY_STATUS.get(status, RefusedError)
    if not isinstance(body, dict):
        return kind(str(body or "").strip() or f"the control plane answers {status}")
    said = told(body)
    return kind(said, body) if issubclass(kind, RefusedError) else kind(said)


def told(problem: Mapping[str, Any], place: Place = lambda _document, _path: None) -> str:
    """A problem for people, with every error: where it is, the document, the path inside it, the reason, the way out."""
    said = str(problem.get("detail") or problem.get("title") or "the control plane refused it")
    lines = [_field_error(each, place) for each in problem.get("errors") or ()]
    lines += [
        f"{each['document']} {each['path']}: field manager {each['manager']!r} owns it: agree with its owner, or take it by "
        "--force-conflicts"
        for each in problem.get("owners") or ()
    ]
    if lines:
        # Who reads a list of them needs no first one in a sentence.
        said = said.partition(" The first: ")[0]
    for route, command in _COMMANDS.items():
        said = said.replace(route, command)
    return "\n  ".join([said, *(each for each in lines if each not in said)])


def _field_error(error: Mapping[str, Any], place: Place) -> str:
    document, field_path = str(error.get("document") or ""), str(error.get("path") or "")
    # `documents[3].spec.ports`: which of those that were sent is for `place`; people know it by its name.
    shown = _SENT.sub("", field_path)
    where = " ".join(each for each in (place(document, field_path), document, shown) if each)
    said = ": ".join(str(error[each]) for each in ("reason", "remedy") if error.get(each))
    return f"{where}: {said}" if where else said


async def _answer(answer: aiohttp.ClientResponse, target: Target) -> Answer:
    text = await answer.text()
    is_json = "json" in answer.content_type
    try:
        body = json.loads(text) if is_json and text else text or None
    except ValueError as error:
        raise UnreachableError(f"{target} answers what is no JSON: is it a control plane?") from error
    if answer.status >= 400:
        raise refusal(answer.status, body if body is not None else "")
    if answer.status >= 300:
        raise UnreachableError(
            f"{target} sends us elsewhere ({answer.status}): name the control plane's own address"
        )
    etag = answer.headers.get("ETag")
    return Answer(answer.status, body, etag.strip('"') if etag else None, dict(answer.headers))


def _query(query: Query | None) -> dict[str, str]:
    """None is left out."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in (query or {}).items()
        if value is not None
    }


def _connector(target: Target) -> tuple[str, aiohttp.BaseConnector]:
    if isinstance(target, OnThisMachine):
        socket = Path(str(target))
        if not socket.exists():
            raise UnreachableError(
                f"no control plane runs with the data directory {target.data_dir}: start `meshwright serve` there, "
                "or name its directory with --data-dir, or a remote one with --server"
            )
        return "http://meshwright", aiohttp.UnixConnector(str(socket))
    return target.url, aiohttp.TCPConnector(ssl=_tls(target))


def _tls(target: OverHttps) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(target.ca_file) if target.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise UnreachableError(
            f"{target.ca_file} cannot be read as a file of CA certificates (PEM): {error}"
        ) from error
    if target.certificate_file:
        try:
            context.load_cert_chain(target.certificate_file, target.key_file)
        except (OSError, ssl.SSLError) as error:
            raise UnreachableError(
                f"{target.certificate_file} and its key cannot be used as a client certificate (PEM): {error}"
            ) from error
    return context


def _authorization(target: Target) -> dict[str, str]:
    if isinstance(target, OnThisMachine) or target.token_file is None:
        return {}
    try:
        token = target.token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ForbiddenError(f"the API token cannot be read from {target.token_file}: {error}") from error
    if not token.isprintable() or not token.isascii() or not token:
        raise ForbiddenError(
            f"{target.token_file} does not hold an API token: write there what `api-token create` printed"
        )
    return {"Authorization": f"Bearer {token}"}


def _unreachable(target: Target, error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            f"the certificate of {target} is not believed ({error.certificate_error}): name the mesh's trust bundle "
            "(roots.pem of its data directory) with --ca-file, and the control plane by a name that its certificate has"
        )
    if isinstance(target, OnThisMachine):
        return (
            f"the control plane does not answer on {target} ({error}): is it running, and are you its user?"
        )
    return f"{target} does not answer ({error}): is the address right, and may this machine reach it?"
