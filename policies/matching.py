"""Which requests a policy concerns, by path, method and headers: fields that several kinds share, and what Envoy makes of them.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/route_components.proto#config-route-v3-headermatcher
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from documents.envelope import Part, wrong
from documents.expressions import Expression, flaw
from pb.envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from pb.envoy.type.matcher.v3.string_pb2 import StringMatcher

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
QUERY = r"(?:\?.*)?"
Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]


def _header_name(text: str) -> str:
    """RFC 9110, section 5.1."""
    if not TOKEN.fullmatch(text):
        raise wrong(f"{text!r} is not the name of a header", "Write it like x-user-id, without a colon")
    return text.lower()


HeaderName = Annotated[str, AfterValidator(_header_name)]


class HeaderMatchFields(Part):
    """A header that is there; with `value` or `regex`, and says so."""

    name: HeaderName = Field(description="The name of the header; upper and lower case are the same.")
    value: str | None = Field(None, description="What the header says, exactly.")
    regex: Expression | None = Field(
        None, description="What the header says, whole, as a regular expression of RE2."
    )

    @model_validator(mode="after")
    def _one(self) -> HeaderMatchFields:
        if self.value is not None and self.regex is not None:
            raise wrong(f"header {self.name} has both a value and a regex", "Keep one of them")
        return self

    def matcher(self) -> HeaderMatcher:
        made = HeaderMatcher(name=self.name)
        if self.value is not None:
            made.string_match.exact = self.value
        elif self.regex is not None:
            made.string_match.safe_regex.regex = self.regex
        else:
            made.present_match = True
        return made


class PathMatchFields(Part):
    """One of the three. None of them looks at the query."""

    exact: str | None = Field(None, description="The whole path.")
    prefix: str | None = Field(
        None, description="The first elements of the path: /a is a prefix of /a and /a/b, not of /ab."
    )
    regex: Expression | None = Field(None, description="The whole path, as a regular expression of RE2.")

    @model_validator(mode="after")
    def _right(self) -> PathMatchFields:
        given = [each for each in (self.exact, self.prefix, self.regex) if each is not None]
        if len(given) != 1:
            raise wrong(f"a path has {len(given)} conditions", "Give one of exact, prefix and regex")
        if self.regex is None and not given[0].startswith("/"):
            raise wrong(f"{given[0]!r} does not begin with a slash", f"Write it as /{given[0]}")
        if self.regex is not None and (problem := flaw(self.regex + QUERY)) is not None:
            raise wrong(*problem)
        return self

    def matchers(self) -> Iterator[HeaderMatcher]:
        """On `:path`, which has the query too. A request meets one of them at most."""
        if self.exact is not None:
            yield _path(StringMatcher(exact=self.exact))
            yield _path(StringMatcher(prefix=f"{self.exact}?"))
        elif self.prefix is not None:
            stem = self.prefix.rstrip("/")
            if stem:
                yield _path(StringMatcher(exact=stem))
                yield _path(StringMatcher(prefix=f"{stem}?"))
            yield _path(StringMatcher(prefix=f"{stem}/"))
        else:
            made = StringMatcher()
            made.safe_regex.regex = f"(?:{self.regex}){QUERY}"
            yield _path(made)


def methods(names: Iterable[Method]) -> HeaderMatcher:
    made = HeaderMatcher(name=":method")
    made.string_match.safe_regex.regex = "|".join(sorted(set(names)))
    return made


def _path(match: StringMatcher) -> HeaderMatcher:
    return HeaderMatcher(name=":path", string_match=match)
