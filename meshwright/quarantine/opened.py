"""Puts the quarantine together from the parts of the program that it needs."""

from __future__ import annotations

import time
from pathlib import Path

from ca.peer import Proved
from ca.times import system_clock
from envoy.render import Renderer
from meshwright.observer import StreamObserver
from meshwright.pipeline import Pipeline
from meshwright.publisher import Publisher
from meshwright.quarantine.book import Book
from meshwright.quarantine.kept import StoreHistory
from meshwright.quarantine.sketch import Sketcher
from meshwright.quarantine.telling import Record
from meshwright.quarantine.trial import Envoys
from meshwright.quarantine.watch import Quarantine
from meshwright.stores import STORE
from policies.registry import KINDS, POLICIES
from store.repository import Repository
from xds.server import XdsServer

PROTECTING = frozenset(
    (
        *(kind.name for kind in POLICIES if kind.closed is not None),
        "BackendTLSPolicy",
        "EgressPolicy",
        "MeshTLS",
    )
)
"""Kinds without which something would be open that they close."""


async def open_quarantine(
    publisher: Publisher,
    pipeline: Pipeline,
    renderer: Renderer,
    observer: StreamObserver,
    xds: XdsServer,
    repository: Repository | None,
    data_dir: Path,
    record: Record,
) -> Quarantine:
    """Before sources are heard, and after all others that use editions: what Envoy refuses, nobody is given."""

    def identity(client: str) -> str | None:
        proofs = (stream.proof for stream in xds.streams_of(client))
        return next((proof.identity.uri for proof in proofs if isinstance(proof, Proved)), None)

    made = Quarantine(
        Book(PROTECTING),
        publisher,
        pipeline,
        Sketcher(publisher, renderer),
        Envoys(system_clock),
        data_dir,
        kinds=KINDS,
        kept=None if repository is None else StoreHistory(repository, STORE, KINDS),
        identity=identity,
        clock=time.time,
        record=record,
    )
    await made.open()
    observer.on_refusal = made.refused
    return made
