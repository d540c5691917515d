"""Documents as the state of the mesh holds them, and the revision of one: a hash of what it says."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pydantic import TypeAdapter

from documents.reading import Piece, Refusal
from mesh.events import Declared, DocumentName
from mesh.names import Key
from mesh.service import Service
from mesh.state import MeshState, SourceView
from mesh.workload import Workload

Held = Declared | Service | Workload
"""What a document declares."""

_SERVICE, _WORKLOAD = TypeAdapter(Service), TypeAdapter(Workload)
_DOCUMENT = re.compile(r"#\d+ ([A-Za-z]+) ([^\s/]+)/(\S+)$")
"""How an origin ends that is a document: see `documents.parsing.Document.origin`."""


def name_of(value: Held) -> DocumentName:
    match value:
        case Service():
            return "Service", value.key
        case Workload():
            return "Workload", value.key
        case Declared():
            return value.name


def origin_of(value: Held) -> tuple[str, ...]:
    return value.value.origin if isinstance(value, Declared) else value.origin


def documents_of(origins: Iterable[str]) -> Iterator[DocumentName]:
    """The documents among what made a resource, by the end of how they are called; what a registry said is left out."""
    for origin in origins:
        found = _DOCUMENT.search(origin)
        if found is not None:
            kind, namespace, name = found.groups()
            yield ("Service" if kind == "ExternalService" else kind), Key(namespace, name)


def held(state: MeshState, source: str, name: DocumentName) -> Held | None:
    """What `source` says under `name`; None: nothing."""
    view, (kind, key) = state.sources.get(source, SourceView()), name
    match kind:
        case "Service":
            return view.services.get(key)
        case "Workload":
            return view.workloads.get(key)
        case _:
            return view.declared.get(name)


def in_force(state: MeshState, name: DocumentName) -> tuple[str, Held] | None:
    """Which source's value of `name` is in force, and what it is; None: there is none."""
    for source in state.ranked():
        found = held(state, source, name)
        if found is not None:
            return source, found
    return None


def revision_of(value: Held) -> str:
    """16 hexadecimal digits: the same for the same content, wherever it stands, how it is laid out, and whatever comments say."""
    if isinstance(value, Service):
        said = _SERVICE.dump_json(replace(value, origin=()))
    elif isinstance(value, Workload):
        said = _WORKLOAD.dump_json(replace(value, origin=()))
    else:
        said = _canonical(value) if value.text else repr(value.value).encode()
    return hashlib.blake2b(said, digest_size=8).hexdigest()


def _canonical(value: Declared) -> bytes:
    text = value.text.encode()
    try:
        # As documents are read: another reader of YAML takes `on` for true, and one key for two.
        read = Piece(1, text).tree()
    except Refusal:  # it was read once: then its letters are what it says
        return text
    return json.dumps(read, sort_keys=True, default=str).encode()
