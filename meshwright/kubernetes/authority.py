"""The authority of a mesh on Kubernetes: a Secret that all replicas read, and that whoever is first makes.

It is made by a create, which the API server does once: a replica that comes second is told so and takes what is there. It is never
overwritten but by its successor (`ca.shared`), with the version that was read. Each replica keeps a copy in files, on a volume in
memory, and signs with them as an authority from files (`ca.from_files`); what changes in the Secret is there within seconds.

A mesh that has a root never gets another in silence. Who deletes the Secret finds it again: the replica that sees to it has read it whole. One
that has none of the roots that the mesh trusts, by the ConfigMap of its roots, is not taken; and none is made while there is that ConfigMap.
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
from cryptography import x509

from ca import files
from ca.errors import CannotRotate, DamagedAuthority
from ca.from_files import AuthorityFiles
from ca.profile import CLOCK_SKEW
from ca.shared import CHAIN, KEY, ROOTS, Making, SharedAuthority
from ca.times import Clock
from inject.names import BUNDLE_CONFIG_MAP, BUNDLE_KEY
from kube.client import Cluster
from kube.errors import AlreadyExists, ApiError, Busy, Conflict, NotFound, Unreachable
from kube.resource import CONFIG_MAPS, SECRETS, Object
from meshwright.audit import Value
from meshwright.kubernetes.concerns import AUTHORITY, Concerns

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
        concerns: Concerns,
    ) -> None:
        """`directory` is made if it is missing, for its owner alone."""
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._directory = directory
        self._making = making
        self._clock = clock
        self._concerns = concerns
        self._copied: dict[str, bytes] = {}
        self._held: SharedAuthority | None = None
        """What was read last, whole."""
        self._refused = ""
        remedy = (
            "all replicas sign by one Secret, so its root is changed there: kubectl "
            f'-n {namespace} annotate --overwrite secret {name} {ROTATE}="$(date +%F)"; it goes by time from then on, and '
            "`meshwright ca status` shows what is trusted"
        )
        self.files = AuthorityFiles(directory / CHAIN, directory / KEY, directory / ROOTS, remedy)

    async def open(self) -> None:
        """Read the Secret into files, made first if neither it nor a mesh is there. ApiError, DamagedAuthority, OSError.

        While the API server is away, or the Secret is not what it was, a copy that an earlier run of this pod has left serves.
        """
        try:
            taken = await self._found()
        except (Unreachable, Busy, DamagedAuthority) as error:
            if not await asyncio.to_thread(self._there):
                raise
            self._concerns.tell(AUTHORITY, f"{error} Until then this pod's copy of it is used.")
            return
        await self._copy(taken)

    async def follow(self) -> None:
        """Copy what changes, until cancelled. What cannot be read now, or used, leaves what was there before in force."""
        while True:
            await asyncio.sleep(LOOK)
            problem = ""
            try:
                await self._copy(await self._ours(self._read(await self._get())))
            except NotFound:
                problem = self._gone("what was read before is used")
            except (ApiError, DamagedAuthority, OSError) as error:
                problem = f"it cannot be read, and what was read before is used: {error}"
            self._concerns.tell(AUTHORITY, problem)

    async def keep(self, record: Callable[[str, Mapping[str, Value]], None]) -> None:
        """Renew the intermediate in time, go on with a rotation, and put back what was deleted; until cancelled. One replica does it. `record`:
        the audit log.
        """
        told = ""
        while True:
            problem = ""
            try:
                if (done := await self._advance()) is not None:
                    record("authority", done)
            except (ApiError, DamagedAuthority) as error:
                problem = str(error)
            if problem and problem != told:
                log.warning("the authority's Secret could not be seen to, and is tried again", reason=problem)
            told = problem
            await asyncio.sleep(LOOK)

    async def _found(self) -> SharedAuthority:
        """What the Secret holds at a start, or a new one."""
        try:
            return await self._ours(self._read(await self._get()))
        except NotFound:
            if not await self._trusted():
                return self._read(await self._make())
        raise DamagedAuthority(self._gone("none is made, since a mesh trusts the one that was there"))

    async def _ours(self, read: SharedAuthority) -> SharedAuthority:
        """`read`, which has a root that this replica or the mesh trusts already. DamagedAuthority otherwise."""
        if self._held is not None and not set(self._held.roots).isdisjoint(read.roots):
            return read
        trusted = await self._trusted() or (self._held.roots if self._held is not None else ())
        if trusted and set(trusted).isdisjoint(read.roots):
            raise DamagedAuthority(
                f"Secret {self._where} has none of the roots that the mesh trusts, so it is not taken: put the one before there "
                f"(your backup of it). {self._anew}"
            )
        return read

    async def _trusted(self) -> tuple[x509.Certificate, ...]:
        """By the mesh, as its replicas have told its namespaces; empty if there was none."""
        try:
            found = await self._cluster.get(CONFIG_MAPS, BUNDLE_CONFIG_MAP, self._namespace)
        except NotFound:
            return ()
        try:
            return tuple(
                x509.load_pem_x509_certificates((found.get("data") or {}).get(BUNDLE_KEY, "").encode())
            )
        except ValueError:
            return ()  # what is no bundle binds nobody

    def _gone(self, outcome: str) -> str:
        return (
            f"Secret {self._where} is gone, and {outcome}. The replica that holds the lease puts it back within seconds, if it has read it; "
            f"else restore it from your backup: `kubectl apply -f authority.yaml`. {self._anew}"
        )

    @property
    def _anew(self) -> str:
        return (
            "To begin a mesh anew, for which every sidecar has to be started again: scale the control plane to 0, delete ConfigMap "
            f"{self._namespace}/{BUNDLE_CONFIG_MAP} and this Secret, and scale it up."
        )

    async def _advance(self) -> dict[str, Value] | None:
        """What was done, if anything was."""
        try:
            found = await self._get()
        except NotFound:
            return await self._put_back()
        metadata = found["metadata"]
        asked = (metadata.get("annotations") or {}).get(ROTATE, "")
        before = await self._ours(self._read(found))
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

    async def _put_back(self) -> dict[str, Value] | None:
        """The Secret, as it was read last, for one that was deleted."""
        if self._held is None:
            return None  # `follow` tells of it
        try:
            await self._cluster.create(SECRETS, self._secret(self._held), self._namespace)
        except AlreadyExists:
            return None
        log.warning("the authority's Secret was gone, and is put back", secret=self._where)
        return {"stage": self._held.state.stage.value, "put_back": True, "roots": len(self._held.roots)}

    async def _make(self) -> Object:
        made = await asyncio.to_thread(self._making.made, self._clock())
        try:
            created = await self._cluster.create(SECRETS, self._secret(made), self._namespace)
        except AlreadyExists:
            return await self._get()
        log.warning(
            "a new certificate authority was made: back up its Secret, which nothing can replace",
            secret=self._where,
        )
        return created

    def _secret(self, kept: SharedAuthority) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/name": "meshwright", "app.kubernetes.io/part-of": "meshwright"},
            },
            "type": "meshwright.dev/authority",
            "data": _encoded(kept.files()),
        }

    @property
    def _where(self) -> str:
        return f"{self._namespace}/{self._name}"

    def _there(self) -> bool:
        return all(path.exists() for path in (self.files.chain, self.files.key, self.files.roots))

    async def _get(self) -> Object:
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
        self._held = read

    def _write(self, wanted: Mapping[str, bytes]) -> None:
        """The root's key is not among them: who signs leaves needs it not."""
        files.private_directory(self._directory)
        for name, content in wanted.items():
            files.write_atomically(self._directory / name, content)


def _encoded(kept: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(content).decode() for name, content in kept.items()}
