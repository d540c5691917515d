"""The state of the mesh as it would be with what is asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from documents.checks import cautions, dangling
from documents.parsing import Document
from mesh.events import Declared, SourceUpdate
from mesh.names import Key
from mesh.service import Service
from mesh.state import MeshState, SourceView
from mesh.workload import Workload
from meshwright.plan.asked import Asked, Name

SERVICES = ("Service", "ExternalService")


@dataclass(frozen=True, slots=True)
class Candidate:
    """`state`, which `events` lead to. `refused`: what an `apply` would be refused for; `cautions`: what is probably not meant."""

    state: MeshState
    events: tuple[SourceUpdate, ...]
    refused: tuple[str, ...] = ()
    cautions: tuple[tuple[Name, str], ...] = ()


def candidate(state: MeshState, asked: Asked, into: str, editable: Sequence[str]) -> Candidate:
    """What `state` becomes. A document that a source holds is changed there; a new one goes `into` one. `editable`: the sources whose
    documents can be written to; of another's it is said that they cannot.
    """
    new, events, refused = state, list[SourceUpdate](), list[str]()
    by_source: dict[str, tuple[list[Document], list[Name]]] = {}
    for document in asked.put:
        holder = holding(state, document.name) or into
        if holder not in editable:
            refused.append(_elsewhere(document.kind, document.key, holder))
        by_source.setdefault(holder, ([], []))[0].append(document)
    for kind, key in asked.delete:
        found = holding(state, (kind, key))
        if found is None:
            refused.append(f"{kind} {key} is not there: nothing to delete")
            continue
        if found not in editable:
            refused.append(_elsewhere(kind, key, found))
        by_source.setdefault(found, ([], []))[1].append((kind, key))
    for source, (put, gone) in sorted(by_source.items()):
        events.append(_update(source, put, gone))
        new, _ = new.apply(events[-1])
    wrong = [str(error) for each in asked.put for error in dangling(each, new.services.get)]
    known = set(state.conflicts())
    wrong += [line for line in new.conflicts() if line not in known]
    doubtful = tuple(
        (each.name, str(caution)) for each in asked.put for caution in cautions(each, new.services.get)
    )
    return Candidate(new, tuple(events), (*refused, *wrong), doubtful)


def holding(state: MeshState, name: Name) -> str | None:
    """The first source that declares a document of that name."""
    return next((each for each in state.ranked() if _holds(state.sources[each], name)), None)


def _holds(view: SourceView, name: Name) -> bool:
    kind, key = name
    if kind in SERVICES:
        return key in view.services
    return key in view.workloads if kind == "Workload" else name in view.declared


def _elsewhere(kind: str, key: Key, source: str) -> str:
    return f"{kind} {key} is that of source {source}, which is only read: change it there"


def _update(source: str, put: Iterable[Document], gone: Iterable[Name]) -> SourceUpdate:
    documents, gone = tuple(put), tuple(gone)
    return SourceUpdate(
        source,
        services=tuple(each.value for each in documents if isinstance(each.value, Service)),
        workloads=tuple(each.value for each in documents if isinstance(each.value, Workload)),
        declared=tuple(_declared(documents)),
        removed_services=tuple(key for kind, key in gone if kind in SERVICES),
        removed_workloads=tuple(key for kind, key in gone if kind == "Workload"),
        removed_declared=tuple(name for name in gone if name[0] not in (*SERVICES, "Workload")),
    )


def _declared(documents: Iterable[Document]) -> Iterator[Declared]:
    return (each.as_declared() for each in documents if not isinstance(each.value, Service | Workload))
