"""What the scopes of a publisher hold because of what it said, and what they held before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from meshwright.scopes import Scope
from xds.cache import ScopeChange
from xds.resource import Name, Resource

Difference = tuple[Resource | None, Resource | None]
"""A resource before and after; None: it is not there. Of two that are there, the versions differ."""


class Held:
    """Takes what `publish` of the cache would be given. `mark` says from when on changes count."""

    def __init__(self) -> None:
        self._now: dict[Scope, dict[Name, Resource]] = {}
        self._was: dict[Scope, dict[Name, Resource | None]] = {}
        self._differing: dict[Scope, Mapping[Name, Difference]] = {}

    def mark(self) -> None:
        self._was, self._differing = {}, {}

    def take(self, changes: Iterable[ScopeChange]) -> None:
        self._differing = {}
        for change in changes:
            scope = cast("Scope", change.scope)  # a publisher's are
            was = self._was.setdefault(scope, {})
            if change.like is not None and scope not in self._now:
                self._now[scope] = dict(self.now(cast("Scope", change.like)))
                was.update(dict.fromkeys(self._now[scope]))
            now = self._now.setdefault(scope, {})
            put = {(each.type_url, each.name): each for each in change.put}
            gone = (
                [name for name in now if name not in put] if change.replace or change.drop else change.removed
            )
            for name in gone:
                if name in now:
                    was.setdefault(name, now.pop(name))
            for name, each in put.items():
                was.setdefault(name, now.get(name))
                now[name] = each

    def now(self, scope: Scope) -> Mapping[Name, Resource]:
        return self._now.get(scope, {})

    def before(self, scope: Scope) -> Mapping[Name, Resource]:
        was = self._was.get(scope, {})
        kept = {name: each for name, each in self.now(scope).items() if name not in was}
        return kept | {name: each for name, each in was.items() if each is not None}

    def differences(self, before: tuple[Scope, ...], after: tuple[Scope, ...]) -> tuple[Difference, ...]:
        """What differs, since the mark, for a client that had the scopes `before` and has the scopes `after`; by type and name.

        Of a name that several scopes have, the first counts.
        """
        if before == after:
            found: dict[Name, Difference] = {}
            for scope in reversed(before):
                found.update(self._changed(scope))
            return tuple(found[name] for name in sorted(found))
        old, new = (
            {name: each for scope in reversed(scopes) for name, each in contents(scope).items()}
            for scopes, contents in ((before, self.before), (after, self.now))
        )
        return tuple(
            (old.get(name), new.get(name))
            for name in sorted({*old, *new})
            if _version(old.get(name)) != _version(new.get(name))
        )

    def _changed(self, scope: Scope) -> Mapping[Name, Difference]:
        """What of a scope differs. Many clients have it, so it is found out once."""
        found = self._differing.get(scope)
        if found is None:
            now = self.now(scope)
            found = self._differing[scope] = {
                name: (old, now.get(name))
                for name, old in self._was.get(scope, {}).items()
                if _version(old) != _version(now.get(name))
            }
        return found


def _version(resource: Resource | None) -> str | None:
    return resource.version if resource is not None else None
