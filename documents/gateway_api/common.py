"""What the kinds of the Gateway API have in common: its words, and references from one document to another."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from documents.envelope import (
    API_VERSION,
    Envelope,
    Metadata,
    Name,
    Namespace,
    Part,
    Port,
    Problem,
    repeated,
    wrong,
)
from documents.reading import Path, show
from mesh.gateways import ObjectRef
from mesh.names import Key
from mesh.routes import Backend, BackendKind, ParentKind, ParentRef

GROUP = "gateway.networking.k8s.io"
OWN_GROUP = API_VERSION.partition("/")[0]
CORE_GROUPS = ("", OWN_GROUP)
"""Where a Service is: in Kubernetes' core group, or in ours. They are the same services."""
BACKENDS: Final = {"Service": CORE_GROUPS, "ServiceSubset": (OWN_GROUP,), "ExternalService": (OWN_GROUP,)}
"""What traffic can be sent to, and the groups in which it is."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")
# The API's own ^[!-~]+([\t ]?[!-~]+)*$, written so that it cannot take exponential time.
_HEADER_VALUE = re.compile(r"[!-~]+(?:[\t ][!-~]+)*")


def _subdomain(what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if len(text) > 253 or not _SUBDOMAIN.fullmatch(text):
            raise wrong(f"{what} {text!r} is not a DNS name", "Use lower-case letters, digits, '-' and '.'")
        return text

    return check


def _hostname(text: str) -> str:
    return ("*." if text.startswith("*.") else "") + precise_hostname(text.removeprefix("*."))


def precise_hostname(text: str) -> str:
    """`text` if it is a host name without a wildcard, as the API's PreciseHostname; raises what a validator raises."""
    if "*" in text:
        raise wrong(
            f"{text!r} has a wildcard where none can be",
            "Use a whole name; where wildcards are allowed they are '*.' in front",
        )
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _subdomain("host name")(text)
    raise wrong(f"{text!r} is an IP address", "Use a host name")


