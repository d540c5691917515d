"""Gateways, what may reach across namespaces, and how TLS to a backend is verified, as the Gateway API has them.

Source: https://gateway-api.sigs.k8s.io/reference/spec/ (v1, experimental channel included).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mesh.names import Key
from mesh.routes import BackendKind, RouteKind
from mesh.service import Labels

NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The label that every namespace has: its own name (Kubernetes well-known labels)."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """A document that holds certificates or keys. A `ConfigMap`, which is what the Gateway API names for authorities, is the Secret
    document of that name, whose files it holds off Kubernetes; a ReferenceGrant to it names it as it is named.

    `group` and `kind` may be such as we do not know: then the reference does not hold, and a status says so.
    """

    kind: str
    key: Key
    group: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{f'.{self.group}' if self.group else ''} {self.key}"


class ListenerProtocol(StrEnum):
    HTTP = "HTTP"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    UDP = "UDP"


class TlsMode(StrEnum):
    TERMINATE = "Terminate"
    PASSTHROUGH = "Passthrough"


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """`certificates` are never none when `mode` is TERMINATE, and have no meaning otherwise."""

    mode: TlsMode
    certificates: tuple[ObjectRef, ...] = ()


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A condition on one label, as in Kubernetes' `matchExpressions`."""

    label: str
    operator: Operator
    values: tuple[str, ...] = ()

    def met_by(self, labels: dict[str, str]) -> bool:
        match self.operator:
            case Operator.IN:
                return labels.get(self.label) in self.values
            case Operator.NOT_IN:
                return labels.get(self.label) not in self.values
            case Operator.EXISTS:
                return self.label in labels
            case Operator.DOES_NOT_EXIST:
                return self.label not in labels


@dataclass(frozen=True, slots=True)
class Selector:
    """Chooses namespaces by all of its requirements; by none, every namespace."""

    requirements: tuple[Requirement, ...] = ()

    def covers(self, namespace: str, labels: Labels = ()) -> bool:
        """Whether it chooses `namespace`, which has `labels` besides the label NAMESPACE_NAME."""
        known = {**dict(labels), NAMESPACE_NAME: namespace}
        return all(requirement.met_by(known) for requirement in self.requirements)


class FromNamespaces(StrEnum):
    ALL = "All"
    SAME = "Same"
    SELECTOR = "Selector"


@dataclass(frozen=True, slots=True)
class AllowedRoutes:
    """Whose routes, and of which kinds, a listener takes. `selector` is there if `namespaces` is SELECTOR.

    `unknown`: kinds that its document names besides and that it cannot take; where there are some, `kinds` may be none.
    """

    kinds: tuple[RouteKind, ...]
    namespaces: FromNamespaces = FromNamespaces.SAME
    selector: Selector | None = None
    unknown: tuple[str, ...] = ()


Place = tuple[Key | None, str]
"""A listener of a gateway: the set that declares it, if any, and its name there."""


@dataclass(frozen=True, slots=True)
class AllowedListeners:
    """Whose ListenerSets a gateway takes. `selector` is there if `namespaces` is SELECTOR."""

    namespaces: FromNamespaces
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class GatewayListener:
    """`hostname` is in lower case, may begin with `*.`, and None for every name. `tls` is there for HTTPS and TLS.

    `set` is the ListenerSet that declares it; None: the Gateway itself. Names are unique within one of these.
    """

    name: str
    port: int
    protocol: ListenerProtocol
    allowed: AllowedRoutes
    hostname: str | None = None
    tls: ListenerTls | None = None
    set: Key | None = None

    @property
    def place(self) -> Place:
        return self.set, self.name


