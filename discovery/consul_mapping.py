"""From Consul's services to those of the mesh. Pure.

What the meta of an instance says (all optional):

| key | meaning | default |
|---|---|---|
| `namespace` | namespace of the service and the workload | `default` |
| `workload` | name of the workload | `<node>.<service id>`, lower case, other characters as `-` |
| `service-account` | whose identity it has | the service's name |
| `protocol` | http, http2, grpc, tcp or tls | `tcp` |
| `service-port` | the port under which callers name the service | 80 |
| `port-name` | name of the service's port | the protocol, or `main` |
| `meshed` | `true`: the registered port is its sidecar's | `false` |
| `app-port` | the application's own port, needed when `meshed` | the registered port |
| `uses` | services it calls, comma separated: `store, payments/api` | all of them, or those of `local-ports` |
| `local-ports` | loopback ports that lead to a service: `store=9101, payments/api:grpc=9102` | none |
| `outbound-port` | where its sidecar takes outbound HTTP | 15001 |
| `clusters` | `onDemand`: its sidecar is given a cluster when a request needs it first; `all`: it is given all | as the setting `clusters` says |
| `interception` | `true`: `meshwright intercept` runs on its host, so the registered port may be the application's own | `false` |
| `inbound-port`, `dns-port` | where interception sends what comes in, and queries for names | 15006, 15053 |
| `health-checks` | with interception, what comes without mesh TLS: ports with paths, or all of a port: `9001/healthz, 9002` | none |
| `region`, `zone`, `sub-zone` | locality; else Consul's `Locality`, else the same keys in the node's meta | empty |

All other meta are labels, as are tags: `version=v2` is the label `version`, and a plain tag `canary` the label
`tag/canary` with the value `true`. Meta win over tags.

The protocol, port and port name of a service are those of its oldest instance (lowest CreateIndex); instances that
say something else are warned about, and serve all the same. The address is the instance's, or else its node's; it
must be an IP address, since Envoy resolves no names in endpoints. The health is the worst of the checks of
instance and node; maintenance mode is critical. A warning weight of 0, which Consul allows, is critical too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from discovery.consul_model import ENTRY, Entry
from discovery.consul_options import ConsulOptions
from mesh.errors import MeshError
from mesh.identity import Identity
from mesh.interception import DNS_PORT, INBOUND_PORT, Interception, PlainCheck
from mesh.names import DEFAULT_NAMESPACE, DEFAULT_PORT, Key, check_label
from mesh.service import Labels, Protocol, Service, ServicePort, labels
from mesh.workload import OUTBOUND_PORT, Health, Locality, Use, Workload, WorkloadPort

RESERVED = frozenset(
    {
        *("namespace", "workload", "service-account", "protocol", "service-port", "port-name", "meshed"),
        *("app-port", "uses", "local-ports", "outbound-port", "region", "zone", "sub-zone"),
        "clusters",
        *("interception", "inbound-port", "dns-port", "health-checks"),
    }
)
_HEALTH = {"passing": Health.PASSING, "warning": Health.WARNING, "critical": Health.CRITICAL}
_WORSE = {Health.PASSING: 0, Health.WARNING: 1, Health.CRITICAL: 2}
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}
_ON_DEMAND = {"onDemand": True, "all": False, "": None}
_NOT_IN_NAMES = re.compile(r"[^a-z0-9.-]+")
_WORKLOAD_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Mapped:
    """One Consul service: a mesh service for each namespace that its instances name.

    `workloads` are in order of age, each with its CreateIndex, by which two claims to one name are settled.
    `warnings` are lines for the operator.
    """

    services: tuple[Service, ...] = ()
    workloads: tuple[tuple[int, Workload], ...] = ()
    warnings: tuple[str, ...] = ()


class _Unfit(Exception):
    """Why an instance is left out: the field, and the remedy."""


def instances(entries: Iterable[object]) -> tuple[list[Entry], list[str]]:
    """The entries of a `health/service` answer that can be read, and a line for each of the others."""
    read, warnings = [], []
    for entry in entries:
        try:
            read.append(ENTRY.validate_python(entry))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(str(step) for step in first["loc"])
            warnings.append(f"an instance is left out: {path}: {first['msg']}")
    return read, warnings


def map_service(source: str, name: str, entries: Iterable[Entry], options: ConsulOptions) -> Mapped:
    """What `name` of Consul is in the mesh. `source` is named as the origin of all of it."""
    chosen = sorted(
        (entry for entry in entries if _belongs(entry, options)),
        key=lambda entry: (entry.instance.create_index, entry.node.name, entry.instance.id),
    )
    if not chosen:
        return Mapped()
    try:
        check_label("service", name)
    except MeshError as error:
        return Mapped(
            warnings=(f"Consul service {name} is left out: {error}; register it under such a name",)
        )
    services: dict[str, Service] = {}
    workloads: list[tuple[int, Workload]] = []
    warnings: list[str] = []
    for entry in chosen:
        try:
            read = _Instance(source, name, entry)
            declared = read.port()
            service = services.get(read.namespace)
            if service is None:
                service = Service(
                    Key(read.namespace, name), (declared,), origin=(f"{source}: service {name}",)
                )
            made = read.workload(service)
        except (_Unfit, MeshError) as why:
            warnings.append(f"{_who(entry)} is left out: {why}")
            continue
        services[read.namespace] = service
        workloads.append((entry.instance.create_index, made))
        warnings += (f"{_who(entry)}: {note}" for note in (*read.notes, *_disagreements(declared, service)))
    return Mapped(tuple(services.values()), tuple(workloads), tuple(warnings))


def _belongs(entry: Entry, options: ConsulOptions) -> bool:
    """Whether an instance is one of the mesh. The proxies and gateways of Consul's own mesh (`Kind`) never are."""
    if entry.instance.kind not in {"", "typical"}:
        return False
    if (
        options.only_meta is not None
        and entry.instance.meta.get(options.only_meta[0]) != options.only_meta[1]
    ):
        return False
    return options.only_tag is None or options.only_tag in entry.instance.tags


