r"""What becomes of the path of a request before policies look at it, and which paths servers are known to read in more than one way.

A sidecar normalises paths (`normalize_path`, RFC 3986, section 6, as browsers do) and the application gets what was matched. Tried on Envoy
1.40: unreserved characters are decoded, `\` becomes `/`, dot segments go, with parameters behind a semicolon too. Repeated slashes and
encoded slashes stay: some applications tell them apart, others do not.
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto
"""

from __future__ import annotations

import re
import string
from typing import Final

UNRESERVED: Final = frozenset(string.ascii_letters + string.digits + "-._~")
ENCODED: Final = frozenset('"<>^`{|}')
"""Characters that are encoded where a request has them as they are."""
_OCTET = re.compile(r"%[0-9A-Fa-f]{2}")
AMBIGUOUS: Final = "//|%2f|%5c"
"""A regular expression, in upper and lower case: slashes that servers count, leave out, or decode."""
_AMBIGUOUS = re.compile(AMBIGUOUS, re.IGNORECASE)


def normal(path: str, *, merged: bool = False) -> str:
    """The path, without the query, as policies and the application see it. `path` begins with a slash. `merged`: of several slashes one
    is left, as at a gateway.
    """
    bare = path.partition("?")[0].replace("\\", "/")
    bare = _OCTET.sub(_decoded, bare)
    bare = "".join(f"%{ord(each):02X}" if each in ENCODED else each for each in bare)
    *inner, last = bare.split("/")[1:]
    kept: list[str] = []
    for segment in inner:
        _take(kept, segment)
    if not _take(kept, last):
        kept.append("")
    found = "/" + "/".join(kept)
    return re.sub("/+", "/", found) if merged else found


def ambiguous(path: str) -> bool:
    """Whether an application may take a normalised `path` for another one: for fewer slashes, or more."""
    return _AMBIGUOUS.search(path) is not None


def _take(kept: list[str], segment: str) -> bool:
    """Whether the segment names something, and is kept."""
    name = segment.partition(";")[0]
    if name == ".." and kept:
        kept.pop()
    if name in {".", ".."}:
        return False
    kept.append(segment)
    return True


def _decoded(octet: re.Match[str]) -> str:
    character = chr(int(octet[0][1:], 16))
    return character if character in UNRESERVED else octet[0]
