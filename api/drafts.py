"""What somebody sent to be written, before it is known whether it is right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from api.errors import BadRequest, Unprocessable
from api.media import is_yaml, json_tree
from api.shapes.problem import FieldProblem
from documents.errors import DocumentError
from documents.reading import Lines, Path, Refusal, Tree, pieces, show
from mesh.names import DEFAULT_NAMESPACE, Key

_STEPS: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


@dataclass(frozen=True, slots=True)
class Sent:
    """A body that its route reads itself."""

    data: bytes
    media: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A document that may be wrong anywhere. `lines` leads to the lines of a YAML body; `place` says which of a batch it is."""

    tree: Tree
    lines: Lines | None = field(default=None, repr=False)
    place: str = ""

    @property
    def kind(self) -> str:
        return _text(_mapping(self.tree).get("kind"))

    @property
    def metadata(self) -> Mapping[str, Tree]:
        return _mapping(_mapping(self.tree).get("metadata"))

    @property
    def key(self) -> Key:
        """As far as it tells: it need not be one that can be."""
        return Key(_text(self.metadata.get("namespace", DEFAULT_NAMESPACE)), _text(self.metadata.get("name")))

    @property
    def resource_version(self) -> str | None:
        """What its writer says that it has now. Unprocessable if that is no text."""
        given = self.metadata.get("resourceVersion")
        if given is None or isinstance(given, str):
            return given or None
        reason = "resourceVersion is not text"
        raise Unprocessable(
            f"{self}: {reason}: put it in quotes",
            errors=(
                FieldProblem(
                    document=str(self),
                    path="metadata.resourceVersion",
                    reason=reason,
                    remedy="Put it in quotes",
                ),
            ),
        )

    def check_named(self) -> None:
        """Unprocessable if kind, namespace and name are not text: then it cannot be said who may write it."""
        wrong = tuple(self._unnamed())
        if wrong:
            raise Unprocessable(f"{wrong[0].path} {wrong[0].reason}: {wrong[0].remedy}", errors=wrong)

    def _unnamed(self) -> Iterator[FieldProblem]:
        given = _mapping(self.tree)
        if not isinstance(self.tree, dict):
            yield self._of_name(
                "", "the document is not a mapping", "Begin with apiVersion, kind and metadata"
            )
            return
        if not isinstance(given.get("kind"), str) or not given["kind"]:
            yield self._of_name("kind", "does not say what the document is", "Give the kind as text")
        if not isinstance(given.get("metadata"), dict):
            yield self._of_name("metadata", "does not name the document", "Give it a name")
            return
        if not isinstance(self.metadata.get("namespace", DEFAULT_NAMESPACE), str):
            yield self._of_name("metadata.namespace", "is not text", "Put it in quotes, or leave it out")
        if not isinstance(self.metadata.get("name"), str):
            yield self._of_name("metadata.name", "is not text", "Give it a name, in quotes if need be")

    def _of_name(self, path: str, reason: str, remedy: str) -> FieldProblem:
        return FieldProblem(
            document=str(self),
            path=f"{self.place}.{path}".strip("."),
            line=self.lines.of(_path(path)) if self.lines is not None else None,
            reason=reason,
            remedy=remedy,
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"[:300]

    def problem(self, error: DocumentError) -> FieldProblem:
        """`error`, with the line of what was sent in place of that of what was read."""
        where = error.where
        return FieldProblem(
            document=where.subject or str(self),
            path=f"{self.place}.{where.path}".strip(".") if self.place else where.path,
            line=self.lines.of(_path(where.path)) if self.lines is not None else None,
            reason=error.reason,
            remedy=error.remedy,
        )


def draft(sent: Sent) -> Draft:
    """The one document of a body. BadRequest."""
    if not is_yaml(sent.media):
        return Draft(json_tree(sent.data))
    found = list(pieces("body", sent.data))
    if len(found) > 1:
        raise BadRequest("the body holds more than one document: send one here, or all as a batch")
    if not found:
        raise BadRequest("the body is empty: send a document")
    piece = found[0]
    if isinstance(piece, DocumentError):
        raise BadRequest(f"the body cannot be read: {piece.reason}. {piece.remedy}")
    try:
        return Draft(piece.tree(), piece.lines())
    except Refusal as refusal:
        at = f" ({show(refusal.path)})" if refusal.path else ""
        raise BadRequest(
            f"line {refusal.line} of the body{at}: {refusal.reason}. {refusal.remedy}"
        ) from refusal


def named(given: Draft, kind: str, key: Key) -> Draft:
    """`given`, which is sent to the place of `kind` and `key`: what it leaves out of these is filled in. Unprocessable if it says otherwise."""
    tree = dict(_mapping(given.tree))
    metadata = dict(given.metadata)
    said = {"kind": tree.setdefault("kind", kind)}
    said["metadata.namespace"] = metadata.setdefault("namespace", key.namespace)
    said["metadata.name"] = metadata.setdefault("name", key.name)
    wanted = {"kind": kind, "metadata.namespace": key.namespace, "metadata.name": key.name}
    errors = tuple(
        FieldProblem(
            document=f"{kind} {key}",
            path=path,
            reason=f"{str(said[path])[:100]!r} is not what the path of the request says",
            remedy=f"Use {wanted[path]}, or leave it out",
        )
        for path in wanted
        if said[path] != wanted[path]
    )
    if errors:
        raise Unprocessable(f"the body is not {kind} {key}", errors=errors)
    return Draft({**tree, "metadata": metadata}, given.lines, given.place)


def _mapping(tree: Tree) -> Mapping[str, Tree]:
    return tree if isinstance(tree, dict) else {}


def _text(value: Tree) -> str:
    return value if isinstance(value, str) else ""


def _path(text: str) -> Path:
    """The reverse of `documents.reading.show`, but for keys that have dots: then what is around it."""
    return tuple(int(place) if place else name for place, name in _STEPS.findall(text))
