"""Plans over the live mesh: what is captured on the event loop, and what is reckoned beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from api.errors import NotFound, TooManyRequests, Unavailable, Unprocessable
from api.shapes.plan import PlanAnswer, PlanRequest
from api.shapes.problem import FieldProblem
from documents.errors import DocumentError
from documents.parsing import Document
from envoy.install import find_envoy
from envoy.render import Renderer
from mesh.names import Key
from mesh.state import MeshState
from meshwright.calls_seen import Lately as Seen
from meshwright.certificates import CertificateStore
from meshwright.editions import Editions
from meshwright.plan.asked import Asked, Body, Name, Unfit, created_at, read
from meshwright.plan.candidate import SERVICES, holding
from meshwright.plan.caveats import Caveat, Sort
from meshwright.plan.checked import NOT_ASKED, checked, everything
from meshwright.plan.fleet import Fleet, Member
from meshwright.plan.reckoned import Basis, Plan, plan
from meshwright.plan.shown import answer
from meshwright.plan.snapshot import Captured, written
from meshwright.plan.twin import Setting
from meshwright.publisher import Attached, Publisher, client_id
from policies.transport import Lately
from store.repository import Repository
from xds.cache import Subscription
from xds.server import XdsServer

PIECE: Final = 50
"""Clients that are captured before the loop gets its turn."""
WAITING: Final = 8
"""Plans that may wait for one another: each takes memory and a core."""
SETTLING: Final = 2.0
"""Seconds that what is being published gets."""
CACHE_BYTES: Final = 16 * 1024 * 1024


async def _at_once() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Live:
    """What of a running control plane a plan is made from. `lately` is asked on the loop, and its answer reckoned beside it. `store`,
    `files` and `cluster`: the names of the sources whose documents people write; None: there is none. `settled` returns when everything that
    was heard is published.
    """

    state: Callable[[], MeshState]
    publisher: Publisher
    xds: XdsServer
    certificates: CertificateStore
    on_demand: bool
    lately: Callable[[], Callable[[], Lately]]
    seen: Callable[[], Seen]
    clock: Callable[[], datetime]
    store: str | None = None
    files: str | None = None
    cluster: str | None = None
    repository: Repository | None = None
    settled: Callable[[], Awaitable[None]] = _at_once
    envoy: Callable[[], Path | None] = find_envoy

    async def fleet(self) -> Fleet:
        """Who is connected, and what each is given now."""
        found: list[Member] = []
        attached = list(self.publisher.attached())
        for start in range(0, len(attached), PIECE):
            found.extend(_member(each, self) for each in attached[start : start + PIECE])
            await asyncio.sleep(0)
        return tuple(found)


class Planner:
    """One plan at a time: those who ask meanwhile wait, up to a number. Its renderer remembers from plan to plan."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self._renderer = Renderer(cache_bytes=CACHE_BYTES)
        self._one = asyncio.Lock()
        self._waiting = 0

    async def plan(self, request: PlanRequest, visible: Callable[[str], bool] = everything) -> PlanAnswer:
        """`visible`: whether proxies of a namespace are shown. ApiError; StoreError."""
        async with self._turn():
            made = await self._reckoned(request)
            check = NOT_ASKED
            if request.check and not made.refused:
                check = await checked(made.given, made.resources, self.live.clock, self.live.envoy, visible)
            return await asyncio.to_thread(lambda: answer(made.shown_to(visible), check))

    async def reckoned(self, request: PlanRequest) -> Plan:
        """The whole plan, of any size, not shown to Envoy. As `plan`."""
        async with self._turn():
            return await self._reckoned(request)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if not self.live.xds.cache.is_open:
            raise Unavailable(
                "the first configuration is being made (`/readyz` says what is waited for): try again"
            )
        if self._waiting >= WAITING:
            raise TooManyRequests(f"{WAITING} plans are being made or wait already: try again in a moment", 5)
        self._waiting += 1
        try:
            async with self._one:
                yield
        except Unfit as error:
            raise Unprocessable("documents are wrong", errors=tuple(map(_problem, error.errors))) from error
        finally:
            self._waiting -= 1

    async def _reckoned(self, request: PlanRequest) -> Plan:
        live = self.live
        asked, bodies = await self._asked(request)
        # What is on its way already is no part of the plan. Where changes never cease, it is made all the same.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(live.settled(), SETTLING)
        fleet, lately = await live.fleet(), live.lately()
        state = live.state()
        people = tuple(each for each in (live.store, live.files, live.cluster) if each is not None)
        setting = Setting(live.certificates, live.on_demand)
        basis = Basis(state, fleet, setting, people[0] if people else "documents", people, bodies)

        seen = live.seen()

        def reckoned() -> Plan:
            made = plan(replace(basis, lately=lately(), seen=seen), asked, self._renderer)
            return replace(made, caveats=(*made.caveats, *_of_files(state, asked, live.files)))

        return await asyncio.to_thread(reckoned)

    async def snapshot(self, version: str) -> bytes:
        """What another version of this program needs to say what it would send: see `snapshot`. ApiError."""
        async with self._turn():
            live = self.live
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(live.settled(), SETTLING)
            fleet = await live.fleet()
            held = {
                scope: live.xds.cache.maps_of(scope)
                for scope in dict.fromkeys(scope for each in fleet for scope in each.scopes)
            }
            captured = Captured(version, live.state(), fleet, held, live.on_demand, live.certificates.loaded)
            return await asyncio.to_thread(written, captured)

    async def _asked(self, request: PlanRequest) -> tuple[Asked, dict[Name, Body]]:
        """What is asked for, as the store would keep it; and what the store has of that now."""
        if request.revision is not None:
            return await self._back_to(request.revision)
        documents = await asyncio.to_thread(lambda: read(_files(request.documents)))
        deleted = tuple((_kind(each.kind), Key(each.namespace, each.name)) for each in request.delete)
        repository, bodies = self.live.repository, dict[Name, Body]()
        if repository is None:
            return Asked(documents, deleted), bodies
        stored = {
            (_kind(kind), key): each for (kind, key), each in (await repository.documents()).documents.items()
        }
        now = self.live.clock()

        def kept() -> tuple[Document, ...]:
            state, put = self.live.state(), list[Document]()
            for each in documents:
                there = stored.get(each.name)
                if there is not None:
                    bodies[each.name] = there.document()
                elsewhere = there is None and holding(state, each.name) not in {None, self.live.store}
                put.append(each if elsewhere else created_at(each, there.created_at if there else now))
            return tuple(put)

        return Asked(await asyncio.to_thread(kept), deleted), bodies

    async def _back_to(self, revision: int) -> tuple[Asked, dict[Name, Body]]:
        """What going back to `revision` would write and delete."""
        repository = self.live.repository
        if repository is None:
            raise NotFound(
                "this control plane has no store (setting store), so there is no revision to go back to"
            )
        head = await repository.head()
        differing = await repository.diff(head.number, revision)
        put = [each.after.document() for each in differing if each.after is not None]
        documents = await asyncio.to_thread(lambda: read(_files(put)))
        deleted = tuple((_kind(each.kind), each.key) for each in differing if each.after is None)
        bodies: dict[Name, Body] = {
            (_kind(each.kind), each.key): each.before.document()
            for each in differing
            if each.before is not None
        }
        return Asked(documents, deleted), bodies


