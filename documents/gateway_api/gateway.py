"""The kind Gateway (https://gateway-api.sigs.k8s.io/reference/spec/#gateway)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from documents.envelope import Namespace, Part, Port, Problem, repeated
from documents.gateway_api.allowed_listeners import AllowedListenersSpec
from documents.gateway_api.common import (
    GROUP,
    AuthorityReference,
    GatewayApiEnvelope,
    Hostname,
    ObjectName,
    SecretReference,
    SectionName,
    choice,
    group_problem,
    object_ref,
    unknown,
)
from documents.gateway_api.namespaces import SelectorSpec
from documents.gateway_api.refused_listeners import Socket, refused
from documents.reading import Path
from mesh.gateways import (
    AllowedRoutes,
    ClientValidation,
    FromNamespaces,
    Gateway,
    GatewayListener,
    ListenerProtocol,
    ListenerTls,
    ObjectRef,
    RefusedListener,
    TlsMode,
)
from mesh.listener_sets import clash
from mesh.names import Key
from mesh.routes import RouteKind
from mesh.service import labels

_PROTOCOLS: Final = tuple(ListenerProtocol)
_SECURE: Final = (ListenerProtocol.HTTPS, ListenerProtocol.TLS)
_KINDS: Final = tuple(RouteKind)
_IP_ADDRESS: Final = "IPAddress"


def _protocol(given: str) -> str:
    """The protocols that the API defines are the same in any case (ProtocolType)."""
    upper = given.upper()
    return ListenerProtocol(upper) if upper in _PROTOCOLS else given


class RouteKindSpec(Part):
    group: str = Field(default=GROUP, description="Of the routes of the Gateway API.")
    kind: Annotated[str, choice(*_KINDS)] = Field(description="A kind of routes.")

    def known(self) -> RouteKind | None:
        return RouteKind(self.kind) if self.kind in _KINDS and self.group == GROUP else None


class AllowedNamespacesSpec(Part):
    from_: FromNamespaces = Field(
        default=FromNamespaces.SAME,
        alias="from",
        strict=False,
        description="Same, All, or Selector: those that `selector` chooses.",
    )
    selector: SelectorSpec | None = Field(default=None, description="For Selector: by labels of namespaces.")


class AllowedRoutesSpec(Part):
    namespaces: AllowedNamespacesSpec = Field(
        default=AllowedNamespacesSpec(), description="Whose routes; by default those of its own."
    )
    kinds: Annotated[list[RouteKindSpec], Field(max_length=8)] = Field(
        default=[], description="Which kinds; by default all that fit the protocol."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.namespaces.from_ is FromNamespaces.SELECTOR:
            if self.namespaces.selector is None:
                yield Problem(
                    (*at, "namespaces", "selector"),
                    "selector is missing",
                    "Say which namespaces, or use from: All",
                )
            else:
                yield from self.namespaces.selector.problems((*at, "namespaces", "selector"))
        for place, each in enumerate(self.kinds):
            if each.kind not in _KINDS:
                yield unknown((*at, "kinds", place, "kind"), each.kind, _KINDS)
            elif each.group != GROUP:
                yield group_problem((*at, "kinds", place), each.kind, each.group, (GROUP,))


class ListenerTlsSpec(Part):
    mode: TlsMode = Field(default=TlsMode.TERMINATE, strict=False, description="Terminate or Passthrough.")
    certificate_refs: Annotated[list[SecretReference], Field(max_length=64)] = Field(
        default=[], description="What is shown to clients; by SNI where there are several."
    )
    options: dict[str, str] = Field(default={}, description="None is known.")

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.mode is TlsMode.TERMINATE and not self.certificate_refs:
            yield Problem(
                (*at, "certificateRefs"),
                "certificateRefs is missing",
                "Name a Secret, or use mode: Passthrough",
                told=True,
            )
        for place, reference in enumerate(self.certificate_refs):
            yield from reference.problems((*at, "certificateRefs", place))
        for name in self.options:
            yield Problem((*at, "options", name), f"option {name!r} is not known", "Remove it", told=True)


class ListenerSpec(Part):
    name: SectionName = Field(description="Unique in this gateway; routes may name it.")
    hostname: Hostname | None = Field(None, description="By default every host name.")
    port: Port = Field(description="Where clients connect to.")
    protocol: Annotated[str, AfterValidator(_protocol), choice(*_PROTOCOLS)] = Field(
        description="HTTP, HTTPS, TLS, TCP or UDP."
    )
    tls: ListenerTlsSpec | None = Field(default=None, description="For protocols HTTPS and TLS.")
    allowed_routes: AllowedRoutesSpec = Field(
        default=AllowedRoutesSpec(), description="Which routes may be attached."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.protocol not in _PROTOCOLS:
            yield unknown((*at, "protocol"), self.protocol, _PROTOCOLS)
            return
        secure = self.protocol in _SECURE
        if self.tls is None:
            if secure:
                yield Problem(
                    (*at, "tls"),
                    "tls is missing",
                    f"A listener of protocol {self.protocol} needs it",
                    told=True,
                )
        elif not secure:
            yield Problem(
                (*at, "tls"),
                f"tls does not go with protocol {self.protocol}",
                "Remove it, or use HTTPS or TLS",
            )
        elif self.protocol is ListenerProtocol.HTTPS and self.tls.mode is TlsMode.PASSTHROUGH:
            yield Problem(
                (*at, "tls", "mode"),
                "HTTPS cannot be passed through",
                "Use protocol: TLS, or mode: Terminate",
            )
        else:
            yield from self.tls.problems((*at, "tls"))
        if self.protocol in {ListenerProtocol.TCP, ListenerProtocol.UDP} and self.hostname is not None:
            yield Problem((*at, "hostname"), f"{self.protocol} knows no host names", "Remove it")
        yield from self.allowed_routes.problems((*at, "allowedRoutes"))
        fitting = self._fitting()
        for place, each in enumerate(self.allowed_routes.kinds):
            if each.known() is not None and each.kind not in fitting:
                yield Problem(
                    (*at, "allowedRoutes", "kinds", place),
                    f"{each.kind} does not fit a listener of protocol {self.protocol}",
                    f"Use {' or '.join(fitting)}",
                    told=True,
                )

    def flaw(self) -> tuple[str, str] | None:
        """Why it can never be served, by a reason of the Gateway API's and in words."""
        if self.protocol not in _PROTOCOLS:
            return (
                "UnsupportedProtocol",
                f"protocol {self.protocol} is not supported: use {', '.join(_PROTOCOLS)}",
            )
        if self.protocol in _SECURE and self.tls is None:
            return "Invalid", f"tls is missing: a listener of protocol {self.protocol} needs it"
        if self.tls is not None and self.tls.mode is TlsMode.TERMINATE and not self.tls.certificate_refs:
            return "Invalid", "tls.certificateRefs is missing: name a Secret, or use mode: Passthrough"
        return None

    def _fitting(self) -> tuple[RouteKind, ...]:
        """The kinds of routes that the protocol can have, as the API's table of protocols has it."""
        match self.protocol:
            case ListenerProtocol.HTTP | ListenerProtocol.HTTPS:
                return RouteKind.HTTP, RouteKind.GRPC
            case ListenerProtocol.TLS if self.tls is not None and self.tls.mode is TlsMode.TERMINATE:
                return RouteKind.TLS, RouteKind.TCP
            case ListenerProtocol.TLS:
                return (RouteKind.TLS,)
            case ListenerProtocol.TCP:
                return (RouteKind.TCP,)
            case ListenerProtocol.UDP:
                return (RouteKind.UDP,)
            case _:
                return ()

    def value(self, own: str) -> GatewayListener:
        """Call it only if it has no flaw."""
        allowed, tls = self.allowed_routes, self.tls
        fitting = self._fitting()
        named = tuple(dict.fromkeys(known for each in allowed.kinds if (known := each.known()) in fitting))
        wrong = dict.fromkeys(each.kind for each in allowed.kinds if each.known() not in fitting)
        chosen = allowed.namespaces.selector if allowed.namespaces.from_ is FromNamespaces.SELECTOR else None
        return GatewayListener(
            name=self.name,
            port=self.port,
            protocol=ListenerProtocol(self.protocol),
            allowed=AllowedRoutes(
                named if allowed.kinds else fitting,
                allowed.namespaces.from_,
                None if chosen is None else chosen.value(),
                tuple(wrong),
            ),
            hostname=self.hostname,
            tls=None
            if tls is None
            else ListenerTls(
                tls.mode,
                tuple(each.value(own) for each in tls.certificate_refs)
                if tls.mode is TlsMode.TERMINATE
                else (),
            ),
        )


