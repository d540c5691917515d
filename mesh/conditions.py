"""The status of routes and gateways as the mesh is now: conditions as in the Gateway API, in its words.

https://gateway-api.sigs.k8s.io/reference/spec/: RouteParentStatus, GatewayStatus, ListenerStatus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from mesh.edge_routes import attachments, followed
from mesh.edges import Parent
from mesh.gateway_references import Role
from mesh.gateway_secrets import (
    Loaded,
    Use,
    absent,
    clients,
    closed_to_clients,
    of_backends,
    of_listener,
    refusal,
    usable,
)
from mesh.gateway_views import TLS
from mesh.gateways import Gateway, GatewayListener, ListenerProtocol, Place, RefusedListener, TlsMode
from mesh.names import Key
from mesh.references import Condition, ConditionType, lookup, problems
from mesh.routes import ParentKind, Route, RouteKind
from mesh.state import MeshState

NOTHING_REFUSED: Mapping[Key, str] = MappingProxyType({})
CANNOT_BIND = "cannot bind"
"""What Envoy says of an address that its host does not have, or that somebody else listens at."""

CONFLICTS = frozenset({"HostnameConflict", "ProtocolConflict"})
"""Reasons for which listeners are refused because of each other (ListenerConditionConflicted)."""

PARAMETERS = "ConfigMap"
"""What a gateway may name as its parameters: in Kubernetes, for what is made for it."""

NO_AUTHORITIES = "the authorities of its clients could not be read, so it is not open"


@dataclass(frozen=True, slots=True)
class GatewayCondition:
    """One condition of a gateway; of one of its listeners, if that is named."""

    listener: str
    type: str
    status: bool
    reason: str
    message: str


def route_conditions(state: MeshState) -> Iterator[tuple[Route, tuple[Condition, ...]]]:
    """Every route, by kind and key, with its conditions at each of its parents."""
    found = lookup(state)
    rivals: dict[Parent, dict[tuple[RouteKind, Key], Route]] = {}
    for gateway in gateways(state):
        rivals |= _rivals(state, gateway)
    routes = ((name, value) for name, value in state.declared.items() if isinstance(value, Route))
    for _, value in sorted(routes, key=lambda item: item[0]):
        yield value, tuple(_rivalled(each, value, rivals) for each in problems(value, found))


def _rivals(state: MeshState, gateway: Gateway) -> dict[Parent, dict[tuple[RouteKind, Key], Route]]:
    """For `gateway`, and each of its sets: the routes that no listener of it follows because of another one, and that one."""
    found: dict[Parent, dict[tuple[RouteKind, Key], Route | None]] = {}
    for each in attachments(state, gateway):
        of = each.listener.set
        parent = (ParentKind.GATEWAY, gateway.key) if of is None else (ParentKind.LISTENER_SET, of)
        name, here = (each.route.kind, each.route.key), found.setdefault(parent, {})
        here[name] = each.rival if here.get(name, each.rival) is not None else None
    return {
        parent: {name: rival for name, rival in here.items() if rival is not None}
        for parent, here in found.items()
    }


def _rivalled(
    condition: Condition, route: Route, rivals: Mapping[Parent, Mapping[tuple[RouteKind, Key], Route]]
) -> Condition:
    """`condition`, unless it says that a gateway accepts the route while another route has its place."""
    if condition.type is not ConditionType.ACCEPTED or condition.parent.kind is ParentKind.SERVICE:
        return condition
    parent = condition.parent.kind, condition.parent.key
    rival = rivals.get(parent, {}).get((route.kind, route.key))
    if rival is None or not condition.status:
        return condition
    message = (
        f"{rival.kind} {rival.key} has a host name of it already, and a listener follows either HTTPRoutes or GRPCRoutes for one: "
        "give each its own host name"
    )
    return replace(condition, status=False, reason="Conflicted", message=message)


def gateways(state: MeshState) -> Iterator[Gateway]:
    """All of them, by key."""
    found = (value for value in state.declared.values() if isinstance(value, Gateway))
    yield from sorted(found, key=lambda gateway: gateway.key)


def gateway_conditions(
    state: MeshState,
    gateway: Gateway,
    loaded: Loaded,
    problem: Callable[[Key], str],
    refused: Mapping[Key, str] = NOTHING_REFUSED,
) -> tuple[GatewayCondition, ...]:
    """Of the gateway, then of each of its listeners, those refused too. `problem` says what is wrong with the files of a Secret; empty: nothing.
    `refused`: by workload, what its proxy says of listeners that it does not take.
    """
    routes = routes_by_listener(state, gateway)
    of_listeners = tuple(
        condition
        for listener in gateway.listeners
        for condition in listener_conditions(
            state, gateway, listener, routes.get(listener.place, ()), loaded, problem
        )
    ) + tuple(condition for each in gateway.refused for condition in refused_conditions(each))
    return (
        _accepted(gateway, of_listeners),
        _programmed(state, gateway, refused),
        *_of_references(state, gateway, of_listeners, loaded, problem),
        *_insecure(gateway),
        *of_listeners,
    )


def _accepted(gateway: Gateway, of_listeners: Iterable[GatewayCondition]) -> GatewayCondition:
    """GatewayConditionAccepted: as long as one of its listeners can be, and what it asks for besides is understood."""
    listeners = {each.listener: each.status for each in of_listeners if each.type == "Accepted"}
    invalid = ", ".join(name for name, status in listeners.items() if not status)
    wrong = f"what is wrong with {invalid} is said there"
    reason, message = "Accepted", f"Gateway {gateway.key} is served"
    if gateway.unusable:
        reason = "UnsupportedAddress"
        message = f"{', '.join(gateway.unusable)}: use addresses of type IPAddress"
    elif gateway.parameters is not None and not (
        gateway.parameters.group == "" and gateway.parameters.kind == PARAMETERS
    ):
        reason = "InvalidParameters"
        message = f"infrastructure.parametersRef: {gateway.parameters} is no {PARAMETERS}"
    elif not any(listeners.values()):
        reason, message = "ListenersNotValid", f"no listener can be served: {wrong}"
    elif invalid:
        return GatewayCondition("", "Accepted", True, "ListenersNotValid", wrong)
    return GatewayCondition("", "Accepted", reason == "Accepted", reason, message)


def refused_conditions(listener: RefusedListener) -> Iterator[GatewayCondition]:
    """Of a listener that cannot be served as it is declared."""
    name, reason, message = listener.name, listener.reason, listener.message
    yield GatewayCondition(name, "Accepted", False, reason, message)
    yield GatewayCondition(name, "Programmed", False, "Invalid", message)
    if reason in CONFLICTS:
        yield GatewayCondition(name, "Conflicted", True, reason, message)


def _programmed(state: MeshState, gateway: Gateway, refused: Mapping[Key, str]) -> GatewayCondition:
    players = state.edges.players.get(gateway.key, ())
    if not players:
        message = f"no workload plays it: set spec.gateway: {gateway.key.name} of a Workload of namespace {gateway.key.namespace}"
        return GatewayCondition("", "Programmed", False, "Pending", message)
    wrong = [f"Workload {key}: {refused[key]}" for key in players if key in refused]
    if wrong:
        reason = "AddressNotUsable" if any(CANNOT_BIND in each for each in wrong) else "Invalid"
        message = f"its proxy refuses a listener: {'; '.join(wrong)}"
        return GatewayCondition("", "Programmed", False, reason, message)
    return GatewayCondition("", "Programmed", True, "Programmed", f"played by {', '.join(map(str, players))}")


def _of_references(
    state: MeshState,
    gateway: Gateway,
    of_listeners: Iterable[GatewayCondition],
    loaded: Loaded,
    problem: Callable[[Key], str],
) -> Iterator[GatewayCondition]:
    """Of what is no listener's, and whether those of the listeners hold; nothing where there are none."""
    shown = of_backends(gateway)
    wrong = "" if shown is None else _wrong(state, shown, loaded, problem)
    resolved = {each.listener: each.status for each in of_listeners if each.type == "ResolvedRefs"}
    if shown is None and not resolved:
        return
    unresolved = ", ".join(name for name, status in resolved.items() if not status)
    if not wrong and unresolved:
        wrong = f"ListenersNotResolved: what is wrong with {unresolved} is said there"
    reason, _, message = (wrong or "ResolvedRefs: all references hold").partition(": ")
    yield GatewayCondition("", "ResolvedRefs", not wrong, reason, message)


