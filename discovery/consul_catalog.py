"""All that Consul has said so far, service by service, and what each new answer changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from discovery import consul_mapping
from discovery.consul_mapping import Mapped
from discovery.consul_model import Check, Entry, Node, Registration
from discovery.consul_options import ConsulOptions
from mesh.events import SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.service import Service
from mesh.workload import Workload

OWN_SERVICE = "consul"
"""Consul's servers register themselves under this name; it is no service of the mesh."""

Registered = dict[tuple[str, str], int]
"""The instances of a service: (node, id) → ModifyIndex."""
Checks = frozenset[tuple[str, str, str]]
"""The checks of a service's instances: node, id and status."""
_Claim = tuple[int, str, Workload]
"""CreateIndex, Consul service and workload: the lowest has the workload's name."""


class Catalog:
    """`put()` takes the answer for one service; the other methods say which services must be asked for again."""

    def __init__(self, source: str, options: ConsulOptions) -> None:
        self._source = source
        self._options = options
        self._registered: dict[str, Registered] = {}
        self._checks: dict[str, Checks] = {}
        self._mapped: dict[str, Mapped] = {}
        self._warnings: dict[str, tuple[str, ...]] = {}
        self._claims: dict[Key, list[_Claim]] = {}
        self._contested: set[Key] = set()

    @property
    def names(self) -> frozenset[str]:
        """The Consul services that have instances, in the mesh or not."""
        return frozenset(self._registered)

    def put(self, name: str, entries: Iterable[object]) -> SourceUpdate | None:
        """Take the whole answer of `health/service/<name>`; what it changes, or None."""
        read, warnings = consul_mapping.instances(entries)
        registered = _registered(read)
        mapped = consul_mapping.map_service(self._source, name, read, self._options)
        if registered:
            self._registered[name] = registered
            self._checks[name] = frozenset(
                (check.node, check.id, check.status)
                for entry in read
                for check in entry.checks
                if check.service
            )
        else:
            self._registered.pop(name, None)
            self._checks.pop(name, None)
        old = self._mapped.get(name, Mapped())
        self._mapped[name] = mapped
        if not mapped.services:
            del self._mapped[name]
        lines = (*(f"Consul service {name}: {line}" for line in warnings), *mapped.warnings)
        if lines:
            self._warnings[name] = lines
        else:
            self._warnings.pop(name, None)
        return self._moved(name, old, mapped)

    def _moved(self, name: str, old: Mapped, new: Mapped) -> SourceUpdate | None:
        was = {service.key: service for service in old.services}
        now = {service.key: service for service in new.services}
        claims: dict[Key, list[_Claim]] = {workload.key: [] for _, workload in old.workloads}
        for age, workload in new.workloads:
            claims.setdefault(workload.key, []).append((age, name, workload))
        touched = claims.keys()
        before = {key: self._holder(key) for key in touched}
        for key in touched:
            others = [claim for claim in self._claims.get(key, ()) if claim[1] != name]
            self._claims[key] = sorted(others + claims[key], key=lambda claim: (claim[0], claim[1]))
        after = {key: self._holder(key) for key in touched}
        for key in touched:
            (self._contested.add if len(self._claims[key]) > 1 else self._contested.discard)(key)
            if not self._claims[key]:
                del self._claims[key]
        update = SourceUpdate(
            self._source,
            services=tuple(service for key, service in now.items() if was.get(key) != service),
            workloads=tuple(each for key, each in after.items() if each is not None and each != before[key]),
            removed_services=tuple(key for key in was if key not in now),
            removed_workloads=tuple(key for key, each in after.items() if each is None and before[key]),
        )
        empty = SourceUpdate(self._source)
        return None if update == empty else update

    def _holder(self, key: Key) -> Workload | None:
        claims = self._claims.get(key)
        return claims[0][2] if claims else None

    def snapshot(self) -> SourceSnapshot:
        services: list[Service] = [each for mapped in self._mapped.values() for each in mapped.services]
        workloads = [claims[0][2] for claims in self._claims.values()]
        return SourceSnapshot(
            self._source,
            tuple(sorted(services, key=lambda service: service.key)),
            tuple(sorted(workloads, key=lambda workload: workload.key)),
        )

    def warnings(self) -> tuple[str, ...]:
        """Everything that was left out or is doubtful, in a steady order."""
        lines = [line for name in sorted(self._warnings) for line in self._warnings[name]]
        for key in sorted(self._contested):
            (_, _, first), *others = self._claims[key]
            lines += (
                f"{other.origin[0]} is left out: its workload name {key} is also that of {first.origin[0]}, which is "
                "older: set meta workload to another name"
                for _, _, other in others
            )
        return tuple(lines)

    def differing(self, instances: Iterable[tuple[str, Registration]]) -> set[str]:
        """The services whose registered instances are not those of a whole sweep of (node, instance)."""
        swept: dict[str, Registered] = {}
        for node, instance in instances:
            swept.setdefault(instance.service, {})[node, instance.id] = instance.modify_index
        swept.pop(OWN_SERVICE, None)
        return {
            name for name in swept.keys() | self._registered if swept.get(name) != self._registered.get(name)
        }

    def differing_checks(self, checks: Iterable[Check]) -> set[str]:
        """The services whose instances' checks are not those among all `checks`: most of what a sweep would find."""
        seen: dict[str, set[tuple[str, str, str]]] = {name: set() for name in self._checks}
        for check in checks:
            if check.service:
                seen.setdefault(check.service, set()).add((check.node, check.id, check.status))
        seen.pop(OWN_SERVICE, None)
        return {name for name, found in seen.items() if self._checks.get(name) != frozenset(found)}

    def on_nodes(self, nodes: Iterable[str]) -> set[str]:
        """The services with instances on any of `nodes`."""
        wanted = set(nodes)
        if not wanted:
            return set()
        return {
            name
            for name, registered in self._registered.items()
            if any(node in wanted for node, _ in registered)
        }

    def affected(self, before: Iterable[Check], after: Iterable[Check]) -> set[str]:
        """The services of the checks that differ between two answers of the checks which are not passing."""
        old = {(check.node, check.id): check for check in before}
        new = {(check.node, check.id): check for check in after}
        changed = [
            check
            for key in old.keys() | new.keys()
            for check in (old.get(key), new.get(key))
            if check is not None and (old.get(key) is None or new.get(key) is None or old[key] != new[key])
        ]
        services = {check.service for check in changed if check.service}
        return services | self.on_nodes(check.node for check in changed if not check.service)


def changed_nodes(before: Iterable[Node], after: Iterable[Node]) -> set[str]:
    """The names of the nodes that came, went or changed."""
    old = {node.name: node.modify_index for node in before}
    new = {node.name: node.modify_index for node in after}
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _registered(entries: Iterable[Entry]) -> Registered:
    return {(entry.node.name, entry.instance.id): entry.instance.modify_index for entry in entries}
