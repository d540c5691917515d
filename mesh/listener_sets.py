"""ListenerSets: listeners that others than its owner add to a gateway, and which of them it has.

A gateway is treated as if it had declared the listeners of its sets itself, behind its own, those of the oldest set first. Of two that could
not be told apart, the later is conflicted and is not served (https://gateway-api.sigs.k8s.io/geps/gep-1713/#listener-precedence).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from typing import Protocol as TypingProtocol

from mesh.attachment import NamespaceLabels, admits, no_labels
from mesh.gateways import Gateway, GatewayListener, ListenerProtocol, ListenerSet
from mesh.names import Key
from mesh.namespaces import labels_in
from mesh.precedence import age

if TYPE_CHECKING:
    from mesh.state import MeshState

MOST = 1024
"""Listeners of one gateway, those of its sets included: what anybody may add must not grow without bounds."""

UDP = ListenerProtocol.UDP

_SECURE = frozenset({ListenerProtocol.HTTPS, ListenerProtocol.TLS})


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a listener cannot be served beside `other`, by a reason of the Gateway API's."""

    reason: str
    other: GatewayListener

    def __str__(self) -> str:
        port = self.other.port
        if self.reason == "ProtocolConflict":
            return f"port {port} speaks another protocol already"
        return f"port {port} and host name {self.other.hostname or '(any)'} are taken already"


@dataclass(frozen=True, slots=True)
class Joined:
    """A set at its gateway. `conflicts` are those of its listeners that are not served, by name; `surplus`: those beyond MOST."""

    set: ListenerSet
    conflicts: tuple[tuple[str, Conflict], ...] = ()
    surplus: tuple[str, ...] = ()

    @property
    def served(self) -> tuple[GatewayListener, ...]:
        left = {*(name for name, _ in self.conflicts), *self.surplus}
        return tuple(each for each in self.set.listeners if each.name not in left)


class Socket(TypingProtocol):
    """What a listener says of where it is, be it a document still or a value."""

    @property
    def port(self) -> int: ...
    @property
    def protocol(self) -> ListenerProtocol: ...
    @property
    def hostname(self) -> str | None: ...


def clash(one: Socket, other: Socket) -> str:
    """Why no port could serve both, by a reason of the Gateway API's; empty if one can."""
    if one.port != other.port or (one.protocol is UDP) != (other.protocol is UDP):
        return ""  # the ports of TCP and UDP are not the same
    if one.protocol is not other.protocol and not {one.protocol, other.protocol} <= _SECURE:
        return "ProtocolConflict"
    if one.hostname == other.hostname or one.protocol in {ListenerProtocol.TCP, UDP}:
        return "HostnameConflict"
    return ""


def refusal(gateway: Gateway | None, of: ListenerSet, namespace_labels: NamespaceLabels = no_labels) -> str:
    """Why `gateway`, the parent that `of` names, does not have it, with a reason of the Gateway API's in front; empty if it does."""
    if gateway is None:
        return f"ParentNotAccepted: no document declares Gateway {of.parent}"
    allowed = gateway.allowed_listeners
    if allowed is None or not admits(allowed, gateway.key.namespace, of.key.namespace, namespace_labels):
        return (
            f"NotAllowed: Gateway {gateway.key} takes no ListenerSet of namespace {of.key.namespace}: "
            "see its allowedListeners"
        )
    return ""


def joined(state: MeshState, gateway: Gateway) -> tuple[Joined, ...]:
    """The sets that `gateway` takes, the first has the most to say."""
    taken, number, labels = _Taken(gateway.listeners), len(gateway.listeners), labels_in(state)
    found = []
    for one in sorted(state.edges.sets.get(gateway.key, ()), key=age):
        if refusal(gateway, one, labels):
            continue
        conflicts: list[tuple[str, Conflict]] = []
        surplus: list[str] = []
        for listener in one.listeners:
            conflict = taken.conflict(listener)
            if conflict is not None:
                conflicts.append((listener.name, conflict))
            elif number >= MOST:
                surplus.append(listener.name)
            else:
                number += 1
                taken.take(listener)
        found.append(Joined(one, tuple(conflicts), tuple(surplus)))
    return tuple(found)


def whole(state: MeshState, gateway: Gateway) -> Gateway:
    """`gateway` with the listeners of its sets that are served, behind its own."""
    sets = joined(state, gateway)
    if not sets:
        return gateway
    return replace(
        gateway,
        listeners=(*gateway.listeners, *(listener for each in sets for listener in each.served)),
        origin=tuple(dict.fromkeys((*gateway.origin, *(name for each in sets for name in each.set.origin)))),
    )


def referrer(gateway: Key, listener: GatewayListener) -> tuple[str, Key]:
    """The kind and key of the document that declares `listener`, which `gateway` has: which refers to what it refers to."""
    return ("Gateway", gateway) if listener.set is None else ("ListenerSet", listener.set)


class _Taken:
    """The ports that are taken so far, so that each further listener costs what it says itself: a gateway may have a thousand."""

    def __init__(self, listeners: Iterable[GatewayListener]) -> None:
        self._by_host: dict[tuple[int, bool], dict[str | None, GatewayListener]] = {}
        for each in listeners:
            self.take(each)

    def take(self, listener: GatewayListener) -> None:
        here = listener.port, listener.protocol is UDP
        self._by_host.setdefault(here, {}).setdefault(listener.hostname, listener)

    def conflict(self, listener: GatewayListener) -> Conflict | None:
        # Those of one port do not clash with each other, so that any of them tells what the port speaks.
        hosts = self._by_host.get((listener.port, listener.protocol is UDP), {})
        for other in (next(iter(hosts.values()), None), hosts.get(listener.hostname)):
            if other is not None and (why := clash(listener, other)):
                return Conflict(why, other)
        return None
