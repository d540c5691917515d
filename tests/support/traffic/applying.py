"""Documents put into force on the running mesh, and taken out again; both end when every sidecar has acknowledged it.

A file is taken whole or refused whole, and published at once. So each file gets one more document, a service nobody calls: when the
sidecar of `web` has its cluster, the control plane has taken and published the rest of the file too; when moreover no proxy has anything
pending, every sidecar has acknowledged all of it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from api.shapes.status import Status
from meshwright.client import release_holds
from tests.support.mesh import Mesh
from tests.support.processes import eventually
from tests.support.traffic.sidecars import Sidecar

MARKERS = "zz-harness"
"""The namespace of markers: the last in the order in which services are published."""
MARKER = """
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: {name}, namespace: zz-harness}}
spec: {{ports: [{{name: http, port: 80, protocol: http}}]}}
"""
PATIENCE = 20.0


class RefusedError(AssertionError):
    """The control plane or a proxy did not take the documents. Its text is what they say."""


class Applier:
    """`witness` is a sidecar that sees every service of the mesh."""

    def __init__(self, mesh: Mesh, witness: Sidecar) -> None:
        self.mesh = mesh
        self.witness = witness
        self._numbers: Iterator[int] = itertools.count(1)

    @contextlib.asynccontextmanager
    async def apply(self, documents: str, *, lenient: bool = False) -> AsyncIterator[AppliedFile]:
        """`documents` (YAML, one or more) are in force within the block.

        RefusedError if the file is refused, and, unless `lenient`, if something of it cannot be rendered or a proxy refuses it.
        """
        file = AppliedFile(self, f"test-{next(self._numbers)}", lenient=lenient)
        try:
            await file.replace(documents)
            yield file
        finally:
            await file.remove()

    async def acknowledged(self) -> Status:
        """Return when no proxy has anything pending but what it refused."""

        status = await self.mesh.status()

        async def calm() -> bool:
            nonlocal status
            status = await self.mesh.status()
            pending = list(unsettled(status))
            assert not pending, pending
            return True

        await self.until(calm, "every sidecar has acknowledged")
        return status

    async def until(self, question: Callable[[], Awaitable[bool]], what: str) -> None:
        """Return when `question` is answered with yes; AssertionError if it is not in time, or the control plane has ended."""
        server = self.mesh.server
        await eventually(question, what, *([server] if server else ()), patience=PATIENCE, every=0.01)

    async def markers(self) -> set[str]:
        """The markers that the witness's Envoy has clusters of."""
        dump = await self.witness.admin.config_dump(resource="dynamic_active_clusters", mask="cluster.name")
        names = (each["cluster"]["name"] for each in dump.get("configs", []))
        return {
            name.removeprefix(f"{MARKERS}/").removesuffix(":80")
            for name in names
            if name.startswith(f"{MARKERS}/")
        }


class AppliedFile:
    """A file of documents of a test. `status` is the control plane's after the last change was acknowledged."""

    def __init__(self, applier: Applier, stem: str, *, lenient: bool) -> None:
        self._applier = applier
        self._mesh = applier.mesh
        self._stem = stem
        self._lenient = lenient
        self._versions: Iterator[int] = itertools.count(1)
        self.name = f"{stem}.yaml"
        self.status: Status | None = None

    @property
    def _path(self) -> Path:
        return self._mesh.documents / self.name

    async def replace(self, documents: str) -> Status:
        """Put `documents` in the place of what the file said; return when they are in force. Errors as `Applier.apply`; a file
        that is refused leaves in force what it said before.
        """
        before, marker = await self._mesh.status(), f"{self._stem}-{next(self._versions)}"
        new = self._path.with_name(f".{self.name}.tmp")
        new.write_text(documents.rstrip() + MARKER.format(name=marker))
        new.rename(self._path)
        refused: list[str] = []

        async def taken_or_refused() -> bool:
            status = await self._mesh.status()
            refused[:] = [each for source in status.sources for each in source.errors if self.name in each]
            return bool(refused) or marker in await self._applier.markers()

        await self._applier.until(taken_or_refused, f"{self.name} is in force")
        if refused:
            raise RefusedError("\n".join(refused))
        self.status = await self._applier.acknowledged()
        if not self._lenient and (complaints := new_complaints(before, self.status)):
            raise RefusedError(complaints)
        return self.status

    async def remove(self) -> None:
        """Take the file away; return when nothing of it is in force."""
        self._path.unlink(missing_ok=True)

        async def gone() -> bool:
            status = await self._mesh.status()
            errors = [each for source in status.sources for each in source.errors if self.name in each]
            if status.holds:  # many endpoints went at once, and are meant to
                await release_holds(self._mesh.data, None)
                return False
            left = {each for each in await self._applier.markers() if each.startswith(f"{self._stem}-")}
            assert not errors, errors
            assert not left, left
            return True

        await self._applier.until(gone, f"{self.name} is out of force")
        await self._applier.acknowledged()


def unsettled(status: Status) -> Iterator[str]:
    """What proxies have not acknowledged, and have not refused either."""
    for proxy in status.proxies:
        for each in proxy.types:
            if not each.in_sync and each.refused is None:
                yield f"{proxy.proxy}: {each.type} {', '.join(each.pending)}"


def new_complaints(before: Status, now: Status) -> str:
    """What could not be rendered, and what proxies refuse, that was not so before."""
    lines = [
        f"{subject}: {why}" for subject, why in now.problems.items() if before.problems.get(subject) != why
    ]
    known = set(refusals(before))
    lines += [each for each in refusals(now) if each not in known]
    return "\n".join(lines)


def refusals(status: Status) -> Iterator[str]:
    """What proxies refuse, in Envoy's words."""
    for proxy in status.proxies:
        for each in proxy.types:
            if each.refused is not None:
                yield f"{proxy.proxy} refused {each.type} {', '.join(each.refused.names)}: {each.refused.message}"
