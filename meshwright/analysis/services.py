"""Checks of services and workloads: who serves what, where, and who calls whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from mesh.gateways import Gateway
from mesh.names import Key
from mesh.service import Protocol, Service
from mesh.workload import Health, Workload
from meshwright.analysis.finding import Check, Example, Found, Severity
from meshwright.analysis.sight import Sight

HTTP_WORDS: Final = ("http", "grpc", "web")


def _service(service: Service) -> str:
    return f"Service {service.key}"


def _workload(workload: Workload) -> str:
    return f"Workload {workload.key}"


def nobody_serves(sight: Sight) -> Iterator[Found]:
    for service in sight.services():
        if not sight.members(service.key):
            yield Found(
                _service(service), "no workload serves it: every call is answered with 503", service.origin
            )


def all_critical(sight: Sight) -> Iterator[Found]:
    for service in sight.services():
        members = sight.members(service.key)
        if members and all(each.health is Health.CRITICAL for each in members):
            yield Found(
                _service(service), f"all of its {len(members)} workloads are critical", service.origin
            )


def unserved_port(sight: Sight) -> Iterator[Found]:
    for service in sight.services():
        members = sight.members(service.key)
        for port in service.ports if members else ():
            if not any(each.port_of(service.key, port.name) for each in members):
                yield Found(
                    _service(service),
                    f"no workload of it has a port named {port.name!r}: calls to port {port.port} find no endpoint",
                    service.origin,
                )


def unnamed_port(sight: Sight) -> Iterator[Found]:
    for workload in sight.workloads():
        served = [sight.state.services[key] for key in workload.services if key in sight.state.services]
        for port in workload.ports if served else ():
            if not any(each.port_named(port.name) for each in served):
                names = ", ".join(sorted({known.name for each in served for known in each.ports}))
                yield Found(
                    _workload(workload),
                    f"its port {port.name!r} is of no service that it serves: those have {names}",
                    workload.origin,
                )


def named_http_but_tcp(sight: Sight) -> Iterator[Found]:
    for service in sight.services():
        for port in service.ports:
            if port.protocol is Protocol.TCP and port.name.lower().startswith(HTTP_WORDS):
                yield Found(
                    _service(service),
                    f"port {port.port} is named {port.name!r} and passes as plain TCP: no routes, retries or HTTP metrics",
                    service.origin,
                )


def serves_nothing_known(sight: Sight) -> Iterator[Found]:
    for workload in sight.workloads():
        for key in workload.services:
            if key not in sight.state.services:
                yield Found(
                    _workload(workload), f"it serves {key}, which no source declares", workload.origin
                )


def calls_nothing_known(sight: Sight) -> Iterator[Found]:
    for workload in sight.workloads():
        for use in workload.uses or ():
            if use.service not in sight.state.services:
                yield Found(
                    _workload(workload), f"it uses {use.service}, which no source declares", workload.origin
                )


def calls_unknown_port(sight: Sight) -> Iterator[Found]:
    for workload in sight.workloads():
        for use in workload.uses or ():
            service = sight.state.services.get(use.service)
            if service is not None and use.port is not None and service.port_named(use.port) is None:
                yield Found(
                    _workload(workload),
                    f"it uses the port {use.port!r} of {use.service}, which has {', '.join(each.name for each in service.ports)}",
                    workload.origin,
                )


def partly_meshed(sight: Sight) -> Iterator[Found]:
    for service in sight.services():
        members = sight.members(service.key)
        bare = [each for each in members if not each.meshed]
        if bare and len(bare) < len(members):
            yield Found(
                _service(service),
                f"{len(bare)} of its {len(members)} workloads have no sidecar ({bare[0].key}): calls to those are plaintext, and "
                "nothing is enforced there",
                service.origin,
            )


def one_address(sight: Sight) -> Iterator[Found]:
    at: dict[tuple[str, str, int], list[Workload]] = defaultdict(list)
    for workload in sight.workloads():
        for port in workload.ports:
            number = port.sidecar if workload.meshed and port.sidecar else port.app
            at[workload.network, workload.address, number].append(workload)
    for (_, address, number), workloads in sorted(at.items()):
        names = sorted({str(each.key) for each in workloads})
        if len(names) > 1:
            yield Found(
                f"Workload {names[0]}",
                f"{address}:{number} is also that of {', '.join(names[1:])}: one of them is stale, or misconfigured",
                workloads[0].origin,
            )


def alone(sight: Sight) -> Iterator[Found]:
    for service in sight.services():
        passing = [each for each in sight.members(service.key) if each.health is not Health.CRITICAL]
        if len(passing) == 1:
            yield Found(_service(service), f"{passing[0].key} alone serves it", service.origin)


def shared_account(sight: Sight) -> Iterator[Found]:
    of: dict[Key, set[Key]] = defaultdict(set)
    for workload in sight.workloads():
        of[Key(workload.key.namespace, workload.service_account)].update(workload.services)
    for account, services in sorted(of.items()):
        if len(services) > 1:
            named = ", ".join(map(str, sorted(services)))
            yield Found(
                f"Service {min(services)}",
                f"the service account {account} is that of {named}: access policies cannot tell them apart",
            )


def several_accounts(sight: Sight) -> Iterator[Found]:
    for service in sight.services():
        accounts = sorted({each.service_account for each in sight.members(service.key)})
        if len(accounts) > 1:
            yield Found(
                _service(service),
                f"its workloads have the service accounts {', '.join(accounts)}: whoever has one of them can answer for it",
                service.origin,
            )


def one_zone(sight: Sight) -> Iterator[Found]:
    zones = {(each.locality.region, each.locality.zone) for each in sight.workloads() if each.locality.zone}
    if len(zones) < 2:
        return
    for service in sight.services():
        members = sight.members(service.key)
        its = {(each.locality.region, each.locality.zone) for each in members}
        if len(members) > 1 and len(its) == 1 and "" not in {zone for _, zone in its}:
            yield Found(
                _service(service),
                f"all of its {len(members)} workloads are in zone {next(iter(its))[1]}",
                service.origin,
            )


def conflicts(sight: Sight) -> Iterator[Found]:
    for line in sight.state.conflicts():
        subject, _, _ = line.partition(": ")
        yield Found(subject if len(subject) < 120 else "mesh", line)


def gateway_unplayed(sight: Sight) -> Iterator[Found]:
    for (kind, key), value in sorted(sight.state.declared.items(), key=lambda item: item[0]):
        if isinstance(value, Gateway) and not sight.state.edges.players.get(key):
            yield Found(f"{kind} {key}", "no workload plays it: nobody listens on its ports", value.origin)


def plays_nothing(sight: Sight) -> Iterator[Found]:
    for workload in sight.workloads():
        if workload.gateway is not None and ("Gateway", workload.gateway) not in sight.state.declared:
            yield Found(
                _workload(workload),
                f"it plays the Gateway {workload.gateway}, which no document declares",
                workload.origin,
            )


def sidecarless_caller(sight: Sight) -> Iterator[Found]:
    for workload in sight.workloads():
        if workload.uses and not workload.meshed:
            yield Found(
                _workload(workload),
                "it says what it uses and has no sidecar: that has no effect",
                workload.origin,
            )


ORPHAN = """
kind: Service
metadata: {name: orphan}
spec: {ports: [{name: http, port: 80, protocol: http}]}
"""
ADOPTED = (
    ORPHAN
    + """---
