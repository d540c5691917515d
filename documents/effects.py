"""What a change of documents does: to which services, for whom, and which fields do nothing at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from documents.errors import Caution
from documents.parsing import Document, Places
from documents.reading import Path
from documents.sets import DocumentSet
from mesh.events import Changes
from mesh.names import Key
from mesh.state import MeshState
from mesh.views import outbound_scope
from mesh.workload import OUTBOUND_PORT, Workload

_SOURCE = "documents"
_TRUST_DOMAIN = "effects"  # Any one: it is the same before and after, so that nothing changes with it.


@dataclass(frozen=True, slots=True)
class Effects:
    """`added`, `changed` and `removed` are documents (`changed` as they are now), by kind and key.

    `services`, `endpoints`, `workloads`: what changes, as in `mesh.events.Changes`, if there were these documents
    alone. `proxies`: the meshed workloads whose sidecars get another configuration. `without_effect`: what the
    documents that were added or changed say in vain.
    """

    added: tuple[Document, ...] = ()
    changed: tuple[Document, ...] = ()
    removed: tuple[Document, ...] = ()
    services: frozenset[Key] = frozenset()
    endpoints: frozenset[Key] = frozenset()
    workloads: frozenset[Key] = frozenset()
    proxies: frozenset[Key] = frozenset()
    urgent: bool = False
    without_effect: tuple[Caution, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def effects(old: DocumentSet, new: DocumentSet) -> Effects:
    """What it means that `new` is in force instead of `old`. A document that has merely moved does not count."""
    was = {document.name: document for document in old.documents}
    now = {document.name: document for document in new.documents}
    added = tuple(each for name, each in sorted(now.items(), key=_by_name) if name not in was)
    changed = tuple(
        each
        for name, each in sorted(now.items(), key=_by_name)
        if name in was and was[name].value != each.value
    )
    removed = tuple(each for name, each in sorted(was.items(), key=_by_name) if name not in now)
    before, _ = MeshState(_TRUST_DOMAIN).apply(old.to_snapshot(_SOURCE))
    after, changes = before.apply(new.to_snapshot(_SOURCE))
    return Effects(
        added,
        changed,
        removed,
        services=changes.services,
        endpoints=changes.endpoints,
        workloads=changes.workloads,
        proxies=_proxies(before, after, changes),
        urgent=changes.urgent,
        without_effect=tuple(
            each for document in (*added, *changed) for each in idle_fields(document, after)
        ),
    )


def idle_fields(document: Document, state: MeshState) -> Iterator[Caution]:
    """What `document` says that does nothing, as the mesh is in `state`."""
    workload, at = document.value, Places(document)
    if not isinstance(workload, Workload):
        return

    def idle(path: Path, reason: str, remedy: str) -> Caution:
        return Caution(at(*path), f"no effect: {reason}", remedy)

    if workload.weight != 1 and workload.services:
        alone = [key for key in workload.services if len(state.members.get(key, ())) <= 1]
        if len(alone) == len(workload.services):
            yield idle(
                ("spec", "weight"),
                f"this workload is the only one of {' and '.join(map(str, alone))}",
                "Add another workload to weigh it against, or remove the field",
            )
    if workload.ports and not workload.services:
        yield idle(("spec", "ports"), "the workload serves nothing", "Name what it serves in spec.services")
    if not workload.meshed:
        yield from (
            idle(path, "the workload has no sidecar", "Set spec.meshed, or remove the field")
            for path in _of_sidecar(workload)
        )
    for place, use in enumerate(workload.uses or ()):
        if use.service not in state.services:
            yield idle(
                ("spec", "uses", place),
                f"there is no service {use.service}",
                "Declare it, or correct the name",
            )
        elif use.port is not None and use.local_port is None:
            yield idle(
                ("spec", "uses", place, "port"),
                "without a local port, all ports of the service can be called",
                "Add localPort, or remove the field",
            )


def _of_sidecar(workload: Workload) -> Iterator[Path]:
    """The fields that only a sidecar heeds and that `workload` sets."""
    yield from (
        ("spec", "ports", place, "sidecar") for place, port in enumerate(workload.ports) if port.sidecar
    )
    if workload.uses is not None:
        yield "spec", "uses"
    if workload.outbound_port != OUTBOUND_PORT:
        yield "spec", "outboundPort"


def _proxies(before: MeshState, after: MeshState, changes: Changes) -> frozenset[Key]:
    """The sidecars that see a change: of what changed itself, of those who serve it and of those who may call it."""
    touched = changes.services | changes.endpoints
    found = set()
    for state in (before, after):
        for key, workload in state.workloads.items():
            if not workload.meshed:
                continue
            scope = outbound_scope(state, workload)
            if (
                key in changes.workloads
                or not changes.services.isdisjoint(workload.services)
                or any(scope.admits(service) for service in touched)
            ):
                found.add(key)
    return frozenset(found)


def _by_name(item: tuple[tuple[str, Key], Document]) -> tuple[str, Key]:
    return item[0]
