"""Scopes of which a client is given some resources only when it names them: on-demand clusters.

In the incremental protocol a client may subscribe to everything (`*`) and to names besides. What its scope keeps for those who ask by
name is no part of everything
(https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return).
The state of the world knows no such thing: there a first name takes the place of everything, so its clients are given all.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from xds.resource import Resource


@dataclass(frozen=True, slots=True)
class OnRequest:
    """Stands for `scope` among the scopes of a client: of its resources that are `on_request`, those of other names than `at_once` are
    given only to who names them. Clients that look at one scope in either manner share it.
    """

    scope: Hashable
    at_once: frozenset[str] = frozenset()
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(("on request", self.scope, self.at_once)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class Touched:
    """What changed of a type in a scope; `aside`: of `names`, those that were and are `on_request`."""

    names: list[str] = field(default_factory=list)
    aside: set[str] = field(default_factory=set)

    def note(self, name: str, old: Resource | None, new: Resource | None) -> None:
        self.names.append(name)
        if all(each is None or each.on_request for each in (old, new)):
            self.aside.add(name)

    def concerning(
        self, names: frozenset[str], *, wildcard: bool, at_once: frozenset[str] | None
    ) -> list[str]:
        """What a subscription to `names`, and with `wildcard` to everything, is to be told. `at_once` None: it is given all there is."""
        if not wildcard:
            return [name for name in self.names if name in names]
        if at_once is None or not self.aside:
            return self.names
        return [name for name in self.names if name not in self.aside or name in names or name in at_once]


def scope_of(scope: Hashable) -> Hashable:
    """The scope itself, however it is looked at."""
    return scope.scope if isinstance(scope, OnRequest) else scope


def at_once_of(scope: Hashable) -> frozenset[str] | None:
    return scope.at_once if isinstance(scope, OnRequest) else None


def whole(scopes: Iterable[Hashable]) -> tuple[Hashable, ...]:
    """The same scopes for a client that cannot ask by name."""
    return tuple(scope_of(each) for each in scopes)