def _insecure(gateway: Gateway) -> Iterator[GatewayCondition]:
    """Where certificates of clients are asked for and not insisted on (FrontendValidationModeType)."""
    ports = sorted(
        {each.port for each in gateway.listeners if (asked := clients(gateway, each)) and asked.optional}
    )
    if ports:
        yield GatewayCondition(
            "",
            "InsecureFrontendValidationMode",
            True,
            "ConfigurationChanged",
            f"at port {', '.join(map(str, ports))} clients without a valid certificate are let in (AllowInsecureFallback)",
        )


def routes_by_listener(state: MeshState, gateway: Gateway) -> dict[Place, tuple[Route, ...]]:
    """The routes that each listener of `gateway` and of its sets follows, the oldest first."""
    found: dict[Place, list[Route]] = {}
    for each in followed(state, gateway):
        found.setdefault(each.listener.place, []).append(each.route)
    return {place: tuple(routes) for place, routes in found.items()}


def listener_conditions(
    state: MeshState,
    gateway: Gateway,
    listener: GatewayListener,
    routes: tuple[Route, ...],
    loaded: Loaded,
    problem: Callable[[Key], str],
) -> Iterator[GatewayCondition]:
    """Of one listener that is served, if it can be; of a set, too, if `gateway` is as `mesh.listener_sets.whole` has it."""
    if closed_to_clients(state, gateway, listener, loaded):
        yield GatewayCondition(listener.name, "Accepted", False, "NoValidCACertificate", NO_AUTHORITIES)
    else:
        yield GatewayCondition(listener.name, "Accepted", True, "Accepted", f"Gateway {gateway.key} has it")
    if listener.protocol in TLS or listener.allowed.unknown:
        found = (_wrong(state, each, loaded, problem) for each in of_listener(gateway, listener))
        wrong = tuple(filter(None, (_kinds(listener), *found)))
        reason, _, message = wrong[0].partition(": ") if wrong else ("ResolvedRefs", "", "")
        more = "".join(f"; {each.partition(': ')[2]}" for each in wrong[1:])
        yield GatewayCondition(
            listener.name,
            "ResolvedRefs",
            not wrong,
            reason,
            message + more if wrong else "all references hold",
        )
    why = _not_programmed(state, gateway, listener, routes, loaded)
    told = ", ".join(f"{each.kind} {each.key}" for each in routes[:5]) or "none"
    yield GatewayCondition(
        listener.name,
        "Programmed",
        not why,
        "Invalid" if why else "Programmed",
        why or f"at port {listener.port}; routes: {len(routes)} ({told}{', …' if len(routes) > 5 else ''})",
    )
    if listener.protocol in {ListenerProtocol.TCP, ListenerProtocol.UDP} and len(routes) > 1:
        others = ", ".join(str(each.key) for each in routes[1:])
        yield GatewayCondition(
            listener.name,
            "Conflicted",
            True,
            "RouteConflict",
            f"{listener.protocol} has nothing to tell routes apart by: the oldest, {routes[0].key}, is followed, and not {others}",
        )


