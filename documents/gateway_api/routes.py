"""What the kinds of routes have in common, whatever their rules say: how each is checked, and its value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from documents.envelope import Metadata, Problem, repeated
from documents.gateway_api.common import ParentReference, parent_problems
from documents.reading import Path
from mesh.routes import Route, RouteKind, Rule

MAX_MATCHES = 128
"""Of all rules of a route together."""

RULES: Path = ("spec", "rules")


class RouteRule(Protocol):
    """A rule of a route of any kind, as its document says it."""

    def problems(self, at: Path) -> Iterator[Problem]: ...
    def value(self, own: str) -> Rule: ...


class MatchingRule(RouteRule, Protocol):
    """One of several: matches tell it from the others, and it may have a name."""

    @property
    def name(self) -> str | None: ...
    @property
    def matches(self) -> Sequence[object]: ...


def route_problems(
    metadata: Metadata,
    parents: Sequence[ParentReference],
    rules: Sequence[RouteRule],
    hostnames: Sequence[str] = (),
) -> Iterator[Problem]:
    """What is wrong with a route of any kind, in the order of the document."""
    yield from parent_problems(("spec", "parentRefs"), parents, metadata.namespace)
    yield from repeated(("spec", "hostnames"), "", hostnames, "host name")
    for place, rule in enumerate(rules):
        yield from rule.problems((*RULES, place))


def matching_problems(rules: Sequence[MatchingRule]) -> Iterator[Problem]:
    """What is wrong with rules that have matches, taken together."""
    yield from repeated(RULES, "name", [rule.name for rule in rules], "name")
    count = sum(len(rule.matches) for rule in rules)
    if count > MAX_MATCHES:
        yield Problem(
            RULES,
            f"the rules have {count} matches together",
            f"Use at most {MAX_MATCHES}; make another route of the rest",
        )


def route(
    kind: RouteKind,
    metadata: Metadata,
    parents: Sequence[ParentReference],
    rules: Sequence[RouteRule],
    origin: tuple[str, ...],
    hostnames: Sequence[str] = (),
) -> Route:
    """The value of a route of any kind."""
    own = metadata.namespace
    return Route(
        kind=kind,
        key=metadata.key,
        parents=tuple(each.value(own) for each in parents),
        hostnames=tuple(hostnames),
        rules=tuple(each.value(own) for each in rules),
        created=metadata.creation_timestamp,
        origin=origin,
    )
