"""Which ports sidecars listen on, so that two of one address which could not both have theirs are told of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from immutables import Map

from documents.errors import Caution
from documents.parsing import Document, Places
from documents.reading import Path
from mesh.interception import Interception
from mesh.workload import Workload

Listening = tuple[str, str, int]
"""Network, address and port: workloads of one address share one host."""
Listeners = Map[Listening, tuple[Document, ...]]
"""Whose sidecar listens where, in the order of files and documents."""


def listening(document: Document) -> Mapping[Listening, Path]:
    """Where the sidecar of `document` listens, and the field that says so; nothing for what has no sidecar."""
    workload = document.value
    # Where a gateway listens is said by the Gateway that it plays, and none of its ports is for calls of its own.
    if not isinstance(workload, Workload) or not workload.meshed or workload.gateway is not None:
        return {}
    ports: list[tuple[int | None, Path]] = [
        *((port.sidecar, ("spec", "ports", place, "sidecar")) for place, port in enumerate(workload.ports)),
        (workload.outbound_port, ("spec", "outboundPort")),
        *_intercepted(workload.interception),
        *(
            (use.local_port, ("spec", "uses", place, "localPort"))
            for place, use in enumerate(workload.uses or ())
        ),
    ]
    return {(workload.network, workload.address, port): path for port, path in ports if port is not None}


def _intercepted(interception: Interception | None) -> Iterator[tuple[int, Path]]:
    if interception is not None:
        yield interception.inbound_port, ("spec", "interception", "inboundPort")
        yield interception.dns_port, ("spec", "interception", "dnsPort")


def moved(listeners: Listeners, before: Iterable[Document], after: Iterable[Document]) -> Listeners:
    """`listeners` with the documents `after` in the place of `before`."""
    gone: dict[Listening, set[int]] = defaultdict(set)
    come: dict[Listening, list[Document]] = defaultdict(list)
    for document in before:
        for each in listening(document):
            gone[each].add(id(document))
    for document in after:
        for each in listening(document):
            come[each].append(document)
    changed = listeners.mutate()
    for each in gone.keys() | come.keys():
        kept = [document for document in changed.get(each, ()) if id(document) not in gone[each]]
        held = tuple(sorted((*kept, *come[each]), key=_place))
        if held:
            changed[each] = held
        else:
            changed.pop(each, None)
    return changed.finish()


def neighbours(listeners: Listeners, documents: Iterable[Document]) -> Iterator[Document]:
    """Those whose sidecars listen where those of `documents` do, in `listeners`."""
    for each in {each for document in documents for each in listening(document)}:
        yield from listeners.get(each, ())


def shared(document: Document, listeners: Listeners) -> Iterator[Caution]:
    """A warning for each port of `document` that is a sidecar's already, by an earlier document."""
    at = Places(document)
    for each, path in listening(document).items():
        first = listeners[each][0]
        if first is not document:
            _, address, port = each
            yield Caution(
                at(*path),
                f"the sidecar of {first.kind} {first.key} has port {port} of {address} already ({first.where})",
                "Only one of the two sidecars can listen there: give one of them another port, or correct its address",
            )


def _place(document: Document) -> tuple[str, int]:
    return document.where.file, document.where.document or 0