class AddressSpec(Part):
    type: Annotated[str, choice(_IP_ADDRESS)] = Field(
        _IP_ADDRESS, description="The only type that is supported."
    )
    value: str | None = Field(default=None, description="Where its listeners are bound.")

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.type != _IP_ADDRESS:
            yield unknown((*at, "type"), self.type, (_IP_ADDRESS,))
            return
        if self.value is None:
            yield Problem((*at, "value"), "value is missing", "Add it", told=True)
            return
        try:
            ipaddress.ip_address(self.value)
        except ValueError:
            yield Problem(
                (*at, "value"), f"{self.value!r} is not an IP address", "Use an IPv4 or IPv6 address"
            )


class ParametersSpec(Part):
    group: str = Field(description='"" for a ConfigMap.')
    kind: str = Field(description="ConfigMap.")
    name: ObjectName = Field(description="Of the ConfigMap, in the namespace of the Gateway.")


class InfrastructureSpec(Part):
    labels: Annotated[dict[str, str], Field(max_length=8)] = Field(
        default={}, description="Put on what is made for it."
    )
    annotations: Annotated[dict[str, str], Field(max_length=16)] = Field(
        default={}, description="No effect: nothing is made for it."
    )
    parameters_ref: ParametersSpec | None = Field(
        default=None, description="How what is made for it is made. No effect off Kubernetes."
    )


