"""Where the Kubernetes parts of the control plane are put together: each has an async `run(parts)` and a line in `PARTS`.

They run beside the mesh: one that breaks is started again, and told, and holds up nothing else. What one replica must do
alone runs by `Parts.alone`, while it holds the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from ca.authority import Authority
from ca.server_tls import ServerCertificate
from ca.shared import Making
from ca.times import Chance, Clock, system_clock
from kube.access import ClusterOptions
from kube.client import Cluster
from kube.lease import Lease
from kube.resource import Object
from meshwright.acknowledged import Acknowledged
from meshwright.audit import Value
from meshwright.certificates import Certificates
from meshwright.foresight import Foresight
from meshwright.kubernetes.admission import Answer
from meshwright.kubernetes.authority import SecretAuthority, wait
from meshwright.kubernetes.bundles import BundleKeeper
from meshwright.kubernetes.certificates import ClusterCertificates
from meshwright.kubernetes.concerns import Concerns
from meshwright.kubernetes.gateway_api import GatewayApiStatuses
from meshwright.kubernetes.gateway_manifests import GatewayOptions
from meshwright.kubernetes.gateways import Gateways
from meshwright.kubernetes.history import History
from meshwright.kubernetes.install.options import NAME
from meshwright.kubernetes.mutating import mutated
from meshwright.kubernetes.own_statuses import OwnStatuses
from meshwright.kubernetes.programming import Programming
from meshwright.kubernetes.proxies import injection_options, proxy_options
from meshwright.kubernetes.statuses import StatusWriter
from meshwright.kubernetes.validating import Validator
from meshwright.kubernetes.webhooks import MUTATE, VALIDATE, Webhooks, serving
from meshwright.metrics import Metrics
from meshwright.pipeline import Pipeline
from meshwright.publisher import Publisher
from meshwright.replicas import replica_name
from meshwright.reports import Reports
from meshwright.settings import Settings
from meshwright.settings_kubernetes import ClusterSettings, KubernetesSettings
from meshwright.tasks import Work
from policies.registry import KINDS
from store.kubernetes_sets import ClusterDocuments
from xds.server import XdsServer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """The cluster, and the documents in it; the authority that is kept there, if one is; the lease of what one replica does alone. `clusters`: it and
    the others of the settings, by name.
    """

    cluster: Cluster
    settings: KubernetesSettings
    documents: ClusterDocuments
    authority: SecretAuthority | None
    lease: Lease | None
    clusters: Mapping[str, Cluster]
    concerns: Concerns


@dataclass(frozen=True, slots=True)
class Parts:
    """What a part may need of the rest of the program."""

    settings: Settings
    opened: Opened
    pipeline: Pipeline
    publisher: Publisher
    xds: XdsServer
    acknowledged: Acknowledged
    reports: Reports
    certificates: Certificates
    authority: Authority
    certificate: ServerCertificate
    metrics: Metrics
    record: Callable[[str, Mapping[str, Value]], None]
    clock: Clock = system_clock
    monotonic: Callable[[], float] = time.monotonic
    chance: Chance = random.random

    @property
    def cluster(self) -> Cluster:
        return self.opened.cluster

    @property
    def documents(self) -> ClusterDocuments:
        """The objects of the cluster, as the mesh was told of them."""
        return self.opened.documents

    @property
    def namespace(self) -> str:
        """The control plane's own."""
        return self.opened.settings.namespace or ""

    async def alone(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` whenever this replica holds the lease, and cancel it when that is lost; until cancelled or done."""
        if self.opened.lease is not None:
            await self.opened.lease.alone(work)


Part = Callable[[Parts], Awaitable[None]]


async def _authority(parts: Parts) -> None:
    """The Secret's copy is followed by every replica, and seen to by one."""
    shared = parts.opened.authority
    if shared is None:
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(shared.follow())
        group.create_task(parts.alone(lambda: shared.keep(parts.record)))


PARTS: Final[tuple[tuple[str, Part], ...]] = (("authority in the cluster", _authority),)


def _reading(parts: Parts) -> dict[str, Work]:
    """What every replica does, in the cluster or outside: it writes nothing, and nobody asks it anything."""
    certificates = ClusterCertificates(
        parts.cluster,
        parts.certificates,
        parts.pipeline.renewed,
        clock=parts.monotonic,
        random=parts.chance,
    )
    return {"certificates in the cluster": certificates.run}


def _gateway_api(parts: Parts) -> dict[str, Work]:
    """What Gateways need is made, and statuses are written, by one replica."""
    gateways = Gateways(
        parts.cluster,
        lambda: parts.pipeline.state,
        lambda: parts.documents.held,
        GatewayOptions(proxy_options(parts.settings), parts.opened.settings.gateway_service_type),
        cluster_ip=parts.opened.settings.gateway_cluster_ip,
        clock=parts.monotonic,
        random=parts.chance,
    )
    told = GatewayApiStatuses(
        gateways,
        parts.certificates,
        parts.reports,
        parts.xds,
        clock=parts.monotonic,
        wall=parts.clock,
    )
    programming = Programming(parts.pipeline, parts.xds.streams, parts.xds.clock)
    parts.documents.on_applied = lambda names: programming.applied(names, parts.documents.held)
    own = OwnStatuses(
        programming,
        quarantined=parts.reports.quarantine.of,
        rolling=parts.reports.rollouts.of,
        wall=parts.clock,
        moves=lambda: (parts.reports.quarantine.book.cases(), parts.reports.rollouts.holding()),
    )
    writer = StatusWriter(
        parts.cluster,
        (own, told),
        state=lambda: parts.pipeline.state,
        held=lambda: parts.documents.held,
        resource=parts.documents.resource,
        clock=parts.monotonic,
        registry=parts.metrics.registry,
    )
    return {
        "gateways in the cluster": lambda: parts.alone(gateways.run),
        "acknowledgements of the cluster's objects": programming.run,
        "statuses in the cluster": lambda: parts.alone(writer.run),
    }


def works(parts: Parts) -> dict[str, Work]:
    """The tasks of the Kubernetes parts, by name. Without a namespace of its own, the control plane only reads."""
    made = _reading(parts)
    if parts.opened.settings.namespace is None:
        return made

    def of(part: Part) -> Work:
        async def run() -> None:
            await part(parts)

        return run

    made |= {name: of(part) for name, part in PARTS}
    made |= _gateway_api(parts)
    made |= _injection(parts)
    if most := parts.opened.settings.history:
        history = History(
            parts.cluster, lambda: parts.documents.held, most, clock=parts.monotonic, random=parts.chance
        )
        made["history of the cluster's objects"] = lambda: parts.alone(history.run)
    lease = parts.opened.lease
    return made if lease is None else {"lease": lease.run, **made}


def _injection(parts: Parts) -> dict[str, Work]:
    """Webhooks are answered by every replica; whom the cluster trusts is written by one."""
    options = injection_options(parts.settings)

    async def mutate(request: Object) -> Answer:
        return mutated(request, options)

    # Who spoke plaintext lately is not foreseen here: it is known of proxies of this replica alone.
    foresight = Foresight(lambda: parts.pipeline.state, lambda: dict)
    validate = Validator(lambda: parts.documents.held, foresight, lambda: parts.pipeline.state)
    webhooks = Webhooks({MUTATE: mutate, VALIDATE: validate}, parts.metrics.registry)

    async def serve() -> None:
        async with serving(webhooks, parts.opened.settings.webhook_address, parts.certificate) as address:
            log.info("webhooks are answered", address=address)
            await asyncio.Event().wait()

    bundles = BundleKeeper(
        parts.cluster,
        NAME,
        lambda: parts.authority.roots().pem,
        parts.opened.concerns,
        clock=parts.monotonic,
        random=parts.chance,
    )
    return {"webhooks": serve, "bundles in the cluster": lambda: parts.alone(bundles.run)}


def cluster_options(settings: ClusterSettings) -> ClusterOptions:
    """How a cluster of the settings is reached."""
    return ClusterOptions(
        name=settings.name,
        kubeconfig=str(settings.kubeconfig) if settings.kubeconfig is not None else None,
        context=settings.context,
    )


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Opened | None]:
    """The cluster of the settings, within the block; None if there is none. BadCluster; ApiError or OSError if the authority can't be read."""
    kubernetes = settings.kubernetes
    if kubernetes is None:
        yield None
        return
    async with contextlib.AsyncExitStack() as stack:
        clusters = {
            each.name: await stack.enter_async_context(Cluster(cluster_options(each), clock=time.monotonic))
            for each in (kubernetes, *kubernetes.others)
        }
        cluster = clusters[kubernetes.name]
        shared = lease = None
        concerns = Concerns()
        if kubernetes.namespace is not None:
            lease = Lease(
                cluster,
                NAME,
                kubernetes.namespace,
                replica_name(random.random),
                clock=time.monotonic,
                wall=system_clock,
                random=random.random,
            )
        if kubernetes.authority_secret is not None and kubernetes.namespace is not None:
            making = Making(settings.trust_domain, wait(settings.certificate_lifetime), kind=settings.ca_key)
            shared = SecretAuthority(
                cluster,
                kubernetes.namespace,
                kubernetes.authority_secret,
                Path(kubernetes.authority_dir),
                making,
                system_clock,
                concerns,
            )
            await shared.open()
        documents = ClusterDocuments(
            cluster,
            KINDS,
            root_namespace=kubernetes.root,
            clock=time.monotonic,
            random=random.random,
        )
        yield Opened(cluster, kubernetes, documents, shared, lease, clusters, concerns)
