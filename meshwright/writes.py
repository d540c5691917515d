"""Which documents an event of their source has written or removed, for the audit log."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.events import Event, SourceSnapshot, SourceUpdate
from mesh.state import MeshState, SourceView

SERVICE, WORKLOAD = "Service", "Workload"


def written(before: MeshState, event: Event) -> tuple[list[str], list[str]] | None:
    """The names of documents that `event` wrote and removed, against what its source said in `before`; None for the first that it says:
    nobody has written that just now.
    """
    view = before.sources.get(event.source)
    if view is None or not isinstance(event, SourceSnapshot | SourceUpdate):
        return None
    put = [f"{kind} {key}" for kind, key, differs in _put(view, event) if differs]
    if isinstance(event, SourceUpdate):
        gone = [f"{SERVICE} {key}" for key in event.removed_services]
        gone += [f"{WORKLOAD} {key}" for key in event.removed_workloads]
        gone += [f"{kind} {key}" for kind, key in event.removed_declared]
    else:
        kept = {f"{kind} {key}" for kind, key, _ in _put(view, event)}
        gone = [name for name in _names(view) if name not in kept]
    return sorted(put), sorted(gone)


def _put(view: SourceView, event: SourceSnapshot | SourceUpdate) -> Iterator[tuple[str, object, bool]]:
    for service in event.services:
        yield SERVICE, service.key, view.services.get(service.key) != service
    for workload in event.workloads:
        yield WORKLOAD, workload.key, view.workloads.get(workload.key) != workload
    for each in event.declared:
        yield *each.name, view.declared.get(each.name) != each


def _names(view: SourceView) -> Iterator[str]:
    yield from (f"{SERVICE} {key}" for key in view.services)
    yield from (f"{WORKLOAD} {key}" for key in view.workloads)
    yield from (f"{kind} {key}" for kind, key in view.declared)
