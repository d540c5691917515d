"""Stores of all kinds for tests, and short names for documents."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from documents.reading import Tree
from mesh.names import Key
from store import manifest
from store.backend import Backend
from store.repository import Repository
from store.stored import Body, Name
from store.writes import Delete, Expected, Put

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_body(
    name: str, spec: dict[str, Tree] | None = None, *, kind: str = "Service", namespace: str = "default"
) -> Body:
    return {
        "apiVersion": "meshwright.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec if spec is not None else {"ports": [{"name": "http", "port": 80}]},
    }


def put(
    name: str, spec: dict[str, Tree] | None = None, version: Expected = None, kind: str = "Service"
) -> Put:
    return Put(kind, Key("default", name), a_body(name, spec, kind=kind), version)


def delete(name: str, version: str | None = None, kind: str = "Service") -> Delete:
    return Delete(kind, Key("default", name), version)


def ticking() -> Callable[[], datetime]:
    """A clock of which each look is a second later."""
    seconds = itertools.count()
    return lambda: START + timedelta(seconds=next(seconds))


def counting() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"uid-{next(numbers)}"


def a_repository(backend: Backend) -> Repository:
    return Repository(backend, clock=ticking(), uid=counting())


async def raw(repository: Repository) -> dict[Name, bytes]:
    """All documents at the head, byte for byte as the store keeps them."""
    revision = await repository.head()
    entries = await repository.blobs.resolve(lambda nodes: manifest.entries(nodes, revision.root))
    blobs = await repository.blobs.raw(entries.values())
    return {name: blobs[blob] for name, blob in entries.items()}