kind: Workload
metadata: {name: orphan-1}
spec: {services: [orphan], address: 10.0.9.1, ports: [{name: http, app: 8080, sidecar: 15101}], meshed: true, uses: []}
---
kind: Workload
metadata: {name: orphan-2}
spec: {services: [orphan], address: 10.0.9.2, ports: [{name: http, app: 8080, sidecar: 15101}], meshed: true, uses: []}
"""
)
EXTRA = """
kind: Service
metadata: {name: extra}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
kind: Workload
metadata: {name: extra-1}
spec: {services: [extra], address: 10.0.7.1, ports: [{name: http, app: 8080, sidecar: 15101}], meshed: true, uses: []}
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: meshwright
  listeners: [{name: http, port: 8080, protocol: HTTP}]
"""
PLAYER = """
kind: Workload
metadata: {name: edge-1}
spec: {gateway: edge, serviceAccount: edge, address: 10.0.8.1, meshed: true}
"""


def _api(number: int, spec: str, ports: str = "[{name: http, app: 8080, sidecar: 15101}]") -> str:
    """A workload of the example's service `api`, as it is but for `spec`."""
    zone = "a" if number % 2 else "b"
    said = {
        "services": "[api]",
        "serviceAccount": "api",
        "address": f"10.0.2.{number}",
        "locality": f"{{region: eu, zone: {zone}}}",
        "meshed": "true",
        "uses": "[store]",
        "ports": ports,
    }
    for line in filter(None, spec.splitlines()):
        name, _, value = line.partition(": ")
        said[name] = value
    body = "\n".join(f"  {name}: {value}" for name, value in said.items())
    return f"kind: Workload\nmetadata: {{name: api-{number}}}\nspec:\n{body}\n"


