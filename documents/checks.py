"""What documents say of one another: references that lead nowhere, and what is probably not meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from documents.errors import Caution, Dangling
from documents.parsing import Document, Places
from documents.reading import nearest
from mesh.names import Key
from mesh.service import Protocol, Service
from mesh.workload import Workload

Services = Callable[[Key], Service | None]
"""Looks up a service among all documents."""


def references(document: Document) -> frozenset[Key]:
    """The services that `document` names."""
    if not isinstance(document.value, Workload):
        return frozenset()
    return frozenset((*document.value.services, *(use.service for use in document.value.uses or ())))


def dangling(document: Document, services: Services, *, alone: bool = True) -> Iterator[Dangling]:
    """An error for each service that `document` serves and nobody declares, and each port that none of them has.

    Not `alone`: others than these documents declare services too, so that one which is not among them may well be there.
    """
    workload, at = document.value, Places(document)
    if not isinstance(workload, Workload):
        return
    served = [services(key) for key in workload.services]
    for place, (key, service) in enumerate(zip(workload.services, served, strict=True)):
        if service is None:
            if alone:
                yield Dangling(
                    at("spec", "services", place),
                    f"no document declares the service {key}",
                    "Declare it (kind Service), or correct the name",
                )
        elif service.external is not None:
            yield Dangling(
                at("spec", "services", place),
                f"{key} is an ExternalService: nothing in the mesh serves it",
                "Declare a Service instead, or remove it here",
            )
    found = [service for service in served if service is not None]
    if len(found) < len(served) or not found:
        return
    names = [port.name for service in found for port in service.ports]
    for place, port in enumerate(workload.ports):
        if port.name not in names:
            guess = nearest(port.name, names)
            of = " or ".join(str(service.key) for service in found)
            yield Dangling(
                at("spec", "ports", place, "name"),
                f"no port of {of} is called {port.name}",
                (f"Did you mean {guess}? " if guess else "") + f"Known here: {', '.join(names)}",
            )


def cautions(document: Document, services: Services) -> Iterator[Caution]:
    """What is allowed in `document`, given the services, and probably not meant."""
    workload, at = document.value, Places(document)
    if not isinstance(workload, Workload):
        return
    for place, use in enumerate(workload.uses or ()):
        used = services(use.service)
        if used is None:
            yield Caution(
                at("spec", "uses", place),
                f"no document declares the service {use.service}",
                "It can be called once another source has it; if none will, correct the name",
            )
        elif use.local_port is not None and used.external is not None and used.external.wildcard:
            yield Caution(
                at("spec", "uses", place, "localPort"),
                f"the hosts of {used.key} are wildcards, and local port {use.local_port} does not say which is meant",
                "Remove localPort, or declare an ExternalService for one host",
            )
        elif use.port is not None and used.port_named(use.port) is None:
            yield Caution(
                at("spec", "uses", place, "port"),
                f"no port of {used.key} is called {use.port}",
                f"Known here: {', '.join(port.name for port in used.ports)}",
            )
        elif use.local_port is not None and use.port is None and len(used.ports) > 1:
            yield Caution(
                at("spec", "uses", place, "localPort"),
                f"{used.key} has {len(used.ports)} ports, so local port {use.local_port} leads to none",
                f"Say which by port: {', '.join(port.name for port in used.ports)}",
            )
    for place, key in enumerate(workload.services):
        service = services(key)
        if service is None:
            continue
        for at_port, given in enumerate(workload.ports):
            named = service.port_named(given.name)
            if given.sidecar is not None and named is not None and named.protocol is Protocol.UDP:
                yield Caution(
                    at("spec", "ports", at_port, "sidecar"),
                    f"no effect: {key} speaks udp there, and sidecars take no datagrams",
                    "Remove it: callers send them to app, without mutual TLS",
                )
        if all(workload.port_named(port.name) is None for port in service.ports):
            yield Caution(
                at("spec", "services", place),
                f"none of the ports of {key} is among spec.ports, so this workload gets none of its traffic",
                f"Add a port called {' or '.join(port.name for port in service.ports)}",
            )
        if service.service_accounts and workload.meshed:
            accounts = service.service_accounts
            if workload.service_account not in accounts:
                yield Caution(
                    at("spec", "serviceAccount"),
                    f"callers of {key} accept {' or '.join(accounts)} only, so they refuse {workload.service_account}",
                    "Correct it here or in spec.serviceAccounts of the service",
                )
