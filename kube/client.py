"""One API server: get, list, watch, create, apply, patch, delete. Plain JSON values in and out.

Not with the library's API classes: they build a model of every object, which costs twenty times the memory of what we keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from kube.access import Access, ClusterOptions, open_access
from kube.answers import Asked, Lines, parse_object, refusal
from kube.errors import BadCluster, Nonsense, Unauthorized, Unreachable
from kube.resource import TOKEN_REVIEWS, Object, Resource

MANAGER = "meshwright"
"""Our field manager: https://kubernetes.io/docs/reference/using-api/server-side-apply/"""
PAGE = 500
SILENCE = 150.0
"""Seconds without a byte after which a watch counts as dead. Servers send a bookmark each minute."""
ACCEPT = "application/json, application/jwk-set+json;q=0.5"
"""The keys of tokens (`/openid/v1/jwks`) have a type of their own."""
OFF_LOOP = 64 * 1024
"""Bytes of an answer from which it is parsed in a thread."""

_Params = dict[str, str]
PatchType = Literal["merge", "json", "strategic"]
_PATCHES: Mapping[PatchType, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. `more` is the token of the next page, "" on the last one; `version` is where a watch goes on from."""

    items: tuple[Object, ...]
    version: str
    more: str


@dataclass(frozen=True, slots=True)
class Selector:
    """Which objects of a resource: those of one namespace, with these labels or fields, in the API's own syntax."""

    namespace: str = ""
    labels: str = ""
    fields: str = ""

    def params(self) -> _Params:
        return {
            **({"labelSelector": self.labels} if self.labels else {}),
            **({"fieldSelector": self.fields} if self.fields else {}),
        }


EVERYTHING = Selector()


@dataclass(frozen=True, slots=True)
class TokenReview:
    """What the server says of a token. `problem` says why it is not authenticated, "" if it is. `extra` as in
    https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
    """

    authenticated: bool
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] | None = None
    audiences: tuple[str, ...] = ()
    problem: str = ""


