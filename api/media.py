"""Bytes of JSON and YAML to trees, as strictly as documents are read: a key given twice, NaN and text that is no Unicode are errors, not guesses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from api.errors import BadRequest, UnknownMediaType
from documents.errors import DocumentError
from documents.reading import MAX_DEPTH, Piece, Refusal, Tree, pieces, show

JSON: Final = "application/json"
YAML: Final = "application/yaml"


def is_yaml(media: str) -> bool:
    return media.rpartition("/")[2].rpartition("+")[2] in {"yaml", "x-yaml"}


def known(media: str, allowed: Iterable[str]) -> str:
    """`media`, without its parameters. UnknownMediaType if it is none of `allowed`."""
    bare = media.partition(";")[0].strip().lower()
    choices = tuple(allowed)
    if bare in choices:
        return bare
    raise UnknownMediaType(
        f"{bare[:100] or 'no Content-Type'} is not read here: send {' or '.join(choices)}",
        headers={"Accept": ", ".join(choices)},
    )


def tree_of(data: bytes, media: str) -> Tree:
    """The one value that `data` holds. BadRequest."""
    return _yaml(data) if is_yaml(media) else json_tree(data)


def json_tree(data: bytes) -> Tree:
    """BadRequest if it is no JSON, deeper than documents may be, or has what documents cannot have."""
    try:
        tree: Tree = json.loads(
            data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
        _bounded(tree)
    except UnicodeDecodeError as error:
        raise BadRequest(f"byte {error.start + 1} of the body is not UTF-8: send UTF-8") from error
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"the body is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except RecursionError as error:
        raise BadRequest(_too_deep()) from error
    except ValueError as error:
        raise BadRequest(f"the body is not JSON that is read here: {error}") from error
    return tree


def _yaml(data: bytes) -> Tree:
    found = list(pieces("body", data))
    if len(found) > 1:
        raise BadRequest("the body holds more than one document: send one here, or all as a batch")
    if not found:
        return None
    piece = found[0]
    if isinstance(piece, DocumentError):
        raise BadRequest(f"the body cannot be read: {piece.reason}. {piece.remedy}")
    return _tree(piece)


def _tree(piece: Piece) -> Tree:
    try:
        return piece.tree()
    except Refusal as refusal:
        at = f" ({show(refusal.path)})" if refusal.path else ""
        raise BadRequest(
            f"line {refusal.line} of the body{at}: {refusal.reason}. {refusal.remedy}"
        ) from refusal


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:100]!r} is given twice: keep one of the two")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number: leave it out")


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _bounded(tree: Tree) -> None:
    """ValueError for what is deeper than a document may be, or is no text that can be written."""
    level: list[Tree] = [tree]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise ValueError(_too_deep())
        below: list[Tree] = []
        for each in level:
            if isinstance(each, str):
                _writable(each)
            elif isinstance(each, dict):
                for name in each:
                    _writable(name)
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
        level = below


def _writable(text: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else False:
        raise ValueError("a text holds half of a surrogate pair: send whole characters")


def _too_deep() -> str:
    return f"the body is nested more than {MAX_DEPTH} levels deep: flatten it"