@dataclass(frozen=True, slots=True)
class RefusedListener:
    """A listener that cannot be served as its document says it, whatever else there is: `reason` is a word of the Gateway API's.

    The Kubernetes API takes objects that have some, and a status tells of each by itself. Of several of one document that cannot be told
    apart each is one (ListenerConditionConflicted: no winner may be picked). `protocol` is what the document says.
    """

    name: str
    port: int
    protocol: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ListenerSet:
    """More listeners for the gateway `parent`, which may be of another namespace (GEP-1713).

    No two have a name in common. Of two that cannot be told apart the first counts, as of those of several sets.
    """

    key: Key
    parent: Key
    listeners: tuple[GatewayListener, ...]
    refused: tuple[RefusedListener, ...] = ()
    created: datetime | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ClientValidation:
    """Clients must show a certificate of one of `authorities`. `optional`: those that do not are let in all the same."""

    authorities: tuple[ObjectRef, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Gateway:
    """North-south entry. No two listeners have name, or port and protocol and hostname, in common.

    `clients` says how certificates of clients are validated on HTTPS listeners, `clients_by_port` what holds instead
    on some ports (None: no validation there). `client_certificate` is what it shows to backends that speak TLS.
    `allowed_listeners` None: it takes no ListenerSets. `unusable`: addresses that it asks for and that are no IP addresses. `parameters`: what
    its `infrastructure` refers to, for whoever makes its proxies.
    """

    key: Key
    class_name: str
    listeners: tuple[GatewayListener, ...]
    addresses: tuple[str, ...] = ()
    clients: ClientValidation | None = None
    clients_by_port: tuple[tuple[int, ClientValidation | None], ...] = ()
    client_certificate: ObjectRef | None = None
    allowed_listeners: AllowedListeners | None = None
    refused: tuple[RefusedListener, ...] = ()
    unusable: tuple[str, ...] = ()
    parameters: ObjectRef | None = None
    labels: Labels = ()
    created: datetime | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)

    def client_validation(self, port: int) -> ClientValidation | None:
        return dict(self.clients_by_port).get(port, self.clients)


@dataclass(frozen=True, slots=True, order=True)
class GrantFrom:
    """Who may refer: documents of `kind` in `namespace`."""

    kind: str
    namespace: str


@dataclass(frozen=True, slots=True)
class GrantTo:
    """To what: the document `name` of `kind` in the grant's own namespace; None, all of them."""

    kind: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ReferenceGrant:
    """Any of `sources` may refer to any of `targets`."""

    key: Key
    sources: tuple[GrantFrom, ...]
    targets: tuple[GrantTo, ...]
    origin: tuple[str, ...] = field(default=(), compare=False)

    def permits(self, kind: str, namespace: str, target_kind: str, target: str) -> bool:
        """Whether a document of `kind` in `namespace` may refer to the one named `target`, of `target_kind`, in the
        grant's own namespace.
        """
        return GrantFrom(kind, namespace) in self.sources and any(
            each.kind == target_kind and each.name in {None, target} for each in self.targets
        )


@dataclass(frozen=True, slots=True)
class TlsTarget:
    """A backend to which TLS is spoken: SERVICE or EXTERNAL. `section` is the name of one of its ports; None: all."""

    kind: BackendKind
    key: Key
    section: str | None = None


class SubjectKind(StrEnum):
    HOSTNAME = "Hostname"
    URI = "URI"


@dataclass(frozen=True, slots=True)
class SubjectName:
    """A subject alternative name that a certificate must have; a HOSTNAME may begin with `*.`."""

    kind: SubjectKind
    value: str


@dataclass(frozen=True, slots=True)
class BackendTlsPolicy:
    """TLS to a backend: `hostname` is sent as SNI and, without `names`, must be in the certificate.

    With `names`, one of them must be in it instead. `authorities` None means those of the system.
    """

    key: Key
    targets: tuple[TlsTarget, ...]
    hostname: str
    authorities: tuple[ObjectRef, ...] | None = None
    names: tuple[SubjectName, ...] = ()
    created: datetime | None = None
    origin: tuple[str, ...] = field(default=(), compare=False)
