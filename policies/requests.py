"""Which requests a rule of a policy concerns: by path, method, host and headers, and what Envoy makes of it.

Several values of one condition are alternatives; all conditions must hold. What is matched is what the application gets: paths are
normalised before (https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/best_practices/edge).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from documents.envelope import Part, wrong
from pb.envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from policies.access_paths import AMBIGUOUS
from policies.matching import HeaderMatchFields, Method, PathMatchFields, methods

Conditions: TypeAlias = tuple[HeaderMatcher, ...]
"""Headers, `:path`, `:method` and `:authority` among them, that a request must all have."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\.?")


def _host(text: str) -> str:
    host = text.lower()
    if len(host) > 253 or _HOST.fullmatch(host) is None:
        raise wrong(
            f"{text!r} is not a host name", "Write it like api.example.com or *.example.com, without a port"
        )
    return host


Host = Annotated[str, AfterValidator(_host)]


class RequestMatchFields(Part):
    """Requests that meet all conditions given."""

    paths: list[PathMatchFields] | None = Field(
        None,
        min_length=1,
        max_length=32,
        description="By path: one of these. One with `//`, `%2f` or `%5c` in it, which applications may take for another, is treated as "
        "what is stricter. By default all.",
    )
    methods: list[Method] | None = Field(
        None, min_length=1, description="By method: one of these. By default all."
    )
    hosts: list[Host] | None = Field(
        None,
        min_length=1,
        max_length=32,
        description="By the host that is asked for, whatever the port: one of these. `*.example.com` means every name below example.com. "
        "By default all.",
    )
    headers: list[HeaderMatchFields] | None = Field(
        None, min_length=1, max_length=16, description="By headers: all of these. By default all requests."
    )

    def alternatives(self, *, ambiguous: bool) -> Iterator[Conditions]:
        """A request that is meant meets one of them. `ambiguous`: what is said of paths holds for all paths that applications may take for
        another one, else for none of them (see `access_paths`).
        """
        always: Conditions = ()
        if self.methods:
            always += (methods(self.methods),)
        if self.hosts:
            always += (hosts(self.hosts),)
        always += tuple(each.matcher() for each in self.headers or ())
        paths = tuple(itertools.chain.from_iterable(each.matchers() for each in self.paths or ()))
        if not paths:
            yield always
        elif ambiguous:
            yield from ((path, *always) for path in (*paths, _ambiguous()))
        else:
            other = _ambiguous()
            other.invert_match = True
            yield from ((path, other, *always) for path in paths)


def hosts(names: Iterable[str]) -> HeaderMatcher:
    """One of `names`, in upper or lower case, with or without a port and the dot of the root."""
    made = HeaderMatcher(name=":authority")
    patterns = sorted({_pattern(each) for each in names})
    made.string_match.safe_regex.regex = rf"(?i)(?:{'|'.join(patterns)})\.?(?::[0-9]+)?"
    return made


def _ambiguous() -> HeaderMatcher:
    made = HeaderMatcher(name=":path")
    made.string_match.safe_regex.regex = f"(?i)[^?]*(?:{AMBIGUOUS}).*"
    return made


def _pattern(name: str) -> str:
    name = name.removesuffix(".")
    if name.startswith("*."):
        return r"[^:]+\." + re.escape(name.removeprefix("*."))
    return re.escape(name)
