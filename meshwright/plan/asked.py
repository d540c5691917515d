"""What somebody means to write: documents to put, names to delete. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from documents.errors import DocumentError
from documents.parsing import Document, ParsedFile, duplicate, parse
from documents.reading import Tree
from mesh.names import DEFAULT_NAMESPACE, Key
from policies.registry import KINDS

Name = tuple[str, Key]
Body = Mapping[str, Tree]

OURS = ("creationTimestamp", "uid", "generation", "resourceVersion", "managedFields")
"""What of `metadata` is no writer's to say, so that it is no difference."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Documents that are right by themselves, no two of one name, and the kinds and names of those to delete."""

    put: tuple[Document, ...] = ()
    delete: tuple[Name, ...] = ()

    @property
    def names(self) -> tuple[Name, ...]:
        return tuple(dict.fromkeys((*(each.name for each in self.put), *self.delete)))


class Unfit(Exception):
    """Documents that are not right by themselves: `errors` are all that is wrong."""

    def __init__(self, errors: Iterable[DocumentError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


def read(files: Iterable[tuple[str, bytes]]) -> tuple[Document, ...]:
    """The documents of `files`, given by name and content. Unfit, with all that is wrong in any of them."""
    parsed = [parse(name, data, KINDS) for name, data in files]
    errors = [error for each in parsed for error in each.errors] + list(_twice(parsed))
    if errors:
        raise Unfit(errors)
    return tuple(document for each in parsed for document in each.documents)


def _twice(parsed: Iterable[ParsedFile]) -> Iterator[DocumentError]:
    """Of what stands twice in one file, that file's own errors tell."""
    seen: dict[Name, Document] = {}
    for file in parsed:
        here: dict[Name, Document] = {each.name: each for each in file.documents}
        for name, each in here.items():
            first = seen.setdefault(name, each)
            if first is not each:
                yield duplicate(each, first)


def body(document: Document) -> Body:
    """As it was written; empty for one that was not read from text."""
    tree = document.piece.tree() if document.piece is not None else {}
    return tree if isinstance(tree, dict) else {}


def comparable(said: Body) -> Body:
    """Less what nobody writes, so that a document that was read and one that is written compare."""
    told = {name: value for name, value in said.items() if name != "status"}
    metadata = said.get("metadata")
    if isinstance(metadata, dict):
        ours = {*OURS, *(("namespace",) if metadata.get("namespace") == DEFAULT_NAMESPACE else ())}
        told["metadata"] = {name: value for name, value in metadata.items() if name not in ours}
    return told


def created_at(document: Document, when: datetime) -> Document:
    """`document` as it is when a store has kept it since `when`: of two policies that tie, the older prevails."""
    said = dict(body(document))
    metadata = said.get("metadata")
    if not isinstance(metadata, dict):
        return document
    said["metadata"] = {**metadata, "creationTimestamp": when.isoformat().replace("+00:00", "Z")}
    again = parse(document.where.file, json.dumps(said).encode(), KINDS)
    return again.documents[0] if again.documents else document