def _kinds(listener: GatewayListener) -> str:
    """That it is to take kinds of routes that it cannot; empty if not."""
    unknown = ", ".join(listener.allowed.unknown)
    if not unknown:
        return ""
    return f"InvalidRouteKinds: {unknown} cannot be attached to a listener of protocol {listener.protocol}"


def _wrong(state: MeshState, use: Use, loaded: Loaded, problem: Callable[[Key], str]) -> str:
    """What is wrong with a reference, with its reason in front; empty if it holds."""
    if refused := refusal(state, use):
        return refused
    if why := problem(use.reference.key):
        return f"{use.role.value}: {use.reference}: {why}"
    if loaded.has(use):
        return ""
    why = absent(state, use.reference) or f"{use.reference} has no {use.role.fields}"
    return f"{use.role.value}: {why}"


def _not_programmed(
    state: MeshState,
    gateway: Gateway,
    listener: GatewayListener,
    routes: tuple[Route, ...],
    loaded: Loaded,
) -> str:
    """Why nothing is served at a listener; empty if something is."""
    tls = listener.tls
    if tls is not None and tls.mode is TlsMode.TERMINATE:
        if loaded.certificates.isdisjoint(usable(state, gateway, listener, Role.CERTIFICATE)):
            return "it has no certificate that could be read, so it is not open"
        if closed_to_clients(state, gateway, listener, loaded):
            return NO_AUTHORITIES
    streams = {RouteKind.TCP, RouteKind.TLS, RouteKind.UDP} & set(listener.allowed.kinds)
    if streams and not routes:
        return "no route leads anywhere, so it is not open"
    return ""
