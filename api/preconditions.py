"""If-Match and If-None-Match (RFC 9110, 13.1): the entity tag of a document is its resource version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from api.errors import BadRequest, PreconditionFailed

IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"
_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e]{0,100}"'
_LIST: Final = re.compile(rf"\*|{_TAG}(?:\s*,\s*{_TAG}){{0,20}}")


def etag(version: str) -> str:
    return f'"{version}"'


def check(headers: Mapping[str, str], version: str | None, what: str) -> None:
    """PreconditionFailed if `what`, which has `version` (None: it is not there), is not what the caller believes. BadRequest."""
    wanted, unwanted = _tags(headers, IF_MATCH), _tags(headers, IF_NONE_MATCH)
    now = "it is not there" if version is None else f"it has version {version}"
    if wanted is not None and (version is None or not ({"*", etag(version)} & wanted)):
        raise PreconditionFailed(
            f"If-Match does not hold for {what}: {now}: read it again, and repeat the change on that"
        )
    if unwanted is not None and version is not None and {"*", etag(version)} & unwanted:
        raise PreconditionFailed(f"If-None-Match does not hold for {what}: {now}: use If-Match to change it")


def unmodified(headers: Mapping[str, str], version: str) -> bool:
    """Whether the reader has `version` already."""
    known = _tags(headers, IF_NONE_MATCH)
    # Weak comparison (RFC 9110, 13.1.2).
    return known is not None and bool({"*", etag(version), f"W/{etag(version)}"} & known)


def _tags(headers: Mapping[str, str], name: str) -> frozenset[str] | None:
    text = headers.get(name)
    if text is None:
        return None
    if not _LIST.fullmatch(text.strip()):
        raise BadRequest(f'{name} is no list of entity tags: use the ETag of an answer, as "17", or *')
    return frozenset(re.findall(rf"\*|{_TAG}", text))
