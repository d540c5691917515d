"""Answers to operators: status, config dumps and what is measured on request."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import importlib.metadata
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf import json_format, symbol_database
from google.protobuf.message import Message

from api.shapes.status import (
    HoldStatus,
    Listing,
    ProxyStatus,
    Refusal,
    Sees,
    ServiceListing,
    SourceState,
    Status,
    TypeStatus,
    WorkloadListing,
)
from ca.rotation import RotatingAuthority
from ca.server_tls import ServerCertificate
from discovery.supervisor import Discovery
from discovery.supervisor import SourceState as Supervised
from envoy.render import Renderer
from mesh.names import Key
from mesh.workload import Health
from meshwright.certificates import Certificates
from meshwright.federation import Federation
from meshwright.gateway_status import (
    backend_tls_statuses,
    gateway_statuses,
    listener_set_statuses,
    route_statuses,
)
from meshwright.keeper import SecretKeeper
from meshwright.metrics import Metrics
from meshwright.nearest import Nearest
from meshwright.pipeline import Pipeline
from meshwright.proxies import proxies
from meshwright.publisher import Publisher, client_ids
from meshwright.quarantine.watch import Quarantine
from meshwright.replicas import Replicas
from meshwright.rollout.book import Book as RolloutBook
from meshwright.sizes import ScopeSize
from policies.notes import all_notes
from xds.resource import Resource
from xds.server import XdsServer
from xds.status import ClientStatus
from xds.types import CLUSTER, LISTENER, SECRET, short_name

REDACTED = "redacted"


@dataclass(frozen=True, slots=True)
class Reports:
    """Everything that is asked about, in one place. No method changes anything but metrics."""

    trust_domain: str
    pipeline: Pipeline
    publisher: Publisher
    xds: XdsServer
    discovery: Discovery
    keeper: SecretKeeper
    authority: RotatingAuthority
    certificate: ServerCertificate
    renderer: Renderer
    metrics: Metrics
    certificates: Certificates
    federation: Federation
    quarantine: Quarantine
    replicas: Replicas
    at: Callable[[str], str | None]
    """The commit of the source of that name, where it has one."""
    rollouts: RolloutBook
    of_cluster: Callable[[], Mapping[str, str]]
    """What is wrong with objects of Kubernetes that the mesh itself needs, by subject."""

    def not_ready(self) -> str | None:
        """What is waited for; None when proxies are answered."""
        if self.xds.cache.is_open:
            return None
        silent = [
            f"source {each.name} has not answered"
            if each.last_error is None
            else f"source {each.name}: {each.last_error}"
            for each in self.discovery.status()
            if each.state in {Supervised.STARTING, Supervised.FAILED}
        ]
        return "; ".join(silent) or "the first configuration is being made"

    def status(self) -> Status:
        now, state = time.monotonic(), self.pipeline.state
        quarantined, of_rollouts = self.quarantine.problems(), self.rollouts.problems()
        of_cluster = self.of_cluster()
        sources, clients = self.discovery.status(), proxies(self.xds.clients())
        sizes = self.publisher.sizes(self._named)
        several = {name for name, count in Counter(each.id for each in clients).items() if count > 1}
        nearest = Nearest(state.workloads)
        return Status(
            version=version(),
            trust_domain=self.trust_domain,
            federated=self.federation.status(),
            ready=self.xds.cache.is_open,
            services=len(state.services),
            workloads=len(state.workloads),
            proxies=tuple(self._proxy(each, now, several, sizes, nearest) for each in clients),
            sources=tuple(
                SourceState(
                    source=each.name,
                    state=each.state.value,
                    since=now - each.since,
                    services=each.services,
                    workloads=each.workloads,
                    error=each.last_error if each.state is Supervised.FAILED else None,
                    errors=each.errors,
                    warnings=each.warnings,
                    at=self.at(each.name),
                )
                for each in sources
            ),
            holds=tuple(
                HoldStatus(
                    service=str(hold.service),
                    source=hold.source,
                    endpoints=hold.endpoints,
                    reason=hold.why,
                    held_for=now - hold.since,
                    ends_in=max(0.0, hold.ends - now),
                )
                for each in sources
                for hold in each.holds
            ),
            problems={**self.publisher.problems, **quarantined, **of_rollouts, **of_cluster},
            quarantined=tuple(quarantined),
            of_rollouts=tuple(of_rollouts),
            of_cluster=tuple(of_cluster),
            notes=tuple(all_notes(state)),
            conflicts=tuple(state.conflicts()),
            certificates={kind: when.isoformat(timespec="seconds") for kind, when in self._expiries()},
            routes=tuple(route_statuses(state)),
            gateways=tuple(gateway_statuses(state, self.certificates, self.refused_listeners(clients))),
            listener_sets=tuple(listener_set_statuses(state, self.certificates)),
            backend_tls=tuple(backend_tls_statuses(state, self.certificates)),
            replicas=self.replicas.status(),
        )

    def connected(self) -> frozenset[Key]:
        """The workloads whose proxies have a stream open."""
        clients = {each.client for each in self.xds.streams()}
        return frozenset(
            key for key in self.pipeline.state.workloads if not clients.isdisjoint(client_ids(key))
        )

    def listing(self) -> Listing:
        """Every service and every workload, as the mesh has them now."""
        state, connected = self.pipeline.state, self.connected()
        services = []
        for key, service in sorted(state.services.items()):
            members = [state.workloads[member] for member in state.members.get(key, ())]
            services.append(
                ServiceListing(
                    service=str(key),
                    ports=tuple(f"{port.name}:{port.port}/{port.protocol.value}" for port in service.ports),
                    accounts=tuple(
                        dict.fromkeys(identity.service_account for identity in state.identities(key))
                    ),
                    endpoints=len(members),
                    passing=sum(each.health is not Health.CRITICAL for each in members),
                    source=state.owner(key) or "",
                    origin=service.origin,
                )
            )
        workloads = (
            WorkloadListing(
                workload=str(key),
                services=tuple(each.name for each in workload.services),
                account=workload.service_account,
                address=workload.address,
                ports=tuple(f"{port.name}:{port.app},{port.sidecar or '-'}" for port in workload.ports),
                health=workload.health.value,
                meshed=workload.meshed,
                proxy="connected" if key in connected else "",
                source=state.workload_owner(key) or "",
                origin=workload.origin,
            )
            for key, workload in sorted(state.workloads.items())
        )
        return Listing(services=tuple(services), workloads=tuple(workloads))

    async def config_dump(self, workload: Key) -> str | None:
        """All that a proxy is given, as JSON, with versions and provenance; None if it is not connected."""
        streams = [stream for client in client_ids(workload) for stream in self.xds.streams_of(client)]
        if not streams:
            return None
        resources: dict[tuple[str, str], Resource] = {}
        for scope in streams[0].session.scopes:
            for each in self.xds.cache.contents(scope):
                resources.setdefault((each.type_url, each.name), each)
        # Decoding all of it takes longer than the event loop may be held up.
        return await asyncio.to_thread(_dumped, workload, [each for _, each in sorted(resources.items())])

    def refresh_metrics(self) -> None:
        """Bring the gauges up to date that are read off, not counted."""
        state = self.pipeline.state
        self.metrics.services.set(len(state.services))
        self.metrics.workloads.set(len(state.workloads))
        self.metrics.scopes.set(self.publisher.scopes_in_use())
        self.metrics.renderings.set(self.renderer.renderings.total())
        self.metrics.policies_left_out.set(self.publisher.policies_left_out)
        for whom, count in self.quarantine.counts().items():
            self.metrics.quarantined.labels(whom).set(count)
        for each in self.discovery.status():
            self.metrics.source_up.labels(each.name).set(each.state is Supervised.LIVE)
            self.metrics.source_held.labels(each.name).set(sum(hold.endpoints for hold in each.holds))
            self.metrics.source_errors.labels(each.name).set(len(each.errors))
        self.metrics.federated_age.clear()
        for name, age in self.federation.ages().items():
            self.metrics.federated_age.labels(name).set(age)
        for kind, when in self._expiries():
            self.metrics.expiry.labels(kind).set(when.timestamp())

    def _named(self, client: str) -> Iterable[str]:
        """The clusters that the streams of a client asked for by name."""
        return {
            name
            for stream in self.xds.streams_of(client)
            if (state := stream.session.states.get(CLUSTER)) is not None
            for name in state.subscription.names
        }

    def _proxy(
        self,
        client: ClientStatus,
        now: float,
        several: set[str],
        sizes: dict[str, ScopeSize],
        nearest: Nearest,
    ) -> ProxyStatus:
        size = sizes.get(client.id)
        return ProxyStatus(
            proxy=client.id,
            state="waiting" if client.waiting else "connected",
            peer=client.peer,
            agent=client.agent,
            protocol=client.protocol,
            connected_for=now - client.connected_at,
            note=self._note(client, several, nearest),
            sees=None if size is None else Sees(**dataclasses.asdict(size)),
            types=tuple(
                TypeStatus(
                    type=short_name(each.type_url),
                    subscribed="everything" if each.subscribed is None else str(each.subscribed),
                    sent=each.responses,
                    acknowledged=each.acknowledged,
                    in_sync=each.in_sync,
                    late=each.late,
                    pending=each.pending,
                    held_back=each.held_back,
                    refused=None
                    if each.refusal is None
                    else Refusal(
                        names=each.refusal.names,
                        message=each.refusal.message,
                        version=each.refusal.version,
                        age=now - each.refusal.at,
                        origin=each.refusal.origin,
                    ),
                )
                for each in client.types
            ),
        )

    def _note(self, client: ClientStatus, several: set[str], nearest: Nearest) -> str:
        """What an operator should know of a proxy that is connected, or waits, and yet does not serve as meant."""
        state, key = self.pipeline.state, Key.parse(client.node_id)
        workload = state.workloads.get(key)
        if workload is None:
            near = nearest.to(key)
            hint = f" (did you mean {near}?)" if near is not None else ""
            if client.waiting and self.xds.cache.is_open:
                return f"it waits: no source declares the workload {client.node_id}{hint}"
            return f"no source declares the workload {client.node_id} any more{hint}: it keeps what it had, to drain"
        if client.id in several:
            return "more than one stream is open for this workload: are two proxies running as it?"
        if workload.gateway is not None and ("Gateway", workload.gateway) not in state.declared:
            return f"no document declares the Gateway {workload.gateway} that it plays: it listens nowhere"
        if not workload.meshed:
            return "its workload is not meshed: callers do not use this sidecar; set meshed"
        return ""

    def refused_listeners(self, clients: Iterable[ClientStatus]) -> dict[Key, str]:
        """What proxies say of listeners that they do not take, by workload; also where the document has been set aside since."""
        aside = {
            Key.parse(client.partition(" (")[0]): told.case.message
            for told in self.quarantine.told()
            if told.active and told.case.resource.startswith("Listener ")
            for client in told.case.clients
        }
        return aside | _refused_listeners(clients)

    def _expiries(self) -> Iterator[tuple[str, datetime]]:
        signing = self.authority.status()
        yield "root", signing.root_not_after
        yield "intermediate", signing.intermediate_not_after
        yield "control plane", self.certificate.not_after
        first = self.keeper.first_expiry()
        if first is not None:
            yield "workload", first
        at_edges = self.certificates.first_expiry()
        if at_edges is not None:
            yield "gateway", at_edges


def version() -> str:
    return importlib.metadata.version("meshwright")


def _dumped(workload: Key, resources: list[Resource]) -> str:
    return json.dumps({"proxy": str(workload), "resources": [_shown(each) for each in resources]}, indent=2)


def _shown(resource: Resource) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": short_name(resource.type_url),
        "name": resource.name,
        "version": resource.version,
        "origin": list(resource.origin),
    }
    if resource.type_url == SECRET:
        return {**shown, "resource": REDACTED}
    kind: type[Message] = symbol_database.Default().GetSymbol(resource.type_url.rpartition("/")[2])
    try:
        return {**shown, "resource": json_format.MessageToDict(kind.FromString(resource.body))}
    except (TypeError, KeyError):  # an extension whose message is not loaded
        return {**shown, "resource": {"base64": base64.b64encode(resource.body).decode()}}


def _refused_listeners(clients: Iterable[ClientStatus]) -> dict[Key, str]:
    """What proxies say of listeners that they do not take, by workload."""
    return {
        Key.parse(client.node_id): each.refusal.message
        for client in clients
        for each in client.types
        if each.type_url == LISTENER and each.refusal is not None
    }
