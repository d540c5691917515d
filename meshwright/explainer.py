"""Explanations over the live mesh: what is read on the event loop, and what is reckoned beside it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from api.errors import TooManyRequests, Unprocessable
from api.shapes.explain import (
    ExplainAnswer,
    ExplainBranch,
    ExplainOutcome,
    ExplainRequest,
    ExplainSource,
    ExplainStep,
)
from explain.answer import Branch, Explanation, Step
from explain.callers import caller_of
from explain.dump import table
from explain.explaining import explain, explain_live
from explain.question import Question, Unaskable
from explain.resources import Table
from explain.text import lines
from explain.world import World
from mesh.errors import MeshError
from mesh.gateway_secrets import Loaded
from mesh.names import Key
from mesh.state import MeshState
from meshwright.publisher import client_ids
from meshwright.reports import Reports
from meshwright.standpoints import Standpoint
from store.directory import read_once
from xds.server import XdsServer
from xds.types import short_name

WAITING: Final = 8
"""Explanations that may wait for one another: each takes a core for a moment."""
TOLD: Final = 10
"""Errors of documents that are told."""


@dataclass(slots=True)
class Explainer:
    """One explanation at a time, in a thread. `loaded`: the Secret documents whose files gateways can read."""

    standpoint: Callable[[], Standpoint]
    xds: XdsServer
    loaded: Callable[[], Loaded]
    on_demand: bool
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: int = 0

    async def explain(self, request: ExplainRequest) -> ExplainAnswer:
        """Unprocessable for a question that names what is not there."""
        if self._waiting >= WAITING:
            raise TooManyRequests(
                f"{WAITING} explanations are being made or wait already: ask again in a moment", 1
            )
        self._waiting += 1
        try:
            async with self._one:
                where, given = self.standpoint(), Given()
                if request.proxy and request.dump is None:
                    given = self._given(_key(request.proxy))
                loaded = self.loaded()
                return await asyncio.to_thread(self._answer, where, loaded, request, given)
        finally:
            self._waiting -= 1

    def _answer(
        self, where: Standpoint, loaded: Loaded, request: ExplainRequest, given: Given
    ) -> ExplainAnswer:
        """Not on the event loop."""
        first = first_of(where.base, request)
        state = where.base if first is None else where.state_of(first)
        world = World.of(state, loaded=loaded, on_demand=self.on_demand, told=where.state_of)
        return answer(world, request, given, where)

    def _given(self, proxy: Key) -> Given:
        """What the streams of `proxy` are given, and what of it they have not acknowledged."""
        streams = [stream for client in client_ids(proxy) for stream in self.xds.streams_of(client)]
        if not streams:
            raise Unprocessable(
                f"no proxy {proxy} is connected: `meshwright status` lists those that are; give its dump instead"
            )
        held = [
            (each.type_url, each.name, each.body, each.origin)
            for scope in streams[0].session.scopes
            for each in self.xds.cache.contents(scope)
        ]
        late = tuple(
            f"{proxy} has not acknowledged {short_name(each.type_url)} yet: {', '.join(each.pending) or 'removals'}"
            for client in self.xds.clients()
            if client.id in client_ids(proxy)
            for each in client.types
            if not each.in_sync
        )
        return Given(held, late)


def explainer(reports: Reports, *, on_demand: bool) -> Explainer:
    """Over all that a running control plane knows. `on_demand`: whether clusters come on demand where a workload says nothing."""

    def standpoint() -> Standpoint:
        return Standpoint.now(
            reports.pipeline.state, reports.publisher, reports.rollouts.holding(), reports.quarantine.told
        )

    return Explainer(standpoint, reports.xds, lambda: reports.certificates.loaded, on_demand)


def first_of(state: MeshState, request: ExplainRequest) -> Key | None:
    """The workload whose proxy the request meets first; None where it is not said who that is: `answer` says so."""
    try:
        if request.gateway and not request.proxy:
            gateway = _key(request.gateway)
            return min(
                (each.key for each in state.workloads.values() if each.gateway == gateway), default=None
            )
        return caller_of(state, request.proxy or request.from_).key
    except (Unaskable, MeshError):
        return None


@dataclass(frozen=True, slots=True)
class Given:
    """Resources of a proxy by type, name, body and origin, and what is to be known of them."""

    resources: list[tuple[str, str, bytes, tuple[str, ...]]] = field(default_factory=list)
    cautions: tuple[str, ...] = ()

    def table(self) -> Table:
        made = Table()
        for type_url, name, body, origin in self.resources:
            made.add_encoded(type_url, name, body, origin)
        return made


def over_directory(root: Path, trust_domain: str, request: ExplainRequest) -> ExplainAnswer:
    """As if the documents below `root` were all that there is. Unprocessable; StoreError."""
    found = read_once(root)
    if found.errors:
        raise Unprocessable("\n".join(str(each) for each in found.errors[:TOLD]))
    state, _ = MeshState(trust_domain).apply(found.to_snapshot("documents"))
    return answer(World.of(state), request, Given())


def answer(
    world: World, request: ExplainRequest, given: Given, where: Standpoint | None = None
) -> ExplainAnswer:
    """Takes some milliseconds, and longer where there is much to render: not for the event loop. Unprocessable."""
    try:
        question = asked(request)
        live: Table | None = None
        if request.dump is not None:
            live = table(request.dump)
        elif given.resources:
            live = given.table()
        if live is None:
            found = explain(world, question)
        else:
            proxy = caller_of(world.state, request.proxy or request.from_)
            found = explain_live(world, question, proxy, live)
    except (Unaskable, MeshError) as error:
        raise Unprocessable(str(error)) from error
    return shown(found, (*given.cautions, *(where.cautions(world.met) if where is not None else ())))


def asked(request: ExplainRequest) -> Question:
    """Unaskable, or a MeshError, where it is none."""
    try:
        ipaddress.ip_address(request.client_address)
    except ValueError as error:
        raise Unaskable(
            f"{request.client_address!r} is no IP address: give one, such as 203.0.113.7"
        ) from error
    if not request.from_ and not request.gateway:
        raise Unaskable(
            "it is not said who calls: give --from (`from` by the API), or --to-gateway (`gateway`) for a client outside"
        )
    if not (request.path.startswith("/") or request.path == "*"):
        raise Unaskable(f"path {request.path!r} does not begin with a slash")
    headers = tuple((each.name.lower(), _bytes(each.value)) for each in request.headers)
    return Question(
        caller=request.from_,
        to=request.to,
        method=request.method,
        path=request.path,
        port=request.port,
        authority=request.host,
        headers=headers,
        claims=request.claims,
        tcp=request.tcp,
        local_port=request.local_port,
        gateway=_key(request.gateway) if request.gateway else None,
        server_name=request.server_name,
        tls=request.tls,
        address=request.client_address,
    )


def shown(found: Explanation, cautions: tuple[str, ...] = ()) -> ExplainAnswer:
    whole = Explanation(found.question, found.root, (*cautions, *found.cautions), found.differences)
    return ExplainAnswer(
        question=whole.question,
        way=_branch(whole.root),
        outcomes=tuple(_outcomes(whole)),
        cautions=whole.cautions,
        differences=whole.differences,
        text=tuple(lines(whole)),
    )


def _outcomes(found: Explanation) -> Iterator[ExplainOutcome]:
    for share, each in found.outcomes():
        yield ExplainOutcome(
            share=float(share),
            ending=each.ending.value,
            status=each.status,
            grpc=each.grpc,
            clusters=each.clusters,
            workloads=each.workloads,
            arrives=each.arrives,
            location=each.location,
            why=each.why,
            remedy=each.remedy,
        )


def _branch(branch: Branch) -> ExplainBranch:
    return ExplainBranch(
        share=float(branch.share),
        label=branch.label,
        steps=tuple(_step(each) for each in branch.steps),
        branches=tuple(_branch(each) for each in branch.branches),
    )


def _step(step: Step) -> ExplainStep:
    sources = tuple(
        ExplainSource(document=each.document, path=each.path, file=each.file, line=each.line)
        for each in step.sources
    )
    return ExplainStep(
        stage=step.stage, said=step.said, details=step.details, sources=sources, proxy=step.proxy
    )


def _key(text: str) -> Key:
    return Key.parse(text)


def _bytes(value: str) -> str:
    """As it is on the wire: each byte a character."""
    return value.encode().decode("latin-1")
