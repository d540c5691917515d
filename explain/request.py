"""A request on its way, as the proxy that has it sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

Headers = tuple[tuple[str, str], ...]
"""Names in lower case, in the order and as often as they stand."""

Claims = Mapping[str, object]

GRPC_CONTENT = "application/grpc"
PSEUDO = {":method": "method", ":path": "path", ":authority": "authority", "host": "authority"}
"""What Envoy calls a header and the protocols do not, by the field that holds it."""


@dataclass(frozen=True, slots=True)
class Request:
    """`path` with its query; `authority` as the client says it, with the port if it says one. `scheme`: http or https.

    `token`: what the token that it carries claims; None without one. `claims`: the same, once a filter of this proxy has verified it.
    """

    method: str
    path: str
    authority: str
    headers: Headers = ()
    claims: Claims | None = None
    scheme: str = "http"
    token: Claims | None = None

    @property
    def bare_path(self) -> str:
        """Without query and fragment."""
        return self.path.partition("?")[0].partition("#")[0]

    @property
    def query(self) -> str:
        """With its question mark; empty without one."""
        return self.path[len(self.path.partition("?")[0]) :]

    @property
    def is_grpc(self) -> bool:
        found = self.header("content-type") or ""
        return found == GRPC_CONTENT or found.startswith((f"{GRPC_CONTENT}+", f"{GRPC_CONTENT};"))

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of a header, pseudo headers too. No authority is none."""
        lower = name.lower()
        if lower == ":scheme":
            return (self.scheme,)
        if lower in PSEUDO:
            value = str(getattr(self, PSEUDO[lower]))
            return (value,) if value or lower == ":path" else ()
        return tuple(value for each, value in self.headers if each == lower)

    def header(self, name: str) -> str | None:
        """All values with commas between, as Envoy compares them; None if it is not there."""
        found = self.values(name)
        return ",".join(found) if found else None

    def parameters(self) -> Iterator[tuple[str, str]]:
        """Of the query, undecoded, as Envoy compares them."""
        for each in self.query.removeprefix("?").partition("#")[0].split("&"):
            name, _, value = each.partition("=")
            if name:
                yield name, value

    def with_header(self, name: str, value: str, *, append: bool = False) -> Request:
        """`append` adds a value to those that are there."""
        lower = name.lower()
        match PSEUDO.get(lower):
            case "method":
                return replace(self, method=value)
            case "path":
                return replace(self, path=value)
            case "authority":
                return replace(self, authority=value)
        kept = self.headers if append else without(self.headers, (lower,))
        return replace(self, headers=(*kept, (lower, value)))

    def without_headers(self, names: Iterable[str]) -> Request:
        return replace(self, headers=without(self.headers, names))


def without(headers: Headers, names: Iterable[str]) -> Headers:
    gone = {each.lower() for each in names}
    return tuple(each for each in headers if each[0] not in gone)
