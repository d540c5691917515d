"""The composition root: every part is made here, is given its clock and its neighbours, and runs in one task group.

Last known good (invariant 7): the cache is opened, and streams are answered, once each source has given a whole
answer or its last good state was read from disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Self

import grpc.aio
import structlog
from prometheus_client import CollectorRegistry

from ca.authority import LEAF_LIFETIME
from ca.control_plane import server_name
from ca.errors import CaError
from ca.federation import spiffe_document
from ca.issuer import SecretIssuer
from ca.join import JoinService
from ca.ledger_file import LedgerFile
from ca.proof_limit import ProofLimit
from ca.rate_limit import AttemptLimit, Rate
from ca.recorded import RecordedAuthority
from ca.server_tls import JOIN_SERVER_OPTIONS, ServerCertificate, ServerNames
from ca.times import system_clock
from ca.trust import TrustService
from discovery.consul import ConsulSource
from discovery.consul_options import ConsulOptions
from discovery.file import FileSource
from discovery.guard import GuardSettings
from discovery.lastgood import LastGood
from discovery.source import Source
from discovery.store import StoreSource
from discovery.supervisor import Discovery
from envoy.render import Renderer
from mesh.events import Event
from mesh.identity import TrustDomains
from mesh.names import Key
from mesh.plaintext_calls import PlaintextCalls
from mesh.state import Merging, MeshState
from meshwright import logs
from meshwright.access_lines import AccessLines
from meshwright.access_logs import AccessLogs
from meshwright.acknowledged import Acknowledged
from meshwright.admin import Admin, Answers
from meshwright.answers_to_writes import AnswersToWrites
from meshwright.api_backend import Tokens, backend, open_api
from meshwright.audit import AuditedAuthority, AuditLog, Value
from meshwright.authority import follow, open_authority
from meshwright.calls_seen import CallsSeen
from meshwright.certificates import Certificates
from meshwright.data_dir import held
from meshwright.doors import Doors
from meshwright.elsewhere import Elsewhere
from meshwright.errors import SettingsError
from meshwright.federation import Federation
from meshwright.joins_told import JoinsTold
from meshwright.keeper import SecretKeeper
from meshwright.kept import Kept
from meshwright.kubernetes import composition
from meshwright.kubernetes import sources as clusters
from meshwright.kubernetes.install.options import NAME
from meshwright.leaving import ELSEWHERE, Leaving
from meshwright.log_ring import LogRing
from meshwright.log_watch import LogWatch
from meshwright.looking import Looking
from meshwright.metrics import Metrics, watch_loop_lag
from meshwright.moving import Move
from meshwright.observer import StreamObserver
from meshwright.passages import Passages
from meshwright.pipeline import Pace, Pipeline
from meshwright.plaintext import PlaintextWatch
from meshwright.plan.planner import Live, Planner
from meshwright.proofs import proofs
from meshwright.publisher import Publisher, client_id
from meshwright.quarantine.opened import open_quarantine
from meshwright.rate_limit_gate import RateLimitGate
from meshwright.rate_limits import rate_limits
from meshwright.replicas import Replicas, replica_name
from meshwright.reports import Reports
from meshwright.rollout.opened import connect, open_rollouts
from meshwright.rotation import Rotator
from meshwright.scopes import Scope, Secrets
from meshwright.settings import Settings, unknown_variables
from meshwright.stale import end_stale, proved_streams, watch_proofs
from meshwright.stores import STORE, keep_house, open_store
from meshwright.tasks import Tasks, Work
from meshwright.whereabouts import Whereabouts
from meshwright.writes import written
from pb.meshwright.join.v1.join_pb2_grpc import add_JoinServiceServicer_to_server
from pb.meshwright.trust.v1.trust_pb2_grpc import add_TrustServiceServicer_to_server
from policies.registry import KINDS
from ratelimit.service import RateLimits
from store.backend import Backend
from store.directory import Directory
from store.kubernetes_sets import SOURCE as CLUSTER
from store.repository import Repository
from store.sets import StoreDocuments
from xds.cache import ResourceCache
from xds.server import XdsServer, XdsSettings, server_options

DRAIN = 1.0
"""Seconds that open calls get at the end. Proxies keep what they have, and connect again to whoever answers."""

COLLECTIONS = (10_000, 20, 20)
"""How seldom the collector looks at what is new (objects, then rounds). A wave of updates makes many objects that go by themselves;
by default the collector took 6 % of its time.
"""
RETRY = 10.0
"""Seconds after a certificate could not be renewed."""

LAST_GOOD = "last-good"
FILES = "files"
"""The name of the file source."""

log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    ring = LogRing()
    logs.configure(settings.log_level, settings.log_format, ring)
    for name in unknown_variables(os.environ):
        log.warning("unknown environment variable: docs/settings.md lists the settings", variable=name)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ControlPlane(settings, ring) as control_plane:
        log.info("serving", **control_plane.addresses)
        await stop.wait()
        log.info("stopping")


class ControlPlane:
    """All of it. As an async context manager, it serves within its block; a part that breaks beyond repair ends the block."""

    def __init__(self, settings: Settings, ring: LogRing | None = None) -> None:
        """`ring`: the last lines of the log, for whoever asks."""
        self.settings = settings
        self._ring = ring or LogRing()
        self.addresses: dict[str, str] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        settings, data_dir = self.settings, self.settings.data_dir
        self._stack.enter_context(held(data_dir))
        self._check_documents()
        kubernetes = await self._stack.enter_async_context(composition.opened(settings))
        shared = kubernetes.authority if kubernetes is not None else None
        authority = await open_authority(settings, data_dir, shared.files if shared is not None else None)
        if authority.created:
            log.warning(
                "a new certificate authority was made: back up its directory, which nothing can replace",
                directory=str(data_dir / "ca"),
            )
        audit = AuditLog(data_dir, system_clock)
        self._stack.callback(audit.flush)

        def record(event: str, fields: Mapping[str, Value]) -> None:
            audit.record(event, **fields)

        if authority.created:
            audit.record("authority created", trust_domain=settings.trust_domain)
        ledger = await asyncio.to_thread(
            LedgerFile.open,
            data_dir / "ca",
            created=authority.created,
            unrecorded_until=system_clock() + max(LEAF_LIFETIME, settings.certificate_lifetime),
        )
        self._stack.callback(ledger.close)
        move = await asyncio.to_thread(
            Move.open,
            data_dir / "ca",
            TrustDomains(settings.trust_domain, settings.trust_domain_aliases),
            ledger.ledger,
            system_clock,
            roots=authority.root_trust_domains,
        )
        domains = move.domains
        audited = AuditedAuthority(RecordedAuthority(authority, ledger.ledger), audit)
        # Agents know it by the trust domain of the certificate that they have.
        former = map(server_name, domains.aliases)
        names = ServerNames.parse((*settings.server_names, *former))
        life = settings.certificate_lifetime
        certificate = ServerCertificate(audited, names, system_clock, random.random)
        await certificate.renew()

        federation = Federation(
            settings.federation,
            domains,
            data_dir,
            monotonic=time.monotonic,
            record=record,
        )
        await federation.open()

        metrics = Metrics(CollectorRegistry())
        cache = ResourceCache()
        renderer = Renderer()
        repository = await self._stack.enter_async_context(open_store(settings))
        kept = Kept(
            repository,
            StoreDocuments(repository, KINDS) if repository is not None else None,
            Directory(settings.documents, KINDS) if settings.documents is not None else None,
            kubernetes.documents if kubernetes is not None else None,
        )
        sources = tuple(self._sources(kept, kubernetes))
        order = tuple(source.name for source in sources)
        state = MeshState(
            settings.trust_domain,
            order=order,
            merging=_merging(settings),
            federated=federation.trust_domains,
            aliases=domains.aliases,
            former=domains.former,
        )
        certificates = Certificates(settings.documents, data_dir, system_clock)
        publisher = Publisher(
            state, renderer, certificates=certificates, on_demand=settings.clusters == "onDemand"
        )
        pipeline = Pipeline(
            state, publisher, cache, pace=Pace(settings.quiet, settings.quiet_max), clock=time.monotonic
        )
        issuer = SecretIssuer(
            audited,
            system_clock,
            random.random,
            life,
            settings.certificate_key,
            federated=lambda: federation.bundles,
            aliases=domains.aliases,
        )
        keeper = SecretKeeper(issuer, cache, metrics)
        doors = Doors(settings.trust_domain, pipeline, keeper)

        def stale(proof: object) -> str | None:
            return doors.stale(proof, system_clock())

        observer = StreamObserver(metrics, pipeline.detach, audit)
        xds_settings = XdsSettings(
            ack_timeout=settings.ack_timeout, first_configurations=settings.first_configurations
        )
        xds = XdsServer(cache, doors.identify, xds_settings, observer, may_see=doors.may_see)
        pipeline.rescope = xds.rescope
        rotator = Rotator(
            authority,
            ledger,
            keeper,
            certificate,
            streams_of=lambda workload: proved_streams(xds, workload),
            served=lambda stream: cache.ready(stream.session.scopes),
            clock=system_clock,
            monotonic=time.monotonic,
            chance=random.random,
            registry=metrics.registry,
            stale=stale,
            record=record,
            federated=lambda: federation.bundles,
            followed=2 * timedelta(seconds=settings.federation_refresh if federation.on else 0),
            aliases=domains.aliases,
            move=move.status,
        )
        move.watch(
            lambda workload: proved_streams(xds, workload),
            rotator.trust.told,
            lambda: authority.root_trust_domains,
        )
        discovery = Discovery(
            sources,
            lastgood=LastGood(data_dir / LAST_GOOD, KINDS),
            clock=time.monotonic,
            random=random.random,
            guard_settings=GuardSettings(longest=settings.hold),
        )
        rollouts = await open_rollouts(
            publisher,
            pipeline,
            xds,
            repository,
            metrics,
            data_dir,
            record,
        )
        quarantine = await open_quarantine(
            publisher, pipeline, renderer, observer, xds, repository, data_dir, audit.record
        )
        acknowledged = Acknowledged(pipeline, xds, time.monotonic, metrics, quarantine.told)
        replicas = Replicas(
            acknowledged, replica_name(random.random), _shared(settings, repository), time.monotonic
        )
        reports = Reports(
            settings.trust_domain,
            pipeline,
            publisher,
            xds,
            discovery,
            keeper,
            authority,
            certificate,
            renderer,
            metrics,
            certificates,
            federation,
            quarantine,
            replicas,
            lambda name: kept.commit() if name == FILES else None,
            rollouts.book,
            lambda: kubernetes.concerns.current if kubernetes is not None else {},
        )
        joins = JoinService(
            audited,
            proofs(
                settings,
                data_dir,
                system_clock,
                lambda: pipeline.state,
                kubernetes.clusters if kubernetes is not None else {},
            ),
            clock=system_clock,
            chance=random.random,
            limit=AttemptLimit(
                time.monotonic,
                per_peer=Rate(settings.join_attempts, per_second=1),
                in_all=Rate(10 * settings.join_attempts, per_second=50),
            ),
            proof_limit=ProofLimit(
                time.monotonic,
                declared=lambda workload: workload in pipeline.state.workloads,
                per_workload=Rate(settings.join_attempts, per_second=1),
                per_proof=Rate(10 * settings.join_attempts, per_second=50),
                life=life,
            ),
            expected_identity=doors.expected_identity,
            on_event=JoinsTold(metrics, audit, time.monotonic),
            lifetime=life,
            aliases=domains.aliases,
            locate=Whereabouts(lambda: pipeline.state).locate,
        )
        redis = settings.ratelimit_redis.get_secret_value() if settings.ratelimit_redis else None
        limits = await self._stack.enter_async_context(
            rate_limits(redis, metrics, time.monotonic, RateLimitGate(lambda: pipeline.state))
        )
        own = kubernetes.settings.namespace if kubernetes is not None else None
        elsewhere = Elsewhere(
            lambda: pipeline.state, Key(own, NAME) if own else None, lambda: len(replicas.status())
        )
        watch = PlaintextWatch(
            PlaintextCalls(time.monotonic),
            lambda: pipeline.state,
            lambda: frozenset(each.client for each in xds.streams()),
            metrics,
            time.monotonic,
            elsewhere.replicas,
        )
        access = AccessLines(time.monotonic)
        seen = CallsSeen(lambda: pipeline.state, time.monotonic)
        access_logs = AccessLogs(
            doors.who,
            stale,
            seen.beside(access.beside({**watch.listeners(), **rollouts.watching.listeners()})),
            metrics,
        )
        replicated = kubernetes is not None and kubernetes.lease is not None
        leaving = Leaving(
            doors.who, stale, pipeline, xds, time.monotonic, elsewhere=ELSEWHERE if replicated else 0.0
        )
        doors.came = leaving.came
        await self._listen(xds, joins, rotator.trust, limits, access_logs, leaving, certificate, xds_settings)

        self._stack.callback(rotator.trust.close)

        def refresh_metrics() -> None:
            reports.refresh_metrics()
            watch.refresh_metrics()

        admin = Admin(
            Answers(
                ready=reports.not_ready,
                refresh_metrics=refresh_metrics,
                bundle=lambda: spiffe_document(authority.roots(), settings.federation_refresh),
            ),
            metrics,
        )
        self._stack.push_async_callback(admin.stop)
        host, port = _host_and_port(settings.admin_address)
        self.addresses["admin"] = f"{host}:{await admin.start(host, port)}"
        log_watch = LogWatch(lambda proxies: pipeline.report(proxies, "logs"))
        self._stack.callback(log_watch.close)
        looking = Looking(
            self._ring,
            access,
            log_watch,
            reports.status,
            lambda workload: workload in pipeline.state.workloads,
        )
        self.planner = Planner(
            Live(
                lambda: pipeline.state,
                publisher,
                xds,
                certificates,
                on_demand=settings.clusters == "onDemand",
                lately=watch.lately,
                seen=seen.lately,
                clock=system_clock,
                store=STORE if repository is not None else None,
                files=FILES if settings.documents is not None else None,
                cluster=CLUSTER if kubernetes is not None else None,
                repository=repository,
                settled=pipeline.settled,
            )
        )
        for source in sources:
            if isinstance(source, StoreSource):
                source.on_applied = acknowledged.applied
                source.before_each = rollouts.book.hear
        tokens = await Tokens.open(data_dir)
        given = backend(
            reports,
            audit,
            self.planner,
            looking,
            kept,
            watch,
            acknowledged,
            replicas,
            rotator,
            tokens,
            rollouts,
            elsewhere,
        )
        api, self.addresses["api"] = await open_api(settings, given, certificate)
        self._stack.push_async_callback(api.stop)

        answers = AnswersToWrites(pipeline, watch.lately)
        passages = Passages(pipeline, xds, time.monotonic)
        connect(rollouts, pipeline, observer)

        def receive(event: Event) -> None:
            metrics.events.labels(event.source).inc()
            before = pipeline.state
            rollouts.before(before, event)
            changes = pipeline.receive(event)
            rollouts.after()
            with _beside("quarantine"):
                quarantine.changed(before, pipeline.state, event)
            if event.source == FILES:
                _record(audit, written(before, event))
            passages.changed(before, pipeline.state, changes)
            leaving.changed(changes)
            with _beside("answers to writes"):
                answers.changed(before, pipeline.state, changes)
            for workload in changes.workloads:
                end_stale(doors, xds.streams_of(client_id(workload)), audit)
                rotator.trust.end_stale(str(workload))
            if pipeline.state.declared is not before.declared:  # Secrets are declared
                certificates.wake()

        async def ready() -> None:
            await discovery.ready.wait()
            await pipeline.settled()

        async def open_when_ready() -> None:
            await ready()
            # A gateway that starts has its certificates from its first answer on.
            await certificates.look(pipeline.state, pipeline.renewed)
            pipeline.prepare()
            # What is here now stays for good: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*COLLECTIONS)
            cache.open()
            log.info("ready", services=len(pipeline.state.services), workloads=len(pipeline.state.workloads))

        def forget(scope: Scope) -> None:
            if isinstance(scope, Secrets):
                keeper.forget(scope.workload)

        def federated() -> None:
            # Either order lets in nobody who was not meant to be: the listener names trust domains, the secret their roots.
            rotator.federation_changed()
            pipeline.federated_with(federation.trust_domains)

        group = await self._stack.enter_async_context(
            Tasks(random.random, lambda task: metrics.tasks_restarted.labels(task).inc())
        )
        # What would leave the mesh half published, a secret unrenewed or a revoked proof served ends the program if it breaks.
        vital: dict[str, Work] = {
            "pipeline": pipeline.run,
            "discovery": lambda: discovery.run(receive),
            "readiness": open_when_ready,
            "secrets": keeper.run,
            "rotation": rotator.run,
            "sweep": lambda: pipeline.sweep(forget),
            "stale proofs": lambda: watch_proofs(doors, xds, rotator.trust, audit),
            "authority": lambda: follow(authority, rotator.roots_changed),
            "audit log": audit.run,
        }
        beside: dict[str, Work] = {
            "certificates": lambda: certificates.run(lambda: pipeline.state, pipeline.renewed),
            "move between trust domains": move.run,
            "own certificate": lambda: _renew(certificate),
            "federation": lambda: federation.run(federated),
            "answers to writes": answers.run,
            "quarantine": quarantine.run,
            "passages": passages.run,
            "rollouts": lambda: rollouts.run(ready),
            "leaving": leaving.run,
            "acknowledgements": acknowledged.run,
            "replicas": replicas.run,
            "store": lambda: keep_house(repository, settings.store_history),
            "loop lag": lambda: watch_loop_lag(metrics, time.monotonic),
        }
        if kubernetes is not None:
            beside |= composition.works(
                composition.Parts(
                    settings,
                    kubernetes,
                    pipeline,
                    publisher,
                    xds,
                    acknowledged,
                    reports,
                    certificates,
                    audited,
                    certificate,
                    metrics,
                    record,
                )
            )
        for name, work in (vital | beside).items():
            group.start(name, work, restart=name in beside)

    def _check_documents(self) -> None:
        """A directory that never was is a mistake; one that is away for now has left a last good state."""
        documents, known = self.settings.documents, self.settings.data_dir / LAST_GOOD
        if documents is None or documents.is_dir():
            return
        if documents.exists():
            raise SettingsError(
                f"setting documents (--documents): {documents} is a file: give the directory that it is in"
            )
        if not known.exists():
            raise SettingsError(
                f"setting documents (--documents): there is no directory {documents}: make it, or name another"
            )

    async def _listen(
        self,
        xds: XdsServer,
        joins: JoinService,
        trust: TrustService,
        limits: RateLimits,
        access_logs: AccessLogs,
        leaving: Leaving,
        certificate: ServerCertificate,
        settings: XdsSettings,
    ) -> None:
        """Two servers with TLS, so that nothing of one can be reached through the other; and plaintext, if asked for."""
        secure = grpc.aio.server(options=server_options(settings))
        xds.add_to(secure)
        limits.add_to(secure)
        access_logs.add_to(secure)
        leaving.add_to(secure)
        add_JoinServiceServicer_to_server(joins, secure)
        add_TrustServiceServicer_to_server(trust, secure)
        await self._serve(
            "xds", secure, self.settings.xds_address, certificate.credentials(require_client=True)
        )
        door = grpc.aio.server(options=JOIN_SERVER_OPTIONS)
        add_JoinServiceServicer_to_server(joins, door)
        await self._serve(
            "join", door, self.settings.join_address, certificate.credentials(require_client=False)
        )
        if self.settings.plaintext_address is not None:
            plain = grpc.aio.server(options=server_options(settings))
            xds.add_to(plain)
            limits.add_to(plain)
            # No access logs: whoever reaches this door could speak of any workload's ports, and keep them from becoming strict.
            await self._serve("plaintext", plain, self.settings.plaintext_address, None)

    async def _serve(
        self, name: str, server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None
    ) -> None:
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise SettingsError(
                f"cannot listen on {name}_address {address}: is another program on that port? ({error})"
            ) from error
        await server.start()
        self._stack.push_async_callback(server.stop, DRAIN)
        self.addresses[name] = f"{address.rpartition(':')[0]}:{port}"

    def _sources(self, kept: Kept, kubernetes: composition.Opened | None) -> Iterator[Source]:
        """In the order of their rank: where two declare a service, the first has it."""
        settings = self.settings
        if kept.directory is not None:
            yield FileSource(FILES, kept.directory)
        if kept.stored is not None:
            yield StoreSource(STORE, kept.stored)
        if kept.cluster is not None:
            yield FileSource(CLUSTER, kept.cluster, guarded=False)  # who deletes there says so
        if kubernetes is not None:
            yield from clusters.sources(kubernetes)
        if settings.consul is not None:
            consul = settings.consul
            options = ConsulOptions(
                address=consul.url,
                token=consul.acl_token() or "",
                datacenter=consul.datacenter or "",
                ca_file=str(consul.ca_file) if consul.ca_file else None,
                cert_file=str(consul.cert_file) if consul.cert_file else None,
                key_file=str(consul.key_file) if consul.key_file else None,
            )
            yield ConsulSource(options, name=consul.name, random=random.random)


async def _renew(certificate: ServerCertificate) -> None:
    """Renew the control plane's own certificate in time, until cancelled."""
    while True:
        # An hour at most: the machine's clock may be set meanwhile.
        await asyncio.sleep(min(certificate.due_in(), 3600.0))
        if certificate.due_in() > 0:
            continue
        try:
            await certificate.renew()
        except CaError as error:
            log.warning("own certificate not renewed", expires=str(certificate.not_after), reason=str(error))
            await asyncio.sleep(RETRY)


def _record(audit: AuditLog, documents: tuple[list[str], list[str]] | None) -> None:
    put, removed = documents or ([], [])
    if put or removed:
        audit.record("documents changed", put=put, removed=removed)


def _shared(settings: Settings, repository: Repository | None) -> Backend | None:
    """The store, where other control planes may be over it."""
    return repository.backend if repository is not None and settings.store.startswith("consul") else None


@contextlib.contextmanager
def _beside(part: str) -> Iterator[None]:
    """A mistake of ours in a part that only accompanies changes is told, and holds up no change."""
    try:
        yield
    except Exception:
        log.exception("a part did not take in a change: all others did", part=part)


def _merging(settings: Settings) -> Merging:
    return Merging(
        services=frozenset(map(Key.parse, settings.merge_services)),
        namespaces=frozenset(settings.merge_namespaces),
    )


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