class Cluster:
    """An open connection pool to one API server. Use as an async context manager; every method raises `kube.errors.ApiError`.

    Requests wait for no other, but for lists: one page at a time is asked for, whoever asks. `clock` gives seconds and never
    goes back (`time.monotonic`).
    """

    def __init__(self, options: ClusterOptions, *, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        self._lists = asyncio.Lock()
        self._opened: tuple[Access, aiohttp.ClientSession] | None = None

    @property
    def name(self) -> str:
        return self._options.name

    async def __aenter__(self) -> Self:
        """BadCluster if the configuration is of no use. The server itself is not asked yet."""
        access = await open_access(self._options, self._clock)
        context = await asyncio.to_thread(access.tls)
        connector = aiohttp.TCPConnector(limit=0, ssl=context, socket_factory=_socket)
        # No proxy of the environment: it is for the way out of a cluster, not for its API server.
        session = aiohttp.ClientSession(connector=connector, trust_env=False, read_bufsize=2**18)
        self._opened = (access, session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened[1].close()
            self._opened = None

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """NotFound if there is none."""
        asked = Asked(self.name, "get", resource, namespace, name)
        return await self._ask(asked, "GET", resource.path(namespace, name))

    async def page(
        self, resource: Resource, selector: Selector = EVERYTHING, *, more: str = "", limit: int = PAGE
    ) -> Page:
        """A page of a list; `more` of the page before. `limit` 0 asks for all in one. Expired if `more` is too old."""
        asked = Asked(self.name, "list", resource, selector.namespace)
        params = selector.params()
        if limit:
            params["limit"] = str(limit)
        if more:
            params["continue"] = more
        async with self._lists:
            answer = await self._ask(asked, "GET", resource.path(selector.namespace), params=params)
        metadata, items = answer.get("metadata"), answer.get("items")
        if not isinstance(metadata, dict) or not isinstance(items, list | None):
            raise Nonsense(f"{asked}: the answer is not a list")
        return Page(
            tuple(items or ()), str(metadata.get("resourceVersion", "")), metadata.get("continue") or ""
        )

    async def list_all(self, resource: Resource, selector: Selector = EVERYTHING) -> list[Object]:
        """All of them, read in pages. For a look; what must stay current is read by a `kube.reflector.Reflector`."""
        found: list[Object] = []
        more = ""
        while True:
            page = await self.page(resource, selector, more=more)
            found += page.items
            if not (more := page.more):
                return found

    async def watch(
        self,
        resource: Resource,
        version: str,
        selector: Selector = EVERYTHING,
        *,
        seconds: int,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[list[Object]]:
        """What happens after `version`, for `seconds`: the events (`type`, `object`) that came together, bookmarks included.

        `opened` is called when the server has accepted it. Ends when the server ends it, or after a long silence. An ERROR event is
        yielded like others: `kube.answers.status_error` reads it. Expired if `version` is too old; Unreachable if it breaks.
        """
        asked = Asked(self.name, "watch", resource, selector.namespace)
        params = {
            **selector.params(),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        timeout = aiohttp.ClientTimeout(
            total=seconds + self._options.timeout, sock_connect=self._options.timeout, sock_read=SILENCE
        )
        lines = Lines(self._options.max_answer)
        began = False
        try:
            async with self._send(
                asked, "GET", resource.path(selector.namespace), params, timeout
            ) as response:
                began = True
                opened()
                async for data in response.content.iter_any():
                    if whole := lines.feed(data):
                        yield [parse_object(asked, line) for line in whole]
        except OverflowError as error:
            raise Nonsense(f"{asked}: {error}") from None
        except TimeoutError:
            # aiohttp's own count as both: a watch that is silent for long is only asked for again.
            if not began:
                raise _late(asked) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(asked, error) from None

    async def create(self, resource: Resource, value: Object, namespace: str = "") -> Object:
        """The object as the server made it. AlreadyExists if there is one of its name."""
        asked = Asked(
            self.name, "create", resource, namespace, str(value.get("metadata", {}).get("name", ""))
        )
        return await self._ask(
            asked, "POST", resource.path(namespace), body=value, params={"fieldManager": MANAGER}
        )

    async def replace(self, resource: Resource, value: Object, *, subresource: str = "") -> Object:
        """Conflict if `value` has a resourceVersion, and the object another one by now."""
        asked, path = self._one("update", resource, value, subresource)
        return await self._ask(asked, "PUT", path, body=value, params={"fieldManager": MANAGER})

    async def apply(
        self,
        resource: Resource,
        value: Object,
        *,
        subresource: str = "",
        manager: str = MANAGER,
        force: bool = True,
        dry_run: bool = False,
    ) -> Object:
        """Server-side apply: `value` is all that `manager` wants of the object, which is made if there is none.

        Without `force`, Conflict if another manager owns a field that differs.
        """
        value = {"apiVersion": resource.api_version, "kind": resource.kind, **value}
        asked, path = self._one("patch", resource, value, subresource)
        params = {"fieldManager": manager, "force": "true" if force else "false"}
        if dry_run:
            params["dryRun"] = "All"
        return await self._ask(
            asked, "PATCH", path, body=value, params=params, content="application/apply-patch+yaml"
        )

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object | list[Object],
        namespace: str = "",
        *,
        subresource: str = "",
        kind: PatchType = "merge",
    ) -> Object:
        """The object after it. With `metadata.resourceVersion` in a merge patch: Conflict if it has another one by now."""
        asked = Asked(self.name, "patch", resource, namespace, name, subresource)
        path = resource.path(namespace, name, subresource)
        return await self._ask(
            asked, "PATCH", path, body=patch, params={"fieldManager": MANAGER}, content=_PATCHES[kind]
        )

    async def patch_status(
        self, resource: Resource, name: str, status: Object, namespace: str = "", *, version: str = ""
    ) -> Object:
        """A merge patch of the status alone. `version`: Conflict if the object's resourceVersion is another one by now."""
        patch: Object = {"status": status}
        if version:
            patch["metadata"] = {"resourceVersion": version}
        return await self.patch(resource, name, patch, namespace, subresource="status")

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> None:
        """NotFound if there is none; Conflict if `uid` is given and it is another object of that name."""
        asked = Asked(self.name, "delete", resource, namespace, name)
        body: Object = {"propagationPolicy": propagation}
        if uid:
            body["preconditions"] = {"uid": uid}
        await self._ask(asked, "DELETE", resource.path(namespace, name), body=body)

    async def read_path(self, path: str) -> Object:
        """What is not an object of a resource: `/version`, `/openid/v1/jwks`, `/apis/gateway.networking.k8s.io`."""
        return await self._ask(Asked(self.name, "get", Resource("", "", path, "")), "GET", path)

    async def review_token(self, token: str, audiences: tuple[str, ...]) -> TokenReview:
        """Ask the server whether `token` is one of its own, for one of `audiences`. It needs `create` of tokenreviews, no more."""
        body = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token, "audiences": list(audiences)},
        }
        asked = Asked(self.name, "create", TOKEN_REVIEWS)
        answer = await self._ask(asked, "POST", TOKEN_REVIEWS.path(), body=body)
        status = answer.get("status")
        if not isinstance(status, dict):
            raise Nonsense(f"{asked}: the answer has no status")
        user = status.get("user") or {}
        return TokenReview(
            authenticated=bool(status.get("authenticated")),
            username=user.get("username", ""),
            uid=user.get("uid", ""),
            groups=tuple(user.get("groups") or ()),
            extra={key: tuple(values) for key, values in (user.get("extra") or {}).items()},
            audiences=tuple(status.get("audiences") or ()),
            problem=status.get("error") or ("" if status.get("authenticated") else "it is not valid"),
        )

    def _one(self, verb: str, resource: Resource, value: Object, subresource: str) -> tuple[Asked, str]:
        metadata = value["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        asked = Asked(self.name, verb, resource, namespace, name, subresource)
        return asked, resource.path(namespace, name, subresource)

    async def _ask(
        self,
        asked: Asked,
        method: str,
        path: str,
        *,
        params: _Params | None = None,
        body: object = None,
        content: str = "application/json",
    ) -> Object:
        seconds = self._options.timeout
        # No limit for the whole: a long list over a slow line may take its time, but bytes must come.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            async with self._send(asked, method, path, params or {}, timeout, data, content) as response:
                answer = await self._body(asked, response)
        except TimeoutError:
            raise _late(asked) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(asked, error) from None
        if len(answer) < OFF_LOOP:
            return parse_object(asked, answer)
        return await asyncio.to_thread(parse_object, asked, answer)

    @contextlib.asynccontextmanager
    async def _send(
        self,
        asked: Asked,
        method: str,
        path: str,
        params: _Params,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the library's own, of several parts
        data: bytes | None = None,
        content: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of 2xx. Once more with credentials that are read anew, if they are refused."""
        if self._opened is None:
            raise BadCluster(f"cluster {self.name} is not open: use it as an async context manager")
        access, session = self._opened
        for renewed in (False, True):
            headers = {"Accept": ACCEPT}
            if data is not None:
                headers["Content-Type"] = content
            try:
                if authorization := await access.authorization():
                    headers["Authorization"] = authorization
            except BadCluster as error:
                raise Unauthorized(f"{asked}: {error}") from None
            async with session.request(
                method,
                access.url + path,
                params=params,
                data=data,
                headers=headers,
                timeout=timeout,
                proxy=access.proxy,
                server_hostname=access.server_name,
                allow_redirects=False,  # the credentials are for this server and nobody else
            ) as response:
                if response.status == 401 and not renewed and await _renewed(access):
                    continue
                if not 200 <= response.status < 300:
                    body = await self._body(asked, response)
                    raise refusal(asked, response.status, body, response.headers.get("Retry-After", ""))
                yield response
                return

    async def _body(self, asked: Asked, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._options.max_answer:
                raise Nonsense(f"{asked}: the answer is larger than {self._options.max_answer} bytes")
        return bytes(body)


async def _renewed(access: Access) -> bool:
    """Whether the credentials could be read anew; if not, the refusal of the old ones is what is told."""
    try:
        await access.renew()
    except BadCluster:
        return False
    return True


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """With probes that find a peer that is gone without a word within a minute: most of the time a watch is silent."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return made


def _late(asked: Asked) -> Unreachable:
    return Unreachable(f"{asked}: no answer in time: is the API server overloaded, or a firewall between?")


def _broken(asked: Asked, error: Exception) -> Unreachable:
    text = " ".join((str(error) or type(error).__name__).split())[:300]
    return Unreachable(f"{asked}: the API server cannot be reached: {text}")
