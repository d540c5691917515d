"""Where a route finds documents, and what it says where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from api.backend import Backend
from api.errors import Conflicting, NotFound, Unavailable
from api.routing import Call
from api.showing import Item
from api.store_errors import answered
from api.writing import Writer
from documents.sets import DocumentSet
from mesh.names import Key
from store.kubernetes_history import KIND, LONGEST_LABEL, NAME
from store.repository import Repository
from store.sets import file_of
from store.stored import Name, Stored


def name_of(call: Call[Any, Any]) -> Name:
    return call.path["kind"], Key(call.path["namespace"], call.path["name"])


def repository(backend: Backend) -> Repository:
    """The store. Unavailable if there is none."""
    if backend.repository is None:
        raise _no_store()
    return backend.repository


def past(backend: Backend, kind: str | None = None, key: Key | None = None) -> Repository:
    """The store, for what documents were: all, those of `kind`, or the one. NotFound, with where else that is, if there is none."""
    if backend.repository is None:
        raise _no_past(kind, key)
    return backend.repository


def writer(backend: Backend) -> Writer:
    """Who writes to the store. Unavailable if there is none."""
    if backend.writer is None:
        raise _no_store()
    return backend.writer


def _no_store() -> Unavailable:
    return Unavailable(
        "this control plane has no store, so nothing can be written here: see the setting store. In a Kubernetes cluster, documents are objects "
        "of the cluster: use kubectl apply"
    )


def _no_past(kind: str | None = None, key: Key | None = None) -> NotFound:
    labels = [KIND if kind is None else f"{KIND}={kind}"]
    if key is not None and len(key.name) <= LONGEST_LABEL:
        labels.append(f"{NAME}={key.name}")
    where = "-A" if key is None else f"-n {key.namespace}"
    return NotFound(
        "this control plane has no store, so it keeps no revisions. In a Kubernetes cluster, what documents were is kept beside them: "
        f"kubectl get controllerrevisions {where} -l {','.join(labels)}"
    )


async def stored_at(backend: Backend, at: int | None) -> tuple[Mapping[Name, Stored], int]:
    if backend.repository is None:
        if at:
            raise _no_past()
        return {}, 0
    with answered():
        snapshot = await backend.repository.documents(at)
    return snapshot.documents, snapshot.revision.number


async def item_of(backend: Backend, name: Name, at: int | None) -> Item | None:
    if backend.repository is not None:
        with answered():
            stored = await backend.repository.get(*name, at=at)
        if stored is not None:
            return Item(name, stored)
    if at is not None:
        return None
    return of_file(backend, name)


def of_files(files: DocumentSet) -> Iterator[Item]:
    for document in files.documents:
        yield Item((document.kind, document.key), document)


def of_file(backend: Backend, name: Name) -> Item | None:
    kind, key = name
    files = backend.files()
    found = files.index.get(name) or files.index.get(
        ("Service", key)
    )  # An ExternalService has a service's name.
    return Item(name, found) if found is not None and found.kind == kind else None


def missing(kind: str, key: Key) -> NotFound:
    return NotFound(f"there is no {kind} {key}: GET /api/v1/documents lists what there is")


def read_only(item: Item) -> Conflicting:
    where = getattr(item.held, "where", "")
    if str(where) == file_of(item.name):
        return Conflicting(
            f"{item.name[0]} {item.name[1]} is read-only here: it is an object of the Kubernetes cluster; change it by kubectl"
        )
    return Conflicting(
        f"{item.name[0]} {item.name[1]} is read-only: it is of {where}, which the API does not write; change it there"
    )
