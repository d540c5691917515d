"""From the bytes of one file to its documents, or to all that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import ValidationError

from documents.envelope import Kind, Named, Problem
from documents.errors import Conflict, DocumentError, Invalid, Malformed, Where
from documents.explaining import explained
from documents.kinds import KINDS
from documents.reading import Lines, Path, Piece, Refusal, Tree, nearest, pieces, show
from mesh.events import Declared
from mesh.names import DEFAULT_NAMESPACE, Key
from mesh.service import Service
from mesh.workload import Workload

MAX_ERRORS = 100
"""Errors told of one file; the rest is probably the same mistake."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document that is right by itself. Its place is provenance and no part of its value."""

    kind: str
    key: Key
    value: Named
    where: Where
    created: datetime | None = None
    piece: Piece | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> tuple[str, Key]:
        """What no two documents may share. Services outside the mesh share the names of those inside."""
        return "Service" if isinstance(self.value, Service) else self.kind, self.key

    def as_declared(self) -> Declared:
        if self.piece is None:
            return Declared(self.kind, self.value)
        return Declared(self.kind, self.value, self.piece.data.decode(), self.where.line or 0)

    @property
    def origin(self) -> str:
        """`<file>#<number> <kind> <namespace>/<name>`, or `store#<revision> …` as the store has it."""
        return self.value.origin[0]


class Places:
    """Says where a field of a document stands. Its text is read again, once, when the first is asked for."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._lines: Lines | None = None

    def __call__(self, *path: str | int) -> Where:
        """The place of the field at `path`, or of the nearest thing around it if it is left out."""
        where, piece = self._document.where, self._document.piece
        if (
            piece is None or where.line is None
        ):  # Its text is ours, not what a user wrote: lines mean nothing.
            return replace(where, path=show(path))
        if self._lines is None:
            self._lines = piece.lines()
        return replace(where, path=show(path), line=self._lines.of(path))


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What one file says. With errors, `documents` holds those that are right by themselves; none is in force."""

    file: str
    documents: tuple[Document, ...] = ()
    errors: tuple[DocumentError, ...] = ()

    def services(self) -> Iterator[Service]:
        return (each.value for each in self.documents if isinstance(each.value, Service))

    def workloads(self) -> Iterator[Workload]:
        return (each.value for each in self.documents if isinstance(each.value, Workload))

    def declared(self) -> Iterator[Declared]:
        """All others."""
        return (
            each.as_declared() for each in self.documents if not isinstance(each.value, Service | Workload)
        )


def parse(file: str, data: bytes, kinds: tuple[Kind, ...] = KINDS, *, lenient: bool = False) -> ParsedFile:
    """The documents of a file. Raises nothing: all that is wrong is in `errors`, at most MAX_ERRORS of them.

    `file` is the name by which errors call it. `lenient`: see `parse_kept`.
    """
    found: list[Document] = []
    errors: list[DocumentError] = []
    for number, piece in enumerate(pieces(file, data), start=1):
        if isinstance(piece, DocumentError):
            errors.append(piece)
        else:
            read = _document(file, number, piece, kinds, lenient=lenient)
            if isinstance(read, Document):
                found.append(read)
            else:
                errors.extend(read)
        if len(errors) >= MAX_ERRORS:
            break
    errors.extend(_repeated(found))
    return ParsedFile(file, tuple(found), tuple(errors[:MAX_ERRORS]))


def parse_kept(
    file: str, origin: str, tree: Tree, text: str, kinds: tuple[Kind, ...] = KINDS, *, lenient: bool = False
) -> ParsedFile:
    """One document that is kept by itself, and not as text, as a file of its own called `file`. Raises nothing.

    `origin` is what its value's provenance begins with (`store#7`). `text` is another form of it, to be read again one day. `lenient`:
    problems that a status tells (`Problem.told`) refuse nothing.
    """
    read = _read(
        tree,
        origin,
        Piece(1, text.encode()),
        kinds,
        lambda path: Where(file, path=show(path)),
        lambda _: Where(file),
        lenient=lenient,
    )
    if isinstance(read, Document):
        return ParsedFile(file, (read,))
    return ParsedFile(file, errors=tuple(read[:MAX_ERRORS]))


