"""Documents that a command is given: files, directories, standard input. Read here, so that errors lead to a line; judged by the control plane."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from documents.reading import Lines, Piece, Refusal, pieces
from meshwright.errors import RefusedError, UsageError

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Given:
    """One document and where it came from. `prefix`: the path to it inside its piece, for an item of a list."""

    tree: dict[str, Any]
    file: str
    piece: Piece
    prefix: tuple[str | int, ...] = ()

    def named(self, namespace: str) -> str:
        """`<kind> <namespace>/<name>`, as the control plane calls it."""
        metadata = self.tree.get("metadata")
        said = metadata if isinstance(metadata, dict) else {}
        return f"{self.tree.get('kind')} {said.get('namespace') or namespace}/{said.get('name')}"


def read(names: Iterable[str]) -> list[Given]:
    """All documents. RefusedError with every mistake of YAML, UsageError for what cannot be read or holds nothing."""
    given: list[Given] = []
    errors: list[str] = []
    for file, data in _files(names):
        for piece in pieces(file, data):
            if not isinstance(piece, Piece):
                errors.append(str(piece))
                continue
            try:
                given += _expanded(piece.tree(), file, piece)
            except Refusal as refusal:
                errors.append(f"{file}:{refusal.line}: {refusal.reason}: {refusal.remedy}")
    if errors:
        raise RefusedError("\n  ".join(errors))
    if not given:
        raise UsageError(f"there is no document in {' '.join(names)}")
    return given


def in_namespace(given: Iterable[Given], namespace: str) -> list[dict[str, Any]]:
    """The documents, those that name no namespace in `namespace`."""
    made = []
    for each in given:
        metadata = each.tree.get("metadata")
        if isinstance(metadata, dict) and "namespace" not in metadata:
            made.append({**each.tree, "metadata": {**metadata, "namespace": namespace}})
        else:
            made.append(each.tree)
    return made


def places(given: Sequence[Given], namespace: str) -> Callable[[str, str], str | None]:
    """Where a field of a document stands: `<file>:<line>`. A path that begins with `documents[3]` means the fourth of `given`."""
    by_name = {each.named(namespace): each for each in given}
    lines: dict[int, Lines] = {}

    def place(document: str, path: str) -> str | None:
        steps = tuple(
            int(index) if index else name for name, index in (each.groups() for each in _STEP.finditer(path))
        )
        found = by_name.get(document)
        if len(steps) > 1 and steps[0] == "documents" and isinstance(steps[1], int):
            found, steps = given[steps[1]], steps[2:]
        if found is None:
            return None
        if id(found) not in lines:
            lines[id(found)] = found.piece.lines()
        return f"{found.file}:{lines[id(found)].of((*found.prefix, *steps))}"

    return place


def _expanded(tree: Any, file: str, piece: Piece) -> Iterator[Given]:
    """A document is itself; a list of them (also Kubernetes' `kind: List`) is its items."""
    items: list[Any] | None = None
    prefix: tuple[str | int, ...] = ()
    if isinstance(tree, list):
        items = tree
    elif isinstance(tree, dict) and isinstance(tree.get("items"), list) and "spec" not in tree:
        items, prefix = tree["items"], ("items",)
    if items is None:
        yield Given(_document(tree, file, piece.line), file, piece)
        return
    for index, item in enumerate(items):
        yield Given(_document(item, file, piece.line), file, piece, (*prefix, index))


def _document(tree: Any, file: str, line: int) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise RefusedError(f"{file}:{line}: that is no document: it has apiVersion, kind, metadata and spec")
    return tree


def _files(names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        if name == STDIN:
            yield "standard input", sys.stdin.buffer.read()
            continue
        path = Path(name)
        if not path.exists():
            raise UsageError(f"there is no file {name}")
        found = sorted(_below(path)) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"the directory {name} has no {' '.join(SUFFIXES)} files")
        for each in found:
            yield str(each), each.read_bytes()


def _below(folder: Path) -> Iterator[Path]:
    """As the control plane reads a directory: what is hidden (of editors, of Kubernetes' mounts) is left out."""
    for each in folder.rglob("*"):
        hidden = any(part.startswith((".", "#")) for part in each.relative_to(folder).parts)
        if each.suffix.lower() in SUFFIXES and each.is_file() and not hidden:
            yield each
