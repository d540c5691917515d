"""What an operator should know before a change is made. Pure, from the states before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from documents.parsing import Document
from mesh.names import Key
from mesh.policy import Policy
from mesh.references import Resolved, lookup, resolve
from mesh.routes import ParentKind, Route
from mesh.state import MeshState
from mesh.workload import Health
from meshwright.plan.asked import Asked, body
from policies.notes import all_notes, route_notes
from policies.registry import KINDS, POLICIES
from policies.transport import Lately, refused


class Sort(StrEnum):
    """What a warning is about."""

    NO_EFFECT = "no-effect"
    TO_NOTHING = "to-nothing"
    CONVERTED = "converted"
    DOUBTFUL = "doubtful"
    LOCKED_OUT = "locked-out"
    NOT_SENT = "not-sent"
    SERVICE_GOES = "service-goes"
    INCOMPLETE = "incomplete"
    MEANS = "means"


@dataclass(frozen=True, slots=True, order=True)
class Caveat:
    """`document` as `<Kind> <namespace>/<name>`, where one is to blame."""

    sort: Sort
    document: str
    text: str


def caveats(old: MeshState, new: MeshState, asked: Asked, lately: Lately | None = None) -> tuple[Caveat, ...]:
    """`lately`: who spoke plaintext within the last hour, by service and port."""
    found = {
        *_in_vain(old, new, asked),
        *(each for document in asked.put for each in _converted(document)),
        *(each for document in asked.put for each in _without_endpoints(new, document)),
        *_gone(old, new, asked),
        *_emptied(old, new, asked),
        *(each for document in asked.put for each in _news(old, new, document)),
        *(
            Caveat(Sort.LOCKED_OUT, f"{kind} {key}", why)
            for (kind, key), why in refused(old, new, lately or {})
        ),
    }
    return tuple(sorted(found))


def _in_vain(old: MeshState, new: MeshState, asked: Asked) -> Iterator[Caveat]:
    """What is said in vain by the documents that are put, and by others because of them."""
    names = tuple(f"{kind} {key}:" for kind, key in asked.names)
    for sort, lines in ((Sort.NO_EFFECT, all_notes), (Sort.TO_NOTHING, route_notes)):
        known = set(lines(old))
        for line in lines(new):
            if line not in known or line.startswith(names):
                document, _, text = line.partition(": ")
                yield Caveat(sort, document, text)


def _news(old: MeshState, new: MeshState, document: Document) -> Iterator[Caveat]:
    """What it means for others that a policy is there."""
    policy = document.value
    if not isinstance(policy, Policy):
        return
    for kind in POLICIES:
        if kind.name == policy.kind and kind.news is not None:
            for target in policy.targets:
                for text in kind.news(old, new, policy, target):
                    yield Caveat(Sort.MEANS, f"{document.kind} {document.key}", text)


def _converted(document: Document) -> Iterator[Caveat]:
    """The version that a kind is read as is the first of those that it is known in."""
    versions = [kind.api_version for kind in KINDS if kind.name == document.kind]
    written = body(document).get("apiVersion")
    if versions and written != versions[0]:
        text = f"it is written as {written}, and read as {versions[0]}: write that"
        yield Caveat(Sort.CONVERTED, f"{document.kind} {document.key}", text)


def _without_endpoints(state: MeshState, document: Document) -> Iterator[Caveat]:
    """Backends that are there and have nobody to answer: their share of requests is a 503."""
    route = document.value
    if not isinstance(route, Route):
        return
    known, told = lookup(state), set[Key]()
    for parent in route.parents:
        of = parent.key if parent.kind is ParentKind.SERVICE else None
        for backend in route.backends():
            found = resolve(route, of, backend, known)
            if not isinstance(found, Resolved) or found.service in told or found.host:
                continue
            told.add(found.service)
            if not _healthy(state, found.service):
                served = state.members.get(found.service)
                why = "none of its workloads is healthy" if served else "no workload serves it"
                text = f"it sends requests to service {found.service}, and {why}: they are answered 503"
                yield Caveat(Sort.TO_NOTHING, f"{document.kind} {document.key}", text)


def _emptied(old: MeshState, new: MeshState, asked: Asked) -> Iterator[Caveat]:
    """Services that lose the last workload that is not critical."""
    workloads = {key for kind, key in asked.names if kind == "Workload"}
    served = {
        service
        for state in (old, new)
        for key in workloads
        if (found := state.workloads.get(key)) is not None
        for service in found.services
    }
    for service in sorted(served):
        if service in new.services and _healthy(old, service) and not _healthy(new, service):
            text = (
                "nobody is left who serves it and is healthy: its callers are answered 503, or not connected"
            )
            yield Caveat(Sort.TO_NOTHING, f"Service {service}", text)


def _healthy(state: MeshState, service: Key) -> bool:
    members = (state.workloads[each] for each in state.members.get(service, ()))
    return any(each.health is not Health.CRITICAL for each in members)


def _gone(old: MeshState, new: MeshState, asked: Asked) -> Iterator[Caveat]:
    """Services that go although workloads name them as what they call."""
    gone = {key for key in _services(asked) if key in old.services and key not in new.services}
    if not gone:
        return
    callers: dict[Key, list[Key]] = {}
    for key, workload in new.workloads.items():
        for use in workload.uses or ():
            if use.service in gone:
                callers.setdefault(use.service, []).append(key)
    for service, who in callers.items():
        named = ", ".join(map(str, sorted(who)[:5]))
        more = f" and {len(who) - 5} more" if len(who) > 5 else ""
        yield Caveat(
            Sort.SERVICE_GOES,
            f"Service {service}",
            f"it goes, and workloads say that they call it: {named}{more}",
        )


def _services(asked: Asked) -> Iterable[Key]:
    return (key for kind, key in asked.delete if kind in {"Service", "ExternalService"})
