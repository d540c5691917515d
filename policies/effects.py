"""What a change of routes and policies does, and what of it does nothing: pure, from the states before and after.

The answer to whoever wrote them: how many proxies and resources are concerned, which policies prevail over which and why, and
what has no effect where it lands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from envoy.render import Rendered, Renderer
from mesh.age import seniority
from mesh.events import Changes, DocumentName
from mesh.merge import Merged, Path
from mesh.names import Key
from mesh.policy import Place, Policy
from mesh.routes import Route
from mesh.routing import reachable
from mesh.state import MeshState
from mesh.targeting import Level, RouteName, TargetRef
from mesh.views import OutboundScope, service_view
from policies.kind import PolicyKind
from policies.registry import POLICIES
from policies.transport import Lately, refused
from policies.weave import Weaver

SOME = 20
"""Services that are compared resource by resource; of more, the number of resources is reckoned from these."""


@dataclass(frozen=True, slots=True)
class Effect:
    """`documents` that came, changed or went; how many sidecars get something else, and how many resources differ (`about`: reckoned from a
    part). `notes`: what is said in vain, or prevails over something else, a sentence each, by document. `news`: what it means for others. `warnings`: what of
    it refuses callers that were served so far.
    """

    documents: tuple[DocumentName, ...]
    proxies: int
    services: int
    resources: int
    about: bool = False
    notes: tuple[tuple[DocumentName, str], ...] = ()
    news: tuple[tuple[DocumentName, str], ...] = ()
    warnings: tuple[tuple[DocumentName, str], ...] = ()


def effect(
    old: MeshState,
    new: MeshState,
    changes: Changes,
    weaver: Weaver,
    renderer: Renderer,
    lately: Lately | None = None,
) -> Effect:
    """What it means that `new` is in force instead of `old`, which differ by `changes`. `lately`: who spoke plaintext within the last hour."""
    names = sorted(
        name
        for name in {*old.declared, *new.declared}
        if old.declared.get(name) is not new.declared.get(name)
    )
    written = [each for name in names if isinstance(each := new.declared.get(name), Policy)]
    merges: Merges = {}
    services = sorted(changes.services)
    compared = services[:SOME]
    resources = sum(_differing(old, new, key, weaver, renderer) for key in compared)
    if len(services) > SOME:
        resources = resources * len(services) // SOME
    return Effect(
        documents=tuple(names),
        proxies=sum(1 for _ in proxies(new, changes)),
        services=len(services),
        resources=resources,
        about=len(services) > SOME,
        notes=tuple(
            (policy.name, note) for policy in written for note in notes(new, policy, weaver.kinds, merges)
        ),
        news=tuple(
            (policy.name, text) for policy in written for text in _news(old, new, policy, weaver.kinds)
        ),
        warnings=tuple(refused(old, new, lately or {})),
    )


def _news(old: MeshState, new: MeshState, policy: Policy, kinds: Iterable[PolicyKind]) -> Iterator[str]:
    """What it means for others that `policy` is there."""
    for kind in kinds:
        if kind.name == policy.kind and kind.news is not None:
            for target in policy.targets:
                yield from kind.news(old, new, policy, target)


Merges = dict[tuple[str, TargetRef, frozenset[DocumentName]], Merged]
"""What was merged already, for many policies of one target: each alone would merge all of them again."""


class Why(Enum):
    """Why something is said in vain."""

    NO_TARGET = auto()
    OVERRIDDEN = auto()
    OTHERWISE = auto()


@dataclass(frozen=True, slots=True)
class Vain:
    """Something that a policy says in vain, in a sentence."""

    why: Why
    text: str


def vain(
    state: MeshState, policy: Policy, kinds: Iterable[PolicyKind] = POLICIES, merges: Merges | None = None
) -> Iterator[Vain]:
    """What `policy` says in vain as the mesh is now, and why. `merges` is filled and used for the next policy of the same state."""
    kind = next((each for each in kinds if each.name == policy.kind), None)
    if kind is None:
        return
    if not policy.fields and not kind.union:
        # Of a kind of which one alone applies, what says nothing takes the place of what is said from farther away.
        but = " but that none from farther away applies" if kind.whole else ""
        yield Vain(Why.OTHERWISE, f"it says nothing: no effect{but}")
        return
    for target in policy.targets:
        missing = _missing(state, target)
        if missing is not None:
            yield Vain(Why.NO_TARGET, f"no effect at {target}: {missing}")
            continue
        if kind.notes is not None:
            for text in kind.notes(state, policy, target):
                yield Vain(Why.OTHERWISE, text)
        if not kind.union:
            known = merges if merges is not None else {}
            for text in _overridden(state, policy, target, known, whole=kind.whole):
                yield Vain(Why.OVERRIDDEN, text)


def notes(
    state: MeshState, policy: Policy, kinds: Iterable[PolicyKind] = POLICIES, merges: Merges | None = None
) -> Iterator[str]:
    """The sentences of `vain`."""
    return (each.text for each in vain(state, policy, kinds, merges))


def _overridden(
    state: MeshState, policy: Policy, target: TargetRef, merges: Merges, *, whole: bool
) -> Iterator[str]:
    """The fields of `policy` that another one at the same place prevails over; all of it, for a kind of which one alone applies."""
    facets = frozenset({policy.name}) if policy.callers else frozenset[DocumentName]()
    merged = merges.get((policy.kind, target, facets))
    if merged is None:
        merged = state.policies.merged(policy.kind, _place(state, target), facets, whole=whole)
        merges[policy.kind, target, facets] = merged
    if whole:
        for other in sorted(set(merged.origins.values()) - {policy.key}):
            yield (
                f"no effect at {target}: of this kind one policy alone applies, as a whole: {policy.kind} {other} is there too, "
                f"{_why(state, policy, other, target)}"
            )
        return
    lost: dict[Key, list[str]] = {}
    for path in _paths(policy.fields.items()):
        winner = merged.origins.get(path)
        if winner is not None and winner != policy.key:
            lost.setdefault(winner, []).append(".".join(("spec", *path)))
    for winner, fields in sorted(lost.items()):
        why = _why(state, policy, winner, target)
        yield f"no effect at {target}: {', '.join(fields)}: {policy.kind} {winner} says it too, {why}"


def _why(state: MeshState, policy: Policy, winner: Key, target: TargetRef) -> str:
    other = state.policies.policies[policy.kind, winner]
    if other.enforced:
        return "and is enforced"
    if target not in other.targets:
        return "and is nearer"
    if seniority(policy.created) != seniority(other.created):
        return "and is older"
    return f"and of two of one age the first by name prevails: {winner} before {policy.key}"


def _paths(fields: Iterable[tuple[str, object]], path: Path = ()) -> Iterator[Path]:
    for name, value in fields:
        items = getattr(value, "items", None)
        if items is not None:
            yield from _paths(items(), (*path, name))
        else:
            yield (*path, name)


def _missing(state: MeshState, target: TargetRef) -> str | None:
    key = Key(target.namespace, target.name)
    match target.level:
        case Level.SERVICE if key not in state.services:
            return "there is no such service (yet)"
        case Level.WORKLOAD if key not in state.workloads:
            return "there is no such workload (yet)"
        case Level.ROUTE if not isinstance(state.declared.get((target.kind, key)), Route):
            return "there is no such route (yet)"
        case Level.NAMESPACE if not (
            any(each.namespace == target.namespace for each in state.services)
            or any(key.namespace == target.namespace for key in state.workloads)  # a gateway serves none
        ):
            return "there is no service in it (yet)"
        case _:
            return None


def _place(state: MeshState, target: TargetRef) -> Place:
    key = Key(target.namespace, target.name)
    match target.level:
        case Level.SERVICE:
            return Place(key.namespace, service=key)
        case Level.WORKLOAD:
            return Place(key.namespace, workload=key)
        case Level.ROUTE:
            route = state.declared.get((target.kind, key))
            service = next((each.key for each in route.parents), None) if isinstance(route, Route) else None
            return Place((service or key).namespace, service=service, route=RouteName(target.kind, key))
        case _:
            return Place(target.namespace)


def proxies(state: MeshState, changes: Changes) -> Iterator[Key]:
    """The sidecars that see a change of these services, or whose own listeners change."""
    leading: dict[str, frozenset[Key]] = {}
    for key, workload in state.workloads.items():
        if not workload.meshed:
            continue
        if key in changes.workloads:
            yield key
        elif changes.services:
            if workload.uses is None:
                yield key
                continue
            if key.namespace not in leading:
                leading[key.namespace] = _leading_to(state, changes.services, key.namespace)
            if not leading[key.namespace].isdisjoint(use.service for use in workload.uses):
                yield key


def _leading_to(state: MeshState, services: frozenset[Key], namespace: str) -> frozenset[Key]:
    """`services`, and those whose routes lead callers of `namespace` to one of them: asked once, not for each workload."""
    routed = (key for key in state.routing.attached if key in state.services)
    return services.union(
        key for key in routed if not services.isdisjoint(reachable(state, (key,), namespace))
    )


def _differing(old: MeshState, new: MeshState, key: Key, weaver: Weaver, renderer: Renderer) -> int:
    """How many resources of a service, as callers of its own namespace see them, differ or are in one state only."""
    before, after = (
        {(each.type_url, each.name): each.body for each in _rendered(state, key, weaver, renderer)}
        for state in (old, new)
    )
    return sum(before.get(name) != after.get(name) for name in before.keys() | after.keys())


def _rendered(state: MeshState, key: Key, weaver: Weaver, renderer: Renderer) -> tuple[Rendered, ...]:
    scope = OutboundScope(key.namespace, None)
    if key not in state.services:
        weaver.forget_service(scope, key)
        return ()
    try:
        view = service_view(state, key)
        return renderer.service(view, weaver.service(state, scope, view))
    except Exception:  # noqa: BLE001 (what cannot be rendered is said by who publishes it; a report of effects must end nothing)
        return ()