class ClientAuthorityReference(AuthorityReference):
    namespace: Namespace | None = Field(None, description="Another than its own needs a ReferenceGrant.")

    def value(self, own: str) -> ObjectRef:
        return super().value(self.namespace or own)


class ClientValidationSpec(Part):
    ca_certificate_refs: Annotated[list[ClientAuthorityReference], Field(min_length=1, max_length=8)] = Field(
        description="Whose certificates clients must show."
    )
    mode: Literal["AllowValidOnly", "AllowInsecureFallback"] = Field(
        "AllowValidOnly", description="AllowInsecureFallback lets in clients without a valid certificate too."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        for place, reference in enumerate(self.ca_certificate_refs):
            yield from reference.problems((*at, "caCertificateRefs", place))

    def value(self, own: str) -> ClientValidation:
        return ClientValidation(
            tuple(each.value(own) for each in self.ca_certificate_refs),
            optional=self.mode == "AllowInsecureFallback",
        )


class TlsConfigSpec(Part):
    validation: ClientValidationSpec | None = Field(
        default=None, description="Which certificates of clients are accepted; by default none is asked for."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.validation is not None:
            yield from self.validation.problems((*at, "validation"))

    def value(self, own: str) -> ClientValidation | None:
        return None if self.validation is None else self.validation.value(own)


class PortTlsSpec(Part):
    port: Port = Field(description="The port of a listener.")
    tls: TlsConfigSpec = Field(description="What holds on it.")


class FrontendSpec(Part):
    default: TlsConfigSpec = Field(description="What holds on all ports that are not named below.")
    per_port: Annotated[list[PortTlsSpec], Field(max_length=64)] = Field(
        default=[], description="What holds instead on some ports."
    )


class BackendSpec(Part):
    client_certificate_ref: SecretReference | None = Field(
        None, description="What is shown to backends that speak TLS."
    )


class GatewayTlsSpec(Part):
    frontend: FrontendSpec | None = Field(
        default=None, description="Certificates of clients, on HTTPS listeners."
    )
    backend: BackendSpec | None = Field(default=None, description="What backends are shown.")

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.frontend is not None:
            yield from self.frontend.default.problems((*at, "frontend", "default"))
            ports = (*at, "frontend", "perPort")
            for place, each in enumerate(self.frontend.per_port):
                yield from each.tls.problems((*ports, place, "tls"))
            yield from repeated(ports, "port", [each.port for each in self.frontend.per_port], "port")
        if self.backend is not None and self.backend.client_certificate_ref is not None:
            yield from self.backend.client_certificate_ref.problems((*at, "backend", "clientCertificateRef"))


class GatewaySpec(Part):
    gateway_class_name: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="Who serves it: meshwright, for us."
    )
    listeners: Annotated[list[ListenerSpec], Field(min_length=1, max_length=64)] = Field(
        description="What it listens on."
    )
    addresses: Annotated[list[AddressSpec], Field(max_length=16)] = Field(
        default=[], description="Where it listens; by default on all addresses of its proxy."
    )
    allowed_listeners: AllowedListenersSpec = Field(
        default=AllowedListenersSpec(), description="Which ListenerSets may add to what it listens on."
    )
    infrastructure: InfrastructureSpec = Field(
        default=InfrastructureSpec(), description="What else is said to whoever makes its proxy."
    )
    tls: GatewayTlsSpec = Field(
        default=GatewayTlsSpec(), description="Certificates beyond those of its listeners."
    )


class GatewayDocument(GatewayApiEnvelope):
    """Where traffic enters the mesh from outside."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
    kind: Literal["Gateway"]
    spec: GatewaySpec

    def problems(self) -> Iterator[Problem]:
        spec, listeners = self.spec, ("spec", "listeners")
        yield from listener_problems(listeners, spec.listeners)
        yield from spec.allowed_listeners.problems(("spec", "allowedListeners"))
        for place, address in enumerate(spec.addresses):
            yield from address.problems(("spec", "addresses", place))
        yield from repeated(
            ("spec", "addresses"), "value", [each.value for each in spec.addresses], "address"
        )
        yield from spec.tls.problems(("spec", "tls"))

    def value(self, origin: tuple[str, ...]) -> Gateway:
        spec, own = self.spec, self.metadata.namespace
        frontend, backend = spec.tls.frontend, spec.tls.backend
        shown = None if backend is None else backend.client_certificate_ref
        parameters = spec.infrastructure.parameters_ref
        out = refused(spec.listeners)
        return Gateway(
            key=Key(own, self.metadata.name),
            class_name=spec.gateway_class_name,
            listeners=served(spec.listeners, out, own),
            addresses=tuple(each.value for each in spec.addresses if each.type == _IP_ADDRESS and each.value),
            clients=None if frontend is None else frontend.default.value(own),
            clients_by_port=()
            if frontend is None
            else tuple((each.port, each.tls.value(own)) for each in frontend.per_port),
            allowed_listeners=spec.allowed_listeners.value(),
            client_certificate=None if shown is None else shown.value(own),
            refused=out,
            unusable=tuple(
                f"{each.type} {each.value or ''}".rstrip()
                for each in spec.addresses
                if each.type != _IP_ADDRESS
            ),
            parameters=None
            if parameters is None
            else object_ref(parameters.kind, Key(own, parameters.name), parameters.group),
            labels=labels({**self.metadata.labels, **spec.infrastructure.labels}),
            created=self.metadata.creation_timestamp,
            origin=origin,
        )


def served(
    listeners: list[ListenerSpec], out: tuple[RefusedListener, ...], own: str
) -> tuple[GatewayListener, ...]:
    """The values of `listeners` but for those that are `out`, in a document of namespace `own`."""
    names = {each.name for each in out}
    return tuple(each.value(own) for each in listeners if each.name not in names)


def listener_problems(at: Path, listeners: list[ListenerSpec]) -> Iterator[Problem]:
    """Of each by itself, and of those that one document must not have together."""
    for place, each in enumerate(listeners):
        yield from each.problems((*at, place))
    yield from repeated(at, "name", [each.name for each in listeners], "name")
    yield from _conflicts(at, listeners)


def _conflicts(at: Path, listeners: list[ListenerSpec]) -> Iterator[Problem]:
    """Listeners that could not be told apart: of one port, host name and protocol, or protocols that cannot share."""
    seen: dict[int, list[tuple[int, Socket]]] = {}
    for place, each in enumerate(listeners):
        if each.protocol not in _PROTOCOLS:
            continue
        socket = Socket(each)
        for other_at, other in seen.setdefault(each.port, []):
            why = clash(socket, other)
            if why == "ProtocolConflict":
                yield Problem(
                    (*at, place, "port"),
                    f"port {each.port} speaks {other.protocol} for listeners[{other_at}] and cannot speak "
                    f"{each.protocol} too",
                    "Use another port",
                    told=True,
                )
                break
            if why:
                yield Problem(
                    (*at, place),
                    f"port {each.port} and host name {each.hostname or '(any)'} are those of listeners[{other_at}] already",
                    "Use another port or host name",
                    told=True,
                )
                break
        seen[each.port].append((place, socket))


EXAMPLE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: meshwright
  listeners:
  - {name: http, port: 8080, protocol: HTTP, hostname: "*.example.com"}
  - name: passthrough
    port: 8443
    protocol: TLS
    tls: {mode: Passthrough}
    allowedRoutes: {namespaces: {from: All}}
"""
