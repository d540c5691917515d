"""Puts the rollouts together from the parts of the program that they need."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from meshwright.metrics import Metrics
from meshwright.observer import StreamObserver
from meshwright.pipeline import Pipeline
from meshwright.publisher import Publisher
from meshwright.rollout.book import Book, Tells
from meshwright.rollout.driver import Driver
from meshwright.rollout.keeping import FileRecords
from meshwright.rollout.undo import undoing
from meshwright.rollout.watching import Watching
from store.consul_kv import ConsulBackend
from store.repository import Repository
from xds.server import XdsServer
from xds.state import Refusal


async def open_rollouts(
    publisher: Publisher,
    pipeline: Pipeline,
    xds: XdsServer,
    repository: Repository | None,
    metrics: Metrics,
    data_dir: Path,
    tells: Tells,
) -> Driver:
    """Before sources are heard, and before the quarantine is opened, which goes before what this says."""
    shared = repository.backend if repository is not None else None
    book = Book(
        FileRecords(data_dir),
        tells,
        metrics.registry,
        time.time,
        shared if isinstance(shared, ConsulBackend) else None,
    )
    await asyncio.to_thread(book.load)
    publisher.editions.use(book)
    made = Driver(
        book,
        pipeline,
        publisher.clients,
        xds,
        Watching(lambda: pipeline.state, metrics),
        undoing(repository),
        member=publisher.member,
        clock=time.time,
        monotonic=time.monotonic,
    )
    made.resume()
    return made


def connect(rollouts: Driver, pipeline: Pipeline, observer: StreamObserver) -> None:
    """Once all others are there that want to know of refusals, and of what is published."""
    others, told = pipeline.before_publishing, observer.on_refusal

    async def before_publishing() -> None:
        # What was decided is kept before any proxy is told of it.
        await rollouts.book.kept()
        await others()

    def refused(client: str, type_url: str, refusal: Refusal) -> None:
        rollouts.refused(client, refusal)
        told(client, type_url, refusal)

    pipeline.before_publishing, observer.on_refusal = before_publishing, refused
