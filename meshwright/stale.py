"""Streams whose proof no longer holds are ended: a certificate expires, a workload goes or becomes another identity's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from ca.peer import Proved
from ca.times import system_clock
from ca.trust import TrustService
from mesh.names import Key
from meshwright.audit import AuditLog
from meshwright.doors import Doors
from meshwright.publisher import client_ids
from xds.server import XdsServer
from xds.stream import Stream

log = structlog.get_logger(__name__)


async def watch_proofs(
    doors: Doors, xds: XdsServer, trust: TrustService, audit: AuditLog, every: float = 5.0
) -> None:
    """End the streams whose proof no longer holds, until cancelled."""
    while True:
        await asyncio.sleep(every)
        end_stale(doors, xds.streams(), audit)
        trust.end_stale()


def end_stale(doors: Doors, streams: Iterable[Stream], audit: AuditLog) -> None:
    """End those of `streams` whose proof no longer holds; each is logged and audited with the reason."""
    for stream in streams:
        reason = doors.stale(stream.proof, system_clock())
        if reason is not None:
            log.info("proof no longer holds", proxy=stream.client, peer=stream.peer.address, reason=reason)
            audit.record("stream ended", proxy=stream.client, peer=stream.peer.address, reason=reason)
            stream.end(reason)


def proved_streams(xds: XdsServer, workload: Key) -> list[Stream]:
    """The streams that have proved to be `workload`'s: those that are given its keys."""
    streams = (stream for client in client_ids(workload) for stream in xds.streams_of(client))
    return [stream for stream in streams if isinstance(stream.proof, Proved)]
