"""Writes what is made for Gateways, one object at a time: only where it is not as it is to be, and never what works for what cannot be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from kube.client import Cluster
from kube.errors import ApiError, Invalid, NotFound
from kube.resource import DEPLOYMENTS, SERVICE_ACCOUNTS, SERVICES, Object, ObjectName, Resource
from meshwright.kubernetes.gateway_manifests import DISRUPTION_BUDGETS, Manifest
from meshwright.kubernetes.gateway_objects import Kept, kept

FOLLOWED: Final = (SERVICES, DEPLOYMENTS)
OWNED: Final = (SERVICES, SERVICE_ACCOUNTS, DISRUPTION_BUDGETS, DEPLOYMENTS)
"""In the order in which they are taken away: while the last is there, it is known that the others may be."""
PAUSE: Final = 5.0
"""Seconds between two writes of the same to one object: somebody else may be changing it back."""

log = structlog.get_logger(__name__)

Place = tuple[Resource, ObjectName]


@dataclass(frozen=True, slots=True)
class Wished:
    """One object as it is to be. `digest` is another one where the manifest is."""

    resource: Resource
    name: ObjectName
    manifest: Object
    digest: str


def wished(made: Manifest) -> Wished:
    resource, manifest = made
    name = ObjectName(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return Wished(resource, name, manifest, digest)


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written, what stood there then, and when."""

    digest: str
    spec: str
    at: float


class GatewayWrites:
    """`clock` gives seconds and never goes back."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._written: dict[Place, _Written] = {}
        self._before: dict[Place, Object] = {}
        self._refused: dict[Place, tuple[str, str]] = {}

    def begin(self) -> None:
        """Somebody else may have written meanwhile: all is written once more."""
        self._written.clear()
        self._refused.clear()

    async def apply(self, each: Wished, there: Kept | None) -> bool:
        """Whether it is as wished; False: it is to be tried again after PAUSE. `there` is what is known to stand there, of FOLLOWED. ApiError."""
        place = each.resource, each.name
        # What is not followed (accounts, budgets) is written when what is wished for changes.
        followed = each.resource in FOLLOWED
        spec = there.spec if there is not None else "" if followed else "not followed"
        last = self._written.get(place)
        if last is not None and last.digest == each.digest:
            if last.spec == spec and spec:
                return True
            if self._clock() - last.at < PAUSE:
                return False
        if there is None and last is None:
            await self._look_first(each)
        answer = await self._write(each, place, there)
        made = kept(answer)
        spec = made.spec if made is not None and followed else "not followed"
        self._written[place] = _Written(each.digest, spec, self._clock())
        log.info("applied for a gateway", kind=each.resource.kind, name=str(each.name))
        return True

    async def _look_first(self, each: Wished) -> None:
        """ApiError where somebody's own object has that name: a server-side apply would make it the Gateway's, and it would go with that."""
        try:
            found = await self._cluster.get(each.resource, each.name.name, each.name.namespace)
        except NotFound:
            return
        owner = each.manifest["metadata"]["ownerReferences"][0]["name"]
        there = kept(found)
        if there is None or there.gateway.name != owner:
            raise ApiError(
                f"{each.resource.kind} {each.name} is there, and was not made for Gateway {owner}: delete it, or give it or the Gateway another name"
            )

    async def _write(self, each: Wished, place: Place, there: Kept | None) -> Object:
        asked = each.manifest.get("spec", {}).get("clusterIP")
        if there is not None and asked and there.cluster_ip != asked:
            await self._make_room(each, place, asked)
        try:
            answer = await self._cluster.apply(each.resource, each.manifest)
        except Invalid as error:
            before = self._before.get(place)
            if before is None:
                raise
            # As where another Service has that address, which a dry run does not look at. What worked comes back, and stays.
            said = f"{error}; the Service was made again as it was: to have another try, take the address out, and put it back"
            self._refused[place] = each.digest, said
            await self._cluster.apply(each.resource, before)
            del self._before[place]
            raise Invalid(said) from None
        self._before.pop(place, None)
        self._refused.pop(place, None)
        return answer

    async def _make_room(self, each: Wished, place: Place, asked: str) -> None:
        """Take a Service away whose address is to be another, as that cannot be changed in place: if the server would take the new one."""
        if (known := self._refused.get(place)) is not None and known[0] == each.digest:
            raise Invalid(known[1])
        name, namespace = each.name.name, each.name.namespace
        try:
            found = await self._cluster.get(each.resource, name, namespace)
        except NotFound:
            return
        if found["spec"].get("clusterIP") == asked:
            return
        trial = {**each.manifest["metadata"], "name": f"{name[:54]}-{each.digest[:8]}"}
        await self._cluster.apply(each.resource, {**each.manifest, "metadata": trial}, dry_run=True)
        self._before[place] = _as_it_was(each.manifest, found)
        await self._cluster.delete(each.resource, name, namespace, uid=found["metadata"]["uid"])

    async def take_away(
        self, name: ObjectName, owner: str, known: Mapping[Resource, Mapping[ObjectName, Kept]]
    ) -> None:
        """Delete what is called `name`, as far as the Gateway with the uid `owner` owns it. `known`: what is there of FOLLOWED. ApiError."""
        for resource in OWNED:
            self._written.pop((resource, name), None)
            try:
                if resource in FOLLOWED:
                    found = known[resource].get(name)
                else:
                    found = kept(await self._cluster.get(resource, name.name, name.namespace))
                if found is not None and found.owner == owner:
                    await self._cluster.delete(resource, name.name, name.namespace, uid=found.uid)
            except NotFound:
                continue


def _as_it_was(manifest: Object, found: Object) -> Object:
    """`manifest` with the address and the ports, those of nodes too, that the Service `found` has."""
    spec: dict[str, Any] = {
        part: found["spec"][part]
        for part in ("type", "clusterIP", "selector", "ports")
        if part in found["spec"]
    }
    return {**manifest, "spec": spec}
