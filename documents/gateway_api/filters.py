"""What a rule does to requests and responses besides sending them somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from documents.envelope import Part, Port, Problem, repeated, wrong
from documents.gateway_api.common import BackendReference, HeaderName, HeaderValue, PreciseHostname
from documents.gateway_api.external_auth import ExternalAuthSpec
from documents.gateway_api.matching import path_flaw
from documents.reading import Path
from mesh.routes import (
    Cors,
    Filter,
    Fraction,
    Header,
    PathRewrite,
    RequestHeaderModifier,
    RequestMirror,
    RequestRedirect,
    ResponseHeaderModifier,
    RewriteKind,
    UrlRewrite,
)

_ORIGIN = re.compile(
    r"\*|https?://(?:\*|(?:\*\.)?(?:[a-zA-Z0-9-]+\.)*[a-zA-Z0-9-]+)(?::(?P<port>[0-9]{1,5}))?"
)

FilterType = Literal[
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestMirror",
    "RequestRedirect",
    "URLRewrite",
    "CORS",
    "ExternalAuth",
    "ExtensionRef",
]
GrpcFilterType = Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"]

FIELDS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "CORS": "cors",
    "ExternalAuth": "externalAuth",
    "ExtensionRef": "extensionRef",
}
"""The field of a filter that goes with each type."""

ONCE = (
    "CORS",
    "ExternalAuth",
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestRedirect",
    "URLRewrite",
)
"""Types that a rule may have one filter of."""


class HeaderSpec(Part):
    name: HeaderName = Field(description="The name of the header.")
    value: HeaderValue = Field(description="What the header says then.")


class HeaderFilterSpec(Part):
    """Only one of the three may name a header, once."""

    set: Annotated[list[HeaderSpec], Field(max_length=16)] = Field(default=[], description="Overwrites.")
    add: Annotated[list[HeaderSpec], Field(max_length=16)] = Field(
        default=[], description="Appends to what is there."
    )
    remove: Annotated[list[HeaderName], Field(max_length=16)] = Field(
        default=[], description="Names of headers that are taken away."
    )

    def problems(self, at: Path, *, of_request: bool) -> Iterator[Problem]:
        named: list[tuple[Path, str]] = [
            *(((*at, "set", place, "name"), each.name) for place, each in enumerate(self.set)),
            *(((*at, "add", place, "name"), each.name) for place, each in enumerate(self.add)),
            *(((*at, "remove", place), name) for place, name in enumerate(self.remove)),
        ]
        seen: set[str] = set()
        for path, name in named:
            # To Envoy the host is no header: it can be overwritten on the way to a backend, and that is all.
            if name == "host" and not (of_request and "set" in path):
                yield Problem(
                    path,
                    "the host can only be overwritten, and only of a request",
                    "Use a URLRewrite filter with a hostname",
                )
            if name in seen:
                yield Problem(path, f"header {name} is changed twice", "Keep one change of each header")
            seen.add(name)

    def headers(self) -> tuple[tuple[Header, ...], tuple[Header, ...], tuple[str, ...]]:
        """What is set, added and removed."""
        return (
            tuple(Header(each.name, each.value) for each in self.set),
            tuple(Header(each.name, each.value) for each in self.add),
            tuple(self.remove),
        )


class PathModifierSpec(Part):
    type: RewriteKind = Field(strict=False, description="ReplaceFullPath or ReplacePrefixMatch.")
    replace_full_path: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="What the whole path becomes."
    )
    replace_prefix_match: Annotated[str, Field(max_length=1024)] | None = Field(
        None, description="What the prefix becomes that the rule's PathPrefix matched."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        full = self.type is RewriteKind.FULL
        wanted, other = (
            ("replaceFullPath", "replacePrefixMatch") if full else ("replacePrefixMatch", "replaceFullPath")
        )
        given = self.replace_full_path if full else self.replace_prefix_match
        if given is None:
            yield Problem((*at, wanted), f"{wanted} is missing", f"Type {self.type} needs it")
        elif (full or given) and not given.startswith("/"):
            yield Problem((*at, wanted), f"{given!r} does not start with '/'", f"Use {'/' + given!r}")
        elif given and (found := path_flaw(given.partition("?")[0])) is not None:
            yield Problem((*at, wanted), *found)
        if (self.replace_prefix_match if full else self.replace_full_path) is not None:
            yield Problem((*at, other), f"{other} does not go with type {self.type}", "Remove one of the two")

    def value(self) -> PathRewrite:
        if self.type is RewriteKind.FULL:
            return PathRewrite(self.type, self.replace_full_path or "/")
        return PathRewrite(self.type, (self.replace_prefix_match or "").rstrip("/"))


class RedirectSpec(Part):
    scheme: Literal["http", "https"] | None = Field(None, description="By default that of the request.")
    hostname: PreciseHostname | None = Field(None, description="By default that of the request.")
    path: PathModifierSpec | None = Field(None, description="By default that of the request.")
    port: Port | None = Field(None, description="By default that of the scheme, or of the request.")
    status_code: Literal[301, 302, 303, 307, 308] = Field(
        default=302, description="The status of the answer."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.path is not None:
            yield from self.path.problems((*at, "path"))

    def value(self) -> RequestRedirect:
        path = None if self.path is None else self.path.value()
        return RequestRedirect(self.scheme, self.hostname, path, self.port, self.status_code)


class RewriteSpec(Part):
    hostname: PreciseHostname | None = Field(None, description="What the backend sees as Host.")
    path: PathModifierSpec | None = Field(default=None, description="The path that the backend sees.")

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.path is not None:
            yield from self.path.problems((*at, "path"))

    def value(self) -> UrlRewrite:
        return UrlRewrite(self.hostname, None if self.path is None else self.path.value())


class FractionSpec(Part):
    numerator: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(description="How many requests.")
    denominator: Annotated[int, Field(ge=1, le=2**31 - 1)] = Field(default=100, description="Of how many.")


class MirrorSpec(Part):
    """A copy of the request is sent to another backend, whose answer is ignored."""

    backend_ref: BackendReference = Field(description="Where the copies are sent.")
    percent: Annotated[int, Field(ge=0, le=100)] | None = Field(None, description="By default all requests.")
    fraction: FractionSpec | None = Field(None, description="A finer share than percent.")

    def problems(self, at: Path) -> Iterator[Problem]:
        yield from self.backend_ref.problems((*at, "backendRef"))
        if self.percent is not None and self.fraction is not None:
            yield Problem((*at, "fraction"), "percent and fraction are both given", "Keep one of the two")
        if self.fraction is not None and self.fraction.numerator > self.fraction.denominator:
            yield Problem(
                (*at, "fraction"),
                f"{self.fraction.numerator} of {self.fraction.denominator} is more than all",
                "Use a numerator that is not larger than the denominator",
            )

    def value(self, own: str) -> RequestMirror:
        share = None if self.percent is None else Fraction(self.percent)
        if self.fraction is not None:
            share = Fraction(self.fraction.numerator, self.fraction.denominator)
        return RequestMirror(self.backend_ref.value(own), share)


def _origin(text: str) -> str:
    found = _ORIGIN.fullmatch(text)
    if len(text) > 253 or found is None or not 1 <= int(found["port"] or 80) <= 65535:
        raise wrong(
            f"{text!r} is not an origin",
            "Use '*', or http:// or https:// with a host, which may begin with '*', and a port if it is another one",
        )
    return text


class CorsSpec(Part):
    """Which other origins browsers may call from (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

    allow_origins: Annotated[list[Annotated[str, AfterValidator(_origin)]], Field(max_length=64)] = Field(
        default=[], description="https://*.example.com means any name below example.com."
    )
    allow_credentials: bool = Field(
        default=False, description="Whether requests may come with cookies and certificates."
    )
    allow_methods: Annotated[
        list[Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"]],
        Field(max_length=9),
    ] = Field(default=[], description="Methods that browsers may use; * for all.")
    allow_headers: Annotated[list[HeaderName], Field(max_length=64)] = Field(
        default=[], description="Headers that browsers may send; * for all."
    )
    expose_headers: Annotated[list[HeaderName], Field(max_length=64)] = Field(
        default=[], description="Headers of answers that scripts may read."
    )
    max_age: Annotated[int, Field(ge=1, le=2**31 - 1)] = Field(5, description="Seconds.")

    def problems(self, at: Path) -> Iterator[Problem]:
        lists: tuple[tuple[str, Sequence[str], str], ...] = (
            ("allowOrigins", self.allow_origins, "origin"),
            ("allowMethods", self.allow_methods, "method"),
            ("allowHeaders", self.allow_headers, "header"),
            ("exposeHeaders", self.expose_headers, "header"),
        )
        for name, given, what in lists:
            yield from repeated((*at, name), "", given, what)
            if "*" in given and len(given) > 1 and name != "exposeHeaders":
                yield Problem(
                    (*at, name), f"'*' stands beside another {what}", "Keep '*' alone, or remove it"
                )

    def value(self) -> Cors:
        return Cors(
            origins=tuple(self.allow_origins),
            credentials=self.allow_credentials,
            methods=tuple(self.allow_methods),
            headers=tuple(self.allow_headers),
            expose=tuple(self.expose_headers),
            max_age=self.max_age,
        )


class ExtensionSpec(Part):
    """Read only to be refused with the way out."""

    group: str = Field(default="", description="Not supported.")
    kind: str = Field(description="Not supported.")
    name: str = Field(description="Not supported.")


class FilterSpec(Part):
    """One filter: its type, and the one field that goes with it."""

    type: FilterType = Field(description="What it does; the field of the same name says how.")
    request_header_modifier: HeaderFilterSpec | None = Field(
        default=None, description="Changes headers of requests. One change of each header."
    )
    response_header_modifier: HeaderFilterSpec | None = Field(
        default=None, description="Changes headers of answers. One change of each header."
    )
    request_mirror: MirrorSpec | None = Field(
        default=None, description="Copies of requests go to another backend, whose answers are ignored."
    )
    extension_ref: ExtensionSpec | None = Field(
        default=None, description="Not supported: policies target routes instead."
    )

    def given(self) -> dict[str, Part]:
        """What is given, by the type that it goes with."""
        parts = {
            "RequestHeaderModifier": self.request_header_modifier,
            "ResponseHeaderModifier": self.response_header_modifier,
            "RequestMirror": self.request_mirror,
            "ExtensionRef": self.extension_ref,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def problems(self, at: Path) -> Iterator[Problem]:
        wanted, given = FIELDS[self.type], self.given()
        if self.type not in given:
            yield Problem((*at, wanted), f"{wanted} is missing", f"A filter of type {self.type} needs it")
        for name, part in given.items():
            if name != self.type:
                yield Problem(
                    (*at, FIELDS[name]),
                    f"{FIELDS[name]} does not go with type {self.type}",
                    "Give each filter an element of the list, with its own type",
                )
            elif isinstance(part, ExtensionSpec):
                yield Problem(
                    (*at, wanted),
                    f"{part.kind} {part.name} of group {part.group!r} cannot be a filter",
                    "Attach a policy to this route instead, by its targetRefs",
                )
            elif isinstance(part, HeaderFilterSpec):
                yield from part.problems((*at, wanted), of_request=self.type == "RequestHeaderModifier")
            elif isinstance(part, MirrorSpec | RedirectSpec | RewriteSpec | CorsSpec | ExternalAuthSpec):
                yield from part.problems((*at, wanted))

    def value(self, own: str) -> Filter:
        """Call it only if there are no problems."""
        match self.given()[self.type]:
            case HeaderFilterSpec() as part if self.type == "RequestHeaderModifier":
                return RequestHeaderModifier(*part.headers())
            case HeaderFilterSpec() as part:
                return ResponseHeaderModifier(*part.headers())
            case MirrorSpec() as part:
                return part.value(own)
            case RedirectSpec() as part:
                return part.value()
            case RewriteSpec() as part:
                return part.value()
            case CorsSpec() as part:
                return part.value()
            case ExternalAuthSpec() as part:
                return part.value(own)
            case part:
                raise TypeError(f"{type(part).__name__} is no filter")


class GrpcFilterSpec(FilterSpec):
    type: GrpcFilterType = Field(description="What it does; the field of the same name says how.")


class HttpFilterSpec(FilterSpec):
    request_redirect: RedirectSpec | None = Field(
        default=None, description="Requests are answered with another place to go to."
    )
    url_rewrite: RewriteSpec | None = Field(
        default=None, description="What the backend is asked for instead."
    )
    cors: CorsSpec | None = Field(
        default=None, description="Which other origins browsers may call from; preflights are answered."
    )

    external_auth: ExternalAuthSpec | None = Field(
        default=None,
        description="A service is asked whether a request may go on. Once, and not for one backend.",
    )

    def given(self) -> dict[str, Part]:
        parts = {
            "RequestRedirect": self.request_redirect,
            "URLRewrite": self.url_rewrite,
            "CORS": self.cors,
            "ExternalAuth": self.external_auth,
        }
        return {**super().given(), **{name: part for name, part in parts.items() if part is not None}}


def filters_problems(at: Path, filters: Sequence[FilterSpec]) -> Iterator[Problem]:
    """What is wrong with each, and with their being together."""
    for place, each in enumerate(filters):
        yield from each.problems((*at, place))
    types = [each.type for each in filters]
    for name in ONCE:
        places = [place for place, each in enumerate(types) if each == name]
        for place in places[1:]:
            yield Problem((*at, place), f"filter {name} is repeated", "Put all of it into one")
    if "RequestRedirect" in types and "URLRewrite" in types:
        yield Problem(
            (*at, types.index("URLRewrite")),
            "RequestRedirect and URLRewrite are both given, and a redirected request goes nowhere else",
            "Keep one of the two; a redirect can change host and path too",
        )


def prefix_problems(at: Path, filters: Sequence[FilterSpec], *, one_prefix: bool) -> Iterator[Problem]:
    """ReplacePrefixMatch needs a prefix: the rule's only match, `one_prefix`, must be of a PathPrefix."""
    if one_prefix:
        return
    for place, each in enumerate(filters):
        if not isinstance(each, HttpFilterSpec):
            continue
        for field, part in (("requestRedirect", each.request_redirect), ("urlRewrite", each.url_rewrite)):
            if part is not None and part.path is not None and part.path.type is RewriteKind.PREFIX:
                yield Problem(
                    (*at, place, field, "path"),
                    "ReplacePrefixMatch needs exactly one match in its rule, of type PathPrefix",
                    "Make a rule for each prefix, or use ReplaceFullPath",
                )
