"""The control plane's own metrics, for Prometheus. Labels are of bounded number: types and sources, never proxies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ca.join import JoinEvent

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """All of them, on a registry of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.streams = Gauge("meshwright_xds_streams", "Open xDS streams.", ["protocol"], registry=registry)
        self.streams_refused = Counter(
            "meshwright_xds_streams_refused_total",
            "Streams that were refused.",
            ["status"],
            registry=registry,
        )
        self.withheld = Counter(
            "meshwright_secrets_withheld_total",
            "Secrets that a proxy asked for and has no right to, or that are not there.",
            registry=registry,
        )
        self.pushes = Counter("meshwright_xds_pushes_total", "Responses sent.", ["type"], registry=registry)
        self.push_bytes = Counter(
            "meshwright_xds_push_bytes_total", "Bytes of responses sent.", ["type"], registry=registry
        )
        self.push_resources = Counter(
            "meshwright_xds_push_resources_total", "Resources sent.", ["type"], registry=registry
        )
        self.acks = Counter(
            "meshwright_xds_acks_total", "Responses acknowledged.", ["type"], registry=registry
        )
        self.nacks = Counter(
            "meshwright_xds_nacks_total", "Responses refused by a proxy.", ["type"], registry=registry
        )
        self.converged = Histogram(
            "meshwright_xds_convergence_seconds",
            "From a change to the last ACK of all proxies that it concerned.",
            buckets=SECONDS,
            registry=registry,
        )
        self.revision_applied = Gauge(
            "meshwright_revision_applied",
            "The newest revision of the store that was taken.",
            registry=registry,
        )
        self.revision_acknowledged = Histogram(
            "meshwright_revision_acknowledged_seconds",
            "From when a revision of the store was taken to the last answer of a proxy.",
            buckets=SECONDS,
            registry=registry,
        )
        self.events = Counter(
            "meshwright_source_events_total", "Events of a source.", ["source"], registry=registry
        )
        self.tasks_restarted = Counter(
            "meshwright_task_restarts_total",
            "Tasks of the control plane that broke and were started again; its log says why.",
            ["task"],
            registry=registry,
        )
        self.source_up = Gauge(
            "meshwright_source_up", "1 while the source answers.", ["source"], registry=registry
        )
        self.source_held = Gauge(
            "meshwright_source_held_endpoints",
            "Endpoints of the source that are held after a suspicious mass removal.",
            ["source"],
            registry=registry,
        )
        self.source_errors = Gauge(
            "meshwright_source_errors",
            "Documents or instances of the source that were refused.",
            ["source"],
            registry=registry,
        )
        self.federated_age = Gauge(
            "meshwright_federated_bundle_age_seconds",
            "Since the trust bundle of a foreign trust domain was last confirmed where it is kept.",
            ["trust_domain"],
            registry=registry,
        )
        self.services = Gauge("meshwright_services", "Services in the mesh.", registry=registry)
        self.workloads = Gauge("meshwright_workloads", "Workloads in the mesh.", registry=registry)
        self.scopes = Gauge(
            "meshwright_scopes", "Different views of the mesh that proxies have.", registry=registry
        )
        self.policies_left_out = Gauge(
            "meshwright_policies_left_out",
            "Places at which a policy has no effect because of what is wrong with it there; status says which and why.",
            registry=registry,
        )
        self.quarantined = Gauge(
            "meshwright_quarantined_documents",
            "Documents of which a revision is set aside because Envoy refuses it, for all proxies of a version or for some.",
            ["for"],
            registry=registry,
        )
        self.renderings = Gauge(
            "meshwright_renderings", "Renderings made since the start.", registry=registry
        )
        self.certificates = Counter(
            "meshwright_certificates_issued_total",
            "Certificates issued, by what for.",
            ["purpose"],
            registry=registry,
        )
        self.joins = Counter(
            "meshwright_joins_total", "Attempts to join or renew.", ["outcome", "status"], registry=registry
        )
        self.limits = Counter(
            "meshwright_ratelimit_requests_total",
            "Requests held against limits that the mesh shares, by what was answered.",
            ["answer"],
            registry=registry,
        )
        self.access_log_entries = Counter(
            "meshwright_access_log_entries_total",
            "Entries of access logs that proxies sent here, by what became of them.",
            ["outcome"],
            registry=registry,
        )
        self.plaintext_calls = Counter(
            "meshwright_plaintext_calls_total",
            "Requests and connections without mesh TLS that permissive ports took, by what was spoken.",
            ["protocol"],
            registry=registry,
        )
        self.plaintext_callers = Gauge(
            "meshwright_plaintext_callers",
            "Pairs of a caller and a port that it called without mesh TLS in the last hour; `meshwright plaintext` names them.",
            registry=registry,
        )
        self.expiry = Gauge(
            "meshwright_certificate_expiry_timestamp_seconds",
            "When the first certificate of its kind ends.",
            ["kind"],
            registry=registry,
        )
        self.loop_lag = Histogram(
            "meshwright_event_loop_lag_seconds",
            "How late the event loop runs what is due.",
            buckets=(0.001, *SECONDS),
            registry=registry,
        )

    def joined(self, event: JoinEvent) -> None:
        self.joins.labels(event.outcome.value, event.status).inc()


async def watch_loop_lag(metrics: Metrics, clock: Callable[[], float], every: float = 0.5) -> None:
    """Measure how late a timer fires, until cancelled."""
    while True:
        due = clock() + every
        await asyncio.sleep(every)
        metrics.loop_lag.observe(max(0.0, clock() - due))
