"""Which requests a rule is about: path, method, headers and query parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from documents.envelope import Part, Problem, wrong
from documents.expressions import flaw
from documents.gateway_api.common import HeaderName, HeaderValue, ParameterName
from documents.reading import Path
from mesh.routes import Match, PathKind, PathMatch, ValueKind, ValueMatch

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]

_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")


def _at_most(length: int) -> AfterValidator:
    def check(text: str) -> str:
        if len(text) > length:
            raise wrong(f"{text[:20]!r}… has {len(text)} characters", f"Use at most {length}")
        return text

    return AfterValidator(check)


class PathMatchSpec(Part):
    type: PathKind = Field(
        default=PathKind.PREFIX,
        strict=False,
        description="Exact, PathPrefix (by elements: /a means /a and /a/b, not /ab) or RegularExpression (RE2).",
    )
    value: Annotated[str, _at_most(1024), Field(json_schema_extra={"maxLength": 1024})] = Field(
        default="/", description="What the path is compared with."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        found = flaw(self.value) if self.type is PathKind.REGEX else path_flaw(self.value)
        if found is not None:
            yield Problem((*at, "value"), *found)

    def matched(self) -> PathMatch:
        """A trailing slash of a prefix has no meaning (PathMatchPathPrefix)."""
        if self.type is PathKind.PREFIX:
            return PathMatch(self.type, self.value.rstrip("/") or "/")
        return PathMatch(self.type, self.value)


class HeaderMatchSpec(Part):
    type: ValueKind = Field(ValueKind.EXACT, strict=False, description="Exact, or RegularExpression (RE2).")
    name: HeaderName = Field(description="The name of the header; upper and lower case are the same.")
    value: HeaderValue = Field(description="What the header must say.")


class QueryMatchSpec(Part):
    type: ValueKind = Field(ValueKind.EXACT, strict=False, description="Exact, or RegularExpression (RE2).")
    name: ParameterName = Field(description="The name of the parameter, exactly.")
    value: Annotated[
        str, Field(min_length=1), _at_most(1024), Field(json_schema_extra={"maxLength": 1024})
    ] = Field(description="What the parameter must say.")


HeaderMatches = Annotated[list[HeaderMatchSpec], Field(max_length=16)]


class HttpMatchSpec(Part):
    """All that is given must hold."""

    path: PathMatchSpec = Field(default=PathMatchSpec(), description="By default every path.")
    method: Method | None = Field(default=None, description="By default every method.")
    headers: HeaderMatches = Field(default=[], description="All of these must hold.")
    query_params: Annotated[list[QueryMatchSpec], Field(max_length=16)] = Field(
        default=[], description="All of these must hold."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        yield from self.path.problems((*at, "path"))
        yield from value_problems((*at, "headers"), self.headers)
        yield from value_problems((*at, "queryParams"), self.query_params)

    def value(self) -> Match:
        return Match(
            path=self.path.matched(),
            method=self.method,
            headers=value_matches(self.headers),
            query=value_matches(self.query_params),
        )


def path_flaw(path: str) -> tuple[str, str] | None:
    """Why `path` cannot be that of a request, and the way out (the rules of HTTPPathMatch); None if it can."""
    if not path.startswith("/"):
        return f"{path!r} does not start with '/'", f"Use {'/' + path!r}"
    for part in ("//", "/./", "/../", "%2f", "%2F", "#"):
        if part in path:
            return f"{path!r} has {part!r} in it", "Write the path as a proxy normalises it"
    if path.endswith(("/.", "/..")):
        return f"{path!r} ends with '/.' or '/..'", "Write the path as a proxy normalises it"
    if not _PATH.fullmatch(path):
        return f"{path!r} has characters that a path cannot have", "Percent-encode them"
    return None


def value_problems(at: Path, given: Sequence[HeaderMatchSpec | QueryMatchSpec]) -> Iterator[Problem]:
    for place, each in enumerate(given):
        found = flaw(each.value) if each.type is ValueKind.REGEX else None
        if found is not None:
            yield Problem((*at, place, "value"), *found)


def value_matches(given: Sequence[HeaderMatchSpec | QueryMatchSpec]) -> tuple[ValueMatch, ...]:
    """Of several with one name the first only: the others must be ignored (HTTPHeaderMatch.name)."""
    first: dict[str, ValueMatch] = {}
    for each in given:
        first.setdefault(each.name, ValueMatch(each.name, each.value, each.type))
    return tuple(first.values())
