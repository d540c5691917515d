"""The quarantine on disk, so that a control plane that starts again does not send what was refused, and knows what to send instead.

One file, `quarantine.json` in the data directory: cases, and the earlier values of the documents that changed last. It is replaced as a whole,
with mode 0600. One that cannot be read is set aside and reported: it never stops a start. It holds documents, and so no secret.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from ca import files
from documents.envelope import Kind
from documents.parsing import parse
from mesh.events import Declared
from mesh.names import Key
from mesh.service import Service
from mesh.workload import Workload
from meshwright.quarantine.book import Book
from meshwright.quarantine.cases import Case, Verdict
from meshwright.quarantine.history import Earlier
from meshwright.revisions import Held, origin_of

NAME = "quarantine.json"
KEPT = 50
"""Documents, besides those of cases, whose earlier values are kept: of those that changed last, some may be refused yet."""


@dataclass(frozen=True, slots=True)
class _Case:
    kind: str
    document: Key
    revision: str
    envoy: str
    resource: str
    message: str
    origin: str
    since: float
    protects: bool
    clients: tuple[str, ...]
    identities: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class _Earlier:
    """`text` of a document; `service` or `workload` for those two. No revision: it was not there."""

    kind: str
    document: Key
    source: str
    revision: str
    file: str = ""
    text: str = ""
    service: Service | None = None
    workload: Workload | None = None


@dataclass(frozen=True, slots=True)
class _OnDisk:
    version: Literal[1]
    cases: tuple[_Case, ...]
    earlier: tuple[_Earlier, ...]


_SHAPE = TypeAdapter(_OnDisk)


def written(book: Book) -> bytes:
    """What the file says of `book`."""
    cases = tuple(book.cases())
    changed = [*itertools.islice(book.history.latest(), KEPT)]
    # Read again in this order, those that changed last are the last again.
    kept = dict.fromkeys((*(case.name for case in cases if case.name not in changed), *reversed(changed)))
    earlier = tuple(
        _earlier(name[0], name[1], each) for name in kept for each in reversed(book.history.of(name))
    )
    return _SHAPE.dump_json(_OnDisk(1, tuple(map(_case, cases)), earlier))


def save(folder: Path, content: bytes) -> None:
    """Blocks. OSError if the disk does not take it; the file is then what it was."""
    files.write_atomically(folder / NAME, content)


def load(folder: Path, book: Book, kinds: tuple[Kind, ...]) -> tuple[tuple[Case, ...], str | None]:
    """Give `book` the history that was saved; the cases, and why there is nothing though there is a file, if so. Blocks, and never raises."""
    path = folder / NAME
    try:
        found = _SHAPE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return (), None
    except OSError as error:
        return (), f"the quarantine {path} cannot be read: {error.strerror}: check its owner and mode"
    except ValidationError as error:
        aside = path.with_name(f"{path.name}.corrupt")
        why = f"the quarantine {path} is not used: {error.errors(include_url=False)[0]['msg']}"
        try:
            path.replace(aside)
        except OSError as failure:
            return (), f"{why}; nor can it be set aside: {failure.strerror}"
        return (), f"{why}; it is kept as {aside} and may be removed"
    for each in found.earlier:
        value = _value(each, kinds) if each.revision else None
        if value is not None or not each.revision:
            book.history.add((each.kind, each.document), Earlier(each.source, each.revision, value))
    return tuple(
        Case(
            (each.kind, each.document),
            each.revision,
            each.envoy,
            each.resource,
            each.message,
            each.origin,
            each.since,
            each.protects,
            frozenset(each.clients),
            frozenset(each.identities),
            each.verdict,
        )
        for each in found.cases
    ), None


def _case(case: Case) -> _Case:
    kind, document = case.name
    return _Case(
        kind,
        document,
        case.revision,
        case.envoy,
        case.resource,
        case.message,
        case.origin,
        case.since,
        case.protects,
        tuple(sorted(case.clients)),
        tuple(sorted(case.identities)),
        case.verdict,
    )


def _earlier(kind: str, document: Key, earlier: Earlier) -> _Earlier:
    value = earlier.value
    if value is None:
        return _Earlier(kind, document, earlier.source, earlier.revision)
    if isinstance(value, Service):
        return _Earlier(kind, document, earlier.source, earlier.revision, service=value)
    if isinstance(value, Workload):
        return _Earlier(kind, document, earlier.source, earlier.revision, workload=value)
    file = (origin_of(value) or ("",))[0].partition("#")[0]
    return _Earlier(kind, document, earlier.source, earlier.revision, file, value.text)


def _value(earlier: _Earlier, kinds: tuple[Kind, ...]) -> Held | None:
    """None for what this version of Meshwright no longer reads."""
    if earlier.service is not None or earlier.workload is not None:
        return earlier.service or earlier.workload
    read: tuple[Declared, ...] = tuple(parse(earlier.file, earlier.text.encode(), kinds).declared())
    return next((each for each in read if each.name == (earlier.kind, earlier.document)), None)