def _document(
    file: str, number: int, piece: Piece, kinds: tuple[Kind, ...], *, lenient: bool
) -> Document | list[DocumentError]:
    """The document in `piece`, or all that is wrong with it."""
    try:
        tree = piece.tree()
    except Refusal as refusal:
        where = Where(file, number, path=show(refusal.path), line=refusal.line)
        return [Malformed(where, refusal.reason, refusal.remedy)]
    lines: Lines | None = None

    def wrong_at(path: Path) -> Where:
        nonlocal lines
        lines = lines or piece.lines()
        return Where(file, number, _subject(tree), show(path), lines.of(path))

    return _read(
        tree,
        f"{file}#{number}",
        piece,
        kinds,
        wrong_at,
        lambda subject: Where(file, number, subject, line=piece.line),
        lenient=lenient,
    )


def _read(
    tree: Tree,
    origin: str,
    piece: Piece,
    kinds: tuple[Kind, ...],
    wrong_at: Callable[[Path], Where],
    right_at: Callable[[str], Where],
    *,
    lenient: bool,
) -> Document | list[DocumentError]:
    """The document that `tree` is, or all that is wrong with it.

    `wrong_at` gives the place of a path in it, `right_at` that of the whole, called by its kind and key.
    """

    def invalid(problems: Iterable[Problem]) -> list[DocumentError]:
        return [Invalid(wrong_at(each.path), each.reason, each.remedy) for each in problems]

    kind = _kind(tree, kinds)
    if isinstance(kind, Problem):
        return invalid((kind,))
    try:
        envelope = kind.model.model_validate(tree)
        problems = tuple(each for each in kind.problems(envelope) if not (lenient and each.told))
        if problems:
            return invalid(problems)
        key = envelope.metadata.key
        value = envelope.value((f"{origin} {kind.name} {key}",))
    except ValidationError as error:
        return invalid(explained(error, kind.model))
    except Exception as error:  # noqa: BLE001 (what its kind did not foresee must not end all others)
        return invalid((Problem((), f"{type(error).__name__}: {error}"[:300], "Correct or remove it"),))
    return Document(
        kind.name, key, value, right_at(f"{kind.name} {key}"), envelope.metadata.creation_timestamp, piece
    )


def _kind(tree: Tree, kinds: tuple[Kind, ...]) -> Kind | Problem:
    known = ", ".join(dict.fromkeys(kind.name for kind in kinds))
    if not isinstance(tree, dict):
        return Problem(
            (), "a document is a mapping of apiVersion, kind, metadata and spec", f"Known kinds: {known}"
        )
    for name in ("apiVersion", "kind"):
        if not isinstance(tree.get(name), str):
            given = "is missing" if name not in tree else "is not text"
            return Problem((name,) if name in tree else (), f"{name} {given}", f"Known kinds: {known}")
    name, api_version = str(tree["kind"]), str(tree["apiVersion"])
    versions = [kind for kind in kinds if kind.name == name]
    for kind in versions:
        if kind.api_version == api_version:
            return kind
    if versions:
        right = " or ".join(kind.api_version for kind in versions)
        return Problem(("apiVersion",), f"there is no {name} of {api_version!r}", f"Use apiVersion: {right}")
    guess = nearest(name, [kind.name for kind in kinds])
    hint = f"Did you mean {guess}? " if guess else ""
    return Problem(("kind",), f"there is no kind {name!r}", f"{hint}Known kinds: {known}")


def _subject(tree: Tree) -> str:
    """`Service default/api`, as far as a document that may be wrong anywhere tells."""
    if not isinstance(tree, dict) or not isinstance(tree.get("kind"), str):
        return ""
    metadata = tree.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str):
        return f"{tree['kind']}"[:100]
    return f"{tree['kind']} {metadata.get('namespace', DEFAULT_NAMESPACE)}/{name}"[:200]


def _repeated(documents: list[Document]) -> Iterator[DocumentError]:
    seen: dict[tuple[str, Key], Document] = {}
    for each in documents:
        first = seen.setdefault(each.name, each)
        if first is not each:
            yield duplicate(each, first)


def duplicate(newcomer: Document, holder: Document) -> Conflict:
    return Conflict(
        newcomer.where,
        f"{newcomer.kind} {newcomer.key} is declared already, by {holder.where}",
        "Remove or rename one of the two",
    )
