"""The authority of a mesh on Kubernetes: a Secret that all replicas read, and that whoever is first makes.

It is made by a create, which the API server does once: a replica that comes second is told so and takes what is there. It is never
overwritten but by its successor (`ca.shared`), with the version that was read. Each replica keeps a copy in files, on a volume in
memory, and signs with them as an authority from files (`ca.from_files`); what changes in the Secret is there within seconds.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from ca import files
from ca.errors import CannotRotate, DamagedAuthority
from ca.from_files import AuthorityFiles
from ca.profile import CLOCK_SKEW
from ca.shared import CHAIN, KEY, ROOTS, Making, SharedAuthority
from ca.times import Clock
from kube.client import Cluster
from kube.errors import AlreadyExists, ApiError, Busy, Conflict, NotFound, Unreachable
from kube.resource import SECRETS
from meshwright.audit import Value

LOOK: Final = 5.0
"""Seconds between looks at the Secret."""
MARGIN: Final = timedelta(hours=1) + CLOCK_SKEW
"""By which a stage of a rotation is longer than a leaf's life: a replica may read the Secret late."""
ROTATE: Final = "meshwright.dev/rotate"
"""The annotation by which an operator asks for a new root: any text that was not there before."""

log = structlog.get_logger(__name__)


def wait(lifetime: timedelta) -> timedelta:
    """How long a stage of a rotation lasts, where leaves live for `lifetime`."""
    return lifetime + MARGIN


class SecretAuthority:
    """The Secret and its copy."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        directory: Path,
        making: Making,
        clock: Clock,
    ) -> None:
        """`directory` is made if it is missing, for its owner alone."""
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._directory = directory
        self._making = making
        self._clock = clock
        self._copied: dict[str, bytes] = {}
        self._refused = ""
        remedy = (
            "all replicas sign by one Secret, so its root is changed there: kubectl "
            f'-n {namespace} annotate --overwrite secret {name} {ROTATE}="$(date +%F)"; it goes by time from then on, and '
            "`meshwright ca status` shows what is trusted"
        )
        self.files = AuthorityFiles(directory / CHAIN, directory / KEY, directory / ROOTS, remedy)

    async def open(self) -> None:
        """Read the Secret into files, made first if there is none. ApiError, DamagedAuthority, OSError.

        While the API server is away, a copy that an earlier run of this pod has left serves.
        """
        try:
            found = await self._get()
        except NotFound:
            found = await self._make()
        except (Unreachable, Busy) as error:
            if not await asyncio.to_thread(self._there):
                raise
            log.warning(
                "the authority's Secret cannot be read: this pod's copy of it is used", reason=str(error)
            )
            return
        await self._copy(self._read(found))

    async def follow(self) -> None:
        """Copy what changes, until cancelled. What cannot be read now, or used, leaves what was there before in force."""
        told = ""
        while True:
            await asyncio.sleep(LOOK)
            problem = ""
            try:
                await self._copy(self._read(await self._get()))
            except (ApiError, DamagedAuthority, OSError) as error:
                problem = str(error)
            if problem and problem != told:
                log.warning(
                    "the authority's Secret cannot be read: what was read before is used", reason=problem
                )
            told = problem

    async def keep(self, record: Callable[[str, Mapping[str, Value]], None]) -> None:
        """Renew the intermediate in time, and go on with a rotation; until cancelled. One replica does it. `record`: the audit log."""
        while True:
            try:
                if (told := await self._advance()) is not None:
                    record("authority", told)
            except (ApiError, DamagedAuthority) as error:
                log.warning(
                    "the authority's Secret could not be seen to, and is tried again", reason=str(error)
                )
            await asyncio.sleep(LOOK)

    async def _advance(self) -> dict[str, Value] | None:
        """What was done, if anything was."""
        found = await self._get()
        metadata = found["metadata"]
        before, asked = self._read(found), (metadata.get("annotations") or {}).get(ROTATE, "")
        try:
            after = await asyncio.to_thread(self._making.due, self._clock(), before, asked)
        except CannotRotate as error:
            if asked != self._refused:
                log.warning("no new root was made", annotation=ROTATE, reason=str(error))
            self._refused = asked
            return None
        if after is None:
            return None
        try:
            # With the version that was read: whoever wrote meanwhile is not undone.
            await self._cluster.replace(SECRETS, {**found, "data": _encoded(after.files())})
        except Conflict:
            return None  # the next look sees what is there now
        told: dict[str, Value] = {
            "stage": after.state.stage.value,
            "before": before.state.stage.value,
            "roots": len(after.roots),
        }
        log.info("the authority's Secret was written", secret=self._where, **told)
        return told

    async def _make(self) -> dict[str, Any]:
        made = await asyncio.to_thread(self._making.made, self._clock())
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/name": "meshwright", "app.kubernetes.io/part-of": "meshwright"},
            },
            "type": "meshwright.dev/authority",
            "data": _encoded(made.files()),
        }
        try:
            created = await self._cluster.create(SECRETS, secret, self._namespace)
        except AlreadyExists:
            return await self._get()
        log.warning(
            "a new certificate authority was made: back up its Secret, which nothing can replace",
            secret=self._where,
        )
        return created

    @property
    def _where(self) -> str:
        return f"{self._namespace}/{self._name}"

    def _there(self) -> bool:
        return all(path.exists() for path in (self.files.chain, self.files.key, self.files.roots))

    async def _get(self) -> dict[str, Any]:
        return await self._cluster.get(SECRETS, self._name, self._namespace)

    def _read(self, secret: Mapping[str, Any]) -> SharedAuthority:
        where = f"Secret {self._where}"
        try:
            kept = {
                name: base64.b64decode(text, validate=True)
                for name, text in (secret.get("data") or {}).items()
            }
        except binascii.Error:
            raise DamagedAuthority(f"{where} does not hold base64") from None
        return SharedAuthority.read(kept, where, self._clock())

    async def _copy(self, read: SharedAuthority) -> None:
        kept = read.files()
        wanted = {name: kept[name] for name in (ROOTS, CHAIN, KEY)}
        if wanted != self._copied:
            await asyncio.to_thread(self._write, wanted)
            self._copied = wanted

    def _write(self, wanted: Mapping[str, bytes]) -> None:
        """The root's key is not among them: who signs leaves needs it not."""
        files.private_directory(self._directory)
        for name, content in wanted.items():
            files.write_atomically(self._directory / name, content)


def _encoded(kept: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(content).decode() for name, content in kept.items()}
