"""A mesh without streams, in which proxies that exist in name refuse what they are given; a real Envoy is asked about it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ca.times import system_clock
from envoy.render import Rendered, Renderer
from mesh.events import Declared, SourceUpdate
from mesh.names import Key
from mesh.state import MeshState
from meshwright.pipeline import Pace, Pipeline
from meshwright.publisher import Publisher
from meshwright.quarantine.book import Book
from meshwright.quarantine.cases import Verdict
from meshwright.quarantine.opened import PROTECTING
from meshwright.quarantine.sketch import Sketcher
from meshwright.quarantine.trial import Envoys, Neighbours
from meshwright.quarantine.watch import Kept, Quarantine
from meshwright.scopes import Seen
from policies.registry import KINDS
from tests.support import binaries
from tests.support.builders import TRUST_DOMAIN, a_service, a_snapshot, a_workload
from tests.support.policy_documents import declared
from tests.support.processes import eventually
from xds.cache import ResourceCache
from xds.resource import Resource
from xds.state import Refusal

SOURCE, ENVOY = "test", "envoy 1.40"
ROUTES = ("type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "default/api")
GOOD, BAD = "ok", "%NO_SUCH(%"


def a_patch(value: str, name: str = "patch") -> Declared:
    """That callers of api find `value` in answers: Envoy takes GOOD and any other word, and refuses BAD."""
    (made,) = declared(
        f"apiVersion: meshwright.dev/v1alpha1\nkind: EnvoyPatch\nmetadata: {{name: {name}}}\n"
        "spec: {targetRefs: [{kind: Service, name: api}], resource: RouteConfiguration, name: default/api, "
        f"merge: {{responseHeadersToAdd: [{{header: {{key: x-{name}, value: '{value}'}}}}]}}}}\n"
    )
    assert isinstance(made, Declared)
    return made


def found(version: str) -> Callable[[str], Path | None]:
    """Where Envoys are, if `version` (`1.40`) is the only one here."""
    return lambda minor: Path(binaries.envoy()) if minor == version else None


def an_envoy(version: str = "1.40") -> Envoys:
    return Envoys(system_clock, found(version))


NO_ENVOY = Envoys(system_clock, lambda _: None)


class Asked(Protocol):
    async def accepts(self, envoy: str, resource: Rendered, around: Neighbours) -> bool | None: ...


class Mesh:
    """`audit`: what was told there."""

    def __init__(
        self, folder: Path, envoys: Asked, proxies: int, first: tuple[Declared, ...], kept: Kept | None
    ) -> None:
        self.cache, renderer, state = ResourceCache(), Renderer(), MeshState(TRUST_DOMAIN)
        self.publisher = Publisher(state, renderer)
        self.pipeline = Pipeline(
            state, self.publisher, self.cache, pace=Pace(0.0, 0.0), clock=asyncio.get_running_loop().time
        )
        self.pipeline.rescope = self._rescope
        self.scopes: dict[str, tuple[Seen, ...]] = {}
        self.identities: dict[str, str] = {}
        self.audit: list[str] = []
        self.quarantine = Quarantine(
            Book(PROTECTING),
            self.publisher,
            self.pipeline,
            Sketcher(self.publisher, renderer),
            envoys,
            folder,
            kinds=KINDS,
            kept=kept,
            identity=self.identities.get,
            clock=lambda: 1_700_000_000.0,
            record=lambda event, **_: self.audit.append(event),
        )
        webs = [
            a_workload(f"web-{number}", uses=["api"], meshed=True, sidecar=15006) for number in range(proxies)
        ]
        snapshot = a_snapshot(a_service("api"), a_service("web"), a_workload("api-1"), *webs)
        self.first = replace(snapshot, declared=first)

    def tell(self, *put: Declared, removed: tuple[tuple[str, Key], ...] = ()) -> None:
        """As `control_plane.receive` does."""
        self._receive(SourceUpdate(SOURCE, declared=put, removed_declared=removed))

    def _receive(self, event: object) -> None:
        before = self.pipeline.state
        self.pipeline.receive(event)  # type: ignore[arg-type]
        self.quarantine.changed(before, self.pipeline.state, event)  # type: ignore[arg-type]

    def start(self) -> None:
        self._receive(self.first)

    def connect(self, name: str, envoy: str = ENVOY, identity: str | None = "") -> str:
        """A proxy, which has proved to be `identity`; by default that of its own name; None: nothing."""
        key = Key("default", name)
        client = str(key) if identity is not None else f"{key} (plaintext)"
        if identity is not None:
            self.identities[client] = identity or f"spiffe://mesh.test/{name}"
        self.scopes[client] = self.pipeline.attach(
            key, proved=identity is not None, proxyless=False, envoy=envoy
        )
        return client

    def _rescope(self, client: str, scopes: tuple[Seen, ...]) -> None:
        self.scopes[client] = scopes

    def given(self, client: str) -> Mapping[tuple[str, str], Resource]:
        return {
            (each.type_url, each.name): each
            for scope in self.scopes[client]
            for each in self.cache.contents(scope)
        }

    def routes(self, client: str) -> bytes:
        return self.given(client)[ROUTES].body

    def refuse(self, client: str, *names: tuple[str, str]) -> None:
        """`client` refuses these resources as it has them now; by default, its routes to api."""
        for type_url, name in names or (ROUTES,):
            resource = self.given(client)[type_url, name]
            refusal = Refusal("1", "1", (name,), "no", 0.0, resource.origin, (resource,))
            self.quarantine.refused(client, type_url, refusal)

    def verdicts(self) -> dict[str, Verdict]:
        """Of active cases, by the document's name and the version of Envoy."""
        return {
            f"{each.case.name[1].name} {each.case.envoy}": each.case.verdict
            for each in self.quarantine.told()
            if each.active
        }

    async def until(self, true: Callable[[], bool], what: str) -> None:
        async def asked() -> bool:
            return true()

        await eventually(asked, what, every=0.005)

    async def saved(self) -> None:
        await self.settled()
        await self.until(lambda: self.quarantine.saved, "the quarantine is saved")

    async def settled(self) -> None:
        await self.until(lambda: self.quarantine.idle, "the quarantine has nothing to do")
        await self.pipeline.settled()


@contextlib.asynccontextmanager
async def a_mesh(
    folder: Path,
    envoys: Asked | None = None,
    proxies: int = 3,
    first: tuple[Declared, ...] = (),
    kept: Kept | None = None,
) -> AsyncIterator[Mesh]:
    made = Mesh(folder, envoys or an_envoy(), proxies, first, kept)
    await made.quarantine.open()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(made.pipeline.run()), group.create_task(made.quarantine.run())]
        made.start()
        await made.pipeline.settled()
        yield made
        for task in tasks:
            task.cancel()