def _problem(error: DocumentError) -> FieldProblem:
    where = error.where
    return FieldProblem(
        document=where.subject or where.file, path=where.path, reason=error.reason, remedy=error.remedy
    )


def _kind(kind: str) -> str:
    """Services outside the mesh share the names of those inside."""
    return "Service" if kind in SERVICES else kind


def _files(documents: Iterable[object]) -> Iterator[tuple[str, bytes]]:
    return ((f"document {number}", json.dumps(each).encode()) for number, each in enumerate(documents, 1))


def _of_files(state: MeshState, asked: Asked, files: str | None) -> Iterator[Caveat]:
    if files is None:
        return
    for kind, key in asked.names:
        if holding(state, (kind, key)) == files:
            text = "it is in a file: change it there, for `apply` does not write files"
            yield Caveat(Sort.DOUBTFUL, f"{kind} {key}", text)


def _member(attached: Attached, live: Live) -> Member:
    editions: Editions = live.publisher.editions
    return Member(
        attached.workload,
        attached.proved,
        attached.proxyless,
        attached.scopes,
        attached.at_once,
        editions[attached.edition].overlay,
        _wants(live.xds, attached),
    )


def _wants(xds: XdsServer, attached: Attached) -> dict[str, tuple[Subscription, ...]] | None:
    """None for one that has asked for nothing yet."""
    client = client_id(attached.workload, proved=attached.proved, proxyless=attached.proxyless)
    found: dict[str, list[Subscription]] = {}
    for stream in xds.streams_of(client):
        for type_url, each in stream.session.states.items():
            found.setdefault(type_url, []).append(each.subscription)
    return {type_url: tuple(each) for type_url, each in found.items()} or None
