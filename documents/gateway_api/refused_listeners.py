"""Listeners that cannot be served as their document says them, while the rest of it can.

A file that has one is refused with what is wrong. The Kubernetes API server takes objects that have some: they are left out of what is served,
and the status of each says why (https://gateway-api.sigs.k8s.io/reference/spec/#listenerconditionreason).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mesh.gateways import ListenerProtocol, RefusedListener
from mesh.listener_sets import clash


class Listener(Protocol):
    """A listener, as its document says it. `flaw`: why it can never be served, by a reason of the Gateway API's and in words; or None."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def protocol(self) -> str: ...
    @property
    def hostname(self) -> str | None: ...
    def flaw(self) -> tuple[str, str] | None: ...


class Socket:
    """Where a listener of a protocol that is known is."""

    def __init__(self, listener: Listener) -> None:
        self.port, self.hostname = listener.port, listener.hostname
        self.protocol = ListenerProtocol(listener.protocol)


def refused(listeners: Sequence[Listener], *, ranked: bool = False) -> tuple[RefusedListener, ...]:
    """Those of one document's `listeners` that are not served, in their order: of several that cannot be told apart, each.

    `ranked`: those of a ListenerSet, which have an order among themselves and behind those of the Gateway: of several that cannot be told
    apart, `mesh.listener_sets.joined` finds the one that is served.
    """
    found: dict[int, tuple[str, str]] = {}
    by_port: dict[int, list[tuple[int, Socket]]] = {}
    for place, each in enumerate(listeners):
        if (flaw := each.flaw()) is not None:
            found[place] = flaw
        elif not ranked:
            by_port.setdefault(each.port, []).append((place, Socket(each)))
    for here in by_port.values():
        for place, socket in here:
            for at, other in here:
                if at != place and (reason := clash(socket, other)):
                    found[place] = reason, _conflict(reason, listeners[place], listeners[at])
                    break
    return tuple(
        RefusedListener(each.name, each.port, each.protocol, *found[place])
        for place, each in enumerate(listeners)
        if place in found
    )


def _conflict(reason: str, listener: Listener, other: Listener) -> str:
    if reason == "ProtocolConflict":
        return f"port {listener.port} speaks {other.protocol} for listener {other.name}: give one of the two another port"
    return (
        f"port {listener.port} and host name {listener.hostname or '(any)'} are those of listener {other.name} too: "
        "give one of the two another port or host name"
    )
