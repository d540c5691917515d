"""Wires the REST API (`api/`) to the program: what it is given, and where it listens."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from api.app import application
from api.authentication import Authentication, Rates
from api.backend import Backend, Told
from api.roles import grant
from api.server import ApiServer
from api.streams import Streams
from api.table import ROUTES
from api.tls import FromFiles, Shown, context
from api.tokens import ApiTokens
from ca.rate_limit import Rate
from ca.server_tls import ServerCertificate
from ca.times import system_clock
from ca.tokens import TokenStore
from mesh.identity import Identity
from meshwright.acknowledged import Acknowledged
from meshwright.analysis.analyst import Analyst
from meshwright.audit import AuditLog
from meshwright.data_dir import SOCKET
from meshwright.document_status import DocumentStatus
from meshwright.elsewhere import Elsewhere
from meshwright.errors import SettingsError
from meshwright.explainer import explainer
from meshwright.floods import Flood
from meshwright.foresight import Foresight
from meshwright.kept import Kept
from meshwright.looking import Looking
from meshwright.plaintext import PlaintextWatch
from meshwright.plan.planner import Planner
from meshwright.quarantine.shown import shown as quarantined
from meshwright.replicas import Replicas
from meshwright.reports import Reports, version
from meshwright.rollout.driver import Driver
from meshwright.rollout.shown import Rolling
from meshwright.rotation import Rotator
from meshwright.settings import Settings
from policies.registry import KINDS

REFUSED = Rate(burst=100, per_second=1)
"""Refusals of one peer that are told."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tokens:
    """With which proxies join, and with which the API is called."""

    join: TokenStore
    api: ApiTokens

    @classmethod
    async def open(cls, data_dir: Path) -> Self:
        """SettingsError if the directory of one of them cannot be read."""
        try:
            api = await asyncio.to_thread(ApiTokens.open, data_dir)
        except OSError as error:
            raise SettingsError(
                f"the API tokens in {data_dir} cannot be read: {error}: correct their owner"
            ) from error
        for each in api.damaged:
            log.warning("an API token cannot be used", reason=each)
        return cls(TokenStore(data_dir), api)


def backend(
    reports: Reports,
    audit: AuditLog,
    planner: Planner,
    looking: Looking,
    kept: Kept,
    watch: PlaintextWatch,
    acknowledged: Acknowledged,
    replicas: Replicas,
    rotator: Rotator,
    tokens: Tokens,
    rollouts: Driver,
    elsewhere: Elsewhere,
) -> Backend:
    refusals = Flood(time.monotonic, REFUSED)

    def refused(peer: str, event: str, fields: Mapping[str, Told]) -> None:
        besides = refusals.told(peer)
        if besides is not None:
            audit.record(event, **fields, besides=besides)

    return Backend(
        version=version(),
        record=lambda event, fields: audit.record(event, **fields),
        record_refusal=refused,
        repository=kept.repository,
        writer=kept.writer(Foresight(lambda: reports.pipeline.state, watch.lately)),
        files=kept.files,
        conditions=DocumentStatus(
            lambda: reports.pipeline.state,
            reports.certificates,
            kept.of_store,
            reports.quarantine.of,
            rollouts.book.of,
        ),
        streams=Streams(),
        clock=system_clock,
        status=reports.status,
        listing=reports.listing,
        config_dump=reports.config_dump,
        release=reports.discovery.release,
        plaintext=watch.report,
        ca=rotator,
        join_tokens=tokens.join,
        api_tokens=tokens.api,
        plan=planner.plan,
        snapshot=lambda: planner.snapshot(version()),
        explain=explainer(reports, on_demand=planner.live.on_demand).explain,
        logs=looking,
        rollouts=Rolling(rollouts),
        quarantined=lambda: tuple(map(quarantined, reports.quarantine.told())),
        release_quarantined=reports.quarantine.release,
        analyze=Analyst(
            lambda: reports.pipeline.state,
            reports.status,
            watch.report,
            lambda: acknowledged.report(acknowledged.newest()),
            elsewhere.replicas,
            system_clock,
        ).analyze,
        acknowledgements=replicas.wait,
        unseen=elsewhere.unseen,
    )


async def open_api(
    settings: Settings, given: Backend, certificate: ServerCertificate
) -> tuple[ApiServer, str]:
    """The API, listening, and its address. SettingsError if it cannot."""
    authentication = Authentication(
        given.api_tokens,
        {Identity.parse(uri): grant(said) for uri, said in settings.api_clients.items()},
        system_clock,
        time.monotonic,
        Rates.of(settings.api_requests),
    )
    server = ApiServer(application(ROUTES, KINDS, given, authentication))
    await server.start()
    path = settings.data_dir / SOCKET
    try:
        await server.listen_unix(path)
    except OSError as error:
        await server.stop()
        raise SettingsError(
            f"cannot make the admin socket {path}: {error.strerror or error}: remove what is there, or choose a "
            "data directory with a shorter path (a socket's has some 100 characters)"
        ) from error
    host, _, port = settings.api_address.rpartition(":")
    try:
        taken = await server.listen_tcp(host.strip("[]"), int(port), _tls(settings, certificate))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        await server.stop()
        raise SettingsError(
            f"cannot listen on api_address {settings.api_address}: {error}: is another program on that port, and are "
            "api_certificate_file and api_key_file right, if they are set?"
        ) from error
    return server, f"{host}:{taken}"


def _tls(settings: Settings, certificate: ServerCertificate) -> ssl.SSLContext | None:
    if not settings.api_tls:
        return None
    if settings.api_certificate_file is not None and settings.api_key_file is not None:
        return context(
            FromFiles(settings.api_certificate_file, settings.api_key_file, lambda: certificate.pair.roots)
        )

    def newest() -> Shown:
        pair = certificate.pair
        return Shown(pair.generation, pair.key, pair.chain, pair.roots)

    return context(newest)
