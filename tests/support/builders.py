"""Values of the domain and documents, with terse defaults: a test says only what it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mesh.events import SourceSnapshot
from mesh.interception import Interception
from mesh.names import Key
from mesh.service import Protocol, Service, ServicePort, labels
from mesh.state import Merging, MeshState
from mesh.workload import OUTBOUND_PORT, Health, Locality, Use, Workload, WorkloadPort

TRUST_DOMAIN = "mesh.test"
HTTP = ServicePort("http", 80, Protocol.HTTP)


def a_key(name: str) -> Key:
    """`api` and `default/api` are one."""
    return Key.parse(name)


def a_port(name: str = "http", port: int = 80, protocol: Protocol | str = Protocol.HTTP) -> ServicePort:
    return ServicePort(name, port, Protocol(protocol))


def a_service(
    name: str = "api",
    *ports: ServicePort,
    address: str | None = None,
    service_accounts: Iterable[str] = (),
    headless: bool = False,
    origin: tuple[str, ...] = (),
) -> Service:
    """With port 80, HTTP, unless others are given."""
    accounts = tuple(sorted(service_accounts))
    return Service(a_key(name), ports or (HTTP,), address, accounts, headless=headless, origin=origin)


def a_workload(
    name: str = "api-1",
    *,
    services: Iterable[str] | None = None,
    service_account: str | None = None,
    address: str = "127.0.0.1",
    ports: Iterable[WorkloadPort] | None = None,
    app: int = 9001,
    sidecar: int | None = None,
    meshed: bool = False,
    uses: Iterable[str | Use] | None = None,
    health: Health = Health.PASSING,
    weight: int = 1,
    locality: Locality | None = None,
    network: str = "",
    outbound_port: int = OUTBOUND_PORT,
    interception: Interception | None = None,
    origin: tuple[str, ...] = (),
    labelled: Mapping[str, str] | None = None,
    on_demand: bool | None = None,
) -> Workload:
    """Serves port `http` of the service it is named after (`api-1`: `api`), if it ends in a dash and a number."""
    key = a_key(name)
    if services is None:
        stem, dash, number = name.rpartition("-")
        services = (stem,) if dash and number.isdigit() else ()
    served = tuple(a_key(service) for service in services)
    return Workload(
        key=key,
        services=served,
        service_account=service_account or (served[0].name if served else key.name),
        address=address,
        ports=tuple(ports) if ports is not None else (WorkloadPort("http", app, sidecar),) if served else (),
        locality=locality or Locality(),
        labels=labels(dict(labelled or {})),
        meshed=meshed,
        uses=None
        if uses is None
        else tuple(use if isinstance(use, Use) else Use(a_key(use)) for use in uses),
        health=health,
        weight=weight,
        network=network,
        outbound_port=outbound_port,
        interception=interception,
        on_demand=on_demand,
        origin=origin,
    )


def a_proxy(
    name: str = "api-1",
    *,
    sidecar: int = 15101,
    uses: Iterable[str | Use] | None = None,
    services: Iterable[str] | None = None,
    address: str = "127.0.0.1",
    app: int = 9001,
    on_demand: bool | None = None,
) -> Workload:
    """A workload with a sidecar."""
    return a_workload(
        name,
        services=services,
        address=address,
        app=app,
        sidecar=sidecar,
        meshed=True,
        uses=uses,
        on_demand=on_demand,
    )


def a_state(
    *values: Service | Workload,
    order: tuple[str, ...] = (),
    merging: Merging | None = None,
    source: str = "test",
) -> MeshState:
    state = MeshState(TRUST_DOMAIN, order=order, merging=merging or Merging())
    return state.apply(a_snapshot(*values, source=source))[0]


def a_snapshot(*values: Service | Workload, source: str = "test") -> SourceSnapshot:
    return SourceSnapshot(
        source,
        tuple(value for value in values if isinstance(value, Service)),
        tuple(value for value in values if isinstance(value, Workload)),
    )


def service_document(name: str = "api", spec: str = "ports: [{name: http, port: 80, protocol: http}]") -> str:
    """YAML; `spec` is the inside of a flow mapping."""
    key = a_key(name)
    return (
        "---\napiVersion: meshwright.dev/v1alpha1\nkind: Service\n"
        f"metadata: {{name: {key.name}, namespace: {key.namespace}}}\nspec: {{{spec}}}\n"
    )


def workload_document(name: str = "api-1", spec: str = "") -> str:
    """YAML; `spec` is the inside of a flow mapping, for the workload's service by default (`api-1`: `api`)."""
    key = a_key(name)
    service = key.name.rpartition("-")[0]
    spec = (
        spec
        or f"services: [{service}], address: 127.0.0.1, ports: [{{name: http, app: 9001, sidecar: 15101}}]"
    )
    return (
        "---\napiVersion: meshwright.dev/v1alpha1\nkind: Workload\n"
        f"metadata: {{name: {key.name}, namespace: {key.namespace}}}\nspec: {{{spec}}}\n"
    )
