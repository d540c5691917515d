"""Which clients may be given other scopes when a service changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh.names import Key


class Watchers:
    """An index of what clients watch; services that nobody watches are not in it."""

    def __init__(self) -> None:
        self._of: dict[Key, set[str]] = {}

    def __iter__(self) -> Iterator[Key]:
        """The services that somebody watches."""
        return iter(self._of)

    def of(self, services: Iterable[Key]) -> set[str]:
        """The clients that watch one of `services`."""
        return {client for service in services for client in self._of.get(service, ())}

    def move(self, client: str, before: frozenset[Key], after: frozenset[Key]) -> None:
        """`client` watches `after`; until now, `before`."""
        for service in before - after:
            left = self._of[service]
            left.discard(client)
            if not left:
                del self._of[service]
        for service in after - before:
            self._of.setdefault(service, set()).add(client)
