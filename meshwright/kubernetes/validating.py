"""The answer about an object of ours that somebody is about to write: the checks and the messages of the REST API, before it is stored.

What the schema and its CEL rules cannot say is said here: regular expressions, addresses, what other objects claim already. What would have no
effect is a warning, and so is a reference to what is not there (yet): objects of one `kubectl apply` come in any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from api.writing import Foresight
from discovery.file import difference
from documents.envelope import API_VERSION, Kind
from documents.errors import Caution, Dangling, DocumentError
from kube.resource import Object
from mesh.addresses import reserved_to, taken
from mesh.service import Service
from mesh.state import MeshState
from meshwright.kubernetes.admission import Answer
from policies.registry import KINDS
from store.kubernetes_held import Held
from store.kubernetes_objects import ClusterObject, kept
from store.kubernetes_sets import SOURCE
from store.sets import file_of

MOST: Final = 20
"""Errors in one answer; the rest is probably the same mistake."""


@dataclass(frozen=True, slots=True)
class Review:
    """What is wrong with an object beside the others that are there; `after` is what there would be with it."""

    found: ClusterObject
    after: Held
    errors: tuple[DocumentError, ...] = ()
    cautions: tuple[str, ...] = ()


def reviewed(found: ClusterObject, held: Held, kinds: tuple[Kind, ...] = KINDS) -> Review:
    """Pure."""
    after = held.with_changes({found.name: found}, SOURCE, kinds)
    file = after.documents.files.get(file_of(found.name))
    if file is None:
        return Review(found, after)
    refusing = tuple(each for each in file.errors if not isinstance(each, Dangling))
    missing = (_said(each) for each in file.errors if isinstance(each, Dangling))
    doubtful = (_said(each) for each in file.cautions) if not refusing else ()
    return Review(found, after, refusing, (*missing, *doubtful))


@dataclass(frozen=True, slots=True)
class Validator:
    """A `meshwright.kubernetes.admission.Handler`. `held` are the objects as the mesh has them, `state` the mesh, with what else there is in it. `foresight` says what a change does to the mesh;
    while it is asked by somebody else, objects are checked all the same, and nothing is foreseen: the API server waits for us.
    """

    held: Callable[[], Held]
    foresight: Foresight | None = None
    state: Callable[[], MeshState] | None = None
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __call__(self, request: Object) -> Answer:
        given = request.get("object")
        if (
            request.get("operation") not in {"CREATE", "UPDATE"}
            or request.get("subResource")
            or not isinstance(given, dict)
            or given.get("apiVersion") != API_VERSION
        ):
            return Answer()
        metadata = given.get("metadata") or {}
        if metadata.get("deletionTimestamp"):
            return Answer()  # It goes already, and its finalizers must be able to let it.
        review = await asyncio.to_thread(reviewed, kept(_named(given, request)), self.held())
        if review.errors:
            return Answer(allowed=False, message="; ".join(map(_said, review.errors[:MOST])))
        if self.state is not None and (claimed := tuple(_claimed(review, self.state()))):
            return Answer(allowed=False, message="; ".join(claimed))
        return Answer(warnings=(*review.cautions, *await self._foreseen(review)))

    async def _foreseen(self, review: Review) -> tuple[str, ...]:
        if self.foresight is None or self._one.locked():
            return ()
        async with self._one:
            reckon, before = self.foresight(), self.held()

            def work() -> tuple[str, ...]:
                update = difference(SOURCE, before.documents, review.after.documents)
                if update is None:
                    return ()
                own = f"{review.found.kind} {review.found.key}"
                return tuple(
                    each.warning if each.document in {"", own} else f"{each.document}: {each.warning}"
                    for each in reckon(update).warnings
                )

            return await asyncio.to_thread(work)


def _claimed(review: Review, state: MeshState) -> Iterator[str]:
    """Addresses that its cluster has given to another service. Who reads the object later keeps to that, too: this answer may be missing."""
    file = review.after.documents.files.get(file_of(review.found.name))
    for document in file.latest.documents if file is not None else ():
        service = document.value
        if isinstance(service, Service):
            holder = reserved_to(state, service.virtual_address, service.key)
            if holder is not None:
                yield f"spec.address: {taken(service.virtual_address, holder)}"


def _named(given: Object, request: Object) -> Object:
    """`given` with a name and a namespace: one with `generateName` has no name yet."""
    metadata = dict(given.get("metadata") or {})
    metadata.setdefault("namespace", request.get("namespace"))
    if not metadata.get("name"):
        metadata["name"] = f"{str(metadata.get('generateName', 'new-'))[:58]}x"
    return {**given, "metadata": metadata}


def _said(problem: DocumentError | Caution) -> str:
    """`spec.attempts: …`: the API server says whose it is."""
    path = f"{problem.where.path}: " if problem.where.path else ""
    return f"{path}{problem.reason}. {problem.remedy}"