def _header_name(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise wrong(
            f"{text!r} cannot be the name of a header",
            "Use letters, digits and !#$%&'*+-.^_`|~; pseudo-headers such as :path are not allowed",
        )
    return text.lower()


def _parameter_name(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise wrong(
            f"{text!r} cannot be the name of a query parameter", "Use letters, digits and !#$%&'*+-.^_`|~"
        )
    return text


def _header_value(text: str) -> str:
    if len(text) > 4096 or not _HEADER_VALUE.fullmatch(text):
        raise wrong(
            f"{text[:40]!r} cannot be the value of a header",
            "Use 1 to 4096 printable ASCII characters, separated by single spaces or tabs",
        )
    return text


def choice(*known: str) -> WithJsonSchema:
    """The schema of a word that is one of `known` in a file, while an object in a cluster may name what others understand."""
    if len(known) == 1:
        return WithJsonSchema({"const": known[0], "type": "string"})
    return WithJsonSchema({"enum": list(known), "type": "string"})


def unknown(path: Path, given: str, known: Sequence[str]) -> Problem:
    """That `given`, at `path`, is none of `known`, as pydantic's error about a literal reads in our words."""
    words = f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else known[0]
    return Problem(path, f"{given!r} is not known here", f"Use {words}", told=True)


_SUBDOMAIN_SCHEMA = {"type": "string", "maxLength": 253, "pattern": f"^{_SUBDOMAIN.pattern}$"}

Hostname = Annotated[
    str,
    AfterValidator(_hostname),
    WithJsonSchema({"type": "string", "maxLength": 253, "pattern": rf"^(\*\.)?{_SUBDOMAIN.pattern}$"}),
]
PreciseHostname = Annotated[str, AfterValidator(precise_hostname), WithJsonSchema(_SUBDOMAIN_SCHEMA)]
ObjectName = Annotated[str, AfterValidator(_subdomain("name")), WithJsonSchema(_SUBDOMAIN_SCHEMA)]
"""Of a document of the Gateway API, or of one that it refers to. Kubernetes lets them be longer than a DNS label, with dots."""
SectionName = Annotated[str, AfterValidator(_subdomain("section name")), WithJsonSchema(_SUBDOMAIN_SCHEMA)]
_HEADER_SCHEMA = {"type": "string", "pattern": f"^{_HEADER.pattern}$"}
HeaderName = Annotated[str, AfterValidator(_header_name), WithJsonSchema(_HEADER_SCHEMA)]
"""In lower case, however it was written: names of headers are one whatever their case."""
ParameterName = Annotated[str, AfterValidator(_parameter_name), WithJsonSchema(_HEADER_SCHEMA)]
HeaderValue = Annotated[
    str,
    AfterValidator(_header_value),
    WithJsonSchema({"type": "string", "maxLength": 4096, "pattern": f"^{_HEADER_VALUE.pattern}$"}),
]


class ObjectMetadata(Metadata):
    name: ObjectName = Field(description="Unique for its kind in its namespace; a DNS name.")


class GatewayApiEnvelope(Envelope):
    """The base of the models of the Gateway API's kinds."""

    metadata: ObjectMetadata


class ParentReference(Part):
    """What a route is attached to: a service, for traffic inside the mesh, or a gateway or a set of its listeners."""

    group: str | None = Field(None, description='"" for a Service; for the others it may be left out.')
    kind: Literal["Service", "Gateway", "ListenerSet"] = Field(
        "Gateway", description="Service, Gateway or ListenerSet."
    )
    namespace: Namespace | None = Field(None, description="By default the route's own.")
    name: ObjectName = Field(description="Of the service, gateway or set.")
    section_name: SectionName | None = Field(
        None, description="A listener of the gateway or set, or a port of the service, by its name."
    )
    port: Port | None = Field(None, description="A port, by its number; by default all of them.")

    def problems(self, at: Path) -> Iterator[Problem]:
        # A Service may be named without its group: what else could it be.
        groups = CORE_GROUPS if self.kind == "Service" else (GROUP,)
        if self.group is not None and self.group not in groups:
            yield group_problem(at, self.kind, self.group, groups)

    def value(self, own: str) -> ParentRef:
        return ParentRef(
            ParentKind(self.kind), Key(self.namespace or own, self.name), self.port, self.section_name
        )


class BackendReference(Part):
    """What traffic is sent to."""

    group: str = Field("", description='"" for a Service, meshwright.dev for the others.')
    kind: Annotated[str, choice(*BACKENDS)] = Field(
        "Service", description="What is sent to: a service, a part of one, or one outside the mesh."
    )
    namespace: Namespace | None = Field(
        None,
        description="By default the route's own. Another needs a ReferenceGrant, but for the service that the route is attached to.",
    )
    name: Name = Field(description="Of the backend.")
    port: Port | None = Field(None, description="A port of the service. A Service needs one.")

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.kind not in BACKENDS:
            yield unknown((*at, "kind"), self.kind, tuple(BACKENDS))
        elif self.group not in (groups := BACKENDS[self.kind]):
            yield group_problem(at, self.kind, self.group, groups)
        if self.kind == "Service" and self.group in CORE_GROUPS and self.port is None:
            yield Problem((*at, "port"), "port is missing", "Say which port of the Service is meant")

    def value(self, own: str) -> Backend:
        key = Key(self.namespace or own, self.name)
        if self.group not in BACKENDS.get(self.kind, ()):
            return Backend(BackendKind.UNKNOWN, key, self.port, named=f"{self.group or 'core'}/{self.kind}")
        return Backend(BackendKind(self.kind), key, self.port)


class WeightedReference(BackendReference):
    weight: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        1, description="Its share is this of the sum of all; 0 takes nothing."
    )

    def value(self, own: str) -> Backend:
        return replace(super().value(own), weight=self.weight)


class SecretReference(Part):
    """A document that holds a certificate and its key."""

    group: str = Field(default="", description="Secrets are in the core group.")
    kind: Annotated[str, choice("Secret")] = Field(default="Secret", description="The only kind that can be.")
    namespace: Namespace | None = Field(None, description="Another than its own needs a ReferenceGrant.")
    name: ObjectName = Field(description="Of the Secret.")

    def problems(self, at: Path) -> Iterator[Problem]:
        yield from _reference_problems(at, self.kind, self.group, ("Secret",))

    def value(self, own: str) -> ObjectRef:
        return object_ref(self.kind, Key(self.namespace or own, self.name), self.group)


class AuthorityReference(Part):
    """A document that holds certificates of authorities, in its own namespace unless that is said."""

    group: str = Field(default="", description="Both kinds are in the core group.")
    kind: Annotated[str, choice("ConfigMap", "Secret")] = Field(
        description="What holds the certificates of the authorities."
    )
    name: ObjectName = Field(description="Of the one that is meant.")

    def problems(self, at: Path) -> Iterator[Problem]:
        yield from _reference_problems(at, self.kind, self.group, ("ConfigMap", "Secret"))

    def value(self, own: str) -> ObjectRef:
        return object_ref(self.kind, Key(own, self.name), self.group)


def object_ref(kind: str, key: Key, group: str) -> ObjectRef:
    return ObjectRef(kind, key, "" if group in CORE_GROUPS else group)


def _reference_problems(at: Path, kind: str, group: str, kinds: Sequence[str]) -> Iterator[Problem]:
    if kind not in kinds:
        yield unknown((*at, "kind"), kind, kinds)
    if group not in CORE_GROUPS:
        yield group_problem(at, kind, group, CORE_GROUPS)


ParentRefs = Annotated[list[ParentReference], Field(max_length=32)]


def parent_problems(at: Path, parents: Sequence[ParentReference], own: str) -> Iterator[Problem]:
    """Each by itself, and where several name one parent: they must tell its sections or ports apart (ParentRefs)."""
    first: dict[tuple[ParentKind, Key], tuple[int, ParentRef]] = {}
    for place, parent in enumerate(parents):
        yield from parent.problems((*at, place))
        value = parent.value(own)
        other_at, other = first.setdefault((value.kind, value.key), (place, value))
        if other_at != place and (
            (other.section is None) != (value.section is None) or (other.port is None) != (value.port is None)
        ):
            yield Problem(
                (*at, place),
                f"{value.kind} {value.key} is named by {show((*at, other_at))} too, "
                "and the two do not say the same of sectionName and port",
                "Give both a sectionName, or both a port",
            )
    yield from repeated(at, "", [parent.value(own) for parent in parents], "parent")


def group_problem(at: Path, kind: str, group: str, groups: Sequence[str]) -> Problem:
    """That a reference at `at` to something of `kind` names a group other than `groups`."""
    right = " or ".join(each or '""' for each in groups)
    return Problem((*at, "group"), f"there is no {kind} in group {group!r}", f"Use group: {right}", told=True)