def _who(entry: Entry) -> str:
    return (
        f"instance {entry.instance.id} of Consul service {entry.instance.service} on node {entry.node.name}"
    )


def _disagreements(mine: ServicePort, service: Service) -> Iterable[str]:
    (port,) = service.ports
    for field, own, theirs in (
        ("protocol", mine.protocol, port.protocol),
        ("service-port", mine.port, port.port),
        ("port-name", mine.name, port.name),
    ):
        if own != theirs and not (field == "port-name" and mine.protocol != port.protocol):
            yield f"meta {field} is {own}, but {theirs} at the oldest instance, which decides: register both alike"


class _Instance:
    """One instance while it is read. `notes` are what was odd but harmless."""

    def __init__(self, source: str, service: str, entry: Entry) -> None:
        self._source = source
        self._service = service
        self._entry = entry
        self._meta: Mapping[str, str] = entry.instance.meta
        self.notes: list[str] = []
        self.namespace = check_label("namespace", self._meta.get("namespace") or DEFAULT_NAMESPACE)

    def port(self) -> ServicePort:
        """The service's port, as this instance declares it."""
        declared = self._meta.get("protocol", "").lower()
        try:
            protocol = Protocol(declared) if declared else Protocol.TCP
        except ValueError:
            raise _Unfit(f"meta protocol {declared!r} is unknown: use {', '.join(Protocol)}") from None
        name = self._meta.get("port-name") or declared or "main"
        return ServicePort(
            check_label("meta port-name", name), self._number("service-port", DEFAULT_PORT), protocol
        )

    def workload(self, service: Service) -> Workload:
        instance, node = self._entry.instance, self._entry.node
        account = self._meta.get("service-account") or self._service
        Identity("check", self.namespace, account)  # raises InvalidName
        meshed = self._flag("meshed")
        health = self._health()
        return Workload(
            key=Key(self.namespace, self._name()),
            services=(service.key,),
            service_account=account,
            address=self._address(),
            ports=(self._ports(service.ports[0], meshed),),
            locality=self._locality(),
            labels=self._labels(),
            meshed=meshed,
            uses=self._uses(),
            health=health,
            weight=self._weight(health),
            outbound_port=self._number("outbound-port", OUTBOUND_PORT),
            interception=self._interception(meshed=meshed),
            on_demand=self._on_demand(),
            origin=(f"{self._source}: service {self._service}, instance {instance.id}, node {node.name}",),
        )

    def _on_demand(self) -> bool | None:
        given = self._meta.get("clusters", "")
        if given not in _ON_DEMAND:
            raise _Unfit(f"meta clusters {given!r} is unknown: use all or onDemand")
        return _ON_DEMAND[given]

    def _name(self) -> str:
        given = self._meta.get("workload")
        if given:
            if not _WORKLOAD_NAME.fullmatch(given):
                raise _Unfit(
                    f"meta workload {given!r} is no name: use up to 253 lower-case letters, digits, '-' and '.'"
                )
            return given
        made = f"{self._entry.node.name}.{self._entry.instance.id}".lower()
        made = _NOT_IN_NAMES.sub("-", made)[:253].strip("-.")
        if not made:
            raise _Unfit("its node and id have no letter or digit to name the workload by: set meta workload")
        return made

    def _address(self) -> str:
        field = "address" if self._entry.instance.address else "node address"
        text = self._entry.instance.address or self._entry.node.address
        try:
            address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
        except ValueError:
            raise _Unfit(
                f"{field} {text!r} is not an IP address, and Envoy resolves no names in endpoints: register its IP address"
            ) from None
        if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None):
            raise _Unfit(f"{field} {text!r} can't be connected to: register the address that callers use")
        return str(address)

    def _ports(self, of: ServicePort, meshed: bool) -> WorkloadPort:
        registered, name = self._entry.instance.port, of.name
        if not 1 <= registered <= 65535:
            raise _Unfit(f"port {registered} is out of range: register a port from 1 to 65535")
        if not meshed:
            if "app-port" in self._meta and self._number("app-port", registered) != registered:
                self.notes.append("meta app-port has no effect without meta meshed=true")
            return WorkloadPort(name, app=registered)
        if not self._meta.get("app-port"):
            # Sidecars take no datagrams: callers send them to the application.
            if self._flag("interception") or of.protocol is Protocol.UDP:
                return WorkloadPort(name, app=registered)
            raise _Unfit(
                "meta meshed=true says that the port is the sidecar's: set meta app-port to the application's, or "
                "interception=true if its traffic is intercepted"
            )
        app = self._number("app-port", registered)
        if app == registered:
            # Lawful where the application binds another address; on one address the two can't both listen.
            self.notes.append(f"meta app-port is the registered port {registered}, which is the sidecar's")
        return WorkloadPort(name, app=app, sidecar=registered)

    def _locality(self) -> Locality:
        node, instance = self._entry.node, self._entry.instance
        fallback = instance.locality or node.locality
        return Locality(
            region=self._meta.get("region") or (fallback and fallback.region) or node.meta.get("region", ""),
            zone=self._meta.get("zone") or (fallback and fallback.zone) or node.meta.get("zone", ""),
            sub_zone=self._meta.get("sub-zone") or node.meta.get("sub-zone", ""),
        )

    def _labels(self) -> Labels:
        pairs: dict[str, str] = {}
        for tag in self._entry.instance.tags:
            key, equals, value = tag.partition("=")
            if equals and key:
                pairs[key] = value
            elif tag:
                pairs[f"tag/{tag}"] = "true"
        pairs.update((key, value) for key, value in self._meta.items() if key not in RESERVED)
        return labels(pairs)

    def _health(self) -> Health:
        worst = Health.PASSING
        for check in self._entry.checks:
            health = _HEALTH.get(check.status)
            if health is None:
                health = Health.CRITICAL
                if check.status != "maintenance":
                    self.notes.append(
                        f"check {check.id} has the unknown status {check.status!r}: taken as critical"
                    )
            worst = max(worst, health, key=_WORSE.__getitem__)
        weights = self._entry.instance.weights
        if worst is Health.WARNING and weights is not None and weights.warning <= 0:
            return Health.CRITICAL
        return worst

    def _weight(self, health: Health) -> int:
        weights = self._entry.instance.weights
        if weights is None:
            return 1
        return max(1, weights.warning if health is Health.WARNING else weights.passing)

    def _interception(self, *, meshed: bool) -> Interception | None:
        if not self._flag("interception"):
            return None
        if not meshed:
            self.notes.append("meta interception has no effect without meta meshed=true")
            return None
        checks = (self._check(item) for item in _items(self._meta.get("health-checks", "")))
        return Interception(
            inbound_port=self._number("inbound-port", INBOUND_PORT),
            dns_port=self._number("dns-port", DNS_PORT),
            checks=tuple(sorted(checks, key=lambda each: (each.port, each.path or ""))),
        )

    def _check(self, item: str) -> PlainCheck:
        number, slash, path = item.partition("/")
        if not number.isdecimal() or not 1 <= int(number) <= 65535:
            raise _Unfit(f"meta health-checks {item!r} is not <port>[/<path>], e.g. 9001/healthz")
        return PlainCheck(int(number), f"/{path}" if slash else None)

    def _uses(self) -> tuple[Use, ...] | None:
        local = dict(self._local_port(item) for item in _items(self._meta.get("local-ports", "")))
        if "uses" not in self._meta and not local:
            return None
        named = {service for service, _ in local}
        plain = {self._key("uses", item) for item in _items(self._meta.get("uses", ""))} - named
        uses = [Use(service) for service in plain]
        uses += (Use(service, port, number) for (service, port), number in local.items())
        numbers = list(local.values())
        if len(set(numbers)) != len(numbers):
            raise _Unfit("meta local-ports gives one port to two services: use another")
        return tuple(sorted(uses, key=lambda use: (use.service, use.port or "", use.local_port or 0)))

    def _local_port(self, item: str) -> tuple[tuple[Key, str | None], int]:
        target, _, number = item.partition("=")
        service, _, port = target.strip().partition(":")
        if not number.strip().isdecimal() or not 1 <= int(number) <= 65535:
            raise _Unfit(f"meta local-ports {item!r} is not <service>[:<port name>]=<port>, e.g. store=9101")
        return (self._key("local-ports", service.strip()), port.strip() or None), int(number)

    def _key(self, field: str, text: str) -> Key:
        """A service named by a caller: in the caller's own namespace where it names none."""
        key = Key.parse(text) if "/" in text else Key(self.namespace, text)
        check_label(f"meta {field}: service", key.name)
        check_label("namespace", key.namespace)
        return key

    def _number(self, field: str, default: int) -> int:
        text = self._meta.get(field, "")
        if not text:
            return default
        if not text.isdecimal() or not 1 <= int(text) <= 65535:
            raise _Unfit(f"meta {field} {text!r} is no port: use 1 to 65535")
        return int(text)

    def _flag(self, field: str) -> bool:
        text = self._meta.get(field, "").lower()
        if text not in _FLAGS:
            raise _Unfit(f"meta {field} {text!r} is neither true nor false")
        return _FLAGS[text]


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
