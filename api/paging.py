"""Pages of documents: where the next one begins is told to the caller, and kept nowhere."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from api.errors import Unprocessable
from mesh.names import Key
from store.stored import Name

WRONG = "continue is not from an answer of this request: begin again without it, or leave the other parameters as they were"


@dataclass(frozen=True, slots=True)
class Place:
    """After which document a page begins, and the revision that all pages of one list are of."""

    revision: int
    after: Name


def token(place: Place, request: str) -> str:
    """`request`: what was asked for besides; a page of something else cannot go on from here."""
    kind, key = place.after
    said = [place.revision, kind, key.namespace, key.name, _mark(request)]
    return base64.urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).decode().rstrip("=")


def place(text: str, request: str) -> Place:
    """The reverse of `token`. Unprocessable."""
    try:
        said = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise Unprocessable(WRONG) from error
    match said:
        case [int(revision), str(kind), str(namespace), str(name), str(mark)] if (
            mark == _mark(request) and type(revision) is int and revision >= 0
        ):
            return Place(revision, (kind, Key(namespace, name)))
        case _:
            raise Unprocessable(WRONG)


def page(names: Sequence[Name], after: Name | None, limit: int) -> tuple[Sequence[Name], int]:
    """At most `limit` of sorted `names` that come after one, and how many come after those."""
    start = bisect_right(names, after) if after is not None else 0
    return names[start : start + limit], max(0, len(names) - start - limit)


def _mark(request: str) -> str:
    return hashlib.sha256(request.encode()).hexdigest()[:16]
