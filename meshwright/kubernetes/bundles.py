"""Whom the cluster trusts to be the control plane, kept current by one replica: the roots of the mesh, in a ConfigMap of each namespace, by which
proxies verify it, and as `caBundle` of the webhooks' configurations, by which the API server does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from inject.names import BUNDLE_CONFIG_MAP, BUNDLE_KEY, ENABLED, INJECT
from kube.client import Cluster, Selector
from kube.errors import ApiError
from kube.following import Event, Failed
from kube.reflector import Reflector
from kube.resource import CONFIG_MAPS, MUTATING_WEBHOOKS, NAMESPACES, VALIDATING_WEBHOOKS, Object, Resource
from meshwright.kubernetes.concerns import WEBHOOKS, Concerns

SYSTEM: Final = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Namespaces that no sidecar is in."""
LOOK: Final = 5.0
"""Seconds between looks at the mesh's roots, and after which what failed is tried again."""
GRACE: Final = 60.0
"""Seconds for which nothing is written once the object that owns the ConfigMaps has gone: an installation that is taken away goes in pieces, and
what is written anew meanwhile would stay."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Owner:
    """The object with which the ConfigMaps go: an uninstalled mesh leaves none behind."""

    uid: str
    name: str

    def reference(self) -> Object:
        return {
            "apiVersion": MUTATING_WEBHOOKS.api_version,
            "kind": MUTATING_WEBHOOKS.kind,
            "name": self.name,
            "uid": self.uid,
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """A ConfigMap, of which this is kept."""

    pem: str
    owner: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """A webhooks' configuration: the `caBundle` of each webhook, by its name."""

    uid: str
    bundles: tuple[tuple[str, str], ...]


def config_map(namespace: str, pem: str, owner: Owner | None) -> Object:
    metadata: Object = {
        "name": BUNDLE_CONFIG_MAP,
        "namespace": namespace,
        "labels": {"app.kubernetes.io/managed-by": "meshwright"},
    }
    if owner is not None:
        metadata["ownerReferences"] = [owner.reference()]
    return {"metadata": metadata, "data": {BUNDLE_KEY: pem}}


def missing(namespaces: Mapping[str, bool], there: Mapping[str, Bundle], wanted: Bundle) -> Iterator[str]:
    """The namespaces that lack `wanted`, those that pods are injected in first. `namespaces`: whether that is so, by name."""
    for injected in (True, False):
        for name, is_injected in namespaces.items():
            if is_injected is injected and name not in SYSTEM and there.get(name) != wanted:
                yield name


class BundleKeeper:
    """Run it on one replica alone. `roots` gives the mesh's roots by now, PEM; `name` is that of both configurations."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        roots: Callable[[], bytes],
        concerns: Concerns,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._name = name
        self._roots = roots
        self._concerns = concerns
        self._clock = clock
        self._gone: float | None = None
        """Since when the owner of the ConfigMaps is not there; None: it is, or has never been."""
        self._owner: Owner | None = None
        self._wake = asyncio.Event()
        named = Selector(fields=f"metadata.name={name}")
        self._namespaces = Reflector(cluster, NAMESPACES, _namespace, clock=clock, random=random)
        self._bundles = Reflector(
            cluster,
            CONFIG_MAPS,
            _bundle,
            selector=Selector(fields=f"metadata.name={BUNDLE_CONFIG_MAP}"),
            clock=clock,
            random=random,
        )
        self._configurations = {
            resource: Reflector(cluster, resource, _configuration, selector=named, clock=clock, random=random)
            for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS)
        }
        self._reflectors: tuple[Reflector[Any], ...] = (
            self._namespaces,
            self._bundles,
            *self._configurations.values(),
        )
        self._told = ""

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for each in self._reflectors:
                group.create_task(each.run(self._hear))
            while True:
                self._wake.clear()
                await self._settle()
                with contextlib.suppress(TimeoutError):  # the roots tell nobody that they are others
                    await asyncio.wait_for(self._wake.wait(), LOOK)

    def _hear(self, events: Sequence[Event[Any]]) -> None:
        for each in events:
            if isinstance(each, Failed):
                log.warning("whom the cluster trusts cannot be looked at", reason=each.reason)
        self._wake.set()

    async def _settle(self) -> None:
        """Write what differs. What cannot be written is told, and tried again with the next look."""
        if not all(each.synced for each in self._reflectors):
            return  # what is there, and who owns it, is not known yet
        pem = self._roots().decode()
        problems = []
        for resource, reflector in self._configurations.items():
            for configuration in reflector.values.values():
                try:
                    await self._trust(resource, configuration, pem)
                except ApiError as error:
                    problems.append(str(error))
        self._concerns.tell(WEBHOOKS, self._missing_webhooks())
        if not self._leaving():
            wanted = Bundle(pem, self._owner.uid if self._owner is not None else "")
            there = {name.namespace: value for name, value in self._bundles.values.items()}
            namespaces = {name.name: value for name, value in self._namespaces.values.items()}
            for namespace in missing(namespaces, there, wanted):
                try:
                    await self._cluster.apply(CONFIG_MAPS, config_map(namespace, pem, self._owner))
                except ApiError as error:
                    problems.append(str(error))
        told = "; ".join(problems[:3])
        if told and told != self._told:
            log.warning("whom the cluster trusts is not up to date", problems=len(problems), reason=told)
        self._told = told

    def _leaving(self) -> bool:
        """Whether the owner has just gone. `_owner` is as of now afterwards."""
        owners = [
            Owner(each.uid, self._name) for each in self._configurations[MUTATING_WEBHOOKS].values.values()
        ]
        if owners:
            self._owner, self._gone = owners[0], None
            return False
        if self._owner is not None:
            self._owner, self._gone = None, self._clock()
        return self._gone is not None and self._clock() - self._gone < GRACE

    def _missing_webhooks(self) -> str:
        what = {
            MUTATING_WEBHOOKS: "pods that start get no sidecar",
            VALIDATING_WEBHOOKS: "wrong documents are refused by their status alone",
        }
        gone = [
            f"{resource.kind} {self._name} is not there, so {what[resource]}"
            for resource, reflector in self._configurations.items()
            if not reflector.values
        ]
        return f"{'; '.join(gone)}: apply `meshwright install` again" if gone else ""

    async def _trust(self, resource: Resource, configuration: Configuration, pem: str) -> None:
        bundle = base64.b64encode(pem.encode()).decode()
        stale = [name for name, has in configuration.bundles if has != bundle]
        if not stale:
            return
        patch = {"webhooks": [{"name": name, "clientConfig": {"caBundle": bundle}} for name in stale]}
        await self._cluster.patch(resource, self._name, patch, kind="strategic")
        log.info("the API server verifies the webhooks by the mesh's roots", configuration=resource.kind)


def _namespace(found: Object) -> bool | None:
    """Whether pods are injected there; None while it is being deleted: nothing can be made in it."""
    if (found.get("status") or {}).get("phase") == "Terminating":
        return None
    return bool((found["metadata"].get("labels") or {}).get(INJECT) in ENABLED)


def _bundle(found: Object) -> Bundle:
    owners = found["metadata"].get("ownerReferences") or [{}]
    return Bundle((found.get("data") or {}).get(BUNDLE_KEY, ""), owners[0].get("uid", ""))


def _configuration(found: Object) -> Configuration:
    return Configuration(
        found["metadata"].get("uid", ""),
        tuple(
            (each["name"], (each.get("clientConfig") or {}).get("caBundle", ""))
            for each in found.get("webhooks") or ()
        ),
    )
