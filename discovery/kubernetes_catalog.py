"""All that Kubernetes has said so far, object by object, and what each change of one means for the mesh. Pure.

The work of a change grows with what it touches: an EndpointSlice costs its service, a pod itself, a node its pods.
"""

from __future__ import annotations

from discovery import kubernetes_mapping as mapping
from discovery.kubernetes_mapping import Mapped, Served
from discovery.kubernetes_model import KubeService, Node, Pod, Slice
from discovery.told import difference
from kube.resource import ObjectName
from mesh.events import Declared, DocumentName, SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.namespaces import NAMESPACE, namespace
from mesh.service import Labels, Service
from mesh.workload import Workload

_NOTHING_MAPPED = Mapped()


class Catalog:
    """Put objects (None: it is gone), then `settle`, which says what the mesh has to be told."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._services: dict[Key, KubeService] = {}
        self._slices: dict[ObjectName, Slice] = {}
        self._slices_of: dict[Key, set[ObjectName]] = {}
        self._pods: dict[Key, Pod] = {}
        self._nodes: dict[str, Node] = {}
        self._on_node: dict[str, set[Key]] = {}
        self._served: dict[Key, dict[str, Served]] = {}  # service → workload → what it serves of it
        self._serves: dict[Key, dict[Key, Served]] = {}  # workload → service → the same
        self._placed: dict[Key, str] = {}  # workloads that are no pods, and have a node
        # As the mesh was told.
        self._told_services: dict[Key, Service] = {}
        self._told_workloads: dict[Key, Workload] = {}
        self._declared: dict[DocumentName, Declared] = {}
        # What is to be reckoned anew.
        self._dirty_services: set[Key] = set()
        self._dirty_workloads: set[Key] = set()
        self._new_declared: dict[DocumentName, Declared | None] = {}
        self._warned: dict[Key, tuple[str, ...]] = {}

    @property
    def dirty(self) -> int:
        """How much `settle` has to do, roughly: objects."""
        return len(self._dirty_services) + len(self._dirty_workloads)

    def put_service(self, name: ObjectName, found: KubeService | None) -> None:
        key = Key(*name)
        if found is None:
            self._services.pop(key, None)
        else:
            self._services[key] = found
        self._dirty_services.add(key)

    def put_slice(self, name: ObjectName, found: Slice | None) -> None:
        before = self._slices.pop(name, None)
        if before is not None:
            key = Key(name.namespace, before.service)
            self._slices_of[key].discard(name)
            if not self._slices_of[key]:
                del self._slices_of[key]
            self._dirty_services.add(key)
        if found is not None:
            key = Key(name.namespace, found.service)
            self._slices[name] = found
            self._slices_of.setdefault(key, set()).add(name)
            self._dirty_services.add(key)

    def put_pod(self, name: ObjectName, found: Pod | None) -> None:
        key = Key(*name)
        before = self._pods.pop(key, None)
        if before is not None:
            self._leave(before.node, key)
        if found is not None:
            self._pods[key] = found
            self._on_node.setdefault(found.node, set()).add(key)
        self._dirty_workloads.add(key)

    def put_node(self, name: ObjectName, found: Node | None) -> None:
        if found is None:
            self._nodes.pop(name.name, None)
        else:
            self._nodes[name.name] = found
        self._dirty_workloads.update(self._on_node.get(name.name, ()))

    def put_namespace(self, name: ObjectName, found: Labels | None) -> None:
        """Its labels."""
        declared: Declared | None = None
        if found is not None:
            value = namespace(name.name, found, (f"{self._source}: Namespace {name.name}",))
            declared = Declared(NAMESPACE, value, line=0)
        self._new_declared[NAMESPACE, Key("", name.name)] = declared

    def settle(self, *, certain: bool = False) -> SourceUpdate | None:
        """What has changed since the last time, or None. `certain`: see `SourceUpdate`."""
        services, removed_services = difference(self._told_services, self._dirty_services, self._map)
        self._dirty_services.clear()
        workloads, removed_workloads = difference(self._told_workloads, self._dirty_workloads, self._workload)
        self._dirty_workloads.clear()
        declared, removed_declared = difference(
            self._declared, self._new_declared.keys(), self._new_declared.__getitem__
        )
        self._new_declared.clear()
        if not any((services, workloads, removed_services, removed_workloads, declared, removed_declared)):
            return None
        return SourceUpdate(
            self._source,
            services,
            workloads,
            removed_services,
            removed_workloads,
            declared,
            removed_declared,
            certain,
        )

    def snapshot(self) -> SourceSnapshot:
        """Everything, as it was settled last."""
        return SourceSnapshot(
            self._source,
            tuple(self._told_services[key] for key in sorted(self._told_services)),
            tuple(self._told_workloads[key] for key in sorted(self._told_workloads)),
            tuple(self._declared[name] for name in sorted(self._declared)),
        )

    def warnings(self) -> tuple[str, ...]:
        """What is left out, in a steady order."""
        return tuple(line for key in sorted(self._warned) for line in self._warned[key])

    def _map(self, key: Key) -> Service | None:
        """Reckon a service and who serves it; those whose part in it has changed become dirty."""
        found = self._services.get(key)
        mapped = mapping.map_service(self._source, key, found) if found is not None else _NOTHING_MAPPED
        if mapped.warnings:
            self._warned[key] = mapped.warnings
        else:
            self._warned.pop(key, None)
        served: dict[str, Served] = {}
        if found is not None:
            slices = (self._slices[name] for name in sorted(self._slices_of.get(key, ())))
            served = mapping.serving(key, found, mapped, slices)
        self._serve(key, served)
        return mapped.service

    def _serve(self, service: Key, served: dict[str, Served]) -> None:
        old = self._served.pop(service, {})
        if served:
            self._served[service] = served
        for name in old.keys() | served.keys():
            now = served.get(name)
            if now == old.get(name):
                continue
            workload = Key(service.namespace, name)
            if now is not None:
                self._serves.setdefault(workload, {})[service] = now
            else:
                del self._serves[workload][service]
                if not self._serves[workload]:
                    del self._serves[workload]
            self._dirty_workloads.add(workload)

    def _workload(self, key: Key) -> Workload | None:
        served, pod = self._serves.get(key, {}), self._pods.get(key)
        place = self._placed.pop(key, None)
        if place is not None:
            self._leave(place, key)
        if pod is not None:
            return mapping.pod_workload(self._source, key, pod, served, self._nodes.get(pod.node))
        # A pod's endpoint is heard of before the pod itself at times: it is nothing until then.
        service, part = next(
            ((each, part) for each, part in served.items() if not part.endpoint.pod), (None, None)
        )
        if service is None or part is None:
            return None
        if part.endpoint.node:
            self._placed[key] = part.endpoint.node
            self._on_node.setdefault(part.endpoint.node, set()).add(key)
        return mapping.other_workload(self._source, key, service, part, self._nodes.get(part.endpoint.node))

    def _leave(self, node: str, key: Key) -> None:
        there = self._on_node.get(node, set())
        there.discard(key)
        if not there:
            self._on_node.pop(node, None)
