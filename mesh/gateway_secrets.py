"""What a gateway refers to: its certificates, the authorities of its clients, what it shows to backends; and whether it may.

https://gateway-api.sigs.k8s.io/reference/spec/: ListenerTLSConfig, FrontendTLSValidation, GatewayBackendTLS; ReferenceGrant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.gateway_references import SECRET, Role, known
from mesh.gateways import (
    BackendTlsPolicy,
    ClientValidation,
    Gateway,
    GatewayListener,
    ListenerProtocol,
    ObjectRef,
)
from mesh.listener_sets import referrer, whole
from mesh.names import Key
from mesh.secrets import Bundle
from mesh.state import MeshState


@dataclass(frozen=True, slots=True)
class Loaded:
    """The Secret documents whose files could be read: those with a certificate and its key, and those with authorities."""

    certificates: frozenset[Key] = frozenset()
    authorities: frozenset[Key] = frozenset()

    def has(self, use: Use) -> bool:
        there = self.authorities if use.role is Role.AUTHORITY else self.certificates
        return use.reference.key in there


NOTHING_LOADED = Loaded()


@dataclass(frozen=True, slots=True)
class Use:
    """A reference. `by`: kind and key of the document that has it. `listener`: the one that it is for; None: for backends."""

    role: Role
    reference: ObjectRef
    by: tuple[str, Key]
    listener: GatewayListener | None = None


@dataclass(frozen=True, slots=True)
class Readable:
    """What the proxies of a gateway may be given: certificates with their keys, and sets of authorities; sorted, each once."""

    certificates: tuple[Key, ...] = ()
    bundles: tuple[Bundle, ...] = ()


def clients(gateway: Gateway, listener: GatewayListener) -> ClientValidation | None:
    """What is asked of clients: of HTTPS listeners only (GEP-91)."""
    if listener.protocol is not ListenerProtocol.HTTPS:
        return None
    return gateway.client_validation(listener.port)


def of_listener(gateway: Gateway, listener: GatewayListener) -> Iterator[Use]:
    """How clients are validated is always the gateway's own business, be the listener of one of its sets."""
    if listener.tls is None:
        return
    by = referrer(gateway.key, listener)
    yield from (Use(Role.CERTIFICATE, each, by, listener) for each in listener.tls.certificates)
    asked = clients(gateway, listener)
    for each in () if asked is None else asked.authorities:
        yield Use(Role.AUTHORITY, each, ("Gateway", gateway.key), listener)


def of_backends(gateway: Gateway) -> Use | None:
    """What it shows to backends that speak TLS."""
    shown = gateway.client_certificate
    return None if shown is None else Use(Role.CLIENT_CERTIFICATE, shown, ("Gateway", gateway.key))


def refusal(state: MeshState, use: Use) -> str:
    """Why it may not be used, be there what it names or not, with a reason of the Gateway API's in front; empty if it may."""
    (kind, by), reference = use.by, use.reference
    key = reference.key
    if not known(use.role, reference):
        return f"{use.role.wrong_kind}: {reference} is no {' or '.join(use.role.kinds)}"
    if key.namespace != by.namespace and not any(
        grant.permits(kind, by.namespace, reference.kind, key.name)
        for grant in state.routing.grants.get(key.namespace, ())
    ):
        return (
            f"RefNotPermitted: no ReferenceGrant in namespace {key.namespace} lets {kind} of namespace {by.namespace} "
            f"refer to {reference}"
        )
    return ""


def absent(state: MeshState, reference: ObjectRef) -> str:
    """That nothing there is has what `reference` names; empty if a document declares it."""
    return "" if (SECRET, reference.key) in state.declared else f"no document declares Secret {reference.key}"


def usable(state: MeshState, gateway: Gateway, listener: GatewayListener, role: Role) -> tuple[Key, ...]:
    """The Secret documents that `listener` may use as `role`, as they are said."""
    uses = (each for each in of_listener(gateway, listener) if each.role is role)
    return tuple(each.reference.key for each in uses if not refusal(state, each))


def bundle(state: MeshState, gateway: Gateway, listener: GatewayListener) -> Bundle:
    """Whose certificates clients of `listener` may show."""
    return tuple(sorted(set(usable(state, gateway, listener, Role.AUTHORITY))))


def closed_to_clients(state: MeshState, gateway: Gateway, listener: GatewayListener, loaded: Loaded) -> bool:
    """Whether it must verify clients and cannot: it is never open then."""
    asked = clients(gateway, listener)
    return asked is not None and loaded.authorities.isdisjoint(bundle(state, gateway, listener))


def client_certificate(state: MeshState, gateway: Gateway, loaded: Loaded) -> Key | None:
    """What is shown to backends; None while there is nothing that could be."""
    use = of_backends(gateway)
    if use is None or not loaded.has(use) or refusal(state, use):
        return None
    return use.reference.key


def named(state: MeshState) -> frozenset[tuple[Role, ObjectRef]]:
    """All that any gateway, set of listeners or BackendTLSPolicy refers to and may, be it there or not."""
    found: set[tuple[Role, ObjectRef]] = set()
    for value in state.declared.values():
        match value:
            case Gateway():
                every, shown = whole(state, value), of_backends(value)
                uses = [] if shown is None else [shown]
                for listener in every.listeners:
                    uses += of_listener(every, listener)
                found.update((each.role, each.reference) for each in uses if not refusal(state, each))
            case BackendTlsPolicy():
                found.update(
                    (Role.AUTHORITY, each) for each in value.authorities or () if known(Role.AUTHORITY, each)
                )
    return frozenset(found)


def readable(state: MeshState, gateway: Gateway) -> Readable:
    """Because of a listener of its own or of its sets, or for backends."""
    every = whole(state, gateway)
    shown = of_backends(gateway)
    certificates = {shown.reference.key} if shown is not None and not refusal(state, shown) else set[Key]()
    bundles = set[Bundle]()
    for listener in every.listeners:
        certificates.update(usable(state, every, listener, Role.CERTIFICATE))
        bundles.add(bundle(state, every, listener))
    return Readable(tuple(sorted(certificates)), tuple(sorted(bundles - {()})))
