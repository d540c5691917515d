"""What is kept of a scope for intercepted callers: the entries of its table of names, and whose the addresses of endpoints are."""

from __future__ import annotations

from collections.abc import Iterator

from envoy import names
from mesh.names import Key
from mesh.virtual import VirtualView
from xds.resource import Name, Resource

Made = dict[Name, Resource]


class Names:
    """The entries of services, encoded. All of them are one resource, so it is made again only when one has changed."""

    def __init__(self, like: Names | None = None) -> None:
        """With `like`, it begins with the entries of that, of which the table is made already."""
        self._entries: dict[Key, bytes] = {} if like is None else dict(like._entries)  # noqa: SLF001 (one of its own kind)
        self._changed = like is None

    def put(self, service: Key, entry: bytes) -> None:
        """Empty: it has none."""
        if self._entries.get(service, b"") == entry:
            return
        self._changed = True
        if entry:
            self._entries[service] = entry
        else:
            del self._entries[service]

    def take_change(self) -> bool:
        """Whether something changed since this was asked last; at first, yes."""
        changed, self._changed = self._changed, False
        return changed

    def entries(self) -> Iterator[bytes]:
        """Sorted by service, so that the order in which services came makes no other table."""
        # By the two words: keys compare in Python, which is four times slower.
        for key in sorted(self._entries, key=lambda each: (each.namespace, each.name)):
            yield self._entries[key]


class Addresses:
    """The listeners of endpoints' own addresses, by service. Several services may have the same endpoint, or one an address that was
    another's a moment ago, and Envoy takes no two listeners for one address: the first by namespace and name has it.
    """

    def __init__(self, like: Addresses | None = None) -> None:
        self._of: dict[Key, Made] = {} if like is None else dict(like._of)  # noqa: SLF001 (one of its own kind)
        self._claims: dict[Name, frozenset[Key]] = {} if like is None else dict(like._claims)  # noqa: SLF001

    def put(self, service: Key, listeners: Made) -> set[Key]:
        """Whose listeners may be others now: that service, if it has or had any, and those that claim the same addresses."""
        before = self._of.pop(service, {})
        if listeners:
            self._of[service] = listeners
        concerned = {service} if before or listeners else set[Key]()
        for name in before.keys() ^ listeners.keys():
            others = self._claims.get(name, frozenset())
            claims = others ^ {service}
            concerned |= others
            if claims:
                self._claims[name] = claims
            else:
                del self._claims[name]
        return concerned

    def held(self, service: Key) -> Made:
        """The listeners that it has, of those that it claims."""
        return {
            name: made
            for name, made in self._of.get(service, {}).items()
            if min(self._claims[name]) == service
        }


def leads_to(view: VirtualView) -> tuple[str, ...]:
    """The clusters that the listeners of a virtual address name themselves; those for HTTP name routes."""
    return tuple(
        name
        for port in view.ports
        if not port.port.protocol.is_http
        for name in (
            [
                names.cluster(each.service, each.port, each.subset)
                for each in port.backends
                if not each.problem
            ]
            or [names.cluster(view.service, port.port.port)]
        )
    )