CHECKS: Final = (
    Check(
        "MW0101",
        "A service that nobody serves",
        Severity.ERROR,
        "Callers get 503, or, for TCP, a connection that is closed.",
        "Register a workload that names it in `services`, or delete the service.",
        nobody_serves,
        Example(ORPHAN),
        Example(ADOPTED),
    ),
    Check(
        "MW0102",
        "All workloads of a service are critical",
        Severity.ERROR,
        "A critical workload takes no traffic at all, so nobody answers.",
        "Look at the health checks of the registry, and at the workloads.",
        all_critical,
        Example(_api(1, "health: critical") + "---\n" + _api(2, "health: critical")),
        Example(_api(1, "health: critical")),
    ),
    Check(
        "MW0103",
        "A port of a service that no workload serves",
        Severity.ERROR,
        "Ports of services and of workloads belong together by their names.",
        "Give the port one name in both documents (in Consul: the meta `port-name`).",
        unserved_port,
        Example(
            "kind: Service\nmetadata: {name: api}\nspec: {ports: [{name: http, port: 80, protocol: http}, {name: admin, port: 9000, protocol: http}]}\n"
        ),
        Example(),
    ),
    Check(
        "MW0104",
        "A port of a workload that belongs to no service",
        Severity.WARNING,
        "Nobody can call it through the mesh: no service has a port of that name.",
        "Name it as the service does, or take it away.",
        unnamed_port,
        Example(second=EXTRA.replace("name: http, app", "name: web, app")),
        Example(second=EXTRA),
    ),
    Check(
        "MW0105",
        "A port that is named as HTTP and passes as TCP",
        Severity.WARNING,
        "A protocol is declared, never guessed; without one a port is TCP, and routes, retries and HTTP policies do nothing there.",
        "Declare `protocol: http` (or http2, grpc); if it is TCP indeed, name it otherwise.",
        named_http_but_tcp,
        Example("kind: Service\nmetadata: {name: api}\nspec: {ports: [{name: http, port: 80}]}\n"),
        Example(),
    ),
    Check(
        "MW0106",
        "A workload serves a service that is not there",
        Severity.ERROR,
        "It is nobody's endpoint until the service is declared.",
        "Declare the service, or correct its name.",
        serves_nothing_known,
        Example(second=EXTRA.replace("services: [extra]", "services: [extras]")),
        Example(second=EXTRA),
    ),
    Check(
        "MW0107",
        "A workload calls a service that is not there",
        Severity.ERROR,
        "Its sidecar answers such calls with 404, and nobody listens on the local port.",
        "Declare the service, correct its name, or take it out of `uses`.",
        calls_nothing_known,
        Example(_api(1, "uses: [shop]")),
        Example(),
    ),
    Check(
        "MW0108",
        "A workload calls a port that is not there",
        Severity.ERROR,
        "The local port leads nowhere.",
        "Name a port that the service has.",
        calls_unknown_port,
        Example(_api(1, "uses: [{service: store, port: admin, localPort: 18080}]")),
        Example(_api(1, "uses: [{service: store, port: http, localPort: 18080}]")),
    ),
    Check(
        "MW0109",
        "Some workloads of a service have no sidecar",
        Severity.WARNING,
        "Callers speak mesh TLS to some and plaintext to others; access policies, limits and telemetry of the callee hold at some only.",
        "Run a sidecar beside each and declare them `meshed`.",
        partly_meshed,
        Example(_api(2, "meshed: false\nuses: []", "[{name: http, app: 8080}]")),
        Example(),
    ),
    Check(
        "MW0110",
        "Two workloads with one address and port",
        Severity.WARNING,
        "They are one process: one of the registrations is of before. Load is shared out wrongly, and identities may not match.",
        "Deregister the one that is gone.",
        one_address,
        Example(_api(2, "address: 10.0.2.1")),
        Example(),
    ),
    Check(
        "MW0111",
        "One workload alone serves a service",
        Severity.INFO,
        "When it restarts, nobody answers.",
        "Run two or more, in several zones.",
        alone,
        Example(_api(2, "health: critical")),
        Example(),
    ),
    Check(
        "MW0112",
        "Services share a service account",
        Severity.INFO,
        "The identity is that of the service account: access policies cannot tell these services apart, and each can answer for the other.",
        "Give each service an account of its own.",
        shared_account,
        Example(_api(1, "serviceAccount: store") + "---\n" + _api(2, "serviceAccount: store")),
        Example(),
    ),
    Check(
        "MW0113",
        "Workloads of a service have several service accounts",
        Severity.INFO,
        "Callers accept each of them as this service, so the weakest of them decides.",
        "Give them one account, or say `serviceAccounts` of the service.",
        several_accounts,
        Example(_api(2, "serviceAccount: api-canary")),
        Example(),
    ),
    Check(
        "MW0114",
        "All workloads of a service are in one zone",
        Severity.INFO,
        "The mesh spans several zones; the loss of this one takes the whole service.",
        "Run some elsewhere.",
        one_zone,
        Example(_api(2, "locality: {region: eu, zone: a}")),
        Example(),
    ),
    Check(
        "MW0115",
        "Two sources, or two services, claim one thing",
        Severity.WARNING,
        "The first in rank has it, and what the other says is left out: a service or workload of one name, or one virtual address.",
        "Rename one, or switch merging on for the service or its namespace (`merge_services`, `merge_namespaces`).",
        conflicts,
        Example(
            second="kind: Service\nmetadata: {name: api}\nspec: {ports: [{name: http, port: 80, protocol: http}]}\n"
        ),
        Example(),
    ),
    Check(
        "MW0116",
        "A gateway that no workload plays",
        Severity.ERROR,
        "Nobody listens on its ports.",
        "Run `meshwright proxy` for a workload with `spec.gateway` of that name.",
        gateway_unplayed,
        Example(GATEWAY),
        Example(GATEWAY + "---" + PLAYER),
    ),
    Check(
        "MW0117",
        "A workload plays a gateway that is not there",
        Severity.ERROR,
        "Its proxy is given no listeners.",
        "Write the Gateway, or correct its name.",
        plays_nothing,
        Example(PLAYER),
        Example(GATEWAY + "---" + PLAYER),
    ),
    Check(
        "MW0118",
        "A workload without a sidecar says what it uses",
        Severity.INFO,
        "`uses` is for the sidecar: without one it narrows nothing and opens no local port.",
        "Run a sidecar and declare it `meshed`, or leave `uses` out.",
        sidecarless_caller,
        Example(_api(1, "meshed: false", "[{name: http, app: 8080}]")),
        Example(),
    ),
)
