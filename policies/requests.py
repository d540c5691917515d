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
        None, min_length=1, max_length=32, description="By path: one of these. By default all."
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

    def alternatives(self) -> Iterator[Conditions]:
        """A request that is meant meets one of them."""
        always: Conditions = ()
        if self.methods:
            always += (methods(self.methods),)
        if self.hosts:
            always += (hosts(self.hosts),)
        always += tuple(each.matcher() for each in self.headers or ())
        paths = tuple(itertools.chain.from_iterable(each.matchers() for each in self.paths or ()))
        for path in paths or (None,):
            yield always if path is None else (path, *always)


def hosts(names: Iterable[str]) -> HeaderMatcher:
    """One of `names`, in upper or lower case, with or without a port and the dot of the root."""
    made = HeaderMatcher(name=":authority")
    patterns = sorted({_pattern(each) for each in names})
    made.string_match.safe_regex.regex = rf"(?i)(?:{'|'.join(patterns)})\.?(?::[0-9]+)?"
    return made


def _pattern(name: str) -> str:
    name = name.removesuffix(".")
    if name.startswith("*."):
        return r"[^:]+\." + re.escape(name.removeprefix("*."))
    return re.escape(name)
