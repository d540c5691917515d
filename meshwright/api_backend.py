"""Wires the REST API (`api/`) to the program: what it is given, and where it listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog
from aiohttp import web

from api.app import application
from api.authentication import Authentication
from api.backend import Backend, Told
from api.server import ApiServer
from api.streams import Streams
from api.table import ROUTES
from ca.rate_limit import Rate
from meshwright.acknowledged import Acknowledged
from meshwright.audit import AuditLog
from meshwright.data_dir import SOCKET
from meshwright.document_status import DocumentStatus
from meshwright.errors import SettingsError
from meshwright.floods import Flood
from meshwright.foresight import Foresight
from meshwright.kept import Kept
from meshwright.looking import Looking
from meshwright.plan.planner import Planner
from meshwright.reports import Reports, version
from policies.transport import Lately

REFUSED = Rate(burst=100, per_second=1)
"""Refusals of one peer that are told."""

log = structlog.get_logger(__name__)


def backend(
    reports: Reports,
    audit: AuditLog,
    planner: Planner,
    looking: Looking,
    kept: Kept,
    lately: Callable[[], Callable[[], Lately]],
    acknowledged: Acknowledged,
) -> Backend:
    """`lately`: who spoke plaintext lately, as `meshwright.plaintext` tells it."""
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
        writer=kept.writer(Foresight(lambda: reports.pipeline.state, lately)),
        files=kept.files,
        conditions=DocumentStatus(lambda: reports.pipeline.state, reports.certificates, kept.of_store),
        streams=Streams(),
        status=reports.status,
        plan=planner.plan,
        snapshot=lambda: planner.snapshot(version()),
        logs=looking,
        acknowledgements=acknowledged.wait,
    )


async def open_api(data_dir: Path, given: Backend, besides: Iterable[web.RouteDef]) -> ApiServer:
    """The API, listening. SettingsError if it cannot. `besides`: routes of the socket that are not the API's (yet)."""
    server = ApiServer(application(ROUTES, given, Authentication(), besides))
    await server.start()
    path = data_dir / SOCKET
    try:
        await server.listen_unix(path)
    except OSError as error:
        await server.stop()
        raise SettingsError(
            f"cannot make the admin socket {path}: {error.strerror or error}: remove what is there, or choose a "
            "data directory with a shorter path (a socket's has some 100 characters)"
        ) from error
    return server
